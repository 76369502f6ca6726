"""UDP that leads on: who sends from one place to another has a flow, for as long as it is used.

Source: udp(7); kernel documentation, "Transparent proxy support".
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ocimagic.network.waiting import READ

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Hashable

    from ocimagic.network.waiting import Loop

    Send = Callable[[bytes], object]

IDLE_S = 90.0
MOST = 1000
_READ_BYTES = 1 << 16
_AT_ONCE = 32


class Flow:
    """Datagrams between two places, both ways.

    Args:
        loop: calls us.
        far: the socket they leave by, connected.
        tell: sends back what comes in there.
        near: the socket that gets what follows, connected; None if another one gets it.
    """

    def __init__(
        self, loop: Loop, far: socket.socket, tell: Send, near: socket.socket | None = None
    ) -> None:
        self._loop, self._far, self._tell, self._near = loop, far, tell, near
        self.used = time.monotonic()
        loop.watch(far.fileno(), READ, lambda _: self._pass(far, tell))
        if near is not None:
            loop.watch(near.fileno(), READ, lambda _: self._pass(near, far.send))

    def send(self, data: bytes) -> None:
        """Send one on; what cannot be sent now is lost, as datagrams may be."""
        self.used = time.monotonic()
        with contextlib.suppress(OSError):
            self._far.send(data)

    def _pass(self, source: socket.socket, send: Send) -> None:
        self.used = time.monotonic()
        for _ in range(_AT_ONCE):
            try:
                data = source.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError:  # nobody is there: who waits for an answer gets none
                continue
            with contextlib.suppress(OSError):
                send(data)

    def close(self) -> None:
        """Forget it."""
        for each in (self._far, self._near):
            if each is not None:
                self._loop.forget(each.fileno())
                each.close()


class Flows:
    """All flows of one socket, by who sends where.

    Args:
        loop: calls us.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._flows: dict[Hashable, Flow] = {}
        self._is_sweeping = False

    def send(self, who: Hashable, data: bytes, make: Callable[[], Flow]) -> None:
        """Send a datagram on by its flow, made if it is the first; lost if that cannot be."""
        flow = self._flows.get(who)
        if flow is None:
            if len(self._flows) >= MOST:
                self._drop(min(self._flows, key=lambda each: self._flows[each].used))
            try:
                flow = self._flows[who] = make()
            except OSError:  # no way there, or no descriptors: as if it were lost on its way
                return
            self._expect_sweep()
        flow.send(data)

    def _expect_sweep(self) -> None:
        if not self._is_sweeping:
            self._is_sweeping = True
            self._loop.at(time.monotonic() + IDLE_S / 3, self._sweep)

    def _sweep(self) -> None:
        self._is_sweeping = False
        now = time.monotonic()
        for who in [who for who, each in self._flows.items() if now - each.used > IDLE_S]:
            self._drop(who)
        if self._flows:
            self._expect_sweep()

    def _drop(self, who: Hashable) -> None:
        self._flows.pop(who).close()
