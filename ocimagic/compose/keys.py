"""Which keys and values can stand at a place of a compose file: what an editor offers.

It is read from the published schema, so there is nothing where that was not fetched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ocimagic.compose import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ITEM = "-"  # the part of a path that stands for "in a list"
_ALTERNATIVES = ("oneOf", "anyOf", "allOf")
_LINE = re.compile(r"^(?P<indent> *)(?P<items>(?:- +)*)(?:(?P<key>[\w.\-\"']+) *:(?:\s|$))?")


def path_at(
    lines: Sequence[str], number: int, indent: int, *, in_list: bool = False
) -> tuple[str, ...]:
    """Return the keys that lead to a line, outermost first.

    Args:
        lines: of the file.
        number: of the line, from 0.
        indent: columns before its text, or before its ``-``.
        in_list: it begins with ``-``.
    """
    path = [ITEM] if in_list else []
    limit = indent + in_list  # a list may begin in the column of its key
    siblings = indent if in_list else -1
    for text in reversed(lines[:number]):
        found = _LINE.match(text)
        if not text.strip() or text.lstrip().startswith("#") or found is None:
            continue
        own = len(found["indent"])
        if found["items"] and own == siblings:
            continue
        inner = own + len(found["items"])
        if found["key"] and inner < limit:
            path.append(found["key"].strip("\"'"))
            limit, siblings = inner, -1
        if found["items"] and own < limit:
            path.append(ITEM)
            limit, siblings = own + 1, own
    return tuple(reversed(path))


def keys_at(path: Sequence[str], file: Path = schema.SCHEMA) -> dict[str, str]:
    """Return the keys of a mapping at a path, each with what the schema says of it."""
    found: dict[str, str] = {}
    for each in _schemas(path, file):
        for key, value in each.get("properties", {}).items():
            found.setdefault(key, value.get("description", ""))
    return found


def values_at(path: Sequence[str], file: Path = schema.SCHEMA) -> tuple[str, ...]:
    """Return the words that can stand at a path, where the schema lists them."""
    found: dict[str, None] = {}
    for each in _schemas(path, file):
        kinds = each.get("type", ())
        if "boolean" in ([kinds] if isinstance(kinds, str) else kinds):
            found |= dict.fromkeys(("true", "false"))
        words = each.get("enum", [])
        found |= dict.fromkeys(word for word in words if isinstance(word, str))
    return tuple(found)


def _schemas(path: Sequence[str], file: Path) -> list[Any]:
    """Return every schema that what stands at a path may follow."""
    if not schema.is_there(file):
        return []
    root = schema.document(file)
    here = list(_spread(root, root))
    for key in path:
        here = [
            more for each in here for next_ in _below(each, key) for more in _spread(root, next_)
        ]
    return here


def _below(here: Any, key: str) -> Iterator[Any]:  # noqa: ANN401  JSON
    if key == ITEM:
        if isinstance(items := here.get("items"), dict):
            yield items
        return
    if key in here.get("properties", {}):
        yield here["properties"][key]
        return
    patterns = here.get("patternProperties", {})
    yield from (value for pattern, value in patterns.items() if re.search(pattern, key))
    if isinstance(more := here.get("additionalProperties"), dict):
        yield more


def _spread(root: Any, here: Any) -> Iterator[Any]:  # noqa: ANN401  JSON
    """Yield a schema with those it refers to and its alternatives."""
    yield here
    if reference := here.get("$ref"):
        target = root
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        yield from _spread(root, target)
    for word in _ALTERNATIVES:
        for each in here.get(word, ()):
            yield from _spread(root, each)
