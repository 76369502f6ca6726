"""Cell text as people paste it: lines of docker's own, and cell magics that are not on top.

A line is taken only where a Python statement could begin and where it is no Python: two
names in a row.  What it becomes is a call, not ``%docker …``: IPython would look for ``?``
and brackets in what belongs to docker.
"""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING

from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

_DOCKER = re.compile(r"(?P<indent>[ \t]*)(?:\$[ \t]+)?docker[ \t]+(?P<rest>\S.*)", re.DOTALL)
_HELP = re.compile(r"(-h|--help|-v|--version)\s*")
_MAGIC = re.compile(r"(?P<indent>[ \t]*)(?P<mark>%%?)(?P<name>\w+)(?P<rest>[^\n]*)")
_SILENCED = re.compile(r"(\s*(?:[\w.,*\s]+=\s*)?%\w+);")
_OPAQUE = re.compile(r"\s*(?:[%!?/,;$]|[\w.,*\s()\[\]]+=\s*[%!])")


class CellLines:
    """The input transformer.

    Args:
        ours: names of our cell magics, without ``%%``.
        near: names of our line magics.
        is_magic: tells whether IPython knows a ``"line"`` or ``"cell"`` magic of a name.
        is_variable: tells whether the user has a variable of that name.
    """

    def __init__(
        self,
        *,
        ours: Collection[str],
        near: Collection[str],
        is_magic: Callable[[str, str], bool],
        is_variable: Callable[[str], bool],
    ) -> None:
        self._ours = ours
        self._near = near
        self._is_magic = is_magic
        self._is_variable = is_variable

    def __call__(self, lines: list[str]) -> list[str]:
        """Return the lines with ours made into Python."""
        if lines and lines[0].startswith("%%"):
            return self._cell_magic(lines)
        made = list(lines)
        for first, end in statements(lines):
            text = "".join(lines[first:end])
            if misplaced := self._misplaced(text, first):
                return [misplaced]
            if code := self._docker(text) or self._misspelt(text, "line", self._near):
                made[first:end] = [code, *["\n"] * (end - first - 1)]
            elif silenced := _SILENCED.match(text):
                # IPython would take "image_ls;" for the name.
                made[first] = f"{silenced[1]} ;{made[first][silenced.end() :]}"
        return made

    def _cell_magic(self, lines: list[str]) -> list[str]:
        if wrong := self._misspelt(lines[0], "cell", self._ours):
            return [wrong]
        found = _MAGIC.match(lines[0])
        if found and found["name"] in self._ours and not "".join(lines[1:]).strip():
            return [
                _raising(
                    f"%%{found['name']} needs a cell: there is nothing below its line",
                    "write it on the lines below, or use one % for a line magic",
                )
            ]
        return lines

    def _misplaced(self, text: str, line: int) -> str | None:
        found = _MAGIC.match(text)
        if not found or found["mark"] != "%%" or found["name"] not in self._ours:
            return None
        return _raising(
            f"%%{found['name']} must be the first line of its cell",
            f"it is on line {line + 1}: move what is above it to another cell; "
            "a comment can go below it",
        )

    def _docker(self, text: str) -> str | None:
        found = _DOCKER.match(text)
        if not found:
            return None
        first = re.match(r"[\w-]*", found["rest"])
        word = first[0] if first else ""
        # "docker in names" is Python; nothing that begins with "docker import" is.
        is_python = keyword.iskeyword(word) and word != "import"
        if not word or is_python or not (word[0].isalpha() or self._help(found)):
            return None
        return _call(found["indent"], "docker", found["rest"].rstrip("\n"))

    def _help(self, found: re.Match[str]) -> bool:
        """Tell ``docker --help``, which Python reads as a subtraction."""
        return bool(_HELP.fullmatch(found["rest"])) and not self._is_variable("docker")

    def _misspelt(self, text: str, kind: str, names: Collection[str]) -> str | None:
        found = _MAGIC.match(text)
        mark = "%" if kind == "line" else "%%"
        if not found or found["mark"] != mark or self._is_magic(kind, found["name"]):
            return None
        known = nearest(found["name"], names)
        if known is None:
            return None
        said = _raising(f"there is no magic {mark}{found['name']}", f"did you mean {mark}{known}?")
        return found["indent"] + said


def statements(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Yield first line and end of every place where a statement begins and is not Python.

    Strings, brackets and continued lines are followed, so that text inside them is never
    taken for a statement.
    """
    python = _PythonState()
    at = 0
    while at < len(lines):
        line = lines[at]
        if python.inside or not (_DOCKER.match(line) or _OPAQUE.match(line)):
            python.feed(line)
            at += 1
            continue
        end = _end_of_command(lines, at)
        yield at, end
        at = end


def _end_of_command(lines: list[str], first: int) -> int:
    r"""Return the line after a command, which ``\`` or an open quote carries on."""
    end = first + 1
    while end < len(lines) and lines[end - 1].rstrip("\n").endswith("\\"):
        end += 1
    if not _DOCKER.match(lines[first]):
        return end
    closed = end
    while closed < len(lines) and _quote_open("".join(lines[first:closed])):
        closed += 1
    return end if _quote_open("".join(lines[first:closed])) else closed


def _quote_open(text: str) -> bool:
    """Tell whether a shell would wait for a closing quote."""
    quote = ""
    escaped = False
    before = " "
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and before.isspace():
            return False
        before = char
    return bool(quote)


class _PythonState:
    """Whether the next line of Python begins inside a string, a bracket or a continued line."""

    _MARK = re.compile(r"'''|\"\"\"|['\"]|\\.|[()\[\]{}]|#|\n", re.DOTALL)

    def __init__(self) -> None:
        self._quote = ""
        self._depth = 0
        self._continued = False

    @property
    def inside(self) -> bool:
        return bool(self._quote) or self._depth > 0 or self._continued

    def feed(self, line: str) -> None:
        self._continued = line.rstrip("\n").endswith("\\") and not self._quote
        comment = False
        for found in self._MARK.finditer(line):
            mark = found[0]
            if comment or mark[0] == "\\":
                continue
            if mark == "\n":
                if len(self._quote) == 1:  # only a triple quote goes on without a backslash
                    self._quote = ""
            elif self._quote:
                self._in_string(mark)
            elif mark == "#":
                comment, self._continued = True, False
            elif mark[0] in "'\"":
                self._quote = mark
            else:
                self._depth = max(0, self._depth + (1 if mark in "([{" else -1))

    def _in_string(self, mark: str) -> None:
        # In a "…" string three quotes are one that closes and two that are an empty string.
        if mark == self._quote or (len(self._quote) == 1 and mark == self._quote * 3):
            self._quote = ""


def _call(indent: str, magic: str, line: str) -> str:
    return f"{indent}get_ipython().run_line_magic({magic!r}, {line!r})\n"


def _raising(what: str, hint: str) -> str:
    """Return code that raises: an exception here would break the editor's own checks."""
    return f"raise __import__('ocimagic.errors').errors.InvalidOption({what!r}, hint={hint!r})\n"
