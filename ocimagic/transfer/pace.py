"""How fast a layer moves: in the last seconds while it does, and over all of it at its end."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_S = 3.0
_MARK_S = 0.1
# A shorter time says more of buffers than of the network.
_LEAST_S = 0.05


class Pace:
    """The pace of one layer; for one thread.

    Args:
        clock: seconds that only go forward; what it says now is the beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._last = (self._began, 0)
        self._marks: deque[tuple[float, int]] = deque([self._last])

    def reached(self, moved_bytes: int) -> None:
        """Note how many bytes have moved since the beginning."""
        now = self._clock()
        self._last = (now, moved_bytes)
        if now - self._marks[-1][0] >= _MARK_S:
            self._marks.append(self._last)
        # One mark older than the window stays: it is where the window begins.
        while len(self._marks) > 1 and self._marks[1][0] <= now - WINDOW_S:
            self._marks.popleft()

    def add(self, moved_bytes: int) -> None:
        """Note that so many more have moved."""
        self.reached(self._last[1] + moved_bytes)

    def now(self) -> float:
        """Return bytes a second over the window that ends now; 0 when that says nothing."""
        return _rate(self._marks[0], (self._clock(), self._last[1]))

    def overall(self) -> float:
        """Return bytes a second from the beginning to the last byte; 0 when nothing moved."""
        return _rate((self._began, 0), self._last)


def _rate(one: tuple[float, int], other: tuple[float, int]) -> float:
    seconds = other[0] - one[0]
    return (other[1] - one[1]) / seconds if seconds >= _LEAST_S else 0.0
