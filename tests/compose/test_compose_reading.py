"""YAML as compose reads it, and files of variables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.compose import envfile
from ocimagic.compose.reading import parse, scalar
from ocimagic.compose.tree import plain
from ocimagic.errors import InvalidDocument


def value(text):
    [found] = parse(f"x: {text}\n", "f")
    return plain(found["x"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("22:22", "22:22"),
        ("2020-01-01", "2020-01-01"),
        ("0440", 288),
        ("0o440", 288),
        ("0x1f", 31),
        ("010.5", 10.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("''", ""),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("-7", -7),
        ("08", 8.0),
        ("[a, {b: c}]", ["a", {"b": "c"}]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, expected):
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_anchors_and_merge_keys():
    [found] = parse(
        "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 9}\nd: {x: 5, <<: *b}\n", "f"
    )
    assert plain(found["c"]) == {"x": 9, "y": 2, "z": 4}
    assert plain(found["d"]) == {"x": 5, "y": 3, "z": 4}


def test_every_key_knows_its_place():
    [found] = parse("a:\n  - b: 1\n    c: 2\n", "f")
    item = found["a"][0]
    assert (item.places["c"].line, item.places["c"].column) == (3, 5)
    assert str(found["a"].places[0]) == "f line 2, column 5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", "there twice"),
        ("a: [1\n", "not YAML"),
        ("a:\n\tb: 1\n", "indent with spaces"),
        ("- a\n", "no keys at its top"),
        ("a: !other 5\n", "!other"),
        ("a: *b\n", "not YAML"),
        ("a: &a [*a]\n", "inside of its own"),
        ("a: {<<: 5}\n", "<<"),
        ("? [a]\n: b\n", "a key is a text"),
    ],
)
def test_what_is_no_compose_file(text, said):
    with pytest.raises(InvalidDocument) as caught:
        parse(text, "f.yaml")
    assert said in str(caught.value)
    assert "f.yaml line" in caught.value.where


def test_aliases_that_multiply_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(InvalidDocument, match="too many values"):
        parse("\n".join(lines), "f")


@pytest.mark.parametrize("depth", [120, 900, 1500])
def test_what_is_nested_without_end_is_refused(depth):
    with pytest.raises(InvalidDocument, match="too deeply"):
        parse("a: " + "[" * depth + "]" * depth, "f")


def test_a_number_without_end_is_a_text():
    assert value("9" * 5000) == "9" * 5000


@given(st.text())
def test_scalars_never_fail(text):
    scalar(text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=b", {"A": "b"}),
        ("export A=b", {"A": "b"}),
        ("  A = b  ", {"A": "b"}),
        ("A=b # words", {"A": "b"}),
        ("A=b#words", {"A": "b#words"}),
        ("A='b # $X'", {"A": "b # $X"}),
        ('A="b # $X\\n"', {"A": "b # 1\n"}),
        ('A="\\$X"', {"A": "$X"}),
        ("A=$X-${Y:-z}", {"A": "1-z"}),
        ("A=", {"A": ""}),
        ("A: b", {"A": "b"}),
        ("X", {"X": "1"}),
        ("UNKNOWN", {}),
        ("A=1\nB=$A$A", {"A": "1", "B": "11"}),
        ("A='two\nlines'\nB=2", {"A": "two\nlines", "B": "2"}),
        ("# words\n\nA=b\r\n", {"A": "b"}),
    ],
)
def test_files_of_variables(line, expected):
    assert envfile.parse(line, "f", {"X": "1"}) == expected


@pytest.mark.parametrize("text", ["A='b", "=b", "A b", "A='b' c", "A=${", "A=1\n1B=2"])
def test_files_of_variables_that_are_refused(text):
    with pytest.raises(InvalidDocument) as caught:
        envfile.parse(text, "f.env", {})
    assert f"f.env line {text.count(chr(10)) + 1}" in caught.value.where


def test_raw_files_are_taken_as_they_are():
    assert envfile.parse_raw("A='$X' # b\n#c\nX\n", {"X": "1"}) == {"A": "'$X' # b", "X": "1"}
