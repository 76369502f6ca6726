"""Instructions that change the config only, and what the image says in the end."""

import pytest

from ocimagic.errors import (
    DockerfileError,
    InvalidOption,
    InvalidReference,
    NotBuiltYet,
    OcimagicError,
)
from ocimagic.model.event import Notice
from ocimagic.model.options import BuildOptions
from ocimagic.spec.config import DEFAULT_PATH

PATH = f"PATH={DEFAULT_PATH}"

CASES = [
    ("scratch", "", {"env": (PATH,), "working_dir": "/", "cmd": None}),
    ("env", "ENV A=1 B=2\nENV A=3", {"env": (PATH, "A=3", "B=2")}),
    ("env old form", "ENV A one two", {"env": (PATH, "A=one two")}),
    ("env sees before", "ENV A=1\nENV A=2 B=$A", {"env": (PATH, "A=2", "B=1")}),
    ("label", 'LABEL a=1 b="x y"\nLABEL a=2', {"labels": {"a": "2", "b": "x y"}}),
    ("cmd shell", "CMD echo hi", {"cmd": ("/bin/sh", "-c", "echo hi"), "args_escaped": True}),
    ("cmd exec", 'CMD ["a","b"]', {"cmd": ("a", "b")}),
    ("cmd cleared", 'CMD ["a"]\nCMD []', {"cmd": None}),
    ("entrypoint", 'ENTRYPOINT ["e"]', {"entrypoint": ("e",), "cmd": None}),
    (
        "entrypoint keeps own cmd",
        'CMD ["c"]\nENTRYPOINT ["e"]',
        {"entrypoint": ("e",), "cmd": ("c",)},
    ),
    ("entrypoint cleared", 'ENTRYPOINT ["e"]\nENTRYPOINT []', {"entrypoint": None}),
    (
        "shell",
        'SHELL ["/bin/ash","-ec"]\nCMD hi',
        {"shell": ("/bin/ash", "-ec"), "cmd": ("/bin/ash", "-ec", "hi")},
    ),
    (
        "expose",
        "EXPOSE 80 53/udp\nEXPOSE 80 8000-8002",
        {"exposed_ports": ("53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp")},
    ),
    ("volume", 'VOLUME /a /b\nVOLUME ["/a"]', {"volumes": ("/a", "/b")}),
    ("user", "ENV U=app\nUSER $U:staff", {"user": "app:staff"}),
    ("stopsignal", "STOPSIGNAL SIGINT", {"stop_signal": "SIGINT"}),
    ("healthcheck none", "HEALTHCHECK NONE", {"healthcheck": {"Test": ["NONE"]}}),
    (
        "healthcheck",
        "HEALTHCHECK --interval=2s --retries=4 CMD true",
        {
            "healthcheck": {
                "Test": ["CMD-SHELL", "true"],
                "Interval": 2_000_000_000,
                "Retries": 4,
            }
        },
    ),
    ("onbuild", "ONBUILD RUN true", {"on_build": ("RUN true",)}),
    ("workdir", "WORKDIR /a\nWORKDIR b\nWORKDIR ../c", {"working_dir": "/a/c"}),
    ("workdir verbatim", "WORKDIR /a/", {"working_dir": "/a/"}),
    ("arg", "ARG A=1\nENV B=$A", {"env": (PATH, "B=1")}),
]


@pytest.mark.parametrize(("text", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_config(place, text, expected):
    result = place.build(f"FROM scratch\n{text}\n")
    config = place.config(result)
    found = {key: getattr(config, key) for key in expected}
    if "exposed_ports" in found:
        found["exposed_ports"] = tuple(sorted(found["exposed_ports"]))
    assert expected == found


def test_entrypoint_drops_the_bases_cmd(place):
    place.build('FROM scratch\nCMD ["old"]\n', "has-cmd")
    result = place.build('FROM has-cmd\nENTRYPOINT ["e"]\n')
    assert (place.config(result).entrypoint, place.config(result).cmd) == (("e",), None)


def test_labels_of_the_request_win(place):
    result = place.build("FROM scratch\nLABEL a=1 b=1\n", labels={"a": "2", "c": "3"})
    assert place.config(result).labels == {"a": "2", "b": "1", "c": "3"}


def test_maintainer_and_history(place):
    result = place.build('FROM scratch\nMAINTAINER me\nARG V=1\nENV A=$V\nCMD ["x"]\nVOLUME /v\n')
    image = place.engine._store.images.load(result.digest)
    assert image.config.author == "me"
    texts = [each.created_by for each in image.config.history]
    assert texts == ["MAINTAINER me", "ARG V=1", "ENV A=1", 'CMD ["x"]', "VOLUME [/v]"]
    assert all(each.empty_layer and each.created for each in image.config.history)


def test_args(place):
    text = "ARG TAG=x\nFROM scratch\nARG TAG\nARG A=1\nARG B=$A-$TAG\nARG N\nENV R=$A,$B,$N\n"
    assert "R=1,1-x," in place.config(place.build(text)).env
    given = place.build(text, build_args={"A": "2", "TAG": "y", "N": "n"})
    assert "R=2,2-y,n" in place.config(given).env


def test_the_later_of_arg_and_env_counts(place):
    text = "FROM scratch\nENV A=env\nARG A=arg\nENV R=$A\nENV A=last\nENV S=$A\n"
    env = place.config(place.build(text, build_args={"A": "g"})).env
    assert env[1:] == ("A=last", "R=g", "S=last")


def test_unused_build_arg_is_said(place):
    place.build("FROM scratch\nENV A=1\n", build_args={"NOPE": "1"})
    assert any("NOPE" in text for text in place.notices())


def test_stages(place):
    text = 'FROM scratch AS a\nENV A=1\nCMD x\nFROM a AS b\nENTRYPOINT ["e"]\nFROM b\nENV B=1\n'
    config = place.config(place.build(text))
    assert config.env == (PATH, "A=1", "B=1")
    assert config.cmd is None
    first = place.config(place.build(text, target="A"))
    assert first.env == (PATH, "A=1")


def test_unknown_target(place):
    with pytest.raises(InvalidOption, match="did you mean builder"):
        place.build("FROM scratch AS builder\nFROM scratch\n", target="bilder")


def test_stages_nobody_needs_are_not_built(place):
    place.build("FROM nowhere.invalid/x AS a\nFROM scratch\nENV A=1\n")
    assert [e.text.split()[1] for e in place.events if hasattr(e, "total")][:1] == ["scratch"]


def test_onbuild_fires_in_the_child_and_is_gone(place):
    place.write("f", "content")
    place.build("FROM scratch\nONBUILD ENV T=1\nONBUILD COPY f /f\n", "trigger")
    result = place.build("FROM trigger\nENV U=$T\n")
    assert place.config(result).env == (PATH, "T=1", "U=1")
    assert place.config(result).on_build == ()
    assert place.text(result, "f") == "content"
    same_file = place.build("FROM scratch AS a\nONBUILD ENV T=2\nFROM a\nENV U=$T\n")
    assert "U=2" in place.config(same_file).env


def test_error_in_a_trigger_points_at_from(place):
    place.build("FROM scratch\nONBUILD COPY gone /f\n", "bad-trigger")
    with pytest.raises(DockerfileError, match="not found") as caught:
        place.build("# comment\nFROM bad-trigger\n")
    assert caught.value.line == 2


def test_base_is_recorded(place):
    built = place.build("FROM scratch\nCOPY <<EOF /f\nx\nEOF\n", "recorded")
    child = place.build("FROM recorded\nENV A=1\n", "child")
    details = place.engine.images.inspect("child")
    assert details.base_name == "docker.io/library/recorded:latest"
    assert built.digest == details.base_digest
    assert [layer.from_base for layer in details.layers] == [True]
    assert child.tags == ("child:latest",)
    grandchild = place.build("FROM child\nCOPY <<EOF /g\nx\nEOF\n", "grandchild")
    details = place.engine.images.inspect("grandchild")
    assert [layer.from_base for layer in details.layers] == [True, False]
    assert child.digest == details.base_digest
    assert grandchild.size_bytes == details.size_bytes == 4


def test_scratch_records_no_base(place):
    place.build("FROM scratch\nCOPY <<EOF /f\nx\nEOF\n", "from-scratch")
    details = place.engine.images.inspect("from-scratch")
    assert (details.base_name, details.base_digest) == ("", "")
    assert [layer.from_base for layer in details.layers] == [False]


def test_workdir_makes_a_directory_once(place):
    result = place.build(
        "FROM scratch\nWORKDIR /a/b\nWORKDIR /a\nWORKDIR /\nUSER 7:8\nWORKDIR /u\n"
    )
    assert place.listing(result) == {
        "a": ("d", 0o755, (0, 0)),
        "a/b": ("d", 0o755, (0, 0)),
        "u": ("d", 0o755, (7, 8)),
    }
    layers = [step.layer is not None for step in result.steps]
    assert layers == [False, True, True, False, False, True]


def test_workdir_on_a_file(place):
    text = "FROM scratch\nCOPY <<EOF /f\nx\nEOF\nWORKDIR /f\n"
    with pytest.raises(DockerfileError, match="WORKDIR /f is not a directory") as caught:
        place.build(text)
    assert caught.value.line == 5


UNBUILT = [
    "RUN --device=vendor.com/class=name true",
]


@pytest.mark.parametrize("text", UNBUILT)
def test_not_built_yet_says_so_before_anything_runs(place, text):
    with pytest.raises(NotBuiltYet) as caught:
        place.build(f"FROM scratch\nWORKDIR /early\n{text}\n")
    assert "line 3" in caught.value.where
    assert caught.value.hint
    assert place.of(object)[len(place.notices()) :] == []


def test_bad_tag(place):
    with pytest.raises(InvalidReference):
        place.build("FROM scratch\n", "Upper")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("ENV X", [2, 3]),  # not understood
        ("NOTHING", [2, 3]),
        ("COPY nothing /", [2, 3]),  # not there
        ("LABEL a=${A:?}", [2, 3]),
        ("FROM scratch as y\nCOPY --from=z", [2, 3, 4]),
    ],
)
def test_what_looks_odd_is_told_before_a_mistake(place, wrong, told):
    text = f"# no directive\nFROM scratch as x\nMAINTAINER me\n{wrong}\nMAINTAINER not reached\n"
    with pytest.raises(OcimagicError):
        place.build(text)
    lines = [event.line for event in place.of(Notice)]
    assert [line for line in lines if line <= 4] == told
    assert place.events.index(place.of(Notice)[0]) == 0


def test_a_check_tells_what_is_above_a_mistake(place):
    told = []
    options = BuildOptions(dockerfile="FROM scratch as x\nenv A=1\nenv B=2\nENV X\n")
    with pytest.raises(DockerfileError, match="must have two arguments"):
        place.engine.images.check(options, on_event=told.append)
    # Which case the most lines are in nobody knows yet.
    assert [each.text.partition(":")[0] for each in told] == ["FromAsCasing"]


def test_a_mistake_comes_before_one_of_the_dockerignore(place):
    place.write(".dockerignore", "[a\n")
    with pytest.raises(DockerfileError, match="must have two arguments"):
        place.build("FROM scratch as x\nENV X\n")


def test_lint_warnings(place):
    result = place.build("from scratch\nENV A 1\n")
    assert any("LegacyKeyValueFormat" in text for text in result.warnings)
    assert any("LegacyKeyValueFormat" in text for text in place.notices())
