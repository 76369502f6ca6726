"""Which processes are a container's, where neither a cgroup nor a pid namespace says so.

By descent: the shim and its holder are subreapers, so whatever a container starts stays below
them; and by session: its processes begin with one of their own, and nobody can join another.
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
    """Kill all below a holder that are not of its session, those that fork meanwhile too.

    Args:
        keeper: pid of the holder.
    """
    ours = {os.getsid(0)}
    try:
        ours.add(os.getsid(keeper))
    except ProcessLookupError:  # it was killed just now: what is left of the family is below us
        keeper = os.getpid()
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        found = [pid for pid in descendants(keeper) if _is_elsewhere(pid, ours)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                try:
                    # Looked at with the descriptor in hand: the number may be another's by now.
                    if _is_elsewhere(pid, ours):
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                finally:
                    os.close(pidfd)
        select.select([], [], [], _LOOK_S)


def _is_elsewhere(pid: int, ours: set[int]) -> bool:
    """Say whether a process lives, and in another session than these."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()
        return state[0] not in (b"Z", b"X") and int(state[3]) not in ours
    except OSError:
        return False
