"""Variables in compose files: the table of the specification, and what has to be refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.compose.interpolate import Malformed, Unset, substitute

ENV = {"SET": "value", "EMPTY": "", "_under": "u1", "N": "SET"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a${SET}b$SET", "avaluebvalue"),
        ("$$SET", "$SET"),
        ("$${SET}", "${SET}"),
        ("$$$SET", "$value"),
        ("$_under.x", "u1.x"),
        ("$UNSET", ""),
        ("${SET:-default}", "value"),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${UNSET-default}", "default"),
        ("${UNSET-}", ""),
        ("${SET:+other}", "other"),
        ("${EMPTY:+other}", ""),
        ("${EMPTY+other}", "other"),
        ("${UNSET+other}", ""),
        ("${SET:?words}", "value"),
        ("${EMPTY?words}", ""),
        ("${UNSET:-${SET}}", "value"),
        ("${UNSET:-${EMPTY:-${SET}}!}", "value!"),
        ("${UNSET:-$SET-$$}", "value-$"),
        ('${UNSET:-{"a": 1}}', '{"a": 1}'),
        ("${SET:+${UNSET:-x}}", "x"),
        ("${SET:-${UNSET:?never read}}", "value"),
        ("${UNSET:-http://host:80/a?b}", "http://host:80/a?b"),
    ],
)
def test_the_table(text, expected):
    assert substitute(text, ENV, lambda _: None) == expected


@pytest.mark.parametrize("text", ["${UNSET:?say it}", "${EMPTY:?say it}", "${UNSET?say it}",
                                  "a${X:-${UNSET?say it}}"])  # fmt: skip
def test_a_variable_that_has_to_be_set(text):
    with pytest.raises(Unset) as caught:
        substitute(text, ENV, lambda _: None)
    assert caught.value.words == "say it"


@pytest.mark.parametrize("text", ["$", "a$ b", "${", "${}", "${SET", "${1}", "$1", "${SET!x}",
                                  "${SET:-a", "${a b}", "${X:-" * 5000 + "}" * 5000])  # fmt: skip
def test_what_is_not_understood(text):
    with pytest.raises(Malformed):
        substitute(text, ENV, lambda _: None)


def test_only_what_is_used_is_missed():
    missed = []
    substitute("$A ${B:-x} ${SET:-$C} ${SET:+$D} ${E:+$F}", ENV, missed.append)
    assert missed == ["A", "D"]


@given(st.text())
def test_a_text_with_every_dollar_doubled_is_itself(text):
    assert substitute(text.replace("$", "$$"), ENV, lambda _: None) == text


@given(st.text(alphabet="${}:-?+ABset "))
def test_no_text_makes_another_error(text):
    try:
        made = substitute(text, ENV, lambda _: None)
    except (Malformed, Unset):
        return
    assert isinstance(made, str)
