"""From text to values: YAML as compose reads it, which is not all of what PyYAML takes.

``yes``, ``22:22`` and ``2020-01-01`` are texts, as in YAML 1.2; a key that comes twice is an
error; aliases and ``<<`` are resolved, and only so many of them.

Spec: YAML 1.2.2, "Core Schema"; Compose Specification 10-fragments.md and 13-merge.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ocimagic.compose.tree import Map, Place, Seq
from ocimagic.errors import InvalidDocument

if TYPE_CHECKING:
    from ocimagic.compose.tree import Value

_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_OCTAL = re.compile(r"0o?([0-7]+)")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
_TAGS = {"!reset": "reset", "!override": "override"}
_MAX_VALUES = 200_000
_MAX_DEPTH = 100
_MAX_DIGITS = 100  # what is longer is no number that anybody means


def parse(text: str, file: str) -> list[Map]:
    """Read the documents of a file; an empty one is left out.

    Args:
        text: the file.
        file: how errors call it.

    Raises:
        InvalidDocument: it is not YAML, or not keys with values.
    """
    import yaml

    try:
        roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as err:
        raise _not_yaml(err, file) from err
    except RecursionError as err:
        raise InvalidDocument(f"{file} is nested too deeply") from err
    made = []
    for root in roots:
        value = _Tree(file).value(root)
        if value is None:
            continue
        if not isinstance(value, Map):
            raise InvalidDocument(
                f"{file} has no keys at its top",
                hint="begin with services:",
                where=str(Place(file, root.start_mark.line + 1, root.start_mark.column + 1)),
            )
        made.append(value)
    return made


def _not_yaml(err: Any, file: str) -> InvalidDocument:  # noqa: ANN401  PyYAML has no types
    mark = getattr(err, "problem_mark", None) or getattr(err, "context_mark", None)
    where = str(Place(file, mark.line + 1, mark.column + 1)) if mark else file
    problem = getattr(err, "problem", None) or str(err)
    context = getattr(err, "context", None)
    why = f"{context}: {problem}" if context else str(problem)
    hint = "indent with spaces" if "'\\t'" in why else None
    return InvalidDocument(f"{file} is not YAML", why=why, hint=hint, where=where)


class _Tree:
    """One file on its way from PyYAML's nodes to values."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._left = _MAX_VALUES
        self._open: set[int] = set()  # what stands around the node that is read

    def value(self, node: Any) -> Value:  # noqa: ANN401  PyYAML has no types
        import yaml

        self._left -= 1
        if self._left < 0:
            raise InvalidDocument(f"{self._file} has too many values", why="its aliases multiply")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            raise self._wrong(node, "an alias stands inside of its own anchor")
        if len(self._open) >= _MAX_DEPTH:
            raise self._wrong(node, "it is nested too deeply")
        self._open.add(id(node))
        try:
            return self._map(node) if isinstance(node, yaml.MappingNode) else self._seq(node)
        finally:
            self._open.discard(id(node))

    def _seq(self, node: Any) -> Seq:  # noqa: ANN401
        made = Seq(self._place(node))
        for each in node.value:
            made.add(self.value(each), self._place(each))
        return made

    def _map(self, node: Any) -> Map:  # noqa: ANN401
        made = Map(self._place(node))
        merged: list[Any] = []
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key_node.style is None and key == "<<":
                merged.append(value_node)
                continue
            if key in made or key in made.tags:
                first = made.places[key]
                raise self._wrong(
                    key_node, f"the key {key!r} is there twice", f"it is in line {first.line} too"
                )
            made.places[key] = self._place(key_node)
            if value_node.tag in _TAGS:
                made.tags[key] = _TAGS[value_node.tag]
            if made.tags.get(key) != "reset":
                made.put(key, self.value(value_node), self._place(key_node))
        for each in merged:
            self._merge(made, each)
        return made

    def _merge(self, made: Map, node: Any) -> None:  # noqa: ANN401
        """Take over what ``<<`` names; keys of its own are stronger, earlier ones too."""
        value = self.value(node)
        for each in value if isinstance(value, Seq) else (value,):
            if not isinstance(each, Map):
                raise self._wrong(node, "<< wants an alias of keys with values, or a list of such")
            for key in each:
                if key not in made:
                    made.put(key, each[key], each.places[key])

    def _key(self, node: Any) -> str:  # noqa: ANN401
        if not hasattr(node, "style") or not isinstance(node.value, str):
            raise self._wrong(node, "a key is a text")
        return str(node.value)

    def _scalar(self, node: Any) -> Value:  # noqa: ANN401
        text = str(node.value)
        tag = str(node.tag)
        if tag.startswith("!") and tag not in {"!", *_TAGS}:
            raise self._wrong(node, f"the tag {tag} is not known", "!reset and !override are")
        if node.style is not None or tag == "!":
            return text
        if tag == "tag:yaml.org,2002:str" and ":" in tag and _has_tag(node):
            return text
        return scalar(text)

    def _place(self, node: Any) -> Place:  # noqa: ANN401
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _wrong(self, node: Any, what: str, why: str | None = None) -> InvalidDocument:  # noqa: ANN401
        return InvalidDocument(
            f"{self._file} cannot be understood: {what}", why=why, where=str(self._place(node))
        )


def _has_tag(node: Any) -> bool:  # noqa: ANN401
    """Tell ``!!str 5`` from ``5``, by how far the mark is from the text."""
    return (
        bool(node.start_mark.buffer)
        and node.start_mark.buffer[node.start_mark.pointer : node.start_mark.pointer + 2] == "!!"
    )


def scalar(text: str) -> str | int | float | bool | None:
    """Return what a plain scalar means."""
    if text in _NULL:
        return None
    if text in _TRUE | _FALSE:
        return text in _TRUE
    if len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if found := _OCTAL.fullmatch(text):
        return int(found[1], 8)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
