"""The functions of Go's templates, and docker's own.

Source: Go's package text/template, "Functions"; docker/cli's templates.
"""

from __future__ import annotations

import html
import json
import re
import urllib.parse
from typing import TYPE_CHECKING, Any

from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable

_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")
_MAX_WIDTH = 10_000


def go_text(value: object) -> str:
    """Write a value as Go's templates do: ``[a b]``, ``map[k:v]``, ``true``."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case dict():
            items = sorted(value.items(), key=lambda item: str(item[0]))
            return f"map[{' '.join(f'{key}:{go_text(item)}' for key, item in items)}]"
        case list() | tuple():
            return f"[{' '.join(go_text(item) for item in value)}]"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def truth(value: object) -> bool:
    """Say whether ``if`` takes a value for true: not false, 0, nil or empty."""
    return bool(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _len(value: object) -> int:
    if isinstance(value, dict | list | tuple):
        return len(value)
    if isinstance(value, str):
        return len(value.encode(errors="surrogateescape"))
    if value is None:
        return 0
    raise InvalidOption(f"the template asks for the length of {go_text(value)}")


def _index(value: object, *keys: object) -> object:
    for key in keys:
        match value:
            case None | "":
                return ""
            case dict():
                value = value.get(key, "")
            case list() | tuple() if isinstance(key, int) and 0 <= key < len(value):
                value = value[key]
            case list() | tuple():
                raise InvalidOption(f"the template asks for item {go_text(key)} of {len(value)}")
            case _:
                raise InvalidOption(f"the template cannot take an item of {go_text(value)!r}")
    return value


def _slice(value: object, *ends: object) -> object:
    if not isinstance(value, str | list | tuple) or not all(isinstance(e, int) for e in ends):
        raise InvalidOption(f"the template cannot take a part of {go_text(value)!r}")
    first = int(str(ends[0])) if ends else 0
    last = int(str(ends[1])) if len(ends) > 1 else len(value)
    if not 0 <= first <= last <= len(value):
        raise InvalidOption(f"the template asks for {first} to {last} of {len(value)}")
    return value[first:last]


def _print(*values: object) -> str:
    """Join as Go's Sprint: a blank only between two values that are no texts."""
    parts: list[str] = []
    for number, value in enumerate(values):
        before = values[number - 1] if number else ""
        if number and not isinstance(before, str) and not isinstance(value, str):
            parts.append(" ")
        parts.append(go_text(value))
    return "".join(parts)


def _println(*values: object) -> str:
    return " ".join(go_text(value) for value in values) + "\n"


def _printf(form: object, *values: object) -> str:
    waiting = list(values)

    def fill(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if not waiting:
            return f"%!{verb}(MISSING)"
        text = _formatted(verb, waiting.pop(0), precision, flags)
        wide = min(int(width or 0), _MAX_WIDTH)
        if "-" in flags:
            return text.ljust(wide)
        return text.zfill(wide) if "0" in flags and verb in "dxXfge" else text.rjust(wide)

    return _VERB.sub(fill, str(form))


def _formatted(verb: str, value: object, precision: str | None, flags: str) -> str:
    match verb, value:
        case "q", _:
            return json.dumps(go_text(value), ensure_ascii=False)
        case "d", int():
            return f"{value:+d}" if "+" in flags else f"{value:d}"
        case (("x" | "X"), int()):
            return f"{value:{verb}}"
        case (("f" | "g" | "e"), int() | float()):
            return f"{value:.{min(int(precision or 6), 30)}{verb}}"
        case "t", bool():
            return go_text(value)
        case (("s" | "v"), _):
            text = go_text(value)
            return text[: int(precision)] if precision and verb == "s" else text
        case _:
            return f"%!{verb}({go_text(value)})"


def _compare(one: object, other: object) -> int:
    if isinstance(one, bool | None.__class__) or isinstance(other, bool | None.__class__):
        raise InvalidOption("the template compares what has no order")
    if isinstance(one, int | float) and isinstance(other, int | float):
        return (one > other) - (one < other)
    if isinstance(one, str) and isinstance(other, str):
        return (one > other) - (one < other)
    raise InvalidOption(f"the template compares {go_text(one)!r} with {go_text(other)!r}")


def _equal(one: object, *others: object) -> bool:
    return any(type(one) is type(other) and one == other for other in others)


def _and(*values: object) -> object:
    return next((value for value in values if not truth(value)), values[-1])


def _or(*values: object) -> object:
    return next((value for value in values if truth(value)), values[-1])


def _split(text: object, separator: object) -> list[str]:
    said, mark = go_text(text), str(separator)
    return said.split(mark) if mark else list(said)


def _join(values: object, separator: object) -> str:
    if values is None:
        return ""
    if not isinstance(values, list | tuple):
        raise InvalidOption(f"the template joins {go_text(values)!r}, which is no list")
    return str(separator).join(go_text(value) for value in values)


def _pad(text: object, before: object, after: object) -> str:
    said = go_text(text)
    if not said or not isinstance(before, int) or not isinstance(after, int):
        return said
    return " " * min(max(before, 0), _MAX_WIDTH) + said + " " * min(max(after, 0), _MAX_WIDTH)


def _truncate(text: object, length: object) -> str:
    said = go_text(text)
    return said[: max(length, 0)] if isinstance(length, int) else said


def _title(text: object) -> str:
    return re.sub(r"(^|\s)(\S)", lambda found: found[1] + found[2].upper(), go_text(text))


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "json": _json,
    "len": _len,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": _println,
    "printf": _printf,
    "not": lambda value: not truth(value),
    "and": _and,
    "or": _or,
    "eq": _equal,
    "ne": lambda one, other: not _equal(one, other),
    "lt": lambda one, other: _compare(one, other) < 0,
    "le": lambda one, other: _compare(one, other) <= 0,
    "gt": lambda one, other: _compare(one, other) > 0,
    "ge": lambda one, other: _compare(one, other) >= 0,
    "split": _split,
    "join": _join,
    "title": _title,
    "lower": lambda text: go_text(text).lower(),
    "upper": lambda text: go_text(text).upper(),
    "pad": _pad,
    "truncate": _truncate,
    "html": lambda *values: html.escape(_print(*values)),
    "js": lambda *values: json.dumps(_print(*values))[1:-1],
    "urlquery": lambda *values: urllib.parse.quote_plus(_print(*values)),
}


def _checked(name: str, function: Callable[..., object]) -> Callable[..., object]:
    def call(*values: Any) -> object:  # noqa: ANN401  what a template gives
        try:
            return function(*values)
        except (TypeError, IndexError) as err:
            raise InvalidOption(
                f"the template function {name} does not take {len(values)} such arguments"
            ) from err

    return call


FUNCTIONS = {name: _checked(name, function) for name, function in _FUNCTIONS.items()}
