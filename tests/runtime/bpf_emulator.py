"""Run a classic BPF program as the kernel's seccomp would, on made-up system calls."""

from __future__ import annotations

import struct
from dataclasses import dataclass

AUDIT_ARCH = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_ARM": 0x40000028,
}

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000


def returns_errno(number: int) -> int:
    return 0x00050000 | number


@dataclass(frozen=True)
class Answer:
    returns: int
    steps: int  # instructions run


class Filter:
    """A filter, decoded and checked as the kernel checks it when it is loaded."""

    def __init__(self, code: bytes) -> None:
        assert len(code) % 8 == 0
        self.instructions = list(struct.iter_unpack("=HBBI", code))
        assert 0 < len(self.instructions) <= 4096
        assert self.instructions[-1][0] == 0x06
        for place, (opcode, if_true, if_false, value) in enumerate(self.instructions):
            if opcode == 0x05:
                assert place + 1 + value < len(self.instructions)
            elif opcode in {0x15, 0x25, 0x35}:
                assert place + 1 + max(if_true, if_false) < len(self.instructions)
            elif opcode == 0x20:
                assert value % 4 == 0
                assert value < 64

    def __len__(self) -> int:
        return len(self.instructions)

    def call(self, arch: str | int, number: int, *arguments: int) -> int:
        return self.trace(arch, number, *arguments).returns

    def trace(self, arch: str | int, number: int, *arguments: int) -> Answer:
        audit_arch = arch if isinstance(arch, int) else AUDIT_ARCH[arch]
        padded = [*arguments, *[0] * (6 - len(arguments))]
        return self.run(struct.pack("=IIQ6Q", number, audit_arch, 0, *padded))

    def run(self, data: bytes) -> Answer:
        place, accumulator, steps = 0, 0, 0
        while True:
            opcode, if_true, if_false, value = self.instructions[place]
            place, steps = place + 1, steps + 1
            match opcode:
                case 0x20:
                    (accumulator,) = struct.unpack_from("=I", data, value)
                case 0x54:
                    accumulator &= value
                case 0x05:
                    place += value
                case 0x15:
                    place += if_true if accumulator == value else if_false
                case 0x25:
                    place += if_true if accumulator > value else if_false
                case 0x35:
                    place += if_true if accumulator >= value else if_false
                case 0x06:
                    return Answer(value, steps)
                case _:
                    raise AssertionError(f"opcode {opcode:#x} is not emulated")
