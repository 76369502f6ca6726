"""The lines of pull, push, load and build: docker's words, from an engine's own events."""

import json

import pytest
from golden import differences

from ocimagic.errors import ImageNotFound, StepFailed
from ocimagic.model.event import LayerPhase, LayerProgress, Output, StepDone, StepStarted
from ocimagic.model.options import BuildOptions
from ocimagic.model.registry import RegistryOptions
from ocimagic.spec.digest import Digest
from ocimagic.wire.building import BuildLines
from ocimagic.wire.progress import (
    PullLines,
    PushLines,
    bar,
    failure,
    load_lines,
    loaded_lines,
    moving,
)


def follow(lines, verb, **given):
    """Do something of an engine's; return all that is told of it, and its result."""
    told = []
    result = verb(on_event=lambda event: told.extend(lines(event)), **given)
    return told, result


def statuses(told):
    return [each["status"] for each in told if "status" in each]


def is_dockers(told):
    """See that each line has keys that docker's lines have, in an order of docker's."""
    for line in told:
        text = json.dumps(line)
        assert list(json.loads(text)) in (
            ["status"], ["status", "id"], ["status", "progressDetail", "id"],
            ["status", "progressDetail", "progress", "id"], ["progressDetail", "aux"],
            ["stream"], ["aux"], ["errorDetail", "error"],
        )  # fmt: skip
        assert isinstance(line.get("progressDetail", {}), dict)


def test_pull(make_engine, registry):
    engine = make_engine()
    name = f"{registry.host}/busybox"
    lines = PullLines()
    told, result = follow(lines.lines, engine.images.pull, reference=name)
    told += lines.done(result)
    is_dockers(told)
    assert told[0] == {"status": "Pulling from busybox", "id": "latest"}
    layer = [each["status"] for each in told if each.get("id") == told[1]["id"]]
    assert layer[0] == "Pulling fs layer"
    words = [word for word in dict.fromkeys(layer) if word not in ("Waiting", "Extracting")]
    assert words == ["Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete",
                     "Pull complete"]  # fmt: skip
    assert statuses(told)[-2:] == [
        f"Digest: {result.digest}",
        f"Status: Downloaded newer image for {name}:latest",
    ]
    assert differences("ImagePull lines", told) == []
    _, result = follow(PullLines().lines, engine.images.pull, reference=name)
    end = list(lines.done(result))
    assert end[-1] == {"status": f"Status: Image is up to date for {name}:latest"}


def test_push(make_engine, registry):
    engine = make_engine()
    engine.images.pull(f"{registry.host}/busybox")
    host = engine.system.serve_registry(RegistryOptions(port=0)).url.partition("//")[2]
    target = f"{host}/pushed:2"
    engine.images.tag(f"{registry.host}/busybox", target)
    lines = PushLines()
    told, (result,) = follow(lines.lines, engine.images.push, name=target)
    told += lines.done(result)
    is_dockers(told)
    assert told[0] == {"status": f"The push refers to repository [{host}/pushed]"}
    assert statuses(told)[1] == "Preparing"
    assert told[-1] == {
        "progressDetail": {},
        "aux": {"Tag": "2", "Digest": str(result.digest), "Size": result.manifest_bytes},
    }
    assert told[-2] == {"status": f"2: digest: {result.digest} size: {result.manifest_bytes}"}
    again = PushLines()
    told, _ = follow(again.lines, engine.images.push, name=target)
    assert "Layer already exists" in statuses(told)


def test_load(make_engine, registry, tmp_path):
    engine = make_engine()
    engine.images.pull(f"{registry.host}/busybox")
    with (tmp_path / "image.tar").open("wb") as file:
        engine.images.save([f"{registry.host}/busybox"], file.write)
    other = make_engine("other")
    told, result = follow(load_lines, other.images.load, source=str(tmp_path / "image.tar"))
    told += loaded_lines(result)
    is_dockers(told)
    assert {each["status"] for each in told if "status" in each} <= {"Loading layer"}
    assert told[-1] == {"stream": f"Loaded image: {registry.host}/busybox:latest\n"}


@pytest.fixture
def context(tmp_path):
    def write(text):
        return BuildOptions(dockerfile=text, context=str(tmp_path), tags=("built:1",))

    return write


def stream(told):
    return "".join(each["stream"] for each in told if "stream" in each)


def test_build(shared, context):
    options = context('FROM busybox\nLABEL a=b\nRUN echo said && echo wrong >&2\nCMD ["sh"]\n')
    lines = BuildLines()
    told, result = follow(lines.lines, shared.images.build, options=options)
    told += lines.done(result)
    is_dockers(told)
    short = result.image_id.short
    assert stream(told).splitlines()[0] == "Step 1/4 : FROM busybox"
    assert "\x1b[91mwrong\n\x1b[0m" in stream(told)
    assert stream(told).endswith(
        f" ---> {short}\nSuccessfully built {short}\nSuccessfully tagged built:1\n"
    )
    assert {"aux": {"ID": str(result.image_id)}} in told
    again = BuildLines()
    told, result = follow(again.lines, shared.images.build, options=options)
    assert stream(told).count(" ---> Using cache\n") >= 1
    quiet = BuildLines(quiet=True)
    told, result = follow(quiet.lines, shared.images.build, options=options)
    assert told + list(quiet.done(result)) == [{"stream": f"{result.image_id}\n"}]


def test_failed_build_says_the_exit_code(shared, context):
    options = context("FROM busybox\nRUN echo said && exit 3\n")
    lines = BuildLines()
    with pytest.raises(StepFailed) as caught:
        follow(lines.lines, shared.images.build, options=options)
    message = "The command '/bin/sh -c echo said && exit 3' returned a non-zero code: 3"
    assert failure(caught.value) == {
        "errorDetail": {"code": 3, "message": message}, "error": message,
    }  # fmt: skip
    assert failure(ImageNotFound("no such image", why="it is gone")) == {
        "errorDetail": {"message": "no such image: it is gone"},
        "error": "no such image: it is gone",
    }


def test_steps_at_once_are_told_one_after_the_other():
    lines = BuildLines()
    events = [
        StepStarted(1, 3, "a", "RUN x", 1),
        StepStarted(2, 3, "b", "FROM y", 2),
        Output("stdout", b"of two\n", 2),
        Output("stdout", b"of one\n", 1),
        StepDone(2, True, 0.1, None, 0),  # an image is there, or is not
        StepStarted(3, 3, "b", "RUN z", 3),
        StepDone(1, True, 0.1, None, 0, "", Digest.of(b"1")),
        Output("stdout", b"of three\n", 3),
    ]
    told = [line for event in events for line in lines.lines(event)]
    assert stream(told) == (
        "Step 1/3 : RUN x\nof one\n ---> Using cache\n ---> " + Digest.of(b"1").short
        + "\nStep 2/3 : FROM y\nof two\nStep 3/3 : RUN z\nof three\n"
    )  # fmt: skip


def test_bar_is_dockers():
    """As recorded from docker 20.10."""
    full = "=" * 50
    assert bar(98, 98) == f"[{full}>]      98B/98B"
    assert bar(33792, 1984247) == f"[>{' ' * 50}]  33.79kB/1.984MB"
    assert bar(1213440, 1984247) == f"[{'=' * 30}>{' ' * 20}]  1.213MB/1.984MB"
    assert bar(2129920, 1984247) == f"[{full}>]   2.13MB"
    assert bar(1536, 0) == " 1.536kB"
    assert bar(0, 0) == ""
    assert moving("Pushing", "a", 1536, 0) == {
        "status": "Pushing", "progressDetail": {"current": 1536}, "progress": " 1.536kB",
        "id": "a",
    }  # fmt: skip


def test_a_layer_that_ended_is_told_no_more():
    lines = PullLines()
    layer = Digest.of(b"layer")
    events = [
        LayerProgress(layer, LayerPhase.EXISTS, 0, 0),
        LayerProgress(layer, LayerPhase.DONE, 5, 5),
    ]
    told = [line for event in events for line in lines.lines(event)]
    assert statuses(told) == ["Already exists"]
