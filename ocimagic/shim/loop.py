"""One thread that waits for descriptors and for moments.

Over poll(2), which keeps nothing in the kernel: after a fork both processes can go on with it.
"""

from __future__ import annotations

import heapq
import itertools
import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.POLLIN
WRITE = select.POLLOUT
# What poll reports unasked; a reader learns of it by reading.
_TROUBLE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Alarm:
    """A moment somebody waits for; ``cancel`` it if it is not wanted any more."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Forget it; also when it is over already."""
        self.action = None


class Loop:
    """Calls back when a descriptor is ready or a moment has come."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._wanted: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()

    def watch(self, fd: int, events: int, action: Callable[[int], None]) -> None:
        """Call ``action(events)`` whenever ``fd`` is ready; replaces what was said before.

        Args:
            fd: forget it before it is closed.
            events: ``READ``, ``WRITE`` or both; 0 waits for nothing.
            action: is given those of the events that are there; trouble counts as ready.
        """
        known = self._wanted.get(fd)
        if not events:
            self.forget(fd)
            return
        if known is None or known[0] != events:
            self._poll.register(fd, events)
        self._wanted[fd] = (events, action)

    def forget(self, fd: int) -> None:
        """Wait for ``fd`` no longer; nothing if nobody did."""
        if self._wanted.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def at(self, when: float, action: Callable[[], None]) -> Alarm:
        """Call ``action`` once, at a moment of ``time.monotonic()``."""
        alarm = Alarm(action)
        heapq.heappush(self._alarms, (when, next(self._numbers), alarm))
        return alarm

    def turn(self) -> None:
        """Wait until something is due, and do it."""
        for fd, events in self._poll.poll(self._patience_ms()):
            # An action before it in this round may have forgotten it.
            if fd in self._wanted:
                wanted, action = self._wanted[fd]
                action(wanted if events & _TROUBLE else events & wanted)
        now = time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            due = heapq.heappop(self._alarms)[2].action
            if due is not None:
                due()

    def _patience_ms(self) -> float | None:
        while self._alarms and self._alarms[0][2].action is None:
            heapq.heappop(self._alarms)
        if not self._alarms:
            return None
        # Rounded up: a wait that ends a little early would only be waited for once more.
        return max(0.0, (self._alarms[0][0] - time.monotonic()) * 1000 + 1)
