"""Numbers as docker writes them: ``512m``, ``1m30s``, ``1.5``, ``false``.

Each reader takes what the number is of, for the error, and the text.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable

TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_SIZE = re.compile(
    r"((?:\d+(?:\.\d+)?|\.\d+)(?:e[+-]?\d\d?)?) ?(?:([kmgtp])i?)?b?", re.ASCII | re.IGNORECASE
)
_WHOLE = re.compile(r"[+-]?(\d{1,20}|0[xX][0-9a-fA-F]{1,16})", re.ASCII)
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_FRACTION = re.compile(
    r"[+-]?(\d{1,18}/\d{1,18}|(\d{1,18}\.?\d{0,18}|\.\d{1,18})([eE][+-]?\d)?)", re.ASCII
)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0,
            "h": 3600.0}  # fmt: skip
_LARGEST = (1 << 63) - 1


def byte_size(option: str, text: str) -> int:
    """Read ``512m`` or ``1.5 GiB``: powers of 1024, bytes without a letter."""
    found = _SIZE.fullmatch(text)
    size = Decimal(found[1]) * 1024 ** _power(found[2]) if found else Decimal(-1)
    if not 0 <= size <= _LARGEST:
        raise InvalidOption(
            f"invalid size for {option}: {text!r}",
            hint=f"write {option} 512m: a number, and b, k, m, g or t",
        )
    return int(size)


def human_size(option: str, text: str) -> int:
    """Read ``10m`` in powers of 1000, as docker reads the size of a log file."""
    found = _SIZE.fullmatch(text)
    size = Decimal(found[1]) * 1000 ** _power(found[2]) if found else Decimal(0)
    if not 0 < size <= _LARGEST:
        raise InvalidOption(
            f"invalid size for {option}: {text!r}", hint=f"write {option}=10m: more than nothing"
        )
    return int(size)


def _power(letter: str | None) -> int:
    return "kmgtp".index(letter.lower()) + 1 if letter else 0


def byte_size_or_unlimited(option: str, text: str) -> int:
    """Read a size, or ``-1``."""
    return -1 if text == "-1" else byte_size(option, text)


def whole(option: str, text: str) -> int:
    """Read a whole number of 64 bits with its sign."""
    value = _LARGEST + 1
    if _WHOLE.fullmatch(text):
        value = int(text, 16 if "x" in text.lower() else 10)
    if not -_LARGEST <= value <= _LARGEST:
        raise InvalidOption(
            f"invalid number for {option}: {text!r}", hint=f"write {option} and a whole number"
        )
    return value


def within(low: int, high: int | None = None) -> Callable[[str, str], int]:
    """Make a reader of whole numbers from ``low`` up to ``high``."""

    def read(option: str, text: str) -> int:
        value = whole(option, text)
        if value < low or (high is not None and value > high):
            allowed = f"at least {low}" if high is None else f"{low} to {high}"
            raise InvalidOption(f"invalid value for {option}: {text}", why=f"it takes {allowed}")
        return value

    return read


def nano_cpus(option: str, text: str) -> int:
    """Read a number of CPUs such as ``1.5`` in billionths."""
    hint = f"write {option} 1.5 for one CPU and a half"
    try:
        nano = Fraction(text) * 1_000_000_000 if _FRACTION.fullmatch(text) else None
    except ZeroDivisionError:
        nano = None
    if nano is None or nano > _LARGEST:
        raise InvalidOption(f"invalid number of CPUs for {option}: {text!r}", hint=hint)
    if nano.denominator != 1:
        raise InvalidOption(f"{option} {text} is too precise", why="nine decimals are the limit")
    return int(nano)


def duration_s(option: str, text: str) -> float:
    """Read ``1h2m3.5s`` in seconds; a bare number other than 0 has no unit and is refused."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    parts = _DURATION.findall(rest)
    if rest == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != rest or len(rest) > 60:
        raise InvalidOption(
            f"invalid duration for {option}: {text!r}",
            hint=f"write {option} 1m30s: numbers, each with ms, s, m or h",
        )
    seconds = sign * sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds < 0:
        raise InvalidOption(f"{option} cannot be negative")
    return seconds


def truth(option: str, text: str) -> bool:
    """Read ``true``, ``0`` and the other words that Go takes."""
    if text not in TRUE | FALSE:
        raise InvalidOption(f"{option} takes true or false, not {text!r}")
    return text in TRUE
