"""The published schema of compose files, where it was fetched when this package was built.

It is the work of others and not in the repository: see setup.py and docs/adr/0026.  Without
it the checks of ``stance`` and of the types are all there is.

Of JSON Schema this knows what that schema uses, and says in people's words what is expected;
importing the usual library for it takes longer than all the rest (two seconds where it has
JupyterLab's extras).  The tests compare the two.

Spec: JSON Schema draft 2020-12, "Core" and "Validation".
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocimagic.compose.tree import Map, Node, Seq, kind, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA = Path(__file__).with_name("static") / "compose-spec.json"
MISSING = (
    "the published compose schema was not fetched when ocimagic was installed: "
    "files are checked by our own knowledge alone"
)
_WORDS = {
    "string": "a text",
    "object": "keys with values",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}
_SILENT = frozenset({"$schema", "$id", "$defs", "title", "description", "deprecated", "default"})
Schema = Any  # a JSON object that is a schema


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something that is not as the schema has it.

    Attributes:
        depth: how far below the root it is.
        types: that would fit, where the type is wrong.
    """

    node: Node
    depth: int
    what: str
    types: tuple[str, ...] = ()
    hint: str | None = None


def is_there(path: Path = SCHEMA) -> bool:
    """Tell whether the schema can be used."""
    return path.exists()


def check(node: Node, path: Path = SCHEMA) -> None:
    """See that a file, its variables put in, is what the schema says.

    Raises:
        InvalidDocument: it is not; says the place, and what was expected.
    """
    root = document(path)
    found, _ = _Checker(root).check(root, node, 0)
    if found:
        first = found[0]
        raise first.node.wrong(first.what, hint=first.hint)


@functools.cache
def document(path: Path = SCHEMA) -> Schema:
    """Return the schema as it was published."""
    return json.loads(path.read_text(encoding="utf-8"))


Found = tuple[list[Misfit], set[str]]  # what does not fit, and the keys that something is said of


class _Checker:
    """One check of one document."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def check(self, schema: Schema, node: Node, depth: int) -> Found:
        """Return what does not fit, and which keys the schema says something of."""
        found: list[Misfit] = []
        known: set[str] = set()
        for word, value in schema.items():
            if word in _SILENT or word == "unevaluatedProperties":
                continue
            more, keys = _KEYWORDS[word](self, schema, value, node, depth)
            found += more
            known |= keys
        if schema.get("unevaluatedProperties") is False:
            found += _unknown(node, known, depth)
        return found, known

    def reference(self, _: Schema, value: str, node: Node, depth: int) -> Found:
        target = self._root
        for part in value.removeprefix("#/").split("/"):
            target = target[part]
        return self.check(target, node, depth)

    def all_of(self, _: Schema, value: list[Schema], node: Node, depth: int) -> Found:
        each = [self.check(part, node, depth) for part in value]
        return [m for found, _ in each for m in found], {k for _, keys in each for k in keys}

    def any_of(self, _: Schema, value: list[Schema], node: Node, depth: int) -> Found:
        each = [self.check(part, node, depth) for part in value]
        fitting = [keys for found, keys in each if not found]
        if fitting:
            return [], set().union(*fitting)
        return _meant([found for found, _ in each], node, depth), set()

    def one_of(self, schema: Schema, value: list[Schema], node: Node, depth: int) -> Found:
        fitting = [part for part in value if not self.check(part, node, depth)[0]]
        if len(fitting) > 1:
            return [Misfit(node, depth, "it fits several forms at once")], set()
        return self.any_of(schema, value, node, depth)

    def properties(self, _: Schema, value: Schema, node: Node, depth: int) -> Found:
        if not isinstance(node.value, Map):
            return [], set()
        keys = [key for key in node.value if key in value]
        return self._below(((value[key], node.at(key)) for key in keys), depth), set(keys)

    def patterns(self, _: Schema, value: Schema, node: Node, depth: int) -> Found:
        if not isinstance(node.value, Map):
            return [], set()
        pairs = [(k, part) for k in node.value for p, part in value.items() if re.search(p, k)]
        return self._below(((part, node.at(key)) for key, part in pairs), depth), {
            key for key, _ in pairs
        }

    def additional(self, schema: Schema, value: Schema, node: Node, depth: int) -> Found:
        if not isinstance(node.value, Map):
            return [], set()
        patterns = schema.get("patternProperties", {})
        named = {
            key
            for key in node.value
            if key in schema.get("properties", {}) or any(re.search(p, key) for p in patterns)
        }
        rest = [key for key in node.value if key not in named]
        if value is False:
            return _unknown(node, named, depth), set()
        if value is True:
            return [], set(rest)
        return self._below(((value, node.at(key)) for key in rest), depth), set(rest)

    def items(self, _: Schema, value: Schema, node: Node, depth: int) -> Found:
        if not isinstance(node.value, Seq):
            return [], set()
        return self._below(((value, each) for each in node.items()), depth), set()

    def _below(self, pairs: Iterator[tuple[Schema, Node]], depth: int) -> list[Misfit]:
        return [m for schema, node in pairs for m in self.check(schema, node, depth + 1)[0]]


def _unknown(node: Node, known: set[str], depth: int) -> list[Misfit]:
    return [
        Misfit(each, depth + 1, "this key is not known here")
        for key, each in (node.fields() if isinstance(node.value, Map) else ())
        if key not in known
    ]


def _meant(ways: list[list[Misfit]], node: Node, depth: int) -> list[Misfit]:
    """Of several ways that do not fit, return why the one that was meant does not.

    That is one whose type is right; where none is, all their types are what was expected.
    """
    own = [way[0] for way in ways if way[0].depth == depth and way[0].types]
    others = [way for way in ways if not (way[0].depth == depth and way[0].types)]
    if others:
        return max(others, key=lambda way: max(each.depth for each in way))
    types = tuple(dict.fromkeys(word for each in own for word in each.types))
    return [_wrong_type(node, depth, types)]


def _wrong_type(node: Node, depth: int, types: tuple[str, ...]) -> Misfit:
    words = [_WORDS[each] for each in types if each != "null"] or ["nothing"]
    hint = None
    if "string" in types and isinstance(node.value, bool | int | float):
        hint = "put it in quotes if it is a text"
    elif isinstance(node.value, Map) and "array" in types:
        hint = "is a - missing, or is it indented too far?"
    expected = " or ".join(words)
    return Misfit(node, depth, f"expected {expected}, not {kind(node.value)}", types, hint)


# -- keywords that look at one value ------------------------------------------------------


def _is(value: object, type_: str) -> bool:
    match type_:
        case "string":
            return isinstance(value, str)
        case "object":
            return isinstance(value, Map)
        case "array":
            return isinstance(value, Seq)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            is_whole = isinstance(value, float) and value.is_integer()
            return (isinstance(value, int) and not isinstance(value, bool)) or is_whole
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _type(_c: _Checker, _s: Schema, value: str | list[str], node: Node, depth: int) -> Found:
    types = (value,) if isinstance(value, str) else tuple(value)
    if any(_is(node.value, each) for each in types):
        return [], set()
    return [_wrong_type(node, depth, types)], set()


def _enum(_c: _Checker, _s: Schema, value: list[object], node: Node, depth: int) -> Found:
    if node.value in value:
        return [], set()
    words = ", ".join(str(each) for each in value)
    return [Misfit(node, depth, f"{node.value!r} is not known", hint=f"it is {words}")], set()


def _required(_c: _Checker, _s: Schema, value: list[str], node: Node, depth: int) -> Found:
    if not isinstance(node.value, Map):
        return [], set()
    missing = [key for key in value if key not in node.value]
    return [Misfit(node, depth, f"{key} is missing") for key in missing], set()


def _unique(_c: _Checker, _s: Schema, value: bool, node: Node, depth: int) -> Found:
    seen: list[object] = []
    for each in node.items() if value and isinstance(node.value, Seq) else ():
        found = plain(each.value)
        if any(found == other and type(found) is type(other) for other in seen):
            return [Misfit(each, depth + 1, f"{each.value!r} is in this list twice")], set()
        seen.append(found)
    return [], set()


def _pattern(_c: _Checker, _s: Schema, value: str, node: Node, depth: int) -> Found:
    if not isinstance(node.value, str) or re.search(value, node.value):
        return [], set()
    return [Misfit(node, depth, f"{node.value!r} is not of the form {value}")], set()


def _minimum(_c: _Checker, _s: Schema, value: float, node: Node, depth: int) -> Found:
    if not _is(node.value, "number") or float(str(node.value)) >= value:
        return [], set()
    return [Misfit(node, depth, f"expected at least {value}, not {node.value}")], set()


def _maximum(_c: _Checker, _s: Schema, value: float, node: Node, depth: int) -> Found:
    if not _is(node.value, "number") or float(str(node.value)) <= value:
        return [], set()
    return [Misfit(node, depth, f"expected at most {value}, not {node.value}")], set()


_KEYWORDS: dict[str, Callable[[_Checker, Schema, Any, Node, int], Found]] = {
    "$ref": _Checker.reference,
    "allOf": _Checker.all_of,
    "anyOf": _Checker.any_of,
    "oneOf": _Checker.one_of,
    "properties": _Checker.properties,
    "patternProperties": _Checker.patterns,
    "additionalProperties": _Checker.additional,
    "items": _Checker.items,
    "type": _type,
    "enum": _enum,
    "required": _required,
    "uniqueItems": _unique,
    "pattern": _pattern,
    "minimum": _minimum,
    "maximum": _maximum,
}
