"""Flags and durations."""

from __future__ import annotations

import pytest

from ocimagic.dockerfile.flags import parse_duration_ns, split_flags


@pytest.mark.parametrize(
    ("rest", "flags", "left"),
    [
        ("--a --b=c d --e", ["--a", "--b=c"], "d --e"),
        ("--a='b c' d", ["--a=b c"], "d"),
        ('--a=b\\ c"d" e', ["--a=b cd"], "e"),
        ("-- --a", [], "--a"),
        ("-a --b", [], "-a --b"),
        ("--a", ["--a"], ""),
        ("", [], ""),
        ("--a\u00a0b", ["--a"], "b"),
        ("--a=\\", ["--a="], ""),
    ],
)
def test_split_flags(rest: str, flags: list[str], left: str) -> None:
    assert (flags, left) == split_flags(rest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("30s", 30_000_000_000),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("1.5s", 1_500_000_000),
        (".5µs", 500),
        ("-2m", -120_000_000_000),
        ("+1s", 1_000_000_000),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert expected == parse_duration_ns(text)


@pytest.mark.parametrize("text", ["", "1", "s", "1d", "1s ", "1 s", ".s", "--1s", "9999999999h"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_duration_ns(text)
