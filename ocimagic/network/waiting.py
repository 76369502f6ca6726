"""What a loop does for this room: that of a shim, and that of a relay."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE = select.POLLIN, select.POLLOUT


class Alarm(Protocol):
    """What a loop gives for a moment."""

    def cancel(self) -> None:
        """Forget it."""


class Loop(Protocol):
    """Calls back when a descriptor is ready or a moment has come."""

    def watch(self, fd: int, events: int, action: Callable[[int], None]) -> None:
        """Call back when a descriptor is ready."""

    def forget(self, fd: int) -> None:
        """Wait for it no longer."""

    def at(self, when: float, action: Callable[[], None]) -> Alarm:
        """Call back once at a moment."""
