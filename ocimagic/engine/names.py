"""Names for containers that were given none, and their IDs."""

from __future__ import annotations

import itertools
import os
import random
import re

from ocimagic.errors import InvalidOption
from ocimagic.store.containers import name_in_use

_MOODS = [
    "brave",
    "calm",
    "clever",
    "curious",
    "eager",
    "fair",
    "gentle",
    "glad",
    "happy",
    "honest",
    "humble",
    "jolly",
    "keen",
    "kind",
    "lively",
    "loyal",
    "merry",
    "nimble",
    "patient",
    "polite",
    "proud",
    "quick",
    "quiet",
    "ready",
    "sharp",
    "shiny",
    "smart",
    "sunny",
    "swift",
    "tidy",
    "warm",
    "wise",
    "witty",
]
_PEOPLE = [
    "babbage",
    "bell",
    "bohr",
    "boole",
    "curie",
    "dijkstra",
    "easley",
    "einstein",
    "euler",
    "faraday",
    "fermi",
    "franklin",
    "galileo",
    "gauss",
    "germain",
    "goodall",
    "hamilton",
    "hertz",
    "hopper",
    "huygens",
    "jemison",
    "kepler",
    "knuth",
    "lamarr",
    "lamport",
    "liskov",
    "lovelace",
    "maxwell",
    "meitner",
    "mendel",
    "newton",
    "noether",
    "pascal",
    "perlman",
    "ride",
    "shannon",
    "tesla",
    "thompson",
    "torvalds",
    "turing",
    "volta",
    "wozniak",
]
_TRIES = 20
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def new_id() -> str:
    """Return 64 random hex digits; the first twelve, a host name too, are never a number."""
    while (found := os.urandom(32).hex())[:12].isdecimal():
        pass
    return found


def new_name(taken: set[str]) -> str:
    """Return a friendly name nobody has yet; with a number when most are taken."""
    chance = random.SystemRandom()
    for number in itertools.count():
        name = f"{chance.choice(_MOODS)}_{chance.choice(_PEOPLE)}"
        if number >= _TRIES:
            name += str(chance.randrange(number))
        if name not in taken:
            return name
    raise AssertionError("counting does not end")


def check_name(name: str, taken: set[str]) -> str:
    """Return a name that a container may have; before anything is fetched for it.

    Raises:
        InvalidOption: other characters than docker allows.
        NameInUse: another container has it.
    """
    if not _NAME.fullmatch(name):
        raise InvalidOption(
            f"invalid container name: {name!r}",
            why="letters, digits, _ . - are allowed, two at least, the first a letter or digit",
        )
    if name in taken:
        raise name_in_use(name)
    return name
