"""Where the cursor stands in a cell: in one of our commands, or in a file that is its body."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # The words that a magic puts before its line; None for a magic that is not ours.
    WordsOf: TypeAlias = Callable[[str], tuple[str, ...] | None]

_COMMAND = re.compile(
    r"^\s*(?:[\w.\s,]+=\s*)?(?:(?P<mark>%{1,2})(?P<name>\w+)|(?:\$\s+)?docker)\s+(?P<rest>.*)$",
    re.DOTALL,
)
_TOP = re.compile(r"\s*%%(\w+)(.*)")
_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)[\"']?")
BUILDS = frozenset({"dockerfile", "image_build"})


@dataclass(frozen=True, slots=True)
class CommandPlace:
    """In a line of docker's words.

    Attributes:
        argv: the whole words before the cursor, without ``docker``.
        fragment: what is typed of the next one.
        magic: the name of a cell magic; "" for a line.
        body: what is below a cell magic's line.
    """

    argv: tuple[str, ...]
    fragment: str
    magic: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class DockerfilePlace:
    """In a Dockerfile that is the body of a cell.

    Attributes:
        argv: the words of the cell magic's own line, ``image build`` before them.
        lines: of the cell.
        first: index of the line that the instruction begins in.
        words: of the instruction before the cursor.
        fragment: what is typed of the next one.
        quiet: in the text of a heredoc, or in a comment.
    """

    argv: tuple[str, ...]
    lines: tuple[str, ...]
    first: int
    words: tuple[str, ...]
    fragment: str
    quiet: bool

    @property
    def above(self) -> tuple[str, ...]:
        """Return the lines of the Dockerfile above this instruction."""
        return self.lines[1 : self.first]


@dataclass(frozen=True, slots=True)
class ComposePlace:
    """In a compose file that is the body of a cell.

    Attributes:
        lines: of the file.
        number: of the line, from 0.
        before: its text before the cursor.
    """

    lines: tuple[str, ...]
    number: int
    before: str


Place: TypeAlias = CommandPlace | DockerfilePlace | ComposePlace


def find(text: str, number: int, column: int, words_of: WordsOf) -> Place | None:
    """Tell where the cursor is; None when the place is not ours.

    Args:
        text: the cell.
        number: of the cursor's line, from 0.
        column: of the cursor.
        words_of: knows our magics.
    """
    lines = text.split("\n")
    before = lines[number][:column]
    top = next((at for at, line in enumerate(lines) if line.strip()), 0)
    head = _TOP.match(lines[top])
    if head and number > top:
        body = lines[top:]
        return _in_body(head[1], head[2], body, number - top, before, words_of)
    found = _COMMAND.match(_joined(lines, number, before))
    if not found:
        return None
    words = words_of(found["name"]) if found["name"] else ()
    if words is None:
        return None
    fragment = fragment_of(before)
    typed = found["rest"].replace("\\\n", " ").split()
    is_cell = found["mark"] == "%%"
    return CommandPlace(
        (*words, *(typed[:-1] if fragment else typed)),
        fragment,
        magic=found["name"] if is_cell else "",
        body="\n".join(lines[number + 1 :]) if is_cell else "",
    )


def _in_body(
    magic: str, rest: str, lines: Sequence[str], number: int, before: str, words_of: WordsOf
) -> Place | None:
    words = words_of(magic)
    if words is None:
        return None
    if magic == "compose":
        return ComposePlace(tuple(lines[1:]), number - 1, before)
    argv = (*words, *rest.split())
    if magic not in BUILDS and not (magic == "docker" and "build" in argv[:2]):
        return None
    first, quiet = _instruction(lines, number)
    logical = " ".join([*(each.rstrip().rstrip("\\") for each in lines[first:number]), before])
    fragment = fragment_of(before)
    typed = logical.split()
    return DockerfilePlace(
        argv,
        tuple(lines),
        first,
        tuple(typed[:-1] if fragment else typed),
        fragment,
        quiet=quiet or before.lstrip().startswith("#"),
    )


def _instruction(lines: Sequence[str], number: int) -> tuple[int, bool]:
    """Return the line that an instruction begins in, and whether we are in a heredoc's text."""
    first, goes_on, ends = 1, False, list[str]()
    for at in range(1, number + 1):
        text = lines[at].rstrip()
        if ends:
            if at == number:
                return first, True
            if text.strip() == ends[0]:
                del ends[0]
            continue
        if not goes_on:
            first = at
        is_comment = text.lstrip().startswith("#")
        goes_on = text.endswith("\\") or (goes_on and (is_comment or not text))
        if not is_comment and text.lstrip()[:4].upper().startswith(("RUN", "COPY", "ADD")):
            ends = _HEREDOC.findall(text)
    return first, False


def _joined(lines: Sequence[str], number: int, before: str) -> str:
    """Return the command up to the cursor with the lines it continues."""
    first = number
    while first and lines[first - 1].endswith("\\"):
        first -= 1
    return "\n".join([*lines[first:number], before])


def fragment_of(before: str) -> str:
    """Return what is typed of the word at the cursor."""
    found = re.search(r"\S*$", before)
    return found[0] if found else ""
