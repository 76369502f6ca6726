""".dockerignore."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.errors import BadInput


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        ("", "a", False),
        ("a", "a", True),
        ("a", "a/b/c", True),  # a parent matches
        ("a", "b/a", False),
        ("/a/", "a", True),
        ("./a//b/../c", "a/c", True),
        ("*.log", "x.log", True),
        ("*.log", "d/x.log", False),
        ("*/*.log", "d/x.log", True),
        ("**/*.log", "x.log", True),
        ("**/*.log", "a/b/x.log", True),
        ("**", "a/b", True),
        ("**/foo", "foo", True),
        ("**/foo", "a/b/foo", True),
        ("**/foo", "a/xfoo", False),
        ("**foo", "a/xfoo", True),
        ("abc/**", "abc/x/y", True),
        ("abc/**", "abc", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "a/xb", False),
        ("**/a/**", "x/a/y", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        ("a.c", "abc", False),
        ("# a\n #b", "#b", True),  # only the first column makes a comment
        ("#b", "#b", False),
        ("  a  \r\nb", "a", True),
        ("a\n!a/b", "a/b", False),
        ("a\n!a/b", "a/c", True),
        ("a\n!a/b\na/b", "a/b", True),  # the last match decides
        ("!a\na", "a", True),
        ("*\n!README.md", "README.md", False),
        ("*\n!README.md", "x/README.md", True),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
        ("! a", "a", False),
        (".", "a", False),
        ("*", ".", False),
        ("/", "a", False),
    ],
)
def test_excludes(patterns: str, path: str, expected: bool) -> None:
    rules = IgnoreRules.parse(patterns)
    assert expected is rules.excludes(path)
    assert expected is (rules.which(path) is not None)


def test_which_names_the_line() -> None:
    rules = IgnoreRules.parse("# note\n*.tmp\nnode_modules/\n")
    assert rules.which("node_modules/x/y.js") == "node_modules/ (line 3)"
    assert rules.which("src") is None


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        ("a", "a", False),
        ("a", "b", True),
        ("a\n!a/b/c", "a", True),
        ("a\n!a/b/c", "a/b", True),
        ("a\n!a/b/c", "a/x", False),
        ("a\n!b/c", "a", False),
        ("!a/b\na", "a", False),  # what comes before the excluding line cannot help
        ("*\n!*/x", "a", True),
        ("a\n!**/x", "a", True),
        ("a\n!a*/x", "a", True),
        ("*\n!x", "a", False),
    ],
)
def test_may_reinclude_below(patterns: str, path: str, expected: bool) -> None:
    assert expected is IgnoreRules.parse(patterns).may_reinclude_below(path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a\n!", 'illegal exclusion pattern: "!"'),
        ("a\n![", "syntax error in pattern: ["),
        ("a\n[]", "syntax error in pattern: []"),
    ],
)
def test_errors_name_the_line(text: str, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        IgnoreRules.parse(text)
    assert what == caught.value.what
    assert ".dockerignore line 2" in str(caught.value.where)


def test_exclude_flags() -> None:
    rules = IgnoreRules.of(("*.pyc", "**/tests"))
    assert rules.excludes("pkg/tests/x.py")
    assert rules.which("a.pyc") == "*.pyc"


PATHS = st.lists(st.sampled_from("ab"), min_size=2, max_size=4).map("/".join)
PATTERNS = st.lists(
    st.lists(st.sampled_from(["a", "b", "*", "**", "?"]), min_size=1, max_size=3).map("/".join)
    | st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=3)
    .map("/".join)
    .map("!{}".format),
    max_size=4,
).map("\n".join)


@given(PATTERNS, PATHS)
def test_pruning_loses_nothing(patterns: str, path: str) -> None:
    rules = IgnoreRules.parse(patterns)
    parts = path.split("/")
    parents = ["/".join(parts[:n]) for n in range(1, len(parts))]
    pruned = any(rules.excludes(p) and not rules.may_reinclude_below(p) for p in parents)
    if not rules.excludes(path):
        assert not pruned


@given(st.text())
def test_only_bad_input_is_raised(text: str) -> None:
    with suppress(BadInput):
        IgnoreRules.parse(text).excludes("a/b")
