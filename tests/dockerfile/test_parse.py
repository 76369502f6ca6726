"""Whole Dockerfiles: stages, and every mistake with its place."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocimagic.dockerfile.instructions import Copy, Run
from ocimagic.dockerfile.lint import lint
from ocimagic.dockerfile.parse import parse, parse_triggers
from ocimagic.dockerfile.plan import plan
from ocimagic.errors import DockerfileError

CLASS_NOTES = """\
# any line which starts with # is a comment
FROM ubuntu:latest
LABEL maintainer=khaja@qt.com
LABEL version=1.0
LABEL maintainer=khaja@qt.com version=1.0
RUN apt update
"""


def test_class_notes() -> None:
    stage = parse(CLASS_NOTES).stages[0]
    assert stage.start.base == "ubuntu:latest"
    assert [each.keyword for each in stage.instructions] == ["LABEL", "LABEL", "LABEL", "RUN"]
    assert [each.source.start_line for each in stage.instructions] == [3, 4, 5, 6]


def test_stages_and_global_args() -> None:
    found = parse("ARG A=1\nFROM a AS One\nARG B\nFROM b\nRUN c\n")
    assert [each.name for arg in found.global_args for each in arg.args] == ["A"]
    assert [
        (stage.index, stage.name, stage.label, len(stage.instructions)) for stage in found.stages
    ] == [(0, "one", "one", 1), (1, None, "1", 1)]


FAULTS = [
    # whole file
    ("", 1, None, "the Dockerfile cannot be empty"),
    ("\ufeff \n\t\n", 1, None, "the Dockerfile cannot be empty"),
    ("# a\n# b", 1, None, "file with no instructions"),
    ("RUN a\nFROM b", 1, 1, "no build stage in current context"),
    ("ARG A", 1, None, "dockerfile contains no stages to build"),
    # instruction words
    ("FROM a\nRUNN x", 2, 1, "unknown instruction: RUNN (did you mean RUN?)"),
    ("FROM a\nRNU x", 2, 1, "unknown instruction: RNU (did you mean RUN?)"),
    ("FROM a\nRUM x", 2, 1, "unknown instruction: RUM (did you mean RUN?)"),
    ("FROM a\nENVV x", 2, 1, "unknown instruction: ENVV (did you mean ENV?)"),
    ("FROM a\nAND x", 2, 1, "unknown instruction: AND (did you mean ADD?)"),
    ("FROM a\n  copyy x y", 2, 3, "unknown instruction: copyy (did you mean copy?)"),
    ("FROM a\n&& b", 2, 1, "unknown instruction: &&"),
    ("FORM a", 1, 1, "unknown instruction: FORM (did you mean FROM?)"),
    # flags
    ("FROM a\nCOPY --chwon=1 b c", 2, 6, "unknown flag: --chwon (did you mean chown?)"),
    ("FROM a\nUSER --x b", 2, 6, "unknown flag: --x"),
    ("FROM a\nCOPY --chown b c", 2, 6, "missing a value on flag: --chown"),
    ("FROM a\nCOPY --link= b c", 2, 6, "missing a value on flag: --link"),
    (
        "FROM a\nCOPY \\\n --chown=1 --chown=2 b c",
        3,
        12,
        "duplicate flag specified: --chown",
    ),
    ("FROM a\nCOPY --link=x b c", 2, 6, "expecting boolean value for flag --link, not: x"),
    # FROM
    ("FROM", 1, None, "FROM requires either one or three arguments"),
    ("FROM a b", 1, 8, "FROM requires either one or three arguments"),
    ("FROM a is b", 1, 8, "FROM requires either one or three arguments"),
    ("FROM a AS 1x", 1, 11, 'invalid name for build stage: "1x", name can\'t start with a'),
    # pairs
    ("FROM a\nENV", 2, None, "ENV requires at least one argument"),
    ("FROM a\nENV A", 2, 5, "ENV must have two arguments"),
    ("FROM a\nENV A=1 B", 2, 9, 'Syntax error - can\'t find = in "B". Must be of the form: n'),
    ("FROM a\nENV =1", 2, 5, "ENV names can not be blank"),
    ("FROM a\nLABEL a=1 \\\n  b", 3, 3, 'Syntax error - can\'t find = in "b". Must be of the'),
    ("FROM a\nARG", 2, None, "ARG requires at least one argument"),
    ("FROM a\nARG =1", 2, 5, "ARG names can not be blank"),
    # JSON
    (
        'FROM a\nCMD ["a", 1]',
        2,
        5,
        "when using JSON array syntax, arrays must be comprised of strings only",
    ),
    ("FROM a\nSHELL bash -c", 2, 7, "SHELL requires the arguments to be in JSON form"),
    ("FROM a\nSHELL []", 2, None, "SHELL requires at least one argument"),
    ('FROM a\nVOLUME [""]', 2, None, "VOLUME specified can not be an empty string"),
    # one or more
    ("FROM a\nVOLUME", 2, None, "VOLUME requires at least one argument"),
    ("FROM a\nEXPOSE", 2, None, "EXPOSE requires at least one argument"),
    ("FROM a\nUSER", 2, None, "USER requires exactly one argument"),
    ("FROM a\nWORKDIR", 2, None, "WORKDIR requires exactly one argument"),
    ("FROM a\nSTOPSIGNAL SIGFOO", 2, 12, "Invalid signal: SIGFOO"),
    ("FROM a\nRUN", 2, None, "RUN requires at least one argument"),
    ("FROM a\nRUN []", 2, None, "RUN requires at least one argument"),
    ("FROM a\nCMD", 2, None, "CMD requires at least one argument"),
    # COPY and ADD
    (
        "FROM a\nCOPY b",
        2,
        None,
        "COPY requires at least two arguments, but only one was provided. Destination could not",
    ),
    ("FROM a\nCOPY b <<EOF\nx\nEOF", 2, 8, "COPY cannot accept a heredoc as a destination"),
    ("FROM a\nCOPY https://h/f /", 2, 6, "source can't be a URL for COPY"),
    ("FROM a\nCOPY git@h:r.git /", 2, 6, "source can't be a git ref for COPY"),
    ("FROM a\nCOPY --from=$X b c", 2, 6, "variable expansion is not supported for --from"),
    ("FROM a\nCOPY --chmod=888 b c", 2, 14, "invalid chmod parameter: '888'. it should be oct"),
    ("FROM a\nCOPY --chmod=17777 b c", 2, 14, "invalid chmod parameter: '17777'. it should be"),
    ("FROM a\nCOPY <<E /x\ny", 2, 6, "unterminated heredoc"),
    (
        "FROM a\nADD --checksum=sha256:0 http://h/a http://h/b /",
        2,
        5,
        "checksum can't be specified for multiple sources",
    ),
    ("FROM a\nADD --checksum=x a /", 2, 5, "checksum requires HTTP(S) or Git sources"),
    # RUN
    ("FROM a\nRUN --network=x b", 2, 5, 'invalid network mode "x"'),
    ("FROM a\nRUN --security=x b", 2, 5, 'security "x" is not valid'),
    ("FROM a\nRUN --mount=type=foo,target=/x b", 2, 18, 'unsupported mount type "foo"'),
    # HEALTHCHECK
    ("FROM a\nHEALTHCHECK", 2, None, "HEALTHCHECK requires at least one argument"),
    ("FROM a\nHEALTHCHECK NONE x", 2, 18, "HEALTHCHECK NONE takes no arguments"),
    ("FROM a\nHEALTHCHECK FOO x", 2, 13, 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
    ("FROM a\nHEALTHCHECK CMD", 2, 13, "Missing command after HEALTHCHECK CMD"),
    (
        "FROM a\nHEALTHCHECK --interval=1us CMD x",
        2,
        13,
        'Interval "interval" cannot be less than 1ms',
    ),
    ("FROM a\nHEALTHCHECK --timeout=30 CMD x", 2, 13, 'invalid duration "30" for --timeout'),
    ("FROM a\nHEALTHCHECK --retries=-1 CMD x", 2, 13, "--retries cannot be negative (-1)"),
    ("FROM a\nHEALTHCHECK --retries=x CMD x", 2, 13, 'invalid number "x" for --retries'),
    # ONBUILD
    ("FROM a\nONBUILD", 2, None, "ONBUILD requires at least one argument"),
    ("FROM a\nONBUILD ONBUILD RUN x", 2, None, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't"),
    ("FROM a\nONBUILD FROM b", 2, 9, "FROM isn't allowed as an ONBUILD trigger"),
    ("FROM a\nONBUILD RUNN b", 2, 9, "unknown instruction: RUNN (did you mean RUN?)"),
]


@pytest.mark.parametrize(("text", "line", "column", "what"), FAULTS)
def test_faults(text: str, line: int, column: int | None, what: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    assert caught.value.what.startswith(what)
    assert (line, column) == (caught.value.line, caught.value.column)
    assert caught.value.source == text.removeprefix("\ufeff").split("\n")[line - 1].rstrip()


def test_a_fault_reads_well() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse("FROM a\nCOPY --chwon=1 b c\n")
    assert caught.value.lines() == [
        "unknown flag: --chwon (did you mean chown?)",
        "  where Dockerfile line 2, column 6: COPY --chwon=1 b c",
        "                                          ^",
        "  try   COPY knows --from --chown --chmod --link --parents --exclude",
    ]


def test_triggers() -> None:
    copy, run = parse_triggers(["COPY . /app", "RUN <<E\nmake\nE"])
    assert isinstance(copy, Copy)
    assert isinstance(run, Run)


@pytest.mark.parametrize("text", ["FROM a", "ONBUILD RUN a", "MAINTAINER a"])
def test_forbidden_triggers(text: str) -> None:
    with pytest.raises(DockerfileError, match="isn't allowed as an ONBUILD trigger"):
        parse_triggers([text])


def test_triggers_fire_first_and_may_copy_from_a_stage() -> None:
    found = parse("FROM a AS tools\nFROM b\nRUN c").with_triggers(1, ["COPY --from=tools /x /"])
    assert [each.keyword for each in found.stages[1].instructions] == ["COPY", "RUN"]
    assert len(plan(found).stages) == 2


LINES = st.lists(
    st.sampled_from(
        [
            *(text for text, *_ in FAULTS if len(text) < 200),
            "FROM a AS b",
            "FROM b",
            "COPY --from=b x y",
            "RUN --mount=from=b,target=/x y",
            "ENV a=$b",
            "ARG b",
            "WORKDIR x",
            "# escape=`",
            "RUN <<E\nE",
            "\\",
            "`",
        ]
    )
    | st.text(max_size=20),
    max_size=8,
).map("\n".join)


@given(st.text() | LINES)
@example("FROM a\nCOPY <<a <<a\n")
@example("FROM a\nHEALTHCHECK --interval=" + "9" * 400 + "h CMD x")
@example("FROM a\nRUN --mount=type=tmpfs,target=/x,size=" + "9" * 400 + " x")
@example('FROM a\nRUN --mount="a\n"')
def test_only_our_errors_are_raised(text: str) -> None:
    with suppress(DockerfileError):
        found = parse(text)
        lint(found)
        plan(found)
