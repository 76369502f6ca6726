"""A small assembler for classic BPF, the language of seccomp filters.

A program is a list of items: instructions and the labels they jump to.  Jumps only go
forward; classic BPF has no other.

Source: <linux/filter.h>, <linux/bpf_common.h>; seccomp(2) for the subset it accepts.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTRUCTION_BYTES = 8
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_MASK = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA

# A conditional jump counts in 8 bits.  Two less than 255: its own detours may lie in between.
_NEAR = 253

_sock_filter = struct.Struct("=HBBI")


class Compare(IntEnum):
    """How a test compares the accumulator with its constant; the value is the opcode."""

    EQ = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
    GT = 0x25  # BPF_JMP | BPF_JGT | BPF_K
    GE = 0x35  # BPF_JMP | BPF_JGE | BPF_K


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A place in a program; each is only itself, names need not differ."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """Load the 32-bit word at this offset of the input into the accumulator."""

    offset_bytes: int


@dataclass(frozen=True, slots=True)
class Mask:
    """Keep these bits of the accumulator."""

    bits: int


@dataclass(frozen=True, slots=True)
class Jump:
    """Go to a label."""

    target: Label


@dataclass(frozen=True, slots=True)
class Test:
    """Compare the accumulator, unsigned, and go to one of two labels."""

    compare: Compare
    value: int
    if_true: Label
    if_false: Label


@dataclass(frozen=True, slots=True)
class Return:
    """End the program with a 32-bit value."""

    value: int


Item = Label | Load | Mask | Jump | Test | Return


def assemble(program: Sequence[Item]) -> bytes:
    """Return the program as an array of ``struct sock_filter`` in the host's byte order.

    A test whose label is too far for its 8 bits gets a plain jump behind it; a jump to the
    instruction that follows is left out.

    Raises:
        ValueError: a jump to a label that does not follow it.
    """
    # Back to front: every distance is then known when its jump is written.
    written: list[bytes] = []
    after: dict[Label, int] = {}  # instructions between a label and the end
    for item in reversed(program):
        match item:
            case Label():
                after[item] = len(written)
            case Test():
                _write_test(item, written, after)
            case Jump(target):
                if _distance(target, written, after) > 0:
                    _write_jump(target, written, after)
            case Load(offset):
                written.append(_sock_filter.pack(_LOAD, 0, 0, offset))
            case Mask(bits):
                written.append(_sock_filter.pack(_MASK, 0, 0, bits))
            case Return(value):
                written.append(_sock_filter.pack(_RETURN, 0, 0, value))
    written.reverse()
    return b"".join(written)


def _write_test(test: Test, written: list[bytes], after: dict[Label, int]) -> None:
    far = {
        target: _write_jump(target, written, after)
        for target in dict.fromkeys((test.if_false, test.if_true))
        if _distance(target, written, after) > _NEAR
    }
    skips = [
        len(written) - (far[target] if target in far else after[target])
        for target in (test.if_true, test.if_false)
    ]
    written.append(_sock_filter.pack(test.compare, *skips, test.value))


def _write_jump(target: Label, written: list[bytes], after: dict[Label, int]) -> int:
    """Write a plain jump; return how far its own place is from the end."""
    written.append(_sock_filter.pack(_JUMP, 0, 0, _distance(target, written, after)))
    return len(written)


def _distance(target: Label, written: list[bytes], after: dict[Label, int]) -> int:
    try:
        return len(written) - after[target]
    except KeyError:
        raise ValueError(f"a jump goes back, or to a label that is not there: {target}") from None
