"""What a client of docker's API sends: JSON objects and query strings, taken out by type.

Spec: Docker Engine API v1.41.  Read as docker's own server does: the case of a key does not
matter, null is "not given", a key nobody knows is passed over, and a wrong type is refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from ocimagic.errors import InvalidOption
from ocimagic.spec.codec import TYPE_NAMES, Fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

_NO = frozenset({"", "0", "no", "false", "none"})
_MOST = (1 << 63) - 1


class Asked(Fields):
    """The body of a request, or an object in it.

    All methods raise ``InvalidOption`` where ``Fields`` has its own error.
    """

    __slots__ = ()

    def __init__(self, value: Mapping[str, object], what: str) -> None:
        for key in value:
            _check_text(key, what)
        super().__init__({key.lower(): item for key, item in value.items()}, what)

    def __contains__(self, key: str) -> bool:
        return super().__contains__(key.lower())

    def given(self, key: str) -> object:
        """Return a value of any type, None if it was not given."""
        return self.value.get(key.lower())

    def size(self, key: str, *, least: int = 0, most: int = _MOST) -> int:
        """Return a whole number; absent and null are 0."""
        return self.integer(key, 0, least=least, most=most)

    def text_map(self, key: str, *, unset: bool = False) -> dict[str, str]:
        """Return an object of texts; absent and null are an empty one.

        Args:
            key: of the object.
            unset: leave a null in it out, which is an empty text otherwise.
        """
        found: dict[str, object] = self._get(key, dict, {})
        return {
            _check_text(name, self.what): "" if item is None else self._item(name, item, str)
            for name, item in found.items()
            if not (unset and item is None)
        }

    def objects(self, key: str) -> dict[str, Asked]:
        """Return an object of objects; absent and null are an empty one, a null in it too."""
        found: dict[str, object] = self._get(key, dict, {})
        return {
            _check_text(name, self.what): Asked(
                {} if item is None else self._item(f"{key}.{name}", item, dict),
                f"{self.what}, {key}.{name}",
            )
            for name, item in found.items()
        }

    def words(self, key: str) -> tuple[str, ...] | None:
        """Return a list of texts, or the one text there is instead; None if it was not given."""
        if key not in self:
            return None
        if isinstance(found := self.given(key), str):
            return (self._item(key, found, str),)
        return self.texts(key)

    def _get(self, key: str, kind: type[T], default: T | None) -> T:
        found = self.given(key)
        if found is None:
            if default is None:
                raise self._wrong(key, "is missing")
            return default
        return self._item(key, found, kind)

    def _item(self, key: str, item: object, kind: type[T]) -> T:
        found = super()._item(key, item, kind)
        if isinstance(found, str):
            _check_text(found, f"{self.what}, {key}")
        return found

    def _wrong(self, key: str, reason: str) -> InvalidOption:
        return InvalidOption(f"invalid {self.what}: {key} {reason}")


def _check_text(text: object, what: str) -> str:
    """Refuse what cannot be an argument of a program, or cannot be written as UTF-8."""
    if not isinstance(text, str):
        raise InvalidOption(f"invalid {what}: a key must be {TYPE_NAMES[str]}")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidOption(f"invalid {what}: {text!r} holds what no text may hold")
    return text


def asked(body: object, what: str) -> Asked:
    """Return the body of a request.

    Args:
        body: as ``json.loads`` returns it.
        what: of what it is the body, for errors.

    Raises:
        InvalidOption: it is no object.
    """
    if body is not None and not isinstance(body, dict):
        raise InvalidOption(f"invalid {what}: the body must be {TYPE_NAMES[dict]}")
    return Asked(body or {}, what)


class Query:
    """A query string: names to what was given for them, as ``urllib.parse.parse_qs`` has it."""

    __slots__ = ("_given",)

    def __init__(self, given: Mapping[str, Sequence[str]]) -> None:
        self._given = given

    def texts(self, name: str) -> tuple[str, ...]:
        """Return all that was given for a name."""
        return tuple(_check_text(text, name) for text in self._given.get(name, ()))

    def text(self, name: str) -> str:
        """Return the first, "" if there is none."""
        return next(iter(self.texts(name)), "")

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return whether something was said that is not docker's ``0``, ``no`` or ``false``."""
        text = self.text(name).strip().lower()
        return text not in _NO if text else default

    def number(self, name: str, *, least: int = -_MOST) -> int:
        """Return a whole number, 0 if there is none.

        Raises:
            InvalidOption: it is none, or less than it may be.
        """
        text = self.text(name)
        try:
            found = int(text or "0") if len(text) < 20 and text.isascii() else None
        except ValueError:
            found = None
        if found is None or not least <= found <= _MOST:
            raise InvalidOption(f"invalid {name}: {text!r} is no number")
        return found

    def document(self, name: str) -> object:
        """Return a value given as JSON, None if there is none.

        Raises:
            InvalidOption: it is no JSON.
        """
        text = self.text(name)
        return parsed(text, name) if text else None

    def listed(self, name: str) -> Asked:
        """Return a value given as JSON as the one field ``name`` of an object."""
        return Asked({name: self.document(name)}, "query")


def parsed(text: str | bytes, what: str) -> object:
    """Read JSON.

    Raises:
        InvalidOption: it is none, or nested too deeply.
    """
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise InvalidOption(f"invalid {what}: it is no JSON", why=str(err)) from err
    return found
