"""The way to a container's shim, and to the next one when that is killed."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOCKET_NAME = "shim.sock"
_RETRY_S = 0.02
_RETURN_S = 10.0  # how long a place at the door is waited for


class Way:
    """How to get to a container's shim, also when its socket has been taken away."""

    def __init__(self, run_directory: Path | None) -> None:
        self._directory = run_directory
        self._socket = -1

    def remember(self) -> None:
        """Hold on to the socket: a shim that is seeing its container off removes its name."""
        if self._socket < 0 and self._directory is not None:
            with contextlib.suppress(OSError):
                path = self._directory / SOCKET_NAME
                self._socket = os.open(path, os.O_PATH | os.O_CLOEXEC)

    def connect(self) -> socket.socket | None:
        """Connect, to a shim that is perhaps only just being forked; None if none comes."""
        deadline = time.monotonic() + _RETURN_S
        while self._directory is not None and time.monotonic() < deadline:
            door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                if self._socket >= 0:
                    door.connect(f"/proc/self/fd/{self._socket}")
                else:
                    connect_door(door, self._directory)
            except BlockingIOError:  # many are at the door
                door.close()
                select.select([], [], [], _RETRY_S)
            except OSError:
                door.close()
                return None
            else:
                return door
        return None

    def close(self) -> None:
        """Let go."""
        if self._socket >= 0:
            os.close(self._socket)
            self._socket = -1


class SentInput:
    """The input that the shim has not yet said to have arrived."""

    def __init__(self) -> None:
        self.name = int.from_bytes(os.urandom(7), "big") + 1
        self.is_lost = False
        self.is_used = False
        self._arrived = 0
        self._pieces: deque[bytes] = deque()

    def add(self, piece: bytes) -> None:
        """Remember what is sent; an empty piece is the end."""
        self.is_used = True
        self._pieces.append(piece)

    def acknowledge(self, arrived: int) -> None:
        """Forget what has arrived; counted from the beginning."""
        while self._pieces and self._pieces[0] and self._arrived + len(self._pieces[0]) <= arrived:
            self._arrived += len(self._pieces.popleft())

    def after(self, arrived: int) -> Iterator[bytes]:
        """Yield what is to be sent again."""
        self.acknowledge(arrived)
        known = max(0, arrived - self._arrived)
        for piece in self._pieces:
            yield piece[known:]
            known = 0


def connect_door(door: socket.socket, run_directory: Path) -> None:
    """Connect a socket to the shim of a container.

    Raises:
        OSError: nobody listens there.
    """
    directory = os.open(run_directory, os.O_PATH | os.O_CLOEXEC)
    try:
        # Through the descriptor, since a socket's path may have 107 bytes only.
        door.connect(f"/proc/self/fd/{directory}/{SOCKET_NAME}")
    finally:
        os.close(directory)
