"""Which devices a container may open: one ordered list of rules, in two languages.

Version 2 of cgroups asks a program (eBPF); version 1 takes a list of exceptions from "none"
or from "all".  For each of read, write and mknod the last rule that matches a device decides,
and without one the answer is no.

Spec: runtime-spec config-linux.md, "Allowed Device list"; <linux/bpf.h>; kernel
Documentation/admin-guide/cgroup-v1/devices.rst.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument
from ocimagic.spec.resources import DeviceRule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Key = tuple[str, int | None, int | None]


def _default(major: int | None, minor: int | None, access: str = "rwm") -> DeviceRule:
    return DeviceRule(allow=True, type="c", major=major, minor=minor, access=access)


# What every container may use, whatever its own list says (config-linux.md, "Default Devices").
# A node may be made of any device, which does not yet allow to open it.
DEFAULT_RULES = (
    DeviceRule(allow=True, type="c", access="m"),
    DeviceRule(allow=True, type="b", access="m"),
    _default(1, 3),  # null
    _default(1, 5),  # zero
    _default(1, 7),  # full
    _default(1, 8),  # random
    _default(1, 9),  # urandom
    _default(5, 0),  # tty: the caller's own terminal
    _default(5, 2),  # ptmx
    _default(136, None),  # pts/*: a container sees those of its own devpts only
    _default(10, 200),  # net/tun: still asks for CAP_NET_ADMIN
)

_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
_TYPE = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1  # <linux/kdev_t.h>

_bpf_insn = struct.Struct("=BBhi")
_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE, _MOVE_REGISTER = 0xB7, 0xBF  # BPF_ALU64 | BPF_MOV
_AND, _SHIFT_RIGHT = 0x57, 0x77
_IF_EQUAL, _IF_NOT_EQUAL, _IF_ANY_BIT = 0x15, 0x55, 0x45
_EXIT = 0x95

_RESULT, _CONTEXT, _KIND, _PENDING, _MAJOR, _MINOR = range(6)  # registers


def effective_rules(rules: Sequence[DeviceRule]) -> tuple[DeviceRule, ...]:
    """Return a container's rules with the default devices allowed after them."""
    return (*rules, *DEFAULT_RULES)


def allows_everything(rules: Sequence[DeviceRule]) -> bool:
    """Say whether no device at all is refused."""
    return all(rule.allow for rule in _deciding(rules)) and any(rule.type == "a" for rule in rules)


def compile_filter(rules: Sequence[DeviceRule]) -> bytes:
    """Return an eBPF program that answers 1 for what the rules allow, else 0.

    It goes through the rules from the last to the first and keeps the accesses that no rule
    has decided yet: an allowing rule takes its own away, a denying one ends it.

    Returns:
        a ``struct bpf_insn`` array for BPF_PROG_TYPE_CGROUP_DEVICE.
    """
    code = [
        _instruction(_LOAD_WORD, _KIND, _CONTEXT),  # access_type: access << 16 | type
        _instruction(_MOVE_REGISTER, _PENDING, _KIND),
        _instruction(_AND, _KIND, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _PENDING, value=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
    ]
    to_allow: list[int] = []  # places of the jumps whose distance is not known yet
    to_deny: list[int] = []
    for rule in _deciding(rules):
        code += _rule(rule)
        (to_allow if rule.allow else to_deny).append(len(code) - 1)
    deny = len(code)
    code += [_instruction(_MOVE, _RESULT, value=0), _instruction(_EXIT)]
    allow = len(code)
    if to_allow:  # the kernel refuses a program with a part that nothing leads to
        code += [_instruction(_MOVE, _RESULT, value=1), _instruction(_EXIT)]
    for places, target in ((to_allow, allow), (to_deny, deny)):
        for place in places:
            opcode, registers, _, value = _bpf_insn.unpack(code[place])
            code[place] = _bpf_insn.pack(opcode, registers, target - place - 1, value)
    return b"".join(code)


def _rule(rule: DeviceRule) -> list[bytes]:
    """Return the test of one rule; its last instruction is the jump to its answer."""
    bits = sum(_ACCESS[letter] for letter in rule.access)
    tests = []
    if rule.type != "a":
        tests.append((_KIND, _TYPE[rule.type]))
        if rule.major is not None:
            tests.append((_MAJOR, rule.major))
        if rule.minor is not None:
            tests.append((_MINOR, rule.minor))
    if rule.allow:
        tail = [
            _instruction(_AND, _PENDING, value=7 & ~bits),
            _instruction(_IF_EQUAL, _PENDING, value=0),
        ]
    else:
        tail = [_instruction(_IF_ANY_BIT, _PENDING, value=bits)]
    after = len(tests) + len(tail)
    return [
        _instruction(_IF_NOT_EQUAL, register, offset=after - place - 1, value=value)
        for place, (register, value) in enumerate(tests)
    ] + tail


def _deciding(rules: Sequence[DeviceRule]) -> list[DeviceRule]:
    """Return the rules that can matter, the last one first."""
    found = []
    for rule in reversed(rules):
        everything = rule.type == "a"
        numbered = (rule.major or 0) <= _MAX_MAJOR and (rule.minor or 0) <= _MAX_MINOR
        if everything or (numbered and rule.access):
            found.append(rule)
        if everything:
            break
    return found


def _instruction(
    opcode: int, target: int = 0, source: int = 0, *, offset: int = 0, value: int = 0
) -> bytes:
    return _bpf_insn.pack(opcode, target | source << 4, offset, value)


def version1_writes(rules: Sequence[DeviceRule]) -> list[tuple[str, str]]:
    """Return what to write, in order, as (file, line) pairs.

    Raises:
        InvalidDocument: a rule takes away a part of what an earlier one gave, or gives back a
            part of what one took: version 1 cannot say "all of these but that one".
    """
    allowed_by_default, exceptions = False, dict[tuple[str, int | None, int | None], str]()
    for rule in rules:
        key = (rule.type, rule.major, rule.minor)
        if rule.type == "a":
            allowed_by_default = rule.allow
            exceptions.clear()
        elif rule.allow != allowed_by_default:
            exceptions[key] = _union(exceptions.get(key, ""), rule.access)
        else:
            _take_back(exceptions, key, rule.access)
    first, others = ("allow", "deny") if allowed_by_default else ("deny", "allow")
    return [(f"devices.{first}", "a")] + [
        (f"devices.{others}", f"{_spelled(key)} {_with_wider(exceptions, key)}")
        for key in exceptions
    ]


def _take_back(exceptions: dict[Key, str], key: Key, access: str) -> None:
    for other, theirs in list(exceptions.items()):
        if not set(theirs) & set(access):
            continue
        if _covers(key, other):
            left = "".join(letter for letter in theirs if letter not in access)
            if left:
                exceptions[other] = left
            else:
                del exceptions[other]
        elif _meet(key, other):
            raise InvalidDocument(
                "these device rules cannot be kept under version 1 of cgroups",
                why=f"{_spelled(key)} {access} is a part of {_spelled(other)} {theirs},"
                " which another rule decides the other way",
                hint="list the devices one by one",
            )


def _with_wider(exceptions: Mapping[Key, str], key: Key) -> str:
    """Return an exception's accesses with those of wider ones.

    The kernel looks for one exception that has all that is asked, and does not add up two.  It
    asks to read and write at once, but to make a node always by itself.
    """
    kind, major, minor = key
    wider = {key, (kind, major, None), (kind, None, minor), (kind, None, None)}
    theirs = (exceptions[other].replace("m", "") for other in wider if other in exceptions)
    return _union(exceptions[key], *theirs)


def _union(*accesses: str) -> str:
    return "".join(letter for letter in "rwm" if any(letter in each for each in accesses))


def _covers(wide: Key, narrow: Key) -> bool:
    return wide[0] == narrow[0] and all(
        ours in (None, theirs) for ours, theirs in zip(wide[1:], narrow[1:], strict=True)
    )


def _meet(one: Key, other: Key) -> bool:
    return one[0] == other[0] and all(
        None in (ours, theirs) or ours == theirs
        for ours, theirs in zip(one[1:], other[1:], strict=True)
    )


def _spelled(key: Key) -> str:
    kind, *numbers = key
    major, minor = ("*" if each is None else str(each) for each in numbers)
    return f"{kind} {major}:{minor}"
