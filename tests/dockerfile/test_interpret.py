"""Each instruction, read from one line."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from ocimagic.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Declared,
    Entrypoint,
    Env,
    ExecForm,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    OnBuild,
    Pair,
    Run,
    Script,
    Shell,
    ShellForm,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from ocimagic.dockerfile.interpret import interpret
from ocimagic.dockerfile.lex import lex

if TYPE_CHECKING:
    from ocimagic.dockerfile.instructions import Instruction

MINUTE_NS = 60_000_000_000


def read(text: str) -> Instruction:
    lexed = lex(text)
    return interpret(lexed.lines[0], escape=lexed.directives.escape)


def without_source(instruction: Instruction) -> dict[str, Any]:
    """The fields that were said, or that differ from the defaults."""
    return {
        each.name: getattr(instruction, each.name)
        for each in fields(instruction)
        if each.name != "source" and getattr(instruction, each.name) != each.default
    }


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("FROM scratch", From, {"base": "scratch"}),
        ("FROM ubuntu:latest", From, {"base": "ubuntu:latest"}),
        ("from a as B-1.x", From, {"base": "a", "name": "b-1.x"}),
        ("FROM --platform=$P a", From, {"base": "a", "platform": "$P"}),
        ("ARG A", Arg, {"args": (Declared("A", None),)}),
        ("ARG A= B='x y'", Arg, {"args": (Declared("A", ""), Declared("B", "'x y'"))}),
        ("ENV A=1 B=$A", Env, {"pairs": (Pair("A", "1"), Pair("B", "$A"))}),
        ("ENV A  b = c ", Env, {"pairs": (Pair("A", "b = c"),), "legacy": True}),
        (
            "LABEL maintainer=khaja@qt.com version=1.0",
            Label,
            {"pairs": (Pair("maintainer", "khaja@qt.com"), Pair("version", "1.0"))},
        ),
        ("LABEL <key>=<value>", Label, {"pairs": (Pair("<key>", "<value>"),)}),
        ('LABEL "a b"="c d"', Label, {"pairs": (Pair('"a b"', '"c d"'),)}),
        ("RUN apt update", Run, {"command": ShellForm("apt update")}),
        ("RUN echo $A 'b'", Run, {"command": ShellForm("echo $A 'b'")}),
        ('RUN ["a", "$B"]', Run, {"command": ExecForm(("a", "$B"))}),
        ("RUN ['a', 'b']", Run, {"command": ShellForm("['a', 'b']")}),
        ("RUN [ -f x ] && y", Run, {"command": ShellForm("[ -f x ] && y")}),
        ('RUN ["a"] b', Run, {"command": ShellForm('["a"] b')}),
        ("RUN [NaN]", Run, {"command": ShellForm("[NaN]")}),
        ("RUN " + "[" * 9999, Run, {"command": ShellForm("[" * 9999)}),
        ('CMD ["\\ud800"]', Cmd, {"command": ExecForm(("\ufffd",))}),
        (
            "RUN --network=none --security=insecure -- --x",
            Run,
            {"command": ShellForm("--x"), "network": "none", "security": "insecure"},
        ),
        ("RUN <<EOF\na\nb\nEOF", Run, {"command": ShellForm("a\nb\n")}),
        ("RUN <<-EOF\n\ta\n\tEOF", Run, {"command": ShellForm("a\n")}),
        ("RUN <<EOF\n#!/bin/x\nEOF", Run, {"command": Script("/dev/pipes/EOF", "#!/bin/x\n")}),
        (
            "RUN cat <<A <<-B\n1\nA\n\t2\nB",
            Run,
            {"command": ShellForm("cat <<A <<-B\n1\nA\n\t2\nB")},
        ),
        ("COPY a b /c/", Copy, {"sources": ("a", "b"), "destination": "/c/"}),
        ('COPY ["a b", "c"]', Copy, {"sources": ("a b",), "destination": "c"}),
        (
            (
                "COPY --from=0 --chown=1:2 --chmod=u=rwX,go=rX --link --parents=FALSE "
                "--exclude=*.a --exclude=b . /"
            ),
            Copy,
            {
                "sources": (".",),
                "destination": "/",
                "from_stage": "0",
                "chown": "1:2",
                "chmod": "u=rwX,go=rX",
                "link": True,
                "exclude": ("*.a", "b"),
            },
        ),
        ("COPY --chown='a b' x y", Copy, {"sources": ("x",), "destination": "y", "chown": "a b"}),
        (
            "ADD --checksum=sha256:0 --keep-git-dir=true --unpack=false https://h/f /",
            Add,
            {
                "sources": ("https://h/f",),
                "destination": "/",
                "checksum": "sha256:0",
                "keep_git_dir": True,
                "unpack": False,
            },
        ),
        ("CMD echo $A", Cmd, {"command": ShellForm("echo $A")}),
        ("CMD []", Cmd, {"command": ExecForm(())}),
        ('ENTRYPOINT ["/a"]', Entrypoint, {"command": ExecForm(("/a",))}),
        ("EXPOSE 9 80/tcp 7", Expose, {"ports": ("7", "80/tcp", "9")}),
        ('VOLUME ["/a b"]', Volume, {"paths": ("/a b",)}),
        ("VOLUME /a /b", Volume, {"paths": ("/a", "/b")}),
        ("USER a:b", User, {"user": "a:b"}),
        ("WORKDIR /a b", Workdir, {"path": "/a b"}),
        ('SHELL ["bash", "-c"]', Shell, {"argv": ("bash", "-c")}),
        ("STOPSIGNAL sigterm", StopSignal, {"signal": "sigterm"}),
        ("STOPSIGNAL RTMIN+3", StopSignal, {"signal": "RTMIN+3"}),
        ("STOPSIGNAL 9", StopSignal, {"signal": "9"}),
        ("HEALTHCHECK none", Healthcheck, {"command": None}),
        (
            "HEALTHCHECK --interval=1m30s --timeout=.5s --retries=3 cmd a b",
            Healthcheck,
            {
                "command": ShellForm("a b"),
                "interval_ns": MINUTE_NS * 3 // 2,
                "timeout_ns": MINUTE_NS // 120,
                "retries": 3,
            },
        ),
        ('HEALTHCHECK CMD ["a"]', Healthcheck, {"command": ExecForm(("a",))}),
        ("ONBUILD RUN a  b", OnBuild, {"trigger": "RUN a  b"}),
        ("ONBUILD RUN <<E\nx\nE", OnBuild, {"trigger": "RUN <<E\nx\nE"}),
        ("MAINTAINER A <a@b.c>", Maintainer, {"name": "A <a@b.c>"}),
    ],
)
def test_instructions(text: str, kind: type[Instruction], expected: dict[str, object]) -> None:
    found = read(text)
    assert kind is type(found)
    assert expected == {
        k: v for k, v in without_source(found).items() if v is not None or k in expected
    }


def test_every_instruction_is_frozen_and_knows_its_line() -> None:
    found = read("# note\nRUN a \\\n b")
    assert (
        found.source.start_line,
        found.source.end_line,
        found.source.comments,
    ) == (2, 3, ("note",))
    with pytest.raises(AttributeError):
        found.command = ShellForm("b")  # type: ignore[attr-defined]


def test_copy_heredocs_are_files_and_not_sources() -> None:
    found = read("COPY <<a.txt x <<'b' /d/\n$A\na.txt\n$B\nb")
    assert isinstance(found, Copy)
    assert found.sources == ("x",)
    assert [(each.name, each.content, each.expand) for each in found.heredocs] == [
        ("a.txt", "$A\n", True),
        ("b", "$B\n", False),
    ]
