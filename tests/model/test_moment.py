"""Times as docker's command line takes them."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import InvalidOption
from ocimagic.model.moment import SECOND_NS, duration_ns, moment_ns, nanoseconds, unix_ns

NOW = datetime(2026, 3, 21, 12, 0, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1h30m", 5400), ("1.5h", 5400), ("-5m", -300), ("+1s", 1), ("0", 0),
     ("1m0.25s", 60.25), (".5s", 0.5), ("100ms", 0.1), ("1us", 1e-6), ("1µs", 1e-6), ("2ns", 2e-9)],
)  # fmt: skip
def test_durations(text, seconds):
    assert duration_ns(text) == round(seconds * SECOND_NS)


@pytest.mark.parametrize(
    "text", ["", "10", "s", "1 s", "1d", "1h30", "h1", "1..5s", "1s" * 40, "१s"]
)
def test_what_is_no_duration(text):
    assert duration_ns(text) is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("10m", NOW - timedelta(minutes=10)),
        ("-10m", NOW + timedelta(minutes=10)),
        ("2026-03-20", datetime(2026, 3, 20, tzinfo=NOW.tzinfo)),
        ("2026-03-20Z", datetime(2026, 3, 20, tzinfo=UTC)),
        ("2026-03-20T10", datetime(2026, 3, 20, 10, tzinfo=NOW.tzinfo)),
        ("2026-03-20T10:30", datetime(2026, 3, 20, 10, 30, tzinfo=NOW.tzinfo)),
        ("2026-03-20T10:30Z", datetime(2026, 3, 20, 10, 30, tzinfo=UTC)),
        ("2026-03-20T10:30:05.25-05:00",
         datetime(2026, 3, 20, 15, 30, 5, 250_000, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1774094400", datetime.fromtimestamp(1774094400, UTC)),
        ("1774094400.5", datetime.fromtimestamp(1774094400.5, UTC)),
    ],
)  # fmt: skip
def test_moments(text, moment):
    assert moment_ns(text, NOW, option="--since") == unix_ns(moment)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-13-01",
        "2026-03-20T25",
        "12:00",
        "1.2.3",
        "9" * 40,
        "\uff12\uff10\uff12\uff16",
    ],
)
def test_nonsense_is_said(text):
    with pytest.raises(InvalidOption, match="--since"):
        moment_ns(text, NOW, option="--since")


def test_nine_digits_are_kept():
    assert nanoseconds("1970-01-01T00:00:01.123456789Z") == 1_123_456_789
    with pytest.raises(ValueError, match="not an RFC 3339"):
        nanoseconds("soon")


@given(st.text(max_size=40))
def test_nothing_but_our_error_comes_out(text):
    with contextlib.suppress(InvalidOption):
        moment_ns(text, NOW, option="--until")
