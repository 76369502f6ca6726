"""Files of variables: ``.env``, ``--env-file`` and a service's ``env_file``.

Spec: Compose Specification 05-services.md, "Env_file format".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.compose.interpolate import Malformed, Unset, substitute
from ocimagic.errors import InvalidDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([_a-zA-Z][-_.a-zA-Z0-9]*)[ \t]*([=:]?)[ \t]*")
_ESCAPE = re.compile(r"\\([nrtabfv\\\"$])")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_HINT = "write NAME=value, a line each"


def parse(text: str, file: str, known: Mapping[str, str]) -> dict[str, str]:
    """Read a file of variables, in compose's own format.

    Args:
        text: the file.
        file: how errors call it.
        known: variables that values may name; earlier lines of the file are known too, and a
            name alone takes its value from here.

    Raises:
        InvalidDocument: a line that cannot be understood.
    """
    return _Lines(text.replace("\r\n", "\n"), file, known).read()


def parse_raw(text: str, known: Mapping[str, str]) -> dict[str, str]:
    """Read a file whose values are taken as they are: ``format: raw``."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.lstrip().partition("=")
        if not name or name.startswith("#"):
            continue
        if equals:
            found[name] = value
        elif name.strip() in known:
            found[name.strip()] = known[name.strip()]
    return found


class _Lines:
    """One pass over one file."""

    def __init__(self, text: str, file: str, known: Mapping[str, str]) -> None:
        self._text = text
        self._file = file
        self._known = known
        self._at = 0
        self._found: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        while self._at < len(self._text):
            line = self._rest_of_line().lstrip()
            if not line or line.startswith("#"):
                self._end_line()
            else:
                self._entry()
        return self._found

    def _entry(self) -> None:
        found = _NAME.match(self._text, self._at)
        if not found:
            raise self._wrong(f"{self._rest_of_line().strip()!r} is no variable")
        name, self._at = found[1], found.end()
        if not found[2]:
            if self._rest_of_line().strip() and not self._rest_of_line().lstrip().startswith("#"):
                raise self._wrong(f"{name!r} is followed by something else than =")
            if name in self._known:
                self._found[name] = self._known[name]
            self._end_line()
            return
        quote = self._text[self._at : self._at + 1]
        self._found[name] = self._quoted(quote) if quote in {"'", '"'} else self._bare()
        self._end_line()

    def _bare(self) -> str:
        value = re.sub(r"(^|[ \t])#.*", "", self._rest_of_line()).strip()
        return self._put_in(value)

    def _quoted(self, quote: str) -> str:
        """Read to the closing quote, over line ends; what follows is a comment or nothing."""
        end = self._at + 1
        while end < len(self._text) and self._text[end] != quote:
            end += 2 if self._text[end] == "\\" and quote == '"' else 1
        if end >= len(self._text):
            raise self._wrong(f"the quote {quote} is not closed")
        value, self._at = self._text[self._at + 1 : end], end + 1
        rest = self._rest_of_line().strip()
        if rest and not rest.startswith("#"):
            raise self._wrong(f"{rest!r} stands behind the closing quote")
        if quote == "'":
            return value
        plain = _ESCAPE.sub(
            lambda each: "$$" if each[1] == "$" else _ESCAPED.get(each[1], each[1]), value
        )
        return self._put_in(plain)

    def _put_in(self, value: str) -> str:
        try:
            return substitute(value, {**self._found, **self._known}, lambda _: None)
        except Unset as err:
            raise self._wrong(f"the variable {err.name} has to be set: {err.words}") from err
        except Malformed as err:
            raise self._wrong(f"{value!r} is not understood") from err

    def _rest_of_line(self) -> str:
        end = self._text.find("\n", self._at)
        return self._text[self._at : end if end >= 0 else len(self._text)]

    def _end_line(self) -> None:
        end = self._text.find("\n", self._at)
        self._at = end + 1 if end >= 0 else len(self._text)

    def _wrong(self, what: str) -> InvalidDocument:
        line = self._text.count("\n", 0, self._at) + 1
        return InvalidDocument(
            f"{self._file} cannot be understood: {what}",
            hint=_HINT,
            where=f"{self._file} line {line}",
        )
