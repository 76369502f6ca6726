"""Which of two Debian versions is the newer.

Spec: Debian Policy 5.6.12; deb-version(7).
"""

from __future__ import annotations

import operator
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Key = tuple[int, tuple[tuple[tuple[int, ...], int], ...], tuple[tuple[tuple[int, ...], int], ...]]

_RUN = re.compile(r"([^0-9]*)([0-9]*)")
_END = ((0,), 0)
_OPERATORS: dict[str, Callable[[Key, Key], bool]] = {
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
def key(version: str) -> Key:
    """Return what orders versions as dpkg does."""
    epoch, colon, rest = version.strip().partition(":")
    if not colon:
        epoch, rest = "0", epoch
    upstream, _, revision = rest.rpartition("-")
    if not upstream:
        upstream, revision = rest, ""
    return (int(epoch) if epoch.isdecimal() else 0, _runs(upstream), _runs(revision))


def satisfies(version: str, relation: str, wanted: str) -> bool:
    """Say whether a version stands in a relation, such as ``>=``, to another."""
    compare = _OPERATORS.get(relation)
    return compare is not None and compare(key(version), key(wanted))


def _runs(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Cut into pairs of what is no digit and the number behind it.

    A 0 stands for the end and for a digit, so that a tilde is less than it and letters are
    more; what has no weight at the end is left out.
    """
    runs = [
        ((*map(_weight, letters), 0), int(digits or 0)) for letters, digits in _RUN.findall(text)
    ]
    while runs and runs[-1] == _END:
        runs.pop()
    return (*runs, _END)


def _weight(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256
