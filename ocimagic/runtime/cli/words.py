"""The command line's words: what a command takes, and what somebody wrote.

Flags stand before the arguments, with one dash or two, as Go's flag package has it; ``--name=x``
and ``--name x`` are the same, and ``--`` ends the flags.
"""

from __future__ import annotations

from typing import NamedTuple

from ocimagic.errors import InvalidOption


class Flag(NamedTuple):
    """One flag.

    Attributes:
        value: what its value is called in the help; "" for a flag without one.
        short: another name, of one letter.
        many: it may be given more than once.
    """

    name: str
    help: str
    value: str = ""
    short: str = ""
    many: bool = False


class Words:
    """What was written after a command, or before it."""

    def __init__(self, given: dict[str, list[str]], arguments: list[str]) -> None:
        self._given = given
        self.arguments = arguments

    def has(self, name: str) -> bool:
        """Say whether a flag was given; ``--name=false`` counts as not."""
        return bool(self._given.get(name)) and self._given[name][-1] != "false"

    def text(self, name: str, default: str = "") -> str:
        """Return a flag's last value."""
        found = self._given.get(name)
        return found[-1] if found else default

    def texts(self, name: str) -> list[str]:
        """Return all values of a flag."""
        return self._given.get(name, [])

    def number(self, name: str, default: int = 0) -> int:
        """Return a flag's value as a number.

        Raises:
            InvalidOption: it is none.
        """
        said = self.text(name, str(default))
        try:
            return int(said)
        except ValueError:
            raise InvalidOption(f"--{name} takes a number, not {said!r}") from None

    def only_argument(self, what: str = "container ID") -> str:
        """Return the one argument there must be.

        Raises:
            InvalidOption: there is none, or more.
        """
        if len(self.arguments) != 1:
            raise InvalidOption(f"exactly one argument is needed: the {what}")
        return self.arguments[0]


def parse(words: list[str], flags: tuple[Flag, ...]) -> Words:
    """Read flags up to the first argument; all from there on are arguments.

    Raises:
        InvalidOption: a flag nobody knows, or one without its value.
    """
    known = {name: flag for flag in flags for name in (flag.name, flag.short) if name}
    given: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.lstrip("-").partition("=")
        flag = known.get(name)
        if flag is None:
            raise InvalidOption(f"there is no flag {word.partition('=')[0]}")
        if not equals:
            value = _next(rest, flag) if flag.value else "true"
        given.setdefault(flag.name, []).append(value)
    return Words(given, rest)


def _next(rest: list[str], flag: Flag) -> str:
    if not rest:
        raise InvalidOption(f"--{flag.name} needs a value")
    return rest.pop(0)


def help_lines(flags: tuple[Flag, ...]) -> list[str]:
    """Return what each flag is for, a line each."""
    heads = []
    for flag in flags:
        short = f", -{flag.short}" if flag.short else ""
        heads.append(f"--{flag.name}{short}" + (f" {flag.value}" if flag.value else ""))
    width = max((len(head) for head in heads), default=0)
    return [f"   {head:<{width}}  {flag.help}" for head, flag in zip(heads, flags, strict=True)]
