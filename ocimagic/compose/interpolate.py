"""Variables in a compose file: ``$NAME``, ``${NAME:-word}`` and their like, ``$$`` for a dollar.

Spec: Compose Specification 12-interpolation.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.compose.tree import Map, Node, Seq

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.compose.tree import Value

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_HINT = "write ${NAME}, ${NAME:-default}, ${NAME:?error}, ${NAME:+other}, or $$ for a dollar"


class Unset(Exception):
    """``${NAME:?words}`` of a variable that is not set."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(name)
        self.name = name
        self.words = words


class Malformed(Exception):
    """A dollar that begins nothing."""


def substitute(text: str, env: Mapping[str, str], missing: Callable[[str], None]) -> str:
    """Put the values of variables into a text.

    Args:
        text: what is in the file.
        env: the variables.
        missing: hears the name of each that is not set and has no default.

    Raises:
        Unset: a variable that has to be there is not.
        Malformed: the text cannot be understood.
    """
    if "$" not in text:
        return text
    try:
        return _Template(text, env, missing).whole()
    except RecursionError as err:
        raise Malformed from err


class _Template:
    """One pass over one text."""

    def __init__(self, text: str, env: Mapping[str, str], missing: Callable[[str], None]) -> None:
        self._text = text
        self._env = env
        self._missing = missing
        self._at = 0

    def whole(self) -> str:
        return self._until(closed=False, used=True)

    def _until(self, *, closed: bool, used: bool) -> str:
        """Read to the end, or to the ``}`` that closes an expression.

        Args:
            closed: whether one has to come.
            used: whether what is read counts: of what does not, nothing has to be set.
        """
        made: list[str] = []
        depth = 0  # of braces that belong to the text itself
        while self._at < len(self._text):
            char = self._text[self._at]
            if closed and char == "}" and not depth:
                return "".join(made)
            depth = max(0, depth + (char == "{") - (char == "}"))
            if char == "$":
                made.append(self._dollar(used=used))
            else:
                made.append(char)
                self._at += 1
        if closed:
            raise Malformed
        return "".join(made)

    def _dollar(self, *, used: bool) -> str:
        self._at += 1
        if self._text.startswith("$", self._at):
            self._at += 1
            return "$"
        if self._text.startswith("{", self._at):
            self._at += 1
            return self._braced(used=used)
        found = _NAME.match(self._text, self._at)
        if not found:
            raise Malformed
        self._at = found.end()
        return self._value(found[0], used=used)

    def _braced(self, *, used: bool) -> str:
        found = _NAME.match(self._text, self._at)
        if not found:
            raise Malformed
        name, self._at = found[0], found.end()
        if self._text.startswith("}", self._at):
            self._at += 1
            return self._value(name, used=used)
        operator = next((o for o in _OPERATORS if self._text.startswith(o, self._at)), None)
        if operator is None:
            raise Malformed
        self._at += len(operator)
        value = self._env.get(name)
        is_there = bool(value) if operator.startswith(":") else value is not None
        takes_word = is_there is (operator[-1] == "+")
        word = self._until(closed=True, used=used and takes_word)
        self._at += 1
        if operator[-1] == "+":
            return word if is_there else ""
        if is_there:
            return value or ""
        if operator[-1] == "?" and used:
            raise Unset(name, word)
        return word

    def _value(self, name: str, *, used: bool) -> str:
        value = self._env.get(name)
        if value is None and used:
            self._missing(name)
        return value or ""


def interpolated(node: Node, env: Mapping[str, str], missing: Callable[[str], None]) -> Value:
    """Return a value with the variables of all its texts put in.

    Raises:
        InvalidDocument: a text that cannot be understood, or a variable that has to be set.
    """
    value = node.value
    if isinstance(value, Map):
        made = Map(value.place)
        made.tags = value.tags
        made.places = dict(value.places)
        for key, each in node.fields():
            made.put(key, interpolated(each, env, missing), each.place)
        return made
    if isinstance(value, Seq):
        items = Seq(value.place)
        for each in node.items():
            items.add(interpolated(each, env, missing), each.place)
        return items
    if not isinstance(value, str):
        return value
    try:
        return substitute(value, env, missing)
    except Unset as err:
        raise node.wrong(
            f"the variable {err.name} has to be set",
            why=err.words or None,
            hint=f"{err.name}=value in the environment or in the file .env",
        ) from err
    except Malformed as err:
        raise node.wrong(f"{value!r} is not understood", hint=_HINT) from err
