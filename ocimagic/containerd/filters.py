"""containerd's filters: ``name==web``, ``labels."a.b"~=x,id``: all parts of one, any of several.

Source: containerd, filters/filter.go (the grammar in its package comment).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from ocimagic.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Look = Callable[[Sequence[str]], str | None]

T = TypeVar("T")
_FIELD = r'(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*")'
_PART = re.compile(
    rf"\s*(?P<path>{_FIELD}(?:\.{_FIELD})*)\s*"
    r'(?:(?P<how>==|!=|~=)\s*(?P<value>"(?:[^"\\]|\\.)*"|\|(?:[^|\\]|\\.)*\||[^,\s]*))?\s*(?:,|$)'
)


def chosen(found: Iterable[T], filters: Sequence[str], look: Callable[[T], Look]) -> list[T]:
    """Return what fits at least one of the filters; without any, all.

    Args:
        found: to choose from.
        filters: as clients write them.
        look: gives what finds a field of one; None if it has none.

    Raises:
        BadInput: a filter cannot be understood.
    """
    conditions = [_parsed(each) for each in filters if each]
    if not conditions:
        return list(found)
    return [
        each
        for each in found
        if any(all(fits(look(each)) for fits in parts) for parts in conditions)
    ]


def _parsed(text: str) -> list[Callable[[Look], bool]]:
    parts, place = [], 0
    while place < len(text):
        found = _PART.match(text, place)
        if found is None or found.end() == place:
            raise BadInput(f"filters: parse error at {text[place:][:40]!r}")
        names = [_unquoted(each) for each in re.findall(_FIELD, found["path"])]
        parts.append(_condition(names, found["how"], _unquoted(found["value"] or "")))
        place = found.end()
    return parts


def _condition(names: list[str], how: str | None, value: str) -> Callable[[Look], bool]:
    if how == "~=":
        try:
            pattern = re.compile(value)
        except re.error as err:
            raise BadInput(f"filters: {value!r} is no regular expression", why=str(err)) from err
        return lambda look: pattern.search(look(names) or "") is not None
    if how == "==":
        return lambda look: look(names) == value
    if how == "!=":
        return lambda look: look(names) != value
    return lambda look: look(names) is not None


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in '"|':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def fields_of(labels: object, **values: str) -> Look:
    """Return what finds a field by its name, or a label below ``labels``."""
    known = labels if isinstance(labels, dict) else {}

    def look(names: Sequence[str]) -> str | None:
        if names[0] == "labels" and len(names) > 1:
            return known.get(".".join(names[1:]))
        return values.get(names[0])

    return look
