"""What ``explain`` tells of pulls and builds is held against the registry and the images."""

from dataclasses import replace
from itertools import pairwise

import pytest

from ocimagic.errors import NotFound
from ocimagic.model.options import BuildOptions


def step(told, part):
    """Return the one step whose title holds a text."""
    [found] = [each for each in told.steps if part in each.title]
    return found


def facts(told, part):
    return dict(step(told, part).facts)


def test_a_pull_is_told_as_the_registry_answered_it(shared, registry):
    told = shared.explainer.explain(f"{registry.host}/busybox")
    assert told.kind == "pull"
    details = shared.images.inspect("busybox")
    asked = [dict(each.facts).get("request", "") for each in told.steps]
    assert "HEAD /v2/busybox/manifests/latest" in asked
    digest = details.digests[0].partition("@")[2]
    assert f"GET /v2/busybox/manifests/{digest}" in asked
    layers = [each for each in told.steps if each.title.startswith("layer")]
    assert [dict(each.facts)["digest"] for each in layers] == [
        str(e.digest) for e in details.layers
    ]
    assert [dict(each.facts)["bytes"] for each in layers] == [
        str(each.blob_bytes) for each in details.layers
    ]
    assert all(0 < each.seconds <= told.seconds for each in layers)
    assert facts(told, "name → manifest")["image ID"] == str(details.image_id)
    again = shared.images.pull(f"{registry.host}/busybox")
    assert again.up_to_date
    newest = shared.explainer.explain(str(again.image_id), newest=True)
    assert newest.ending.startswith("up to date")
    assert shared.explainer.explain(str(again.image_id)).ending.startswith("1 of 1 layers")


def test_a_run_that_pulls_tells_both(make_engine, registry):
    engine = make_engine()
    engine.containers.run(f"{registry.host}/busybox", ["true"], network="none", remove=True)
    told = engine.explainer.explain()
    titles = [each.title for each in told.steps]
    assert told.asked.pulled
    found, pull, cloned = (
        next(n for n, title in enumerate(titles) if part in title)
        for part in ("find image", "HEAD /v2/busybox", "clone3")
    )
    assert found < pull < cloned
    times = [each.at_s for each in told.steps if each.at_s is not None]
    assert all(b - a > -0.01 for a, b in pairwise(times))


def test_a_pull_of_many_seconds_does_not_make_two_commands_of_one(shared):
    done = shared.containers.run("busybox", ["true"], network="none")
    story = shared.explainer._story(done.name)
    asked, *rest = story.document.made.split("\n")
    at, _, words = asked.partition(" ")
    earlier = "\n".join([f"{int(at) - 60 * 10**9} {words}", *rest])
    slow = replace(story, document=replace(story.document, made=earlier))
    assert story.is_one
    assert slow.is_one
    assert slow.at_s(slow.made[0]) == 0.0
    assert slow.at_s(slow.shim[0]) > 60
    shared.containers.remove(done.name)


def test_a_build_is_told_step_by_step_and_goes_with_its_image(shared):
    text = "FROM busybox\nRUN echo a > /a\nENV A=1\n"
    options = BuildOptions(dockerfile=text, tags=("told:1",), build_args={"SECRET": "word"})
    made = shared.images.build(options)
    told = shared.explainer.explain()
    assert told.kind == "build"
    said = [dict(each.facts) for each in told.steps if "stage" in dict(each.facts)]
    assert [each["it was"].startswith("made") for each in said] == [False, True, True]
    assert said[1]["layer"] == str(made.steps[1].layer)
    shared.images.build(options)
    told = shared.explainer.explain("told:1")
    assert told.ending == "3 of 3 steps from the cache"
    assert step(told, "RUN echo a").source.name == "StepCache.find"
    [row] = shared.containers.store.database.rows(
        "SELECT document FROM timelines WHERE manifest = ?", made.digest
    )
    assert "word" not in row[0]
    shared.images.remove("told:1")
    assert shared.containers.store.timelines.get(made.digest) is None
    with pytest.raises(NotFound):
        shared.explainer.explain("told:1")
