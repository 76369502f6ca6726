"""Times as docker's command line takes them: ``10m``, ``2026-03-21T12:00``, ``1774094400.5``.

Everything is a whole number of nanoseconds since 1970, which a log's times need.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from ocimagic.errors import InvalidOption

SECOND_NS = 1_000_000_000
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3600 * SECOND_NS,
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"([-+]?)((?:{_PART.pattern})+)", re.ASCII)
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?"
    r"(Z|[-+]\d\d:\d\d)?",
    re.ASCII,
)
_UNIX = re.compile(r"(\d{1,15})(?:\.(\d{1,9}))?", re.ASCII)
_LONGEST = 64  # characters; what is longer is no time


def duration_ns(text: str) -> int | None:
    """Read Go's durations, ``1h30m`` or ``1.5s``; None if the text is none."""
    found = _DURATION.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return 0 if text == "0" else None
    from fractions import Fraction  # loads decimal, too

    parts = (Fraction(number) * _UNITS_NS[unit] for number, unit in _PART.findall(found[2]))
    total = int(sum(parts, Fraction()))
    return -total if found[1] == "-" else total


def moment_ns(text: str, now: datetime, *, option: str) -> int:
    """Read a time, or a duration before now, as ``--since`` and ``until=`` take them.

    Args:
        text: as typed.
        now: aware; a time without a zone is meant in its zone.
        option: what the text was given to, for the error.

    Raises:
        InvalidOption: neither a time nor a duration.
    """
    before = duration_ns(text) if text != "0" else None
    if before is not None:
        return unix_ns(now) - before
    assert now.tzinfo is not None
    found = _timestamp_ns(text, now.tzinfo)
    if found is None and (unix := _UNIX.fullmatch(text)):
        found = int(unix[1]) * SECOND_NS + _fraction_ns(unix[2])
    if found is None:
        raise InvalidOption(
            f"invalid value for {option}: {text!r} is neither a time nor a duration",
            hint="for example 10m, 2026-03-21T12:00:00 or 1774094400",
        )
    return found


def nanoseconds(text: str) -> int:
    """Read RFC 3339 with up to nine digits of a second.

    Raises:
        ValueError: not RFC 3339.
    """
    found = _timestamp_ns(text, UTC)
    if found is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    return found


def unix_ns(moment: datetime) -> int:
    """Return an aware time as nanoseconds since 1970."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * SECOND_NS + since.microseconds * 1000


def _timestamp_ns(text: str, zone: tzinfo) -> int | None:
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(each or 0) for each in found.groups()[:6])
    try:
        zone = _zone(found[8], zone)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        return unix_ns(moment) + _fraction_ns(found[7])
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None, otherwise: tzinfo) -> tzinfo:
    if text is None:
        return otherwise
    if text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)


def _fraction_ns(digits: str | None) -> int:
    return int(f"{digits or '':0<9}")
