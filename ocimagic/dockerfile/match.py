"""Wildcards: Go's ``filepath.Match``, which COPY and ADD use.

``*`` and ``?`` do not cross a ``/``, ``[a-z]`` and ``[^a-z]`` are classes, a backslash
takes the next character as it is.  Python's fnmatch has other rules for all four.

Source: Go documentation, path/filepath "Match"; facts/build.md section 1.2 (COPY).
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import TYPE_CHECKING, Protocol

from ocimagic.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STAR = "[^/]*"
DEEP = ".*"
DIRECTORIES = "(?:.*/)?"
_LAZY_DEEP = {DEEP: ".*?", DIRECTORIES: "(?:.*?/)??"}
_ENTRY, _INSIDE = "<entry>", "<inside>"
_WAYS = {DIRECTORIES: (_ENTRY, _INSIDE)}


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
def _compiled(pattern: str) -> Matcher:
    tokens: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "[":
            part, at = take_class(pattern, at)
            tokens.append(part)
            continue
        if char == "\\":
            at += 1
            if at == len(pattern):
                raise _bad(pattern)
            tokens.append(re.escape(pattern[at]))
        else:
            tokens.append({"*": STAR, "?": "[^/]"}.get(char) or re.escape(char))
        at += 1
    return compiled(tokens)


class Matcher(Protocol):
    """Says whether a whole name fits."""

    def fullmatch(self, name: str, /) -> object | None:
        """Return None if it does not."""


def compiled(tokens: Sequence[str]) -> Matcher:
    """Return what tells whether a name fits, and never tries for long.

    What stands between two wildcards is best found as far to the left as it is: nothing that
    comes later could do with less.  So each is sought once, and never tried again elsewhere.
    That is not so for directories that begin within a name (``a**b``): those are rare.

    Args:
        tokens: ``STAR``, ``DEEP``, ``DIRECTORIES``, and for all else what takes one character.
    """
    deep = [place for place, each in enumerate(tokens) if each in _LAZY_DEEP]
    if not all(_is_at_border(tokens, place) for place in deep):
        return _Automaton(tokens)
    borders = [*deep, len(tokens)]
    parts = [_block(tokens[: borders[0]], is_last=not deep)]
    for begin, end in itertools.pairwise(borders):
        is_last = end == len(tokens)
        block = _block(tokens[begin + 1 : end], is_last=is_last)
        wildcard = tokens[begin]
        parts.append(f"{wildcard}{block}" if is_last else f"(?>{_LAZY_DEEP[wildcard]}{block})")
    return re.compile("".join(parts), re.DOTALL)


def _is_at_border(tokens: Sequence[str], place: int) -> bool:
    """Say whether a wildcard may take up whatever comes, where it stands."""
    before = tokens[place - 1] if place else "/"
    return tokens[place] == DEEP or before in ("/", DIRECTORIES)


class _Automaton:
    """All ways to read a name at once: a bit for each token that may come next.

    Args:
        tokens: see ``compiled``.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        # Directories are two: what may be left out, and what goes on until a slash.
        self._tokens = [part for each in tokens for part in _WAYS.get(each, (each,))]
        self._optional = self._bits(lambda each: each in (STAR, DEEP))
        self._either = self._bits(lambda each: each == _ENTRY)
        self._stay_always = self._bits(lambda each: each in (DEEP, _INSIDE))
        self._stay_below = self._stay_always | self._bits(lambda each: each == STAR)
        self._end = 1 << len(self._tokens)
        self._takes = functools.lru_cache(maxsize=256)(self._taking)

    def _bits(self, fits: Callable[[str], bool]) -> int:
        return sum(1 << place for place, each in enumerate(self._tokens) if fits(each))

    def _taking(self, char: str) -> int:
        """Return the tokens that a character takes one step on."""
        wildcards = {STAR, DEEP, _ENTRY, _INSIDE}
        return self._bits(
            lambda each: (
                char == "/" if each == _INSIDE
                else each not in wildcards and re.fullmatch(each, char, re.DOTALL) is not None
            )
        )  # fmt: skip

    def fullmatch(self, name: str, /) -> object | None:
        """Return something if the whole name fits."""
        state = self._reached(1)
        for char in name:
            stay = self._stay_always if char == "/" else self._stay_below
            state = self._reached((state & stay) | ((state & self._takes(char)) << 1))
            if not state:
                return None
        return state & self._end or None

    def _reached(self, state: int) -> int:
        """Add what is reached without a character."""
        while True:
            skipped = (state & self._optional) << 1
            entered = (state & self._either) << 1 | (state & self._either) << 2
            more = state | skipped | entered
            if more == state:
                return state
            state = more


def _block(tokens: Sequence[str], *, is_last: bool) -> str:
    """Translate what has no wildcard but ``STAR``; the last block ends where the name does."""
    segments: list[list[str]] = [[]]
    for each in tokens:
        if each == STAR:
            segments.append([])
        else:
            segments[-1].append(each)
    first, *others = ("".join(each) for each in segments)
    parts = [first, *(f"(?>[^/]*?{each})" for each in others)]
    if is_last and others:
        parts[-1] = f"{STAR}{others[-1]}"
    return "".join(parts)


def _bad(pattern: str) -> BadInput:
    return BadInput(
        f"syntax error in pattern: {pattern}",
        hint="close every [ with a ], and write \\[ or [[] for the character itself",
    )
