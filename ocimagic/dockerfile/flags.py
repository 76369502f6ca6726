"""Flags: the ``--key=value`` words between an instruction and its arguments.

Source: Dockerfile reference (each instruction's options); facts/build.md section 1.0.
"""

from __future__ import annotations

import enum
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from ocimagic.dockerfile.blanks import SPACES, is_space
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.dockerfile.source import SourceRange
    from ocimagic.errors import DockerfileError

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # the micro sign
    "μs": 1_000,  # the Greek letter: Go takes both
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


class FlagKind(enum.Enum):
    """What a flag takes."""

    TEXT = "text"
    SWITCH = "switch"
    LIST = "list"  # a text, and the flag may come again


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The flags of one instruction.

    Args:
        texts: values of TEXT flags by name, without ``--``.
        switches: values of SWITCH flags.
        lists: values of LIST flags, in order.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    switches: Mapping[str, bool] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def split_flags(rest: str) -> tuple[list[str], str]:
    """Split the leading ``--`` words off; quotes and escapes inside them are removed.

    Returns the flags and what follows them.  A lone ``--`` ends the flags and is dropped.
    """
    flags: list[str] = []
    at = 0
    while True:
        while at < len(rest) and is_space(rest[at]):
            at += 1
        if not rest.startswith("--", at):
            return flags, rest[at:]
        word, at = _flag_word(rest, at)
        if word == "--":
            return flags, rest[at:].lstrip(SPACES)
        flags.append(word)


def _flag_word(rest: str, at: int) -> tuple[str, int]:
    word: list[str] = []
    quote = ""
    while at < len(rest) and (quote or not is_space(rest[at])):
        char = rest[at]
        if char == "\\":  # not the escape directive's character: docker's own habit
            at += 1
            word.append(rest[at : at + 1])
        elif quote == char:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        else:
            word.append(char)
        at += 1
    return "".join(word), at


def read_flags(
    words: Iterable[str], kinds: Mapping[str, FlagKind], *, keyword: str, source: SourceRange
) -> Flags:
    """Give each flag its value.

    Args:
        words: from `split_flags`.
        kinds: the flags this instruction has.
        keyword: the instruction, for messages.
        source: where it stands.

    Raises:
        DockerfileError: for a flag that is unknown, given twice, or without a good value.
    """
    texts: dict[str, str] = {}
    switches: dict[str, bool] = {}
    lists: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        kind = kinds.get(name)
        if kind is None:
            raise _unknown(name, kinds, keyword=keyword, source=source)
        if name in texts or name in switches:
            raise source.error(
                f"duplicate flag specified: --{name}", at=f"--{name}", last=True, hint="keep one"
            )
        if not value and (equals or kind is not FlagKind.SWITCH):
            raise source.error(
                f"missing a value on flag: --{name}",
                at=f"--{name}",
                hint=f"write --{name}=VALUE, without blanks around the =",
            )
        if kind is FlagKind.TEXT:
            texts[name] = value
        elif kind is FlagKind.LIST:
            lists[name] = (*lists.get(name, ()), value)
        else:
            switches[name] = _boolean(name, value or "true", source)
    return Flags(texts=texts, switches=switches, lists=lists)


def parse_duration_ns(text: str) -> int:
    """Read a Go duration such as ``1m30s`` or ``-1.5h`` into nanoseconds.

    Raises:
        ValueError: if it is none; a bare number other than 0 has no unit and is none.
    """
    sign = -1 if text.startswith("-") else 1
    body = text[1:] if text[:1] in {"-", "+"} else text
    if body == "0":
        return 0
    parts = list(_DURATION_PART.finditer(body))
    if not body or "".join(part[0] for part in parts) != body:
        raise ValueError(text)
    total = sum(int(Decimal(part[1]) * _UNITS_NS[part[2]]) for part in parts)
    if total >= 2**63:  # a Go duration is an int64
        raise ValueError(text)
    return sign * total


def _boolean(name: str, value: str, source: SourceRange) -> bool:
    if value.lower() not in {"true", "false"}:
        raise source.error(
            f"expecting boolean value for flag --{name}, not: {value}",
            at=f"--{name}={value}",
            hint=f"write --{name} or --{name}=false",
        )
    return value.lower() == "true"


def _unknown(
    name: str, kinds: Mapping[str, FlagKind], *, keyword: str, source: SourceRange
) -> DockerfileError:
    near = nearest(name, kinds)
    known = " ".join(f"--{each}" for each in kinds)
    return source.error(
        f"unknown flag: --{name}" + (f" (did you mean {near}?)" if near else ""),
        at=f"--{name}",
        hint=f"{keyword} knows {known}" if known else f"{keyword} has no flags",
    )
