"""Word splitting and variable expansion."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.dockerfile.substitute import BadWord
from ocimagic.dockerfile.words import expand, expansion, raw_words, split_words, unquote

ENV = {"A": "abc", "E": "", "P": "/usr/local/bin", "F": "a.tar.gz", "S": "one two", "Ü": "u"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$A", "abc"),
        ("${A}", "abc"),
        ("x$A.y", "xabc.y"),
        ("$AB", ""),
        ("${A}B", "abcB"),
        ("$Ü", "u"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$1$12$@$$", ""),
        ("$1A", "A"),
        # quotes and escapes
        ("'$A'", "$A"),
        ('"$A"', "abc"),
        ('"\\$A"', "$A"),
        ("\\$A", "$A"),
        ("\\\\$A", "\\abc"),
        ('"a\\b\\\\c\\"d"', 'a\\b\\c"d'),
        ("a\\b", "ab"),
        ("a\\", "a"),
        ("'a\\'", "a\\"),
        ("a'b'\"c\"", "abc"),
        ("a  b", "a  b"),
        # fallbacks
        ("${A:-w}", "abc"),
        ("${E:-w}", "w"),
        ("${E-w}", ""),
        ("${N-w}", "w"),
        ("${N:-w}", "w"),
        ("${N:-$A}", "abc"),
        ("${N:-${M:-deep}}", "deep"),
        ("${N:-'$A}'}", "$A}"),
        ("${A:+w}", "w"),
        ("${E:+w}", ""),
        ("${E+w}", "w"),
        ("${N+w}", ""),
        ("${A?no}", "abc"),
        ("${A:?no}", "abc"),
        ("${E?no}", ""),
        # patterns
        ("${P#*/}", "usr/local/bin"),
        ("${P##*/}", "bin"),
        ("${P%/*}", "/usr/local"),
        ("${P%%/*}", ""),
        ("${F%.*}", "a.tar"),
        ("${F%%.*}", "a"),
        ("${F#a.}", "tar.gz"),
        ("${F#?}", ".tar.gz"),
        ("${F#x}", "a.tar.gz"),
        ("${F:#a}", ".tar.gz"),
        ("${A/b/X}", "aXc"),
        ("${F/./-}", "a-tar.gz"),
        ("${F//./-}", "a-tar-gz"),
        ("${A//*/x}", "x"),
        ("${A/?/}", "bc"),
        ("${P//\\//_}", "_usr_local_bin"),
        ("${A/b/$E}", "ac"),
        ("${N/a/b}", ""),
    ],
)
def test_expand(word: str, expected: str) -> None:
    assert expected == expand(word, ENV)


@pytest.mark.parametrize(
    ("word", "phrase"),
    [
        ("${}", 'failed to process "${}": syntax error: bad substitution'),
        ("${:x}", "bad substitution"),
        ("${{A}}", "bad substitution"),
        ("${", "missing '}'"),
        ("${A", "missing '}'"),
        ("${A:", "missing '}'"),
        ("${A:-x", "missing '}'"),
        ("${A/x}", "missing '/' in ${}"),
        ("${A/x/y", "missing '}'"),
        ("${A:=x}", "unsupported modifier (:=) in substitution"),
        ("${A!x}", "unsupported modifier (!) in substitution"),
        ("${A#\\x}", "invalid pattern (\\x) in substitution: invalid escape '\\x'"),
        ("${A/\\x/}", "invalid escape '\\x'"),
        ("${N:?need N}", "N: need N"),
        ("${N?}", "N: is not allowed to be unset"),
        ("${E:?}", "E: is not allowed to be empty"),
        ('"x', "looking for matching double-quote"),
        ("'x", "looking for matching single-quote"),
        ('${A:-"x}', "missing '}'"),
        ("${A:-" * 200, "too many nested ${"),
    ],
)
def test_bad_words(word: str, phrase: str) -> None:
    with pytest.raises(BadWord) as caught:
        expand(word, ENV)
    assert phrase in caught.value.what


def test_a_bad_word_says_which_part() -> None:
    with pytest.raises(BadWord) as caught:
        expand("a/${A:=x}/b", ENV)
    assert caught.value.fragment == "${A:="


def test_backtick_escape() -> None:
    assert expand("`$A\\$A", ENV, escape="`") == "$A\\abc"


def test_heredoc_bodies_keep_quotes_and_lose_escapes() -> None:
    body = '"$A" it\'s \\$A \\\\\n'
    assert expand(body, ENV, quotes=False) == '"abc" it\'s $A \\\n'


def test_expansion_splits_after_expanding() -> None:
    found = expansion("$S \"$S\" a\\ b '' $N", ENV)
    assert found.words == ("one", "two", "one two", "a b")
    assert {"S"} == found.used
    assert found.unset == ("N",)


def test_a_name_with_a_fallback_is_not_missing() -> None:
    assert expansion("${N:-x}${N+x}", ENV).unset == ()
    assert expansion("$N$M${N}", ENV).unset == ("N", "M")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1 b=2", ["a=1", "b=2"]),
        ("a=\"x y\" b='p q'", ['a="x y"', "b='p q'"]),
        ("a=x\\ y b", ["a=x\\ y", "b"]),
        ("a='x\\' b", ["a='x\\'", "b"]),
        ('a="x\\" y" b', ['a="x\\" y"', "b"]),
        ("a=\u00a0b", ["a=", "b"]),  # Go's IsSpace has it
        ("a\x1cb", ["a\x1cb"]),  # and not this one, which str.split() would take
        ('a="x y', ['a="x y']),
        ("a\\", ["a\\"]),
        ("", []),
    ],
)
def test_split_words(text: str, expected: list[str]) -> None:
    assert expected == split_words(text)


def test_raw_words_and_unquote() -> None:
    assert raw_words('"a b" $X e\\ f') == ('"a b"', "$X", "e\\ f")
    assert unquote("\"a $X\" 'b'") == "a $X b"


@given(st.text().filter(lambda text: not set(text) & set("$\\'\"")))
def test_plain_text_is_unchanged(text: str) -> None:
    assert text == expand(text, ENV)


@given(st.text(alphabet="$\\'\"{}A:-+?#%/=* x"), st.sampled_from("\\`"))
def test_only_bad_word_is_raised(text: str, escape: str) -> None:
    with suppress(BadWord):
        expand(text, ENV, escape=escape)


@given(st.text(), st.text())
def test_single_quotes_protect_everything(text: str, value: str) -> None:
    bare = text.replace("'", "")
    assert bare == expand(f"'{bare}'", {"A": value})


@given(st.text(alphabet="ab/.", max_size=12), st.text(alphabet="ab/.*?", max_size=6))
def test_trimming_leaves_an_end_of_the_value(value: str, pattern: str) -> None:
    env = {"V": value}
    assert value.endswith(expand(f"${{V#{pattern}}}", env))
    assert value.startswith(expand(f"${{V%{pattern}}}", env))
