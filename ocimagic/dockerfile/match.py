"""Wildcards: Go's ``filepath.Match``, which COPY and ADD use.

``*`` and ``?`` do not cross a ``/``, ``[a-z]`` and ``[^a-z]`` are classes, a backslash
takes the next character as it is.  Python's fnmatch has other rules for all four.

Source: Go documentation, path/filepath "Match"; facts/build.md section 1.2 (COPY).
"""

from __future__ import annotations

import functools
import re

from ocimagic.errors import BadInput

_ONE = {"*": "[^/]*", "?": "[^/]"}


def match(pattern: str, name: str) -> bool:
    """Tell whether the whole ``name`` matches; both are ``/``-separated.

    Raises:
        BadInput: for a pattern with an open class or a lone backslash at its end.
    """
    return _compiled(pattern).fullmatch(name) is not None


def has_wildcard(text: str) -> bool:
    """Tell whether a path has a ``*``, ``?`` or ``[`` that is not escaped.

    A path without one is taken as it is, backslashes included.
    """
    escaped = False
    for char in text:
        if not escaped and char in "*?[":
            return True
        escaped = char == "\\" and not escaped
    return False


def check_pattern(pattern: str) -> None:
    """Raise BadInput unless ``pattern`` follows filepath.Match's grammar."""
    _compiled(pattern)


def take_class(pattern: str, start: int) -> tuple[str, int]:
    """Translate the class that opens at ``start``.

    Returns its regular expression and the index after its ``]``.

    Raises:
        BadInput: as `match` does.
    """
    at = start + 1
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while not (pattern.startswith("]", at) and ranges):
        low, at = _class_character(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_character(pattern, at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")  # z-a holds nothing, and is no mistake to Go
    inner = "".join(ranges)
    if not inner:
        return (r"[\s\S]" if negated else r"(?!)"), at + 1
    return f"[{'^' if negated else ''}{inner}]", at + 1


def _class_character(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("\\", at):
        at += 1
    elif pattern[at : at + 1] in {"-", "]"}:
        raise _bad(pattern)
    # The class must go on after this character, if only with its "]".
    if at + 1 >= len(pattern):
        raise _bad(pattern)
    return pattern[at], at + 1


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "[":
            part, at = take_class(pattern, at)
            parts.append(part)
            continue
        if char == "\\":
            at += 1
            if at == len(pattern):
                raise _bad(pattern)
            parts.append(re.escape(pattern[at]))
        elif char == "*" and parts[-1:] == [_ONE["*"]]:
            pass  # ** is * here; twice would only make the search slow
        else:
            parts.append(_ONE.get(char) or re.escape(char))
        at += 1
    return re.compile("".join(parts), re.DOTALL)


def _bad(pattern: str) -> BadInput:
    return BadInput(
        f"syntax error in pattern: {pattern}",
        hint="close every [ with a ], and write \\[ or [[] for the character itself",
    )
