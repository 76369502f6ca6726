"""Sizes and times in the words docker uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def human_size(size_bytes: float) -> str:
    """Write a size with decimal units and three digits: ``67.8MB``."""
    size, unit = float(size_bytes), 0
    # 999.95 would be rounded to 1e+03, so it already belongs to the next unit.
    while size >= 999.5 and unit < len(_SIZE_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g}{_SIZE_UNITS[unit]}"


def human_rate(bytes_per_s: float) -> str:
    """Write a speed: ``12.3MB/s``."""
    return f"{human_size(bytes_per_s)}/s"


def binary_size(size_bytes: float) -> str:
    """Write a size with binary units and four digits, as docker writes memory: ``23.54GiB``."""
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_BINARY_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.4g}{_BINARY_UNITS[unit]}"


def human_duration(seconds: float) -> str:
    """Write a rough length of time: ``About a minute``, ``3 weeks``."""
    whole = int(seconds)
    if whole < _MINUTE:
        return "Less than a second" if whole < 1 else count(whole, "second")
    minutes = whole // _MINUTE
    if minutes < 60:
        return "About a minute" if minutes == 1 else count(minutes, "minute")
    hours = int(seconds / _HOUR + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else count(hours, "hour")
    days = hours // 24
    for limit, length, word in ((14, 1, "day"), (60, 7, "week"), (730, 30, "month")):
        if days < limit:
            return count(days // length, word)
    return count(days // 365, "year")


def human_age(then: datetime | None, now: datetime) -> str:
    """Write how long ago something was: ``2 minutes ago``; ``N/A`` when unknown.

    A time in the future, as reproducible images may carry, reads as just now.
    """
    if then is None:
        return "N/A"
    return f"{human_duration(max((now - then).total_seconds(), 0))} ago"


def human_seconds(seconds: float) -> str:
    """Write a measured time: ``0.03s``, ``12.4s``, ``2m05s``."""
    if seconds < 10:
        return f"{seconds:.2f}s"
    if seconds < 100:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s"


def clock_time(seconds: float | None, digits: int = 1) -> str:
    """Write when something was in a story: ``427.3 ms``; "" for a time that nobody noted."""
    return "" if seconds is None else f"{seconds * 1000:.{digits}f} ms"


def short_time(seconds: float | None) -> str:
    """Write a time of a millisecond or so: ``0.42 ms``, ``12.3 ms``, ``2.41 s``; "" for none."""
    if seconds is None:
        return ""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    figure = seconds * 1000
    if figure >= 100:
        return f"{figure:.0f} ms"
    return f"{figure:.1f} ms" if figure >= 1 or not figure else f"{figure:.2f} ms"


def count(number: int, word: str) -> str:
    """Write a number with its noun: ``1 layer``, ``3 layers``, ``2 repositories``."""
    if number == 1:
        return f"{number} {word}"
    if word.endswith("s"):
        return f"{number} {word}es"
    ends_in_ies = word.endswith("y") and word[-2:-1] not in "aeiou"
    return f"{number} {word[:-1]}ies" if ends_in_ies else f"{number} {word}s"
