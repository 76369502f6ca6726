"""Lines, directives and heredocs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.dockerfile.lex import lex, parse_heredoc, split_instruction
from ocimagic.errors import DockerfileError


def logical(text: str) -> list[str]:
    return [line.source.logical for line in lex(text).lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", ["FROM a"]),
        ("\ufeffFROM a\r\nRUN b\r\n", ["FROM a", "RUN b"]),
        ("  FROM a  \n", ["FROM a"]),
        ("\t# x\nFROM a # not a comment", ["FROM a # not a comment"]),
        ("RUN a \\\n  && b", ["RUN a   && b"]),  # the blanks of the second line stay
        ("RUN a\\\nb", ["RUN ab"]),  # joined with nothing
        ("RUN a \\   \nb", ["RUN a b"]),  # blanks after the escape
        ("RUN a \\\n# comment\n  # another\nb", ["RUN a b"]),
        ("RUN a \\\n# comment \\\nb\nRUN c", ["RUN a b", "RUN c"]),
        ("RUN a \\\\\nRUN b", ["RUN a \\\\", "RUN b"]),  # doubled at the end is literal
        ("RUN a \\\n\nb", ["RUN a b"]),  # an empty line is skipped
        ("RUN a \\", ["RUN a"]),
        ("\\\nFROM a", ["FROM a"]),
        ("# escape=`\nRUN a `\n b\\\nRUN c", ["RUN a  b\\", "RUN c"]),
        ("\n# escape=`\nRUN a \\\nb", ["RUN a b"]),  # a blank line ends the directives
        ("# note\n# escape=`\nRUN a \\\nb", ["RUN a b"]),
    ],
)
def test_logical_lines(text: str, expected: list[str]) -> None:
    assert expected == logical(text)


def test_source_ranges_and_comments() -> None:
    lines = lex("# gone\n\n# one\n# two\nFROM a\nRUN b \\\n  c\n").lines
    first, second = (line.source for line in lines)
    assert (
        first.start_line,
        first.end_line,
        first.text,
        first.comments,
    ) == (5, 5, "FROM a", ("one", "two"))
    assert (
        second.start_line,
        second.end_line,
        second.text,
        second.comments,
    ) == (6, 7, "RUN b \\\n  c", ())
    assert second.locate("c") == (7, 3)
    assert second.locate("b") == (6, 5)
    assert second.locate("nowhere") == (6, None)


def test_empty_continuation_lines_are_counted() -> None:
    assert lex("RUN a \\\n\n b \\\n   \n c\n").empty_continuations == (5,)
    assert lex("RUN a \\\n").empty_continuations == ()


def test_directives() -> None:
    found = lex("#Syntax = docker/dockerfile:1 \n# ESCAPE=`\n# check=skip=all\nFROM a").directives
    assert (
        found.syntax,
        found.escape,
        found.check,
        found.syntax_line,
    ) == ("docker/dockerfile:1", "`", "skip=all", 1)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("# escape=x\nFROM a", 1, "invalid escape token 'x' does not match ` or \\"),
        ("# escape=\\\n# escape=`", 2, "only one escape parser directive can be used"),
        ("# syntax=a\n# syntax=b", 2, "only one syntax parser directive can be used"),
        ("FROM a\nRUN <<EOF\nb\n EOF", 2, "unterminated heredoc"),
        ("FROM a\n" + "x" * 65_536, 2, "dockerfile line greater than max allowed size of 65535"),
        ("FROM a\n" + "ü" * 32_768, 2, "dockerfile line greater than max allowed size of 65535"),
        ("FROM a\n\\\n\\\n", 2, "unknown instruction: nothing but \\"),
    ],
)
def test_errors(text: str, line: int, what: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        lex(text)
    assert (line, what) == (caught.value.line, caught.value.what)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("<<EOF", ("EOF", True, False)),
        ('<<"EOF"', ("EOF", False, False)),
        ("<<'EOF'", ("EOF", False, False)),
        ('<<E"O"F', ("EOF", False, False)),
        ("<<\\EOF", ("EOF", False, False)),
        ("<<-EOF", ("EOF", True, True)),
        ("3<<EOF", ("EOF", True, False)),
        ("<<$X", ("$X", True, False)),
        ("<<EOF EOF", None),
        ("<<", None),
        ("<<-", None),
        ("<<<x", None),
        ("cat<<EOF", None),
        ('<<"EOF', None),
    ],
)
def test_heredoc_words(word: str, expected: tuple[str, bool, bool] | None) -> None:
    found = parse_heredoc(word)
    assert expected == (found and (found.name, found.expand, found.strip_tabs))


def test_heredoc_bodies_are_raw_and_in_order() -> None:
    text = "COPY <<A <<-B /x/\n# kept \\\n\nA\n\t\ttab\n\tB\nRUN c\n"
    copy, run = lex(text).lines
    first, second = copy.heredocs
    assert first.body == "# kept \\\n\n"
    assert (second.body, second.content) == ("\t\ttab\n", "tab\n")
    assert (copy.source.start_line, copy.source.end_line) == (1, 6)
    assert run.source.start_line == 7


@pytest.mark.parametrize(
    "line",
    [
        "CMD cat <<EOF",
        "RUN echo $((1<<2))",
        "RUN echo it's <<EOF",  # an open quote: the shell's affair
        'RUN ["cat", "<<EOF"]',
        "RUN cat <<<EOF",
    ],
)
def test_no_heredoc(line: str) -> None:
    assert lex(line).lines[0].heredocs == ()


def test_heredoc_under_onbuild_and_after_flags() -> None:
    line = lex("ONBUILD RUN --network=none <<EOF cat\nx\nEOF").lines[0]
    assert [each.body for each in line.heredocs] == ["x\n"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("RUN  a b ", ("RUN", "a b")), ("RUN", ("RUN", "")), ("", ("", "")), ("a\tb", ("a", "b"))],
)
def test_split_instruction(text: str, expected: tuple[str, str]) -> None:
    assert expected == split_instruction(text)


@given(st.text())
def test_lines_are_in_order_and_inside_the_text(text: str) -> None:
    try:
        lines = lex(text).lines
    except DockerfileError:
        return
    ranges = [(line.source.start_line, line.source.end_line) for line in lines]
    assert ranges == sorted(ranges)
    assert all(1 <= start <= end <= text.count("\n") + 1 for start, end in ranges)
