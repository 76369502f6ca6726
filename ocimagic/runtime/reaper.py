"""Stay pid 1 in front of the command: pass signals on, and wait for orphans.

What ``--init`` asks for, where the machine has no static docker-init to show the container.  It
costs the container some megabytes that it would not: this is still Python.

Spec: signal(7); pid_namespaces(7), "The namespace init process".
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NoReturn

# More than this process ever had; closed one by one where the filter knows no close_range(2).
_DESCRIPTORS = 1 << 16


def stay_first() -> None:
    """Return in a child, which is to become the command; the caller's process never comes back.

    The child has a process group of its own, in the foreground of its terminal.
    """
    every = signal.valid_signals()
    # Before there is a child: its end must not come before somebody waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, every)
    child = os.fork()  # noqa: TID251  one thread, and nothing but system calls follows
    if child:
        # No copy of a stream or of the channel: their ends are to be seen when the child's are.
        os.closerange(0, _DESCRIPTORS)
        _serve(child, every)
    os.setpgid(0, 0)
    with contextlib.suppress(OSError):  # no terminal
        os.tcsetpgrp(0, os.getpgrp())  # SIGTTOU is still blocked
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _serve(child: int, every: set[signal.Signals]) -> NoReturn:
    while True:
        number = signal.sigwaitinfo(every).si_signo
        if number == signal.SIGCHLD:
            _reap(child)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)


def _reap(child: int) -> None:
    """Wait for all that have ended; end as the child has."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
        if pid == 0:
            return
