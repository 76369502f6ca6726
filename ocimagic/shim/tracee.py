"""The command under a tracer: its end is the container's, whatever it leaves behind.

The tracer heeds no signal but SIGQUIT, which ends all it runs, goes on as long as anything runs
under it, and says of a signal that ended the command only 255.  So the command is watched itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from ocimagic.linux.processes import children
from ocimagic.shim.ending import UNKNOWN, Ending, ending_of_reaped
from ocimagic.shim.loop import READ
from ocimagic.shim.removal import remove_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.shim.loop import Alarm, Loop

_FIRST_LOOK_S, _LAST_LOOK_S = 0.001, 0.5
_GRACE_S, _PATIENCE_S = 0.1, 1.0
_ITS_DIRECTORY, _ITS_FILES = "/tmp", ("proot", "prooted")  # noqa: S108  wherever TMPDIR is


class Tracee:
    """What one tracer runs.

    Args:
        loop: of the shim.
        tracer: pid of the tracer, which is not waited for yet.
        pidfd: of the tracer.
    """

    def __init__(self, loop: Loop, tracer: int, pidfd: int) -> None:
        self._loop = loop
        self._tracer = tracer
        self._tracer_pidfd = pidfd
        self._pidfd = -1
        self._look_s = _FIRST_LOOK_S
        self._alarms: list[Alarm] = []
        self._is_over = False
        self._sent = 0

    def watch(self) -> None:
        """Find the command, which may not be there yet, and wait for its end."""
        found = children(self._tracer)
        if found:
            with contextlib.suppress(ProcessLookupError):
                self._pidfd = os.pidfd_open(min(found))
                self._loop.watch(self._pidfd, READ, lambda _: self._end())
                return
        if self._look_s < _LAST_LOOK_S:
            self._at(self._look_s, self.watch)
            self._look_s *= 2
        else:  # it has ended, and what it left has another parent
            self._end()

    def signal(self, number: int) -> None:
        """Send the command a signal."""
        if number == signal.SIGKILL:
            self._sent = number
            self._end_all()
        elif self._pidfd >= 0:
            self._send(self._pidfd, number)
            self._sent = number

    def judge(self, tracers: Ending) -> Ending:
        """Return how the command ended, from what is known and how its tracer ended."""
        known = ending_of_reaped(self._pidfd) if self._pidfd >= 0 else None
        if known is not None and self._sent != signal.SIGKILL:
            return known  # else it may be the first steps of the tracer that were killed
        if self._sent == signal.SIGKILL or (self._sent and tracers.code == UNKNOWN):
            return Ending(128 + self._sent, self._sent)
        # Who had to be told to end cannot say how the command did.
        return Ending(UNKNOWN, None, known=False) if self._is_over else tracers

    def close(self) -> None:
        """Watch no more, and take away what a tracer leaves that was ended while it began."""
        ours = tuple(f"{name}-{self._tracer}-" for name in _ITS_FILES)
        for name in os.listdir(_ITS_DIRECTORY):
            if name.startswith(ours):
                with contextlib.suppress(OSError):  # another account's
                    remove_path(f"{_ITS_DIRECTORY}/{name}")
        for alarm in self._alarms:
            alarm.cancel()
        if self._pidfd >= 0:
            self._loop.forget(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _end(self) -> None:
        if self._pidfd >= 0:
            self._loop.forget(self._pidfd)  # open still: it is asked how that was
        # Its tracer ends as well, and says the code, if nothing else runs under it.
        self._at(_GRACE_S, self._end_all)

    def _end_all(self) -> None:
        self._is_over = True
        self._send(self._tracer_pidfd, signal.SIGQUIT)
        self._at(_PATIENCE_S, lambda: self._send(self._tracer_pidfd, signal.SIGKILL))

    def _send(self, pidfd: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)

    def _at(self, delay_s: float, act: Callable[[], None]) -> None:
        self._alarms.append(self._loop.at(time.monotonic() + delay_s, act))
