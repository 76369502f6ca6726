"""Compile ``linux.seccomp`` of a runtime config to the BPF program the kernel runs.

The program looks at the ABI of the call first, then finds the call's number in a binary
search tree over ranges of equal verdict, then looks at arguments where a rule asks for it::

    ABI known and listed?  no  -> kill the process
    number                 tree of "at least?" tests, about 7 deep for docker's profile
    verdict                return an action, or test arguments, rule after rule

Rules for one system call are tried in the order of the document; the first that matches
decides, and without a match the default action does.  (libseccomp orders them itself, one
without arguments first; it matters only where rules of one call overlap and act differently.)

Loads, number tests and returns only: that is the part of BPF the kernel can evaluate ahead
of time, so since Linux 5.11 an allowed call without argument rules runs no filter at all.

Spec: runtime-spec config-linux.md, "Seccomp"; seccomp(2).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks
from ocimagic.runtime.bpf import (
    INSTRUCTION_BYTES,
    MAX_INSTRUCTIONS,
    Compare,
    Item,
    Jump,
    Label,
    Load,
    Mask,
    Return,
    Test,
    assemble,
)
from ocimagic.runtime.seccomp_profile import (
    ERRNO,
    KILL_PROCESS,
    Clause,
    Condition,
    Operator,
    Profile,
    parse_profile,
)
from ocimagic.runtime.syscall_table import X32_BIT, syscall_numbers
from ocimagic.spec.codec import Fields
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# struct seccomp_data in <linux/seccomp.h>; the machines below are little-endian.
_NUMBER_OFFSET = 0
_ARCH_OFFSET = 4
_ARGUMENTS_OFFSET = 16

_WORD = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class _Abi:
    """One way into the kernel, with its own numbers.

    ``bits`` is the size of a C long.  From ``ageless_from`` on, numbers do not grow with time.
    """

    arch: str
    audit_arch: int  # AUDIT_ARCH_* in <linux/audit.h>; x32 shares that of x86_64
    bits: int = 64
    ageless_from: int = 1 << 32


_X86_64 = _Abi("SCMP_ARCH_X86_64", 0xC000_003E)
_X32 = _Abi("SCMP_ARCH_X32", 0xC000_003E, bits=32, ageless_from=X32_BIT + 512)
_X86 = _Abi("SCMP_ARCH_X86", 0x4000_0003, bits=32)
_AARCH64 = _Abi("SCMP_ARCH_AARCH64", 0xC000_00B7)
_ARM = _Abi("SCMP_ARCH_ARM", 0x4000_0028, bits=32, ageless_from=0xF_0000)

# By platform.machine(), the kernel's own ABI first.  No kernel of these machines has others, so
# there is no ABI that could be listed in a profile, be called, and have no table.
_ABIS = {"x86_64": (_X86_64, _X86, _X32), "aarch64": (_AARCH64, _ARM)}


# Clauses in the order they are tried; the last has no conditions.
_Verdict = tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """From number ``first`` up to the next run, all calls have one verdict."""

    first: int
    verdict: _Verdict


def compile_filter(seccomp: Mapping[str, object], machine: str) -> bytes:
    """Compile the rules to an array of ``struct sock_filter``, the same bytes every time.

    Calls of the kernel's own ABI and of those listed in ``architectures`` are filtered by
    their own numbers; x32 calls that are not listed fail with ENOSYS, other ABIs kill the
    process.  Names the tables do not know are ignored.  Where the default action denies, a
    call newer than the newest that the rules name fails with ENOSYS, so that programs fall
    back to an older one.  A rule that names one argument twice counts as a rule for each of
    its conditions, as in runc and crun; otherwise all conditions of a rule must hold.

    ``flags``, ``listenerPath`` and ``listenerMetadata`` are for whoever loads the filter.

    Args:
        seccomp: ``linux.seccomp`` of a runtime config, as decoded from JSON.
        machine: the kernel's machine as ``platform.machine()`` says it.

    Raises:
        InvalidDocument: the rules break the runtime-spec.
        HostLacks: another machine than x86_64 and aarch64, or more than the 4096
            instructions that a kernel takes.
    """
    if machine not in _ABIS:
        raise HostLacks(
            f"no system call numbers for {machine!r} here, so no seccomp filter",
            hint="run without one (--security-opt seccomp=unconfined) if you trust the image",
        )
    profile = parse_profile(Fields(seccomp, "seccomp profile"))
    code = assemble(_program(profile, _ABIS[machine]))
    count = len(code) // INSTRUCTION_BYTES
    if count > MAX_INSTRUCTIONS:
        raise HostLacks(
            "this seccomp profile is too long for the kernel",
            why=f"{count} instructions, limit {MAX_INSTRUCTIONS}",
            hint="use fewer rules with args",
        )
    return code


# The program, from the outside in.


def _program(profile: Profile, abis: Sequence[_Abi]) -> list[Item]:
    native = abis[0]
    program: list[Item] = [Load(_ARCH_OFFSET)]
    bodies: list[Item] = []
    for abi in abis:
        if abi is _X32 or not (abi is native or abi.arch in profile.arches):
            continue
        here, otherwise = Label(abi.arch), Label()
        program += [Test(Compare.EQ, abi.audit_arch, here, otherwise), otherwise]
        bodies += [here, Load(_NUMBER_OFFSET)]
        bodies += _x86_64_calls(profile) if abi is _X86_64 else _calls(profile, abi)
    return [*program, Return(KILL_PROCESS), *bodies]


def _x86_64_calls(profile: Profile) -> list[Item]:
    """Part off x32, which has the audit arch of x86_64 and sets a bit of the number."""
    x32, x86_64 = Label(_X32.arch), Label(_X86_64.arch)
    if _X32.arch in profile.arches:
        x32_calls = _calls(profile, _X32)
    else:
        x32_calls = [Return(ERRNO | errno.ENOSYS)]
    fork: list[Item] = [Test(Compare.GE, X32_BIT, x32, x86_64), x86_64]
    return [*fork, *_calls(profile, _X86_64), x32, *x32_calls]


def _calls(profile: Profile, abi: _Abi) -> list[Item]:
    """Find the verdict on the number in the accumulator, and give it."""
    runs = _runs(profile, abi)
    ends: dict[int, Label] = {}
    judges: list[Item] = []
    labels: dict[_Verdict, Label] = {}
    for run in runs:
        if run.verdict not in labels:
            labels[run.verdict], judge = _judge(run.verdict, abi, ends)
            judges += judge
    tree: list[Item] = []
    root = _search(runs, labels, tree)
    program = [Jump(root), *tree, *judges]
    for returns, end in ends.items():
        program += [end, Return(returns)]
    return program


def _runs(profile: Profile, abi: _Abi) -> list[_Run]:
    """Cut the numbers, from 0 to the largest, into the fewest runs of one verdict."""
    verdicts = _verdicts(profile, abi)
    newest = max((number for number in verdicts if number < abi.ageless_from), default=_WORD)
    runs: list[_Run] = []

    def say(first: int, verdict: _Verdict) -> None:
        if not runs or runs[-1].verdict != verdict:
            runs.append(_Run(first, verdict))

    def say_gap(first: int) -> None:
        say(first, (profile.default if first <= newest else profile.newer,))

    following = 0
    for number in sorted(verdicts):
        if number > following:
            say_gap(following)
        say(number, verdicts[number])
        following = number + 1
    say_gap(following)
    return runs


def _verdicts(profile: Profile, abi: _Abi) -> dict[int, _Verdict]:
    """Collect the verdicts on the numbers that rules name, and on all ageless ones."""
    numbers = syscall_numbers(abi.arch)
    found: dict[int, list[Clause]] = {}
    for number in numbers.values():
        if number >= abi.ageless_from:
            found[number] = []
    for names, clauses in profile.rules:
        for name in names:
            if name in numbers:
                found.setdefault(numbers[name], []).extend(clauses)
    return {number: _verdict(clauses, profile.default) for number, clauses in found.items()}


def _verdict(clauses: Sequence[Clause], default: Clause) -> _Verdict:
    """Order the clauses for one call, without those that cannot change the outcome."""
    kept: list[Clause] = []
    for clause in (*clauses, default):
        kept.append(clause)
        if not clause.conditions:
            break
    while len(kept) > 1 and kept[-2].returns == kept[-1].returns:
        del kept[-2]
    return tuple(kept)


def _search(runs: Sequence[_Run], labels: Mapping[_Verdict, Label], program: list[Item]) -> Label:
    """Append a binary search for the run of a number; return where it begins."""
    if len(runs) == 1:
        return labels[runs[0].verdict]
    here, half = Label(), len(runs) // 2
    place = len(program)
    program.append(here)
    lower = _search(runs[:half], labels, program)
    upper = _search(runs[half:], labels, program)
    program.insert(place + 1, Test(Compare.GE, runs[half].first, upper, lower))
    return here


def _judge(verdict: _Verdict, abi: _Abi, ends: dict[int, Label]) -> tuple[Label, list[Item]]:
    """Try the clauses of a verdict in turn; return where that begins, and how it goes.

    The returns are not written here but noted in ``ends``, once for each value.
    """
    if len(verdict) == 1:
        return _end(verdict[0], ends), []
    program: list[Item] = []
    begin = following = Label()
    for clause in verdict:
        here, following = following, Label()
        program.append(here)
        for condition in clause.conditions:
            holds = Label()
            program += [*_examine(condition, abi, holds, following), holds]
        program.append(Jump(_end(clause, ends)))
    return begin, program


def _end(clause: Clause, ends: dict[int, Label]) -> Label:
    return ends.setdefault(clause.returns, Label(f"{clause.returns:#x}"))


# One argument: 64 bits in two words, since BPF has 32.


def _examine(condition: Condition, abi: _Abi, yes: Label, no: Label) -> list[Item]:
    """Go to ``yes`` or ``no`` as the condition holds or does not.

    In a 32-bit call an argument is its low word: 64-bit code can enter by ``int 0x80`` with
    anything in the upper halves, which the filter would see and the call would not.
    """
    match condition.operator:
        case Operator.EQ | Operator.MASKED_EQ:
            return _equal(condition, abi, yes, no)
        case Operator.NE:
            return _equal(condition, abi, no, yes)
        case Operator.GT:
            return _greater(condition, abi, Compare.GT, yes, no)
        case Operator.LE:
            return _greater(condition, abi, Compare.GT, no, yes)
        case Operator.GE:
            return _greater(condition, abi, Compare.GE, yes, no)
        case Operator.LT:
            return _greater(condition, abi, Compare.GE, no, yes)


def _equal(condition: Condition, abi: _Abi, yes: Label, no: Label) -> list[Item]:
    mask, wanted = (1 << 64) - 1, condition.value
    if condition.operator is Operator.MASKED_EQ:
        mask, wanted = condition.value, condition.value_two
    program: list[Item] = []
    if abi.bits == 64 and mask >> 32:
        low = Label()
        program += _word_equal(_high(condition), mask >> 32, wanted >> 32, low, no)
        program.append(low)
    elif wanted >> 32:
        return [Jump(no)]
    return program + _word_equal(_low(condition), mask & _WORD, wanted & _WORD, yes, no)


def _word_equal(offset: int, mask: int, wanted: int, yes: Label, no: Label) -> list[Item]:
    kept: list[Item] = [] if mask == _WORD else [Mask(mask)]
    return [Load(offset), *kept, Test(Compare.EQ, wanted, yes, no)]


def _greater(
    condition: Condition, abi: _Abi, compare: Compare, yes: Label, no: Label
) -> list[Item]:
    """Compare by the high words; by the low ones where those are equal."""
    high, low = condition.value >> 32, condition.value & _WORD
    program: list[Item] = []
    if abi.bits == 64:
        not_above, equal = Label(), Label()
        program += [Load(_high(condition)), Test(Compare.GT, high, yes, not_above), not_above]
        program += [Test(Compare.EQ, high, equal, no), equal]
    elif high:
        return [Jump(no)]
    return [*program, Load(_low(condition)), Test(compare, low, yes, no)]


def _low(condition: Condition) -> int:
    return _ARGUMENTS_OFFSET + 8 * condition.index


def _high(condition: Condition) -> int:
    return _low(condition) + 4
