"""Variables from line to line."""

from __future__ import annotations

import pytest

from ocimagic.dockerfile.instructions import Add, Arg, Copy, Env, Expose, Instruction, Run
from ocimagic.dockerfile.parse import parse
from ocimagic.dockerfile.plan import plan
from ocimagic.dockerfile.scope import Scope
from ocimagic.errors import DockerfileError


def walk(
    text: str, *, env: tuple[str, ...] = (), **build_args: str
) -> tuple[Scope, list[Instruction]]:
    """Expand the only stage of ``text`` from top to bottom."""
    planned = plan(parse(text), build_args=build_args)
    scope = Scope.of_stage(planned, env=env)
    done: list[Instruction] = []
    for instruction in planned.target.instructions:
        done.append(scope.expanded(instruction))
        scope = scope.after(done[-1])
    return scope, done


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("ARG A=1", "1"),
        ("ARG A=1\nARG A=2", "2"),
        ("ARG A=1\nARG A", "1"),
        ("ARG A", ""),
        ("ENV A=1\nARG A=2", "2"),  # the later one
        ("ARG A=2\nENV A=1", "1"),
        ("ENV A=1\nARG A", "1"),
        ("ARG A=2\nENV A=1\nARG A", "1"),
        ("ENV A=1\nENV A=${A}2", "12"),
        ("ENV A=1 B=$A\nENV A=x$B", "x"),  # one instruction sees what was before it
        ("ARG B=1\nARG A=$B$B", "11"),
        ("ENV A 'x y'", "x y"),
    ],
)
def test_value_of_a(lines: str, expected: str) -> None:
    scope, _ = walk(f"FROM a\n{lines}")
    assert expected == scope.seen.get("A", "")


def test_order_of_precedence() -> None:
    text = "ARG A=global\nFROM a\nARG A{}"
    assert walk(text.format(""))[0].seen["A"] == "global"
    assert walk(text.format("=own"))[0].seen["A"] == "own"
    assert walk(text.format("=own"), A="given")[0].seen["A"] == "given"
    assert "A" not in walk("ARG A=global\nFROM a")[0].seen  # not declared again
    assert "A" not in walk("FROM a", A="given")[0].seen


def test_automatic_args_must_be_declared() -> None:
    scope, _ = walk("FROM a\nARG TARGETARCH")
    assert scope.seen["TARGETARCH"] == "amd64"
    assert "TARGETOS" not in scope.seen


def test_base_env_and_parent_args() -> None:
    planned = plan(parse("FROM a AS x\nARG A=1\nFROM x\nENV B=$A$PATH"))
    parent = Scope.of_stage(planned, env=["PATH=/bin"])
    parent = parent.after(planned.stages[0].instructions[0])
    scope = Scope.of_stage(planned, env=["PATH=/bin", "X=a=b"], parent=parent)
    found = scope.expanded(planned.stages[1].instructions[0])
    assert isinstance(found, Env)
    assert found.pairs[0].value == "1/bin"
    assert list(scope.after(found).env) == ["PATH", "X", "B"]
    assert scope.env["X"] == "a=b"


def test_env_keeps_its_place() -> None:
    scope, _ = walk("FROM a\nENV A=1\nENV B=1\nENV A=2")
    assert scope.env == {"A": "2", "B": "1"}
    assert list(scope.env) == ["A", "B"]


def test_run_sees() -> None:
    text = "FROM a\nARG A=1\nARG U\nARG E=1\nENV E=2\nARG https_proxy"
    proxies = {"HTTP_PROXY": "p", "https_proxy": "q", "OTHER": "x"}
    scope, _ = walk(text, **proxies)
    assert scope.run_args() == (("A", "1"), ("U", ""), ("E", "2"), ("https_proxy", "q"))
    proxied = {"HTTP_PROXY": "p", "http_proxy": "p", "https_proxy": "q", "HTTPS_PROXY": "q"}
    assert scope.run_env() == {**proxied, "A": "1", "E": "2"}
    assert scope.cached_env() == {"https_proxy": "q", "A": "1", "E": "2"}


def test_fields_that_expand() -> None:
    text = """\
FROM a
ENV X=x Y="p q" M=0644 P="8001-8003 9:80"
COPY --chown=$X --chmod=$M --exclude=$X $X "$Y" /$X/
COPY <<A <<'B' /d/
"$X" \\$X
A
$X
B
ADD --checksum=$X https://h/$X /
WORKDIR $X/${Y}
USER $X
VOLUME $X ["$X"]
LABEL $X=$Y
STOPSIGNAL $S
EXPOSE $P 53/UDP
RUN --mount=type=cache,target=/$X echo $X
CMD echo $X
ONBUILD RUN $X
"""
    _, done = walk(text.replace("$S", "${S:-15}"))
    copy, heredocs, add, workdir, user, volume, label, signal, expose, run, cmd, onbuild = done[1:]
    assert isinstance(copy, Copy)
    assert (copy.chown, copy.chmod, copy.exclude) == ("x", "0644", ("$X",))
    assert (copy.sources, copy.destination) == (("x", "p q"), "/x/")
    assert isinstance(heredocs, Copy)
    assert [each.content for each in heredocs.heredocs] == ['"x" $X\n', "$X\n"]
    assert isinstance(add, Add)
    assert (add.checksum, add.sources) == ("x", ("https://h/x",))
    assert workdir.path == "x/p q"  # type: ignore[attr-defined]
    assert user.user == "x"  # type: ignore[attr-defined]
    assert volume.paths == ("x", "[x]")  # type: ignore[attr-defined]
    assert (label.pairs[0].key, label.pairs[0].value) == ("x", "p q")  # type: ignore[attr-defined]
    assert signal.signal == "15"  # type: ignore[attr-defined]
    assert isinstance(expose, Expose)
    assert {"8001/tcp", "8002/tcp", "8003/tcp", "80/tcp", "53/udp"} == set(expose.ports)
    assert isinstance(run, Run)
    assert (run.mounts[0].target, run.command.text) == ("/x", "echo $X")  # type: ignore[union-attr]
    assert cmd.command.text == "echo $X"  # type: ignore[attr-defined]
    assert onbuild.trigger == "RUN $X"  # type: ignore[attr-defined]


def test_arg_defaults_expand_before_they_count() -> None:
    _, done = walk("FROM a\nARG B=1\nARG A=$B")
    assert isinstance(done[1], Arg)
    assert done[1].args[0].default == "1"


@pytest.mark.parametrize(
    ("line", "what", "column"),
    [
        ("ENV A=${B:?say}", 'failed to process "${B:?say}": B: say', 7),
        ("USER ${A:=x}", "unsupported modifier (:=) in substitution", 6),
        ('ENV A="x', "unexpected end of statement while looking for matching double-quote", 7),
        ("STOPSIGNAL ${B:-SIGFOO}", "Invalid signal: SIGFOO", 17),
        ("EXPOSE 80/foo", "Invalid proto: foo", 8),
        ("EXPOSE x", "invalid containerPort: x", 8),
        ("EXPOSE 70000", "invalid containerPort: 70000", 8),
        ("EXPOSE 9-8", "invalid range specified for port: 9-8", 8),
        ("COPY --chmod=${B:-9} a b", "invalid chmod parameter: '9'", 19),
        ("COPY ${B:-https://h/f} b", "source can't be a URL for COPY", None),
    ],
)
def test_errors(line: str, what: str, column: int | None) -> None:
    with pytest.raises(DockerfileError) as caught:
        walk(f"FROM a\n{line}")
    assert what in caught.value.what
    assert caught.value.line == 2
    if column is not None:
        assert column == caught.value.column


def test_undefined_names() -> None:
    scope, _ = walk("FROM a\nARG A\nENV B=1")
    instruction = parse("FROM a\nENV C=$A$B$X${Y:-1}").stages[0].instructions[0]
    assert scope.looked_at(instruction).unset == ("X",)
