"""Programs that the kernel asks before a device is opened or made: bpf(2).

Source: <linux/bpf.h>, ``union bpf_attr``; one struct per command.
"""

from __future__ import annotations

import os
import struct
from array import array

from ocimagic.linux import syscalls

_PROG_LOAD = 5
_PROG_ATTACH = 8
_PROG_DETACH = 9
_PROG_GET_FD_BY_ID = 13
_PROG_QUERY = 16

_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2  # programs of all ancestors are asked too, and all must agree
_MAX_ATTACHED = 64  # BPF_CGROUP_MAX_PROGS

_INSTRUCTION_BYTES = 8
_LICENSE = b"MIT\0"


def load_device_filter(program: bytes) -> int:
    """Hand a program of type BPF_PROG_TYPE_CGROUP_DEVICE to the kernel; return its descriptor.

    Args:
        program: ``struct bpf_insn`` array.
    """
    code, license_ = array("B", program), array("B", _LICENSE)
    fields = struct.pack(
        "=IIQQIIQII16sII",
        _TYPE_CGROUP_DEVICE,
        len(program) // _INSTRUCTION_BYTES,
        code.buffer_info()[0],
        license_.buffer_info()[0],
        *(0, 0, 0),  # no log of the verifier
        *(0, 0),  # kern_version, prog_flags
        b"ocimagic_device",
        0,  # prog_ifindex
        _ATTACH_CGROUP_DEVICE,
    )
    return _bpf(_PROG_LOAD, array("B", fields))


def attach_device_filter(cgroup_fd: int, program_fd: int) -> None:
    """Let a program decide for a cgroup alone, in the place of those attached there before.

    There is no moment at which nothing decides: for one, old and new must both agree.

    Args:
        cgroup_fd: a version 2 directory, opened for reading and not with O_PATH.
        program_fd: what ``load_device_filter`` returned; may be closed afterwards.
    """
    before = _attached(cgroup_fd)
    try:
        # target_fd, attach_bpf_fd, attach_type, attach_flags
        fields = (cgroup_fd, program_fd, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI)
        _bpf(_PROG_ATTACH, array("B", struct.pack("=4I", *fields)))
        for old in before:
            _detach(cgroup_fd, old)
    finally:
        for old in before:
            os.close(old)


def detach_device_filters(cgroup_fd: int) -> None:
    """Let nothing but the ancestors' programs decide for a cgroup."""
    for old in _attached(cgroup_fd):
        try:
            _detach(cgroup_fd, old)
        finally:
            os.close(old)


def _attached(cgroup_fd: int) -> list[int]:
    """Return descriptors of the programs attached to exactly this cgroup."""
    ids = array("I", bytes(4 * _MAX_ATTACHED))
    # target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
    fields = struct.pack(
        "=IIIIQIxxxx", cgroup_fd, _ATTACH_CGROUP_DEVICE, 0, 0, ids.buffer_info()[0], len(ids)
    )
    attributes = array("B", fields)
    _bpf(_PROG_QUERY, attributes)
    count: int = struct.unpack_from("=I", attributes, 24)[0]
    found: list[int] = []
    for each in ids[:count]:
        try:
            found.append(_bpf(_PROG_GET_FD_BY_ID, array("B", struct.pack("=III", each, 0, 0))))
        except FileNotFoundError:  # detached meanwhile
            continue
    return found


def _detach(cgroup_fd: int, program_fd: int) -> None:
    fields = (cgroup_fd, program_fd, _ATTACH_CGROUP_DEVICE, 0)
    _bpf(_PROG_DETACH, array("B", struct.pack("=4I", *fields)))


def _bpf(command: int, attributes: array[int]) -> int:
    """Make the call; its attributes hold addresses, so they are an array that stays in place."""
    return syscalls.call("bpf", command, attributes.buffer_info()[0], len(attributes))
