"""How a process ended: asked of the kernel, also by who is not its parent.

A shim that took another's place is not the parent of the container's first process.  The
status of a process that nobody has waited for is in ``/proc/PID/stat``; of one that was waited
for, Linux 6.15 and later tell whoever has a pidfd.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from typing import TYPE_CHECKING, Self

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.linux.identity import ProcessIdentity

UNKNOWN = 255
# <linux/pidfd.h>: struct pidfd_info and its ioctl
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 8
_INFO = struct.Struct("=QQ11Ii")
_EXIT_CODE_FIELD = 49  # field 52 of /proc/PID/stat, counted after the name


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended.

    Attributes:
        code: as a shell says it: 128 + n for signal n; 255 if nobody knows.
        signal: what killed it.
        known: false when the kernel would not say.
    """

    code: int
    signal: int | None
    known: bool = True

    @classmethod
    def from_wait_status(cls, status: int) -> Self:
        """Read what wait(2) calls a status."""
        number = status & 0x7F
        return cls(128 + number, number) if number else cls(status >> 8 & 0xFF, None)


def ending_of(pidfd: int, identity: ProcessIdentity) -> Ending:
    """Return how a process ended whose pidfd is readable; it is waited for if it is a child."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return _zombie(identity) or ending_of_reaped(pidfd) or Ending(UNKNOWN, None, known=False)
    assert result is not None
    if result.si_code == os.CLD_EXITED:
        return Ending(result.si_status, None)
    return Ending(128 + result.si_status, result.si_status)


def reap_strangers(ours: set[int]) -> None:
    """Wait for children that have ended and that nobody else here waits for.

    As the reaper of all below us we get what outlives its parent.

    Args:
        ours: pids that are left alone, since somebody wants to know how they ended.
    """
    options = os.WEXITED | os.WNOHANG
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, options | os.WNOWAIT)) is not None:
            if found.si_pid in ours:
                return
            os.waitid(os.P_PID, found.si_pid, options)


def _zombie(identity: ProcessIdentity) -> Ending | None:
    try:
        with open(f"/proc/{identity.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] != b"Z" or int(fields[19]) != identity.start_ticks:
        return None
    return Ending.from_wait_status(int(fields[_EXIT_CODE_FIELD]))


def ending_of_reaped(pidfd: int) -> Ending | None:
    """Return how a process ended that somebody has waited for; None before Linux 6.15."""
    info = bytearray(_INFO.size)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:  # a kernel before 6.13
        return None
    mask, *_, status = _INFO.unpack(info)
    return Ending.from_wait_status(status) if mask & _PIDFD_INFO_EXIT else None
