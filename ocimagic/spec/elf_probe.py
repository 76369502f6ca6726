"""The smallest program of a processor: it ends with 0, and so tells whether it can be run here.

Spec: System V ABI, "Object Files"; the number of ``exit`` is that of each processor's Linux.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_ADDRESS = 0x10000  # the lowest that Linux lets a program have
_ALIGNMENT = 0x10000  # pages are that large on some
_READ_EXECUTE = 5
_EXEC, _LOAD = 2, 1


class _Machine(NamedTuple):
    number: int
    bits: int
    order: str
    flags: int
    code: str  # exit(0)


_MACHINES = {
    "386": _Machine(3, 32, "<", 0, "31db b801000000 cd80"),
    "amd64": _Machine(62, 64, "<", 0, "31ff b83c000000 0f05"),
    "arm": _Machine(40, 32, "<", 0x5000000, "0000a0e3 0170a0e3 000000ef"),
    "arm64": _Machine(183, 64, "<", 0, "000080d2 a80b80d2 010000d4"),
    "ppc64le": _Machine(21, 64, "<", 2, "00006038 01000038 02000044"),
    "riscv64": _Machine(243, 64, "<", 0, "13050000 9308d005 73000000"),
    "s390x": _Machine(22, 64, ">", 0, "a7290000 0a01"),
}


def probe_program(architecture: str) -> bytes | None:
    """Return an ELF program that ends with 0, None for a processor that is not known here.

    Args:
        architecture: Go's name of it.
    """
    machine = _MACHINES.get(architecture)
    if machine is None:
        return None
    code = bytes.fromhex(machine.code)
    wide = machine.bits == 64
    header, program = (64, 56) if wide else (52, 32)
    start = header + program
    size = start + len(code)
    ident = b"\x7fELF" + bytes([machine.bits // 32, 1 if machine.order == "<" else 2, 1])
    words = "HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"
    head = struct.pack(
        machine.order + words,
        *(_EXEC, machine.number, 1, _ADDRESS + start, header, 0, machine.flags),
        *(header, program, 1, 0, 0, 0),
    )
    if wide:
        segment = struct.pack(
            machine.order + "IIQQQQQQ",
            *(_LOAD, _READ_EXECUTE, 0, _ADDRESS, _ADDRESS, size, size, _ALIGNMENT),
        )
    else:
        segment = struct.pack(
            machine.order + "IIIIIIII",
            *(_LOAD, 0, _ADDRESS, _ADDRESS, size, size, _READ_EXECUTE, _ALIGNMENT),
        )
    return ident.ljust(16, b"\0") + head + segment + code
