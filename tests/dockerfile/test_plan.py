"""Which stages a target needs, and on what they stand."""

from __future__ import annotations

import pytest

from ocimagic.dockerfile.parse import parse
from ocimagic.dockerfile.plan import Plan, PlatformArgs, plan
from ocimagic.dockerfile.resolve import ImageBase, ScratchBase, StageBase
from ocimagic.errors import DockerfileError, InvalidOption


def planned(text: str, target: str | None = None, **build_args: str) -> Plan:
    return plan(parse(text), build_args=build_args, target=target)


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        ("FROM scratch", {0: ScratchBase()}),
        ("FROM a", {0: ImageBase("a")}),
        ("FROM a AS x\nFROM X", {0: ImageBase("a"), 1: StageBase(0)}),
        ("FROM a AS x\nFROM b", {1: ImageBase("b")}),
        ("FROM debian AS debian", {0: ImageBase("debian")}),
        ("FROM later\nFROM a AS later\nFROM 0", {2: ImageBase("0")}),  # no index in FROM
        ("FROM a AS x\nFROM b AS x\nFROM x", {1: ImageBase("b"), 2: StageBase(1)}),
        ("ARG V=1\nFROM a:$V", {0: ImageBase("a:1")}),
        ("ARG A=x\nARG B=${A}y\nFROM $B", {0: ImageBase("xy")}),
        ("ARG A\nFROM ${A:-d}", {0: ImageBase("d")}),
        ("FROM --platform=$BUILDPLATFORM a", {0: ImageBase("a", "linux/amd64")}),
        ("FROM a-$TARGETSTAGE", {0: ImageBase("a-default")}),
        ("ARG S=x\nFROM a AS x\nFROM $S", {0: ImageBase("a"), 1: StageBase(0)}),
    ],
)
def test_bases(text: str, bases: dict[int, object]) -> None:
    assert bases == {stage.index: stage.base for stage in planned(text).stages}


def test_build_args_win_over_defaults() -> None:
    found = planned("ARG V=1\nARG W\nFROM a:$V", V="2", W="3")
    assert ImageBase("a:2") == found.target.base
    assert (found.global_args["V"], found.global_args["W"]) == ("2", "3")


def test_platform_args() -> None:
    platform = PlatformArgs(target="linux/arm/v7", build="linux/amd64")
    found = plan(parse("FROM a"), platform=platform).global_args
    assert (
        found["TARGETPLATFORM"],
        found["TARGETOS"],
        found["TARGETARCH"],
        found["TARGETVARIANT"],
        found["BUILDVARIANT"],
    ) == ("linux/arm/v7", "linux", "arm", "v7", "")


MANY = """\
FROM a AS base
FROM base AS build
FROM b AS tools
FROM c AS unused
FROM base
COPY --from=BUILD /x /
COPY --from=2 /y /
COPY --from=alpine /z /
RUN --mount=from=tools,target=/t --mount=type=cache,target=/c x
"""


def test_only_what_is_needed_in_order() -> None:
    found = planned(MANY)
    assert [stage.index for stage in found.stages] == [0, 1, 2, 4]
    assert found.target.needs == (0, 1, 2)
    assert {
        "BUILD": StageBase(1),
        "2": StageBase(2),
        "alpine": ImageBase("alpine"),
        "tools": StageBase(2),
    } == found.target.sources
    assert found.stage(2).name == "tools"


def test_target() -> None:
    assert [stage.index for stage in planned(MANY, "Build").stages] == [0, 1]
    with pytest.raises(InvalidOption) as caught:
        planned(MANY, "biuld")
    assert caught.value.what == 'target stage "biuld" could not be found (did you mean build?)'


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("FROM $X", 1, "base name ($X) should not be blank"),
        ("FROM a${", 1, 'failed to process "a${": syntax error: missing'),
        ("FROM a AS x\nCOPY --from=x b c", 2, "circular dependency detected on stage: x"),
        (
            "FROM a AS x\nCOPY --from=y b c\nFROM x AS y\nFROM y",
            2,
            "circular dependency detected on stage: x",
        ),
        (
            "FROM a AS x\nCOPY --from=y b c\nFROM a AS y\nCOPY --from=x b c",
            2,
            "circular dependency detected on stage: x",
        ),
        (
            "FROM a AS x\nCOPY --from=y b c\nFROM a AS y\nFROM x",
            2,
            'cannot copy from stage "y", it needs to be defined before current stage "x"',
        ),
        ("FROM a\nCOPY --from=7 b c", 2, "invalid stage index 7"),
        (
            "FROM a\nRUN --mount=from=y,target=/t b\nFROM a AS y\nFROM 0",
            0,
            "",
        ),
        (
            "FROM a AS x\nRUN --mount=from=y,target=/t b\nFROM a AS y\nFROM x",
            2,
            'cannot mount from stage "y" to "/t", stage needs to be defined before current',
        ),
        (
            "ARG TARGETPLATFROM\nFROM --platform=$TARGETPLATFROM a",
            2,
            "empty platform value from expression $TARGETPLATFROM (did you mean TARGETPLATFORM?)",
        ),
    ],
)
def test_errors(text: str, line: int, what: str) -> None:
    if not what:
        assert planned(text)  # the faulty stage is not needed
        return
    with pytest.raises(DockerfileError) as caught:
        planned(text)
    assert caught.value.what.startswith(what)
    assert line == caught.value.line


def test_a_mount_from_scratch_is_nothing() -> None:
    found = planned("FROM a\nRUN --mount=from=scratch,target=/t,rw b")
    assert {"scratch": ScratchBase()} == found.target.sources


def test_unused_build_args() -> None:
    given = dict.fromkeys(("A", "B", "C", "HTTP_PROXY", "BUILDKIT_X", "TARGETOS", "Z"), "1")
    found = planned("ARG A\nFROM a\nARG B\nFROM b\nRUN $Z", **given)
    assert found.unused_build_args == ("C", "Z")
    assert planned("FROM a\nARG C", C="1", SOURCE_DATE_EPOCH="0").unused_build_args == ()


def test_a_long_chain_is_no_problem() -> None:
    text = "FROM scratch AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(3000))
    assert len(planned(text).stages) == 3001
