"""What is done to all processes of a cgroup at once: let in, freeze, signal, wait for.

Spec: kernel Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files";
cgroup-v1/freezer-subsystem.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from ocimagic import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.runtime.cgroup_files import Directory

FREEZE_TIMEOUT_S = 10.0
_SHORTEST_S, _LONGEST_S = 0.0002, 0.02


class Entrance:
    """Open doors through which one new process puts itself into a cgroup.

    Its creator opens them with its own rights; the process goes in as its first act, while it
    has one thread.  That is cheap: a pid written to ``cgroup.procs`` by another process waits
    for all processors to pass a quiet point (8 ms on an idle machine, 14 ms in version 2), but
    a thread that moves itself through version 1's ``tasks`` waits for nothing (Linux 5.5), nor
    does a process that is born inside (CLONE_INTO_CGROUP).

    Attributes:
        cgroup_fd: for clone3's CLONE_INTO_CGROUP, -1 where there is no version 2.  A new cgroup
            namespace must then be had by unshare, after ``enter``: one made by the same clone
            has the creator's cgroup as its root.
    """

    __slots__ = ("_own_doors", "_version2_door", "cgroup_fd")

    def __init__(self, version1: Iterable[Directory], version2: Directory | None) -> None:
        self._own_doors: list[int] = []
        self._version2_door = self.cgroup_fd = -1
        try:
            if version2:
                self.cgroup_fd = version2.open()
                self._version2_door = version2.open_file("cgroup.procs", os.O_WRONLY)
            for each in version1:
                self._own_doors.append(each.open_file("tasks", os.O_WRONLY))
        except OSError:
            self.close()
            raise

    def enter(self, *, cloned_into: bool) -> None:
        """Move the calling process in, and close the doors behind it.

        Args:
            cloned_into: it was made with CLONE_INTO_CGROUP and is in version 2's already.

        Raises:
            OSError: the kernel does not let it in.
        """
        if not cloned_into and self._version2_door >= 0:
            os.write(self._version2_door, b"0")
        for door in self._own_doors:
            os.write(door, b"0")
        self.close()

    def close(self) -> None:
        """Let go of the descriptors; each process that has them does so."""
        for fd in (self.cgroup_fd, self._version2_door, *self._own_doors):
            if fd >= 0:
                os.close(fd)
        self.cgroup_fd = self._version2_door = -1
        self._own_doors = []


def freeze(directory: Directory) -> None:
    """Stop every process in a cgroup of version 2 and below it.

    Raises:
        InvalidState: some process did not stop in time; none is left stopped.
    """
    deadline = time.monotonic() + FREEZE_TIMEOUT_S
    directory.write("cgroup.freeze", "1")
    if not _wait_for_event(directory, "frozen 1", deadline):
        directory.write("cgroup.freeze", "0")
        raise _not_frozen(directory)


def freeze_version1(directory: Directory) -> None:
    """Stop every process in a cgroup of version 1's freezer and below it.

    Raises:
        InvalidState: some process did not stop in time; none is left stopped.
    """
    deadline = time.monotonic() + FREEZE_TIMEOUT_S
    pause_s, attempts = _SHORTEST_S, 0
    while time.monotonic() < deadline:
        directory.write("freezer.state", "FROZEN")
        if directory.read("freezer.state").strip() == "FROZEN":
            return
        # FREEZING: one forked meanwhile, or waits for a frozen one; then all have to go on.
        attempts += 1
        if attempts % 20 == 0:
            directory.write("freezer.state", "THAWED")
        _pause(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_S)
    directory.write("freezer.state", "THAWED")
    raise _not_frozen(directory)


def _not_frozen(directory: Directory) -> errors.InvalidState:
    return errors.InvalidState(
        "the processes of this container cannot be stopped now",
        why=f"{directory.path} is not frozen after {FREEZE_TIMEOUT_S:g} s: one of them waits in"
        " the kernel",
        hint="try again",
    )


def signal_processes(directory: Directory, number: int) -> int:
    """Send a signal to every process in a cgroup and below it; return how many got it.

    None that is elsewhere by now gets it: each is looked for again with its pidfd in hand.
    """
    handles: dict[int, int] = {}
    try:
        for pid in directory.processes():
            with contextlib.suppress(ProcessLookupError):
                handles[pid] = os.pidfd_open(pid)
        sent = 0
        for pid in directory.processes() if handles else ():
            with contextlib.suppress(ProcessLookupError, KeyError):
                signal.pidfd_send_signal(handles[pid], number)
                sent += 1
        return sent
    finally:
        for fd in handles.values():
            os.close(fd)


def wait_until_empty(
    version2: Directory | None, version1: Sequence[Directory], deadline: float
) -> None:
    """Return when no process is left, or at the deadline of ``time.monotonic``."""
    if version2 is not None:
        try:
            _wait_for_event(version2, "populated 0", deadline)
        except OSError as err:
            if err.errno not in (errno.ENOENT, errno.ENODEV):  # somebody else removed it
                raise
        return
    for each in version1:
        for pid in each.processes():
            with contextlib.suppress(ProcessLookupError):
                _wait_for_end(pid, deadline)


def _wait_for_end(pid: int, deadline: float) -> None:
    fd = os.pidfd_open(pid)
    try:
        ended = select.poll()
        ended.register(fd, select.POLLIN)
        ended.poll(max(0, deadline - time.monotonic()) * 1000)
    finally:
        os.close(fd)


def _wait_for_event(directory: Directory, line: str, deadline: float) -> bool:
    """Wait until ``cgroup.events`` says so; return False at the deadline."""
    fd = directory.open_file("cgroup.events", os.O_RDONLY)
    try:
        changed = select.poll()
        changed.register(fd, select.POLLPRI)
        while line not in os.pread(fd, 4096, 0).decode().splitlines():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            changed.poll(left_s * 1000)
        return True
    finally:
        os.close(fd)


def retry_busy(directory: Directory, deadline: float) -> bool:
    """Remove a cgroup with all below it; return False if it is still in use at the deadline.

    The kernel tells nobody when the last process of a version 1 cgroup has let go of it.
    """
    pause_s = _SHORTEST_S
    while not remove_tree(directory):
        if time.monotonic() >= deadline:
            return False
        _pause(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_S)
    return True


def remove_tree(directory: Directory) -> bool:
    """Remove a cgroup with all below it; return False if a part of it is in use."""
    try:
        os.rmdir(directory.path)
    except FileNotFoundError:
        return True
    except OSError as err:
        if err.errno != errno.EBUSY:  # for processes in it and for cgroups below it
            raise
        removed = [remove_tree(child) for child in directory.children()]
        return bool(removed) and all(removed) and remove_tree(directory)
    return True


def _pause(seconds: float) -> None:
    select.select((), (), (), seconds)
