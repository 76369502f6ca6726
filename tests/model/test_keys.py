"""The keys that let go of a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import InvalidOption
from ocimagic.model.keys import KeyWatch, parse_keys


@pytest.mark.parametrize(
    ("text", "keys"),
    [("", b"\x10\x11"), ("ctrl-p,ctrl-q", b"\x10\x11"), ("a,b", b"ab"), ("ctrl-@", b"\0"),
     ("ctrl-[", b"\x1b"), ("ctrl-\\,x", b"\x1cx"), ("ctrl-_", b"\x1f"), ("DEL", b"\x7f"),
     ("Ctrl-A", b"\x01")],
)  # fmt: skip
def test_sequences(text, keys):
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", [",", "ctrl-", "ctrl-é", "ctrl-1", "ab", "a,,b", "é"])
def test_what_is_no_sequence(text):
    with pytest.raises(InvalidOption, match="invalid detach keys"):
        parse_keys(text)


@pytest.mark.parametrize(
    ("typed", "passed", "detached"),
    [
        ([b"ls\n"], b"ls\n", False),
        ([b"a\x10\x11b"], b"a", True),
        ([b"\x10", b"\x11"], b"", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x10"], b"", False),
    ],
)
def test_watch(typed, passed, detached):
    watch = KeyWatch(parse_keys(""))
    assert b"".join(watch.feed(data) for data in typed) == passed
    assert watch.detached is detached


@given(st.lists(st.binary(max_size=8), max_size=8))
def test_nothing_is_lost_or_changed_before_the_sequence(typed):
    watch = KeyWatch(b"\x10\x11")
    passed = b"".join(watch.feed(data) for data in typed)
    whole = b"".join(typed)
    before, found, _ = whole.partition(b"\x10\x11")
    assert watch.detached is bool(found)
    if found:
        assert passed == before
    else:
        # What may be the beginning of the sequence waits for the next key.
        assert whole in (passed, passed + b"\x10")
