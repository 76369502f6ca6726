"""``linux.seccomp`` of a runtime config, understood; ``seccomp`` compiles it.

Spec: runtime-spec config-linux.md, "Seccomp".
"""

from __future__ import annotations

import errno
from enum import Enum
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.spec.codec import Fields

_MAX_ERRNO = 0xFFFF  # SECCOMP_RET_DATA

# SECCOMP_RET_* by the runtime-spec's name; the low 16 bits are for an errno.
KILL_PROCESS = 0x8000_0000
ERRNO = 0x0005_0000
ACTIONS = {
    "SCMP_ACT_KILL": 0x0000_0000,  # the thread only, as libseccomp has it
    "SCMP_ACT_KILL_THREAD": 0x0000_0000,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x0003_0000,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_NOTIFY": 0x7FC0_0000,
    "SCMP_ACT_TRACE": 0x7FF0_0000,
    "SCMP_ACT_LOG": 0x7FFC_0000,
    "SCMP_ACT_ALLOW": 0x7FFF_0000,
}
_WITH_ERRNO = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})
# Under these a call newer than the profile goes on; a tracer has its own view of new calls.
_LENIENT = frozenset({"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"})

_ARCHES = """
X86_64 X86 X32 AARCH64 ARM LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32
PARISC PARISC64 PPC PPC64 PPC64LE RISCV64 S390 S390X SH SHEB
"""
ARCHES = frozenset(f"SCMP_ARCH_{name}" for name in _ARCHES.split())


class Operator(Enum):
    """How an argument compares with ``value``; the values are the runtime-spec's names."""

    NE = "SCMP_CMP_NE"
    LT = "SCMP_CMP_LT"
    LE = "SCMP_CMP_LE"
    EQ = "SCMP_CMP_EQ"
    GE = "SCMP_CMP_GE"
    GT = "SCMP_CMP_GT"
    MASKED_EQ = "SCMP_CMP_MASKED_EQ"  # (argument & value) == valueTwo


OPERATORS = {operator.value: operator for operator in Operator}


@dataclass(frozen=True, slots=True)
class Condition:
    """What one argument, an unsigned 64-bit number, must be."""

    index: int
    operator: Operator
    value: int
    value_two: int


@dataclass(frozen=True, slots=True)
class Clause:
    """If all conditions hold, this is what the filter returns."""

    conditions: tuple[Condition, ...]
    returns: int


@dataclass(frozen=True, slots=True)
class Profile:
    """A parsed ``linux.seccomp``: what rules say by name, and what holds for the rest."""

    default: Clause
    newer: Clause  # for calls newer than all that the rules name
    arches: frozenset[str]
    rules: tuple[tuple[tuple[str, ...], tuple[Clause, ...]], ...]


def parse_profile(document: Fields) -> Profile:
    """Understand a profile.

    Raises:
        InvalidDocument: it breaks the runtime-spec.
    """
    default = _action(document, "defaultAction", "defaultErrnoRet")
    lenient = document.text("defaultAction") in _LENIENT
    arches = frozenset(document.texts("architectures"))
    if unknown := arches - ARCHES:
        raise InvalidDocument(f"{min(unknown)!r} is not an architecture the runtime-spec knows")
    return Profile(
        default=Clause((), default),
        newer=Clause((), default if lenient else ERRNO | errno.ENOSYS),
        arches=arches,
        rules=tuple(_rule(rule) for rule in document.children("syscalls")),
    )


def _action(fields: Fields, action_key: str, errno_key: str) -> int:
    """Return the filter's return value for an action and its errno."""
    action = fields.text(action_key)
    if action not in ACTIONS:
        raise InvalidDocument(f"{action!r} is not a seccomp action", where=fields.what)
    if action not in _WITH_ERRNO:
        if errno_key in fields:
            raise InvalidDocument(f"{action} takes no {errno_key}", where=fields.what)
        return ACTIONS[action]
    number = fields.number(errno_key, errno.EPERM)
    if number > _MAX_ERRNO:
        raise InvalidDocument(f"{errno_key} {number} is too large", where=fields.what)
    return ACTIONS[action] | number


def _rule(rule: Fields) -> tuple[tuple[str, ...], tuple[Clause, ...]]:
    names = rule.texts("names")
    if not names:
        raise InvalidDocument("this seccomp rule names no system call", where=rule.what)
    returns = _action(rule, "action", "errnoRet")
    conditions = tuple(_condition(arg) for arg in rule.children("args"))
    if len({condition.index for condition in conditions}) < len(conditions):
        return names, tuple(Clause((condition,), returns) for condition in conditions)
    return names, (Clause(conditions, returns),)


def _condition(arg: Fields) -> Condition:
    name = arg.text("op")
    if name not in OPERATORS:
        raise InvalidDocument(f"{name!r} is not an operator", where=arg.what)
    condition = Condition(
        arg.number("index"), OPERATORS[name], arg.number("value"), arg.number("valueTwo", 0)
    )
    if condition.index > 5:
        raise InvalidDocument("a system call has the arguments 0 to 5", where=arg.what)
    if max(condition.value, condition.value_two) >= 1 << 64:
        raise InvalidDocument("an argument has 64 bits, no more", where=arg.what)
    return condition
