"""Shell patterns of ``${name#pattern}``, ``%`` and ``/``: ``*`` and ``?``, no ``[]``.

Source: POSIX "Pattern Matching Notation" less bracket expressions; facts/build.md section 1.1.
"""

from __future__ import annotations

import re


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """Cut from the start of ``value`` what matches ``pattern``.

    Raises:
        ValueError: if the pattern escapes what needs no escape.
    """
    found = re.match(_regex(_tokens(pattern), longest=longest), value)
    return value[found.end() :] if found else value


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """Cut from the end of ``value`` what matches ``pattern``; raises like `trim_prefix`."""
    # A regular expression is greedy from the left only, so both are turned round.
    found = re.match(_regex(_tokens(pattern)[::-1], longest=longest), value[::-1])
    return value[: len(value) - found.end()] if found else value


def replace(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    """Put ``replacement`` for the first (or every) longest match; raises like `trim_prefix`."""
    done: list[str] = []
    end = 0
    for found in re.finditer(_regex(_tokens(pattern), longest=True), value):
        # Python finds an empty match right after a non-empty one, Go does not: ${a//*/x} is x.
        if done and found.start() == found.end() == end:
            continue
        done.append(value[end : found.start()] + replacement)
        end = found.end()
        if not every:
            break
    return "".join(done) + value[end:]


def _tokens(pattern: str) -> list[str]:
    """Split into ``*``, ``?`` and literal characters, the latter marked by a leading ``=``."""
    tokens: list[str] = []
    chars = iter(pattern)
    for char in chars:
        if char in "*?":
            tokens.append(char)
        elif char != "\\":
            tokens.append("=" + char)
        else:
            escaped = next(chars, "")
            # The last two end the pattern inside ${}, so there they need the escape.
            if escaped not in ("*", "?", "\\", "}", "/"):
                raise ValueError(f"invalid escape '\\{escaped}'")
            tokens.append("=" + escaped)
    return tokens


def _regex(tokens: list[str], *, longest: bool) -> re.Pattern[str]:
    any_text = ".*" if longest else ".*?"
    parts = {"*": any_text, "?": "."}
    return re.compile("".join(parts.get(t) or re.escape(t[1:]) for t in tokens), re.DOTALL)
