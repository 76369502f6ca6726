"""Who notices that a client has closed its connection while its answer is still being made."""

from __future__ import annotations

import os
import select
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_ALWAYS = select.EPOLLHUP | select.EPOLLERR  # which epoll(7) reports unasked


class Watcher:
    """One thread that watches the connections of all answers under way."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._watched: dict[int, threading.Event] = {}
        self._poll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="ocimagic-gone", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(
        self, door: socket.socket, gone: threading.Event, *, half_closed: bool
    ) -> Iterator[None]:
        """Set an event when a client goes.

        Args:
            door: of the client.
            gone: what is set.
            half_closed: a client that sends no more is gone, too; one that is attached is not.
        """
        number = door.fileno()
        with self._lock:
            self._watched[number] = gone
            self._poll.register(number, select.EPOLLRDHUP if half_closed else 0)
        try:
            yield
        finally:
            with self._lock:
                if self._watched.pop(number, None):
                    self._poll.unregister(number)

    def close(self) -> None:
        """End the thread."""
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._poll.close()
        os.close(self._wake)

    def _run(self) -> None:
        while True:
            self._poll.poll()
            # Seen again under the lock: the number of one who is gone may be another's by now.
            with self._lock:
                for number, _ in self._poll.poll(0):
                    if number == self._wake:
                        return
                    gone = self._watched.pop(number, None)
                    if gone is not None:
                        self._poll.unregister(number)
                        gone.set()
