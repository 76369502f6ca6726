"""Who a process is: a pid alone may be somebody else's by now."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import socket
import struct

from ocimagic.spec.record import dataclass

_DEATH_MS = 5000
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid


def peer_uid(connection: socket.socket) -> int:
    """Return the account at the other end of a socket of this machine, see unix(7)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(raw)[1])


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same pid.

    Attributes:
        start_ticks: field 22 of /proc/PID/stat.
        boot_id: of the kernel it ran under.
    """

    pid: int
    start_ticks: int
    boot_id: str

    def is_alive(self) -> bool:
        """Say whether exactly this process still runs, zombies not counted."""
        return self.boot_id == boot_id() and _stat(self.pid) == (self.start_ticks, True)

    def open(self) -> int:
        """Return a pidfd of exactly this process.

        Raises:
            ProcessLookupError: it is over.
        """
        if not self.pid:
            raise ProcessLookupError("there is no process yet")
        fd = os.pidfd_open(self.pid)
        # Looked at with the descriptor in hand: the pid cannot become another's any more.
        if not self.is_alive():
            os.close(fd)
            raise ProcessLookupError(f"process {self.pid} is over")
        return fd

    def send(self, number: int) -> None:
        """Send a signal to exactly this process.

        Raises:
            ProcessLookupError: it is over.
        """
        fd = self.open()
        try:
            signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)

    def kill(self) -> None:
        """End exactly this process and wait until it has; nothing if it is over."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            fd = self.open()
            try:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                wait_end(fd, _DEATH_MS)
            finally:
                os.close(fd)


def wait_end(pidfd: int, timeout_ms: int | None = None) -> bool:
    """Wait until a process has ended; return whether it has."""
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    return bool(ended.poll(timeout_ms))


def identify(pid: int) -> ProcessIdentity:
    """Describe a process that is known to run now."""
    start_ticks, _ = _stat(pid) or (0, False)
    return ProcessIdentity(pid, start_ticks, boot_id())


@functools.cache  # nobody outlives a boot
def boot_id() -> str:
    """Return the kernel's name for this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()


def _stat(pid: int) -> tuple[int, bool] | None:
    """Return start time and whether it is more than a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[19]), fields[0] not in (b"Z", b"X")
