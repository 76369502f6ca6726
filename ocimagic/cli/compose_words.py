"""What stands between ``compose`` and its verb: the options of the project.

docker compose has ``-f FILE`` before the verb, where ``-f`` behind it may mean something else.
They are put behind the verb under their long names, where every verb knows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONG = {"-f": "--file", "-p": "--project-name"}
_WITH_VALUE = ("--file", "--project-name", "--profile", "--env-file", "--project-directory",
               "--ansi", "--progress", "--parallel")  # fmt: skip
_FLAGS = ("--compatibility", "--dry-run", "--all-resources", "--verbose")


def hoisted(argv: Sequence[str]) -> list[str]:
    """Return a line with the options of the project behind its verb.

    Where there is no verb they are left out; what is no such option stays where it is, for the
    error that it makes.
    """
    if not argv or argv[0] != "compose":
        return list(argv)
    own, rest = parted(argv[1:])
    if not rest or rest[0].startswith("-"):
        return ["compose", *rest]
    return ["compose", rest[0], *own, *rest[1:]]


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options of the project that words begin with, in their long form, and the rest."""
    own: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        name, equals, value = _split(rest[0])
        if name in _FLAGS:
            own.append(rest.pop(0))
        elif name in _WITH_VALUE and equals:
            own.append(f"{name}={value}")
            rest.pop(0)
        elif name in _WITH_VALUE and len(rest) > 1:
            own.append(f"{name}={rest[1]}")
            del rest[:2]
        else:
            break
    return own, rest


def names_file(words: Sequence[str]) -> bool:
    """Tell whether options of the project say which file it is."""
    return any(word.startswith("--file=") for word in words)


def _split(word: str) -> tuple[str, bool, str]:
    """Part ``--file=x``, ``-fx`` and ``-f=x``: the long name, whether a value is there, and it."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, bool(equals), value
    name = _LONG.get(word[:2], word)
    value = word[2:].removeprefix("=")
    return name, bool(value), value
