"""Which of two Debian versions is the newer.

Spec: Debian Policy 5.6.12; deb-version(7).
"""

from __future__ import annotations

import operator
import re
from functools import cmp_to_key, lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_Number = tuple[int, str]  # how many digits, and those: orders as numbers, however long
_Runs = tuple[tuple[tuple[int, ...], _Number], ...]
_Parts = tuple[_Number, _Runs, _Runs]

_RUN = re.compile(r"([^0-9]*)([0-9]*)")
_NOTHING: _Number = (0, "")
_END = ((0,), _NOTHING)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">>": operator.gt,
    # Obsolete, and still to be met in old packages: both mean "or equal".
    "<": operator.le,
    ">": operator.ge,
}


@lru_cache(maxsize=4096)
def key(version: str) -> Any:  # noqa: ANN401  cmp_to_key has no name for what it returns
    """Return what orders versions as dpkg does."""
    epoch, colon, rest = version.strip().partition(":")
    if not colon:
        epoch, rest = "0", epoch
    upstream, _, revision = rest.rpartition("-")
    if not upstream:
        upstream, revision = rest, ""
    parts = (_number(epoch) if epoch.isdecimal() else _NOTHING, _runs(upstream), _runs(revision))
    return _as_key(parts)


def satisfies(version: str, relation: str, wanted: str) -> bool:
    """Say whether a version stands in a relation, such as ``>=``, to another."""
    compare = _OPERATORS.get(relation)
    return compare is not None and compare(key(version), key(wanted))


def _runs(text: str) -> _Runs:
    """Cut into pairs of what is no digit and the number behind it.

    A 0 stands for the end and for a digit, so that a tilde is less than it and letters are more.
    """
    return tuple(
        ((*map(_weight, letters), 0), _number(digits)) for letters, digits in _RUN.findall(text)
    )


def _compare(one: _Parts, two: _Parts) -> int:
    """Return less than 0, 0 or more; behind its end a part goes on with nothings for ever."""
    if one[0] != two[0]:
        return -1 if one[0] < two[0] else 1
    for mine, other in zip(one[1:], two[1:], strict=True):
        for run, against in zip_longest(mine, other, fillvalue=_END):
            if run != against:
                return -1 if run < against else 1
    return 0


_as_key = cmp_to_key(_compare)


def _number(digits: str) -> _Number:
    """Not int(): Python refuses one of thousands of digits, and a mirror may say that."""
    digits = digits.lstrip("0")
    return len(digits), digits


def _weight(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256
