"""The part of docker's ``--format`` templates that reads fields: ``{{.State.Status}}``.

Go's template language has ranges, conditions and pipes; those are refused by name.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, NotBuiltYet, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_FIELD = re.compile(r"(?:(json|len|println)\s+)?(\.|(?:\.[A-Za-z_][A-Za-z0-9_]*)+)")
_KNOWN_TO_GO = ("range", "if", "with", "index", "join", "split", "end", "else", "printf", "upper")
_ESCAPES = {r"\n": "\n", r"\t": "\t"}


def fill(template: str, document: Mapping[str, object]) -> str:
    """Put fields of a document into a template.

    Raises:
        NotBuiltYet: an action of Go's that we do not have.
        InvalidOption: a field that is not there, or braces that do not close.
    """
    for typed, meant in _ESCAPES.items():
        template = template.replace(typed, meant)
    filled = _ACTION.sub(lambda found: _value(found[1], document), template)
    if "{{" in _ACTION.sub("", template):
        raise InvalidOption(f"template {template!r} has an open {{{{ without }}}}")
    return filled


def _value(action: str, document: Mapping[str, object]) -> str:
    found = _FIELD.fullmatch(action)
    if not found:
        raise _refusal(action)
    function, path = found.groups()
    value = _walk(path, document)
    if function == "json":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if function == "len":
        return str(len(value)) if isinstance(value, dict | list | str) else "0"
    return go_text(value) + ("\n" if function == "println" else "")


def _walk(path: str, document: Mapping[str, object]) -> object:
    value: object = document
    for key in path.split(".")[1:]:
        if not key:
            continue
        if not isinstance(value, dict):
            raise InvalidOption(
                f"{path} has no field {key!r}", why="what is before it is no object"
            )
        if key not in value:
            near = nearest(key, value)
            hint = f"did you mean {near}?" if near else f"there are: {', '.join(value)}"
            raise InvalidOption(f"no field {key!r} in {path}", hint=hint)
        value = value[key]
    return value


def go_text(value: object) -> str:
    """Write a value as Go's templates do: ``[a b]``, ``map[k:v]``, ``true``."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case dict():
            return f"map[{' '.join(f'{key}:{go_text(item)}' for key, item in value.items())}]"
        case list() | tuple():
            return f"[{' '.join(go_text(item) for item in value)}]"
        case _:
            return str(value)


def _refusal(action: str) -> NotBuiltYet | InvalidOption:
    if action.partition(" ")[0] in _KNOWN_TO_GO or "|" in action:
        return NotBuiltYet(
            f"the template action {{{{{action}}}}} is not built yet",
            hint="field paths such as {{.State.Status}} and {{json .Config}} are",
        )
    return InvalidOption(
        f"the template action {{{{{action}}}}} cannot be understood",
        hint="write a field path such as {{.Config.Cmd}} or {{json .Config}}",
    )
