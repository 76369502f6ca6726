"""What clients type, on its way to a process: each byte once, whenever the shim is killed.

Bytes pass through a pipe of our own.  It is filled only when it is empty; so what memory that
outlives the shim says, and what is left in the pipe, tell the next shim how far the last came.
The client keeps what was not acknowledged and sends it again to the next shim.
"""

from __future__ import annotations

import array
import fcntl
import os
import termios
from typing import TYPE_CHECKING

from ocimagic.shim.loop import WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.shim.loop import Loop
    from ocimagic.shim.memory import Cell

CHUNK = 1 << 16
_FULL = 1 << 18
_END_OF_FILE = b"\x04"
# who sends; how much of it the process has; how much is on its way, and whether it is loaded
FORM = "=QQIB"


class Stdin:
    """The way to one process's stdin.

    Args:
        loop: of the shim.
        fd: a pipe to the process or the master of its terminal, not blocking.
        sieve: read end and write end of a pipe that nothing else uses.
        cell: of ``FORM``: zeros, or what an earlier one left there.
        is_terminal: it ends with a key, not by being closed.
        on_progress: called when the process has got more, does not listen any more, or is too
            slow for its clients.
        close_all: closes the descriptors, everywhere.

    Attributes:
        sender: which client's bytes are counted.
        delivered: how many of them the process has.
    """

    def __init__(
        self,
        loop: Loop,
        fd: int,
        sieve: tuple[int, int],
        cell: Cell,
        *,
        is_terminal: bool,
        on_progress: Callable[[], None],
        close_all: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._sieve = sieve
        self._cell = cell
        self._is_terminal = is_terminal
        self._on_progress = on_progress
        self._close_all = close_all
        self._waiting = bytearray()
        self._ending = False
        self.sender, self.delivered, self._under_way, loaded = self._cell.read()
        if self._under_way and not loaded and not self._left():
            self._under_way = 0  # it never went in: its client sends it again

    @property
    def is_open(self) -> bool:
        """Say whether the process can still get something."""
        return self._fd >= 0

    @property
    def is_full(self) -> bool:
        """Say whether its clients should wait, as a pipe would make them."""
        return len(self._waiting) > _FULL

    @property
    def is_waiting(self) -> bool:
        """Say whether there is something that the process has not taken yet."""
        return bool(self._waiting or self._under_way or self._ending)

    def feed(self, sender: int, data: bytes) -> None:
        """Take bytes of a client; they are written as the process reads.

        Args:
            sender: a number that a client has chosen for itself.
            data: what comes next of it; empty for the end.
        """
        if self._fd < 0:
            return
        if sender != self.sender and not self._waiting and not self._under_way:
            self.sender, self.delivered = sender, 0
        if data:
            self._waiting += data
        elif self._is_terminal:
            self._waiting += _END_OF_FILE
        else:
            self._ending = True
        self.pump()

    def pump(self, _events: int = 0) -> None:
        """Write as much as the process takes now."""
        before = self.delivered
        try:
            while self._under_way or self._waiting:
                if not self._under_way:
                    self._load()
                self._drain()
            self._loop.forget(self._fd)
        except BlockingIOError:
            if self._fd >= 0:
                self._loop.watch(self._fd, WRITE, self.pump)
        except OSError:  # EPIPE, EIO: nobody reads it
            self.close()
        if self._ending and not self._waiting and not self._under_way:
            self.close()
        if self.delivered != before or self.is_full or self._fd < 0:
            self._on_progress()

    def close(self) -> None:
        """Close it: the process reads the end of the file, unless it is a terminal."""
        if self._fd >= 0:
            self._loop.forget(self._fd)
            self._fd = -1
            self._close_all()
        self._waiting.clear()

    def _load(self) -> None:
        chunk = bytes(self._waiting[:CHUNK])
        self._cell.write(self.sender, self.delivered, len(chunk), 0)
        os.write(self._sieve[1], chunk)
        self._cell.write(self.sender, self.delivered, len(chunk), 1)
        self._under_way = len(chunk)
        del self._waiting[:CHUNK]

    def _drain(self) -> None:
        while self._left():
            os.splice(self._sieve[0], self._fd, CHUNK, flags=os.SPLICE_F_NONBLOCK)
        self.delivered += self._under_way
        self._under_way = 0
        self._cell.write(self.sender, self.delivered, 0, 0)

    def _left(self) -> int:
        waiting = array.array("i", [0])
        fcntl.ioctl(self._sieve[0], termios.FIONREAD, waiting)
        return waiting[0]
