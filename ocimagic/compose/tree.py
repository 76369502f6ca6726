"""A compose file as values that know where they stand in their file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ocimagic.errors import InvalidDocument, NotBuiltYet
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Value: TypeAlias = "Map | Seq | str | int | float | bool | None"
_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands.

    Attributes:
        file: how errors call it.
        line: 1-based, as ``column``.
    """

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file} line {self.line}, column {self.column}"


class Map(dict[str, "Value"]):
    """A mapping, with the place of each key.

    Attributes:
        place: where it begins.
        places: of the keys.
        tags: keys that say ``reset`` or ``override`` of what an earlier file has there.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: dict[str, Place] = {}
        self.tags: dict[str, str] = {}

    def put(self, key: str, value: Value, place: Place | None = None) -> None:
        """Set a key and where it stands."""
        self[key] = value
        self.places[key] = place or self.places.get(key, self.place)

    def drop(self, key: str) -> None:
        """Take a key out, if it is there."""
        self.pop(key, None)
        self.places.pop(key, None)

    def copied(self) -> Map:
        """Return a copy whose keys can be changed alone."""
        made = Map(self.place)
        made.update(self)
        made.places = dict(self.places)
        made.tags = dict(self.tags)
        return made


class Seq(list["Value"]):
    """A list, with the place of each item."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: list[Place] = []

    def add(self, value: Value, place: Place) -> None:
        """Append an item and where it stands."""
        self.append(value)
        self.places.append(place)

    def pairs(self) -> Iterator[tuple[Value, Place]]:
        """Yield each item with its place."""
        return zip(self, self.places, strict=True)


def plain(value: Value) -> object:
    """Return a value without places, for JSON."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


@dataclass(frozen=True, slots=True)
class Node:
    """A value on its way to a type: it knows its key path, for errors.

    Attributes:
        path: as ``services.web.ports[0]``.
    """

    value: Value
    place: Place
    path: str = ""

    # -- errors --------------------------------------------------------------------

    def wrong(self, what: str, *, why: str | None = None, hint: str | None = None
              ) -> InvalidDocument:  # fmt: skip
        """Make the error that this value cannot be understood."""
        return InvalidDocument(f"{self.path}: {what}", why=why, hint=hint, where=str(self.place))

    def refused(self, why: str, *, hint: str | None = None) -> NotBuiltYet:
        """Make the error that we do not do this."""
        return NotBuiltYet(
            f"{self.path} is not done by this version", why=why, hint=hint, where=str(self.place)
        )

    # -- going down ----------------------------------------------------------------

    def get(self, key: str) -> Node | None:
        """Return a key's value; None where there is none, or it is null."""
        found = self.map()
        if found.get(key) is None:
            return None
        return self.at(key)

    def at(self, key: str) -> Node:
        """Return a key's value, which may be null."""
        found = self.map()
        return Node(found[key], found.places.get(key, found.place), _joined(self.path, key))

    def fields(self) -> Iterator[tuple[str, Node]]:
        """Yield the keys of a mapping with their values."""
        for key in self.map():
            yield key, self.at(key)

    def items(self) -> Iterator[Node]:
        """Yield the items of a list."""
        for number, (value, place) in enumerate(self.seq().pairs()):
            yield Node(value, place, f"{self.path}[{number}]")

    # -- what it is ----------------------------------------------------------------

    def map(self) -> Map:
        """Return it as a mapping."""
        if self.value is None:
            return Map(self.place)
        if not isinstance(self.value, Map):
            raise self.wrong(f"expected keys with values, not {kind(self.value)}")
        return self.value

    def seq(self) -> Seq:
        """Return it as a list."""
        if self.value is None:
            return Seq(self.place)
        if not isinstance(self.value, Seq):
            raise self.wrong(f"expected a list, not {kind(self.value)}")
        return self.value

    def text(self) -> str:
        """Return it as text; a number or a truth value is its own text."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, str | int | float):
            return str(self.value)
        raise self.wrong(f"expected a text, not {kind(self.value)}")

    def truth(self) -> bool:
        """Return it as true or false."""
        word = str(self.value).lower()
        if isinstance(self.value, bool | str) and word in _TRUE | _FALSE:
            return word in _TRUE
        raise self.wrong(f"expected true or false, not {self.value!r}")

    def whole(self, *, least: int | None = None) -> int:
        """Return it as a whole number."""
        try:
            number = int(self.text(), 0) if not isinstance(self.value, float) else int(self.value)
        except ValueError:
            raise self.wrong(f"expected a whole number, not {self.value!r}") from None
        if self.value != number and isinstance(self.value, float):
            raise self.wrong(f"expected a whole number, not {self.value!r}")
        if least is not None and number < least:
            raise self.wrong(f"expected a number of at least {least}, not {number}")
        return number

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(each.text() for each in self.items())

    def word_of(self, known: Iterable[str]) -> str:
        """Return it as one of some words."""
        words = tuple(known)
        word = self.text()
        if word in words:
            return word
        near = nearest(word, words)
        hint = f"did you mean {near}?" if near else f"write one of {', '.join(words)}"
        raise self.wrong(f"{word!r} is not known", hint=hint)


def kind(value: Value) -> str:
    """Say what a value is, in words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case Seq():
            return "a list"
        case _:
            return "keys with values"


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
