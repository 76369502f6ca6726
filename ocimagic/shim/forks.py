"""All forks of this room: a child that begins clean and never comes back."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from ocimagic.linux import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable


def fork_child(job: Callable[[], object]) -> int:
    """Run ``job`` in a child of the same session; return its pid.

    The caller must have one thread only.  A defect ends the child loudly, with exit code 1.
    """
    pid = os.fork()  # noqa: TID251  launcher, holder and shim have one thread
    if pid == 0:
        _run(job)
    return pid


def fork_apart(job: Callable[[], object]) -> int:
    """Run ``job`` in a child with a session of its own and default signals; return its pid."""
    pid = os.fork()  # noqa: TID251  launcher, holder and shim have one thread
    if pid == 0:
        os.setsid()
        os.chdir("/")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _run(job)
    return pid


def fork_helper(job: Callable[[], object]) -> int:
    """Run ``job`` in a child that has no descriptors of ours and ends with us; return its pid."""
    me = os.getpid()

    def alone() -> None:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == me:  # else we were killed before the kernel was told
            syscalls.close_range(3)
            job()

    return fork_child(alone)


def close_all_but(kept: list[int]) -> None:
    """Close, in a child, what is its parent's, but for the standard streams and these."""
    at = 3
    for fd in sorted(kept):
        if fd > at:
            syscalls.close_range(at, fd - 1)
        at = max(at, fd + 1)
    syscalls.close_range(at)


def _run(job: Callable[[], object]) -> NoReturn:
    try:
        job()
    except BaseException:  # noqa: BLE001  the last frame of a forked process
        # Not the traceback module: it would have to be loaded, perhaps from a removed package.
        sys.__excepthook__(*sys.exc_info())
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)
