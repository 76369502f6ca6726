"""What each build step came to, entered by the ID that the build showed."""

import time

import pytest
from conftest import make_base, need_containers

from ocimagic.errors import ImageNotFound, StepFailed
from ocimagic.model.event import StepDone
from ocimagic.model.options import BuildOptions


def dockerfile(text):
    """Put an ARG in front that makes all steps new to the session's cache."""
    return f"FROM base\nARG ONLY={time.time_ns()}\n{text}"


def entered(place, image_id, script):
    done = place.engine.containers.run(image_id, ["sh", "-c", script], remove=True, network="none")
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode()


@pytest.fixture
def alone(fresh, tmp_path):
    """A store of one's own with ``base``, where containers run."""
    need_containers(fresh.engine)
    make_base(fresh, tmp_path / "base-context")
    yield fresh
    for each in fresh.engine.containers.list(all=True):
        fresh.engine.containers.remove(each.container_id, force=True)


def test_every_step_can_be_entered_by_its_short_id(runs):
    runs.write("f", "copied\n")
    text = dockerfile("RUN echo 1 > /one\nENV E=set\nCOPY f /two\nRUN rm /one\n")
    result = runs.build(text)
    shown = [step.image_id for step in result.steps]
    assert shown == [event.image_id for event in runs.of(StepDone)]
    assert shown[0] == runs.engine.images.inspect("base").image_id
    assert shown[-1] == result.image_id
    assert len(set(shown)) == 6
    look = 'cat /one 2> /dev/null; cat /two 2> /dev/null; echo "E=$E"'
    said = [entered(runs, each.short, look) for each in shown]
    assert said == [
        "E=\n",
        "E=\n",
        "1\nE=\n",
        "1\nE=set\n",
        "1\ncopied\nE=set\n",
        "copied\nE=set\n",
    ]


def test_a_build_that_does_nothing_shows_the_same_ids(runs):
    text = dockerfile("RUN echo 1 > /one\nENV E=set\nRUN echo 2 > /two\n")
    first, again = runs.build(text), runs.build(text)
    assert all(step.cached for step in again.steps)
    assert [each.image_id for each in first.steps] == [each.image_id for each in again.steps]
    anew = runs.build(text, no_cache=True)
    assert anew.steps[-1].image_id == anew.image_id != first.image_id
    labelled = runs.build(text, labels={"a": "b"})
    assert labelled.steps[-1].image_id == anew.image_id != labelled.image_id


def test_steps_of_another_stage_and_of_a_failed_build(runs):
    text = dockerfile("RUN echo 1 > /one\nFROM base AS last\nENV E=set\nCOPY --from=0 /one /x\n")
    result = runs.build(text)
    builder = [step.image_id for step in result.steps if step.stage == "0"]
    assert entered(runs, builder[-1].short, "cat /one") == "1\n"
    with pytest.raises(StepFailed) as caught:
        runs.build(text + "USER 1000\nRUN exit 7\n")
    assert entered(runs, caught.value.image_id.short, "cat /x; id -u") == "1\n1000\n"


def test_they_are_listed_on_demand_only_and_are_not_dangling(alone):
    images = alone.engine.images
    result = alone.build("FROM base\nRUN echo 1 > /one\nRUN echo 2 > /two\n", "named")
    step = result.steps[1].image_id
    assert {each.image_id for each in images.list()} == {
        result.image_id,
        images.inspect("base").image_id,
    }
    hidden = {each.image_id: each for each in images.list(all=True)}
    assert (hidden[step].repository, hidden[step].tag) == ("<none>", "<none>")
    assert [each.image_id for each in images.list(all=True)].count(result.image_id) == 1
    assert alone.engine.system.disk.prune_images().deleted == ()
    assert images.inspect(step.short).image_id == step
    images.tag(step.short, "now-named")
    assert images.inspect("now-named").image_id == step
    assert alone.build(f"FROM {step.short}\nCMD x\n").steps[0].image_id == step


def test_history_knows_the_ids_until_the_cache_is_pruned(alone):
    result = alone.build(
        "FROM base\nRUN echo 1 > /one\nENV A=b\nCMD x\n", "named", labels={"c": "d"}
    )
    lines = alone.engine.images.history("named")
    steps = [step.image_id for step in result.steps]
    assert [line.image_id for line in lines[:4]] == [result.image_id, *reversed(steps[:3])]
    assert lines[3].created_by == alone.engine.images.history("base")[0].created_by
    onward = alone.build("FROM named\nUSER 5\n", "onward")
    assert [each.image_id for each in alone.engine.images.history("onward")][1:] == [
        line.image_id for line in lines
    ]
    assert onward.steps[0].image_id == result.image_id
    alone.engine.system.disk.prune_cache()
    lost = alone.engine.images.history("onward")
    assert [line.image_id for line in lost] == [onward.image_id, *[None] * (len(lost) - 1)]


def test_what_is_pruned_is_gone_and_says_so_without_asking_a_registry(alone):
    with pytest.raises(StepFailed) as caught:
        alone.build("FROM base\nRUN echo 1 > /one\nRUN exit 1\n")
    step = caught.value.image_id
    kept = alone.engine.containers.run(step.short, ["cat", "/one"], network="none")
    assert kept.stdout == b"1\n"
    with pytest.raises(ImageNotFound, match="no such image"):
        alone.engine.images.inspect(f"sha256:{'0' * 64}")
    assert alone.engine.system.disk.usage().cache_bytes > 0
    alone.engine.system.disk.prune_cache()
    for text in (step.short, str(step)):
        with pytest.raises(ImageNotFound) as gone:
            alone.engine.containers.run(text, ["true"])
        assert "a build showed" in gone.value.hint
    with pytest.raises(ImageNotFound, match="no such image"):
        alone.build(f"FROM {step.short}\nRUN true\n")
    # The container has what it stands on.
    alone.engine.containers.start(kept.container_id)
    assert alone.engine.containers.wait(kept.container_id).code == 0
    layers = {str(path.name) for path in alone.engine.home.snapshots.iterdir()}
    alone.engine.containers.remove(kept.container_id)
    alone.engine.system.disk.prune_cache()
    assert len(layers) > len(list(alone.engine.home.snapshots.iterdir()))


def test_removing_an_image_takes_only_the_steps_that_stand_on_it(alone):
    images = alone.engine.images
    with pytest.raises(StepFailed) as caught:
        alone.build("FROM base\nRUN echo 1 > /one\nRUN exit 1\n")
    step = caught.value.image_id
    other = alone.build("FROM base\nRUN echo other > /other\nENV A=1\n", "other")
    images.remove("other")
    for each in other.steps[1:]:
        with pytest.raises(ImageNotFound):
            images.inspect(each.image_id)
    assert entered(alone, step.short, "cat /one") == "1\n"
    assert images.remove(step.short).deleted == (step,)
    with pytest.raises(ImageNotFound):
        images.inspect(step.short)
    assert alone.build("FROM base\nRUN echo 1 > /one\n").steps[1].cached
    images.remove("base", force=True)
    images.remove(*[str(each.image_id) for each in images.list()], force=True)
    assert alone.engine.system.disk.usage().cache_bytes == 0
    assert images.list(all=True) == ()


def test_too_few_digits_are_a_name(runs):
    result = runs.build(dockerfile("RUN echo 1 > /one\nCMD x\n"))
    step = result.steps[2].image_id
    with pytest.raises(ImageNotFound):
        runs.engine.images.inspect(step.hex[:6])
    assert runs.engine.images.inspect(step.hex[:7]).image_id == step


def test_two_engines_see_each_others_steps(runs):
    from ocimagic.engine.engine import Engine

    text = dockerfile("RUN echo 1 > /one\nRUN true\n")
    step = runs.build(text).steps[2].image_id
    with Engine(root=runs.engine.home.data) as other:
        found = other.images.inspect(step.short)
        assert found.image_id == step
        again = other.images.build(BuildOptions(dockerfile=text))
        assert [each.image_id for each in again.steps][2] == step
