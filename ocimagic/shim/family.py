"""Which processes are a container's, where neither a cgroup nor a pid namespace says so.

By descent: the shim and its holder are subreapers, so whatever a container starts stays below
them, and what is not in their mount namespace is the container's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from ocimagic.linux.processes import descendants

_PATIENCE_S = 2.0
_LOOK_S = 0.01


def kill_containers_own(keeper: int) -> None:
    """Kill all below a holder that are not of its mount namespace, those that fork meanwhile too.

    Args:
        keeper: pid of the holder.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        found = [pid for pid in descendants(keeper) if _is_elsewhere(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                try:
                    # Looked at with the descriptor in hand: the number may be another's by now.
                    if _is_elsewhere(pid):
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                finally:
                    os.close(pidfd)
        select.select([], [], [], _LOOK_S)


def _is_elsewhere(pid: int) -> bool:
    """Say whether a process lives, and in another mount namespace than this one."""
    try:
        there = os.stat(f"/proc/{pid}/ns/mnt")
    except OSError:
        return False
    return not os.path.samestat(there, os.stat("/proc/self/ns/mnt"))
