"""JSON in, JSON out: the one place where untyped documents are looked into.

Spec: image-spec canonicalization.md (encoding), distribution-spec (4 MiB manifests).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from ocimagic.errors import InvalidDocument

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from ocimagic.errors import BadInput

T = TypeVar("T")

MAX_MANIFEST_BYTES = 4 << 20
MAX_CONFIG_BYTES = 8 << 20
MAX_DEPTH = 64
_TO_BRACKET = re.compile(r'(?:[^\[\]{}"]++|"(?:[^"\\]++|\\.)*+")*+[\[\]{}]')

TYPE_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    bool: "true or false",
}


def decode(raw: bytes, *, what: str, max_bytes: int = MAX_CONFIG_BYTES) -> Fields:
    """Parse one JSON object with limits on size and depth.

    Args:
        raw: UTF-8 JSON without a byte order mark.
        what: what the document is, for the error.
        max_bytes: refuse anything longer.

    Raises:
        InvalidDocument: not UTF-8, not JSON, not an object, too large, too deep, NaN, half a
            surrogate pair, or a key given twice in one object.
    """
    value = _parsed(raw, what, max_bytes)
    if not isinstance(value, dict):
        raise InvalidDocument(f"this {what} is not a JSON object")
    return Fields(value, what)


def decode_list(raw: bytes, *, what: str, max_bytes: int) -> list[Fields]:
    """Parse a JSON list of objects with the limits of ``decode``.

    Raises:
        InvalidDocument: as ``decode``, or anything but objects in a list.
    """
    value = _parsed(raw, what, max_bytes)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InvalidDocument(f"this {what} is not a JSON list of objects")
    return [Fields(each, f"{what}, [{number}]") for number, each in enumerate(value)]


def _parsed(raw: bytes, what: str, max_bytes: int) -> object:
    if len(raw) > max_bytes:
        raise InvalidDocument(
            f"this {what} is too large", why=f"{len(raw)} bytes, limit {max_bytes}"
        )
    try:
        text = raw.decode("utf-8")
        _refuse_depth(text, what)
        value: object = json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
        if re.search(r"\\u[dD][89a-fA-F]", text):
            # Half a surrogate pair: a text that can be neither written nor shown.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as err:
        raise InvalidDocument(f"this {what} is not valid JSON", why=str(err)) from err
    return value


def encode(value: object) -> bytes:
    """Write canonical JSON: sorted keys, no spaces, UTF-8."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _refuse_depth(text: str, what: str) -> None:
    """Refuse deep nesting before the decoder recurses into it."""
    depth = at = 0
    # By match, not by search: what the decoder will refuse anyway is not looked through twice.
    while found := _TO_BRACKET.match(text, at):
        at = found.end()
        depth += 1 if text[at - 1] in "[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidDocument(f"this {what} is nested too deeply", why=f"limit {MAX_DEPTH}")


class Fields:
    """A JSON object whose fields are taken out by type.

    Args:
        value: the decoded object.
        what: what the document is; errors name it and the field.
    """

    __slots__ = ("value", "what")

    def __init__(self, value: Mapping[str, object], what: str) -> None:
        self.value = value
        self.what = what

    def __contains__(self, key: str) -> bool:
        return self.value.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; without a default it must be there."""
        return self._get(key, str, default)

    def number(self, key: str, default: int | None = None) -> int:
        """Return a whole number that is not negative."""
        found = self._get(key, int, default)
        if found < 0:
            raise self._wrong(key, "must not be negative")
        return found

    def integer(
        self, key: str, default: int | None = None, *, least: int = 0, most: int = (1 << 63) - 1
    ) -> int:
        """Return a whole number between two bounds; without a default it must be there."""
        found = self._get(key, int, default)
        if not least <= found <= most:
            raise self._wrong(key, f"must be between {least} and {most}")
        return found

    def integers(self, key: str, *, most: int = (1 << 63) - 1) -> tuple[int, ...]:
        """Return a list of whole numbers from 0 to a bound; absent and null are an empty one."""
        found = tuple(self._item(key, item, int) for item in self._get(key, list, []))
        if any(not 0 <= each <= most for each in found):
            raise self._wrong(key, f"must hold numbers between 0 and {most}")
        return found

    def flag(self, key: str) -> bool:
        """Return true or false; absent is false."""
        return self._get(key, bool, default=False)

    def child(self, key: str, *, required: bool = False) -> Self:
        """Return a nested object; absent and null are an empty one."""
        found = self._get(key, dict, None if required else {})
        return type(self)(found, f"{self.what}, {key}")

    def children(self, key: str) -> list[Self]:
        """Return a list of objects; absent and null are an empty one."""
        found = self._get(key, list, [])
        return [
            type(self)(self._item(key, item, dict), f"{self.what}, {key}[{index}]")
            for index, item in enumerate(found)
        ]

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; absent and null are an empty one."""
        return tuple(self._item(key, item, str) for item in self._get(key, list, []))

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object of texts; absent and null are an empty one."""
        found = self._get(key, dict, {})
        return {name: self._item(key, item, str) for name, item in found.items()}

    def time(self, key: str) -> datetime | None:
        """Return an RFC 3339 time in UTC, or None when absent."""
        said = self.text(key, "")
        if not said:
            return None
        # Python reads at most six digits of a second; the documents of Go programs carry nine.
        trimmed = re.sub(r"(\.\d{6})\d+", r"\1", said)
        try:
            return datetime.fromisoformat(trimmed).astimezone(UTC)
        except (ValueError, OverflowError) as err:
            raise self._wrong(key, f"{said!r} is not an RFC 3339 time") from err

    def _get(self, key: str, kind: type[T], default: T | None) -> T:
        found = self.value.get(key)
        if found is None:
            if default is None:
                raise self._wrong(key, "is missing")
            return default
        return self._item(key, found, kind)

    def _item(self, key: str, item: object, kind: type[T]) -> T:
        if not isinstance(item, kind) or (kind is int and isinstance(item, bool)):
            raise self._wrong(key, f"must be {TYPE_NAMES[kind]}, not {_shown(item)}")
        return item

    def _wrong(self, key: str, reason: str) -> BadInput:
        return InvalidDocument(f"this {self.what} is not valid", why=f"field {key!r} {reason}")


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def without_none(value: Mapping[str, object]) -> dict[str, object]:
    """Drop the fields that are None or empty, as Go's omitempty does."""
    return {key: item for key, item in value.items() if item not in (None, "", [], {}, ())}


def rfc3339(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with microseconds."""
    # Not strftime: C libraries write the year 1, Go's word for "never", with one digit.
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
