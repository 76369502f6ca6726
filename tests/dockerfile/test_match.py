"""Go's filepath.Match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.dockerfile.match import has_wildcard, match
from ocimagic.errors import BadInput


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[^c]", "abc", False),
        ("ab[!c]", "ab!", True),  # Go negates with ^ only
        ("[!c]", "x", False),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a?b", "a/b", False),
        ("a[^a]b", "a☺b", True),
        ("[a-\u03b6]*", "\u03b1", True),
        ("[\\]a]", "]", True),
        ("[\\-x]", "-", True),
        ("[[]x", "[x", True),
        ("]", "]", True),
        ("[z-a]", "m", False),
        ("**", "ab", True),
        ("*x", "xxx", True),
        ("", "", True),
        ("a.b", "axb", False),
    ],
)
def test_match(pattern: str, name: str, expected: bool) -> None:
    assert expected is match(pattern, name)


@pytest.mark.parametrize(
    "pattern", ["[", "[]", "[a", "[^", "[-]", "[x-]", "[-x]", "a[", "\\", "[\\"]
)
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(BadInput, match="syntax error in pattern"):
        match(pattern, "a")


@pytest.mark.parametrize(
    ("text", "expected"), [("a*", True), ("a?", True), ("[a", True), ("a\\*", False), ("a", False)]
)
def test_has_wildcard(text: str, expected: bool) -> None:
    assert expected is has_wildcard(text)


@given(st.text())
def test_an_escaped_name_matches_itself(name: str) -> None:
    assert match(re.sub(r"([*?\[\\])", r"\\\1", name), name)
