"""A connection that was taken over, handed to grpcio: it adopts no socket, but dials and listens.

So there is a socket in a private directory between the two, for one connection, and its name is
gone as soon as that is made.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import tempfile
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ocimagic.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1 << 18
_LONG = 64  # a socket's path has 107 bytes
DIAL_S = 10.0
_CREDENTIALS = struct.Struct("3i")


@contextmanager
def private_directory() -> Iterator[str]:
    """Yield a directory that only this account can enter, with a short name: sockets need one."""
    room = tempfile.gettempdir()
    short = room if len(room) < _LONG else "/tmp"  # noqa: S108  a directory of our own in it
    path = tempfile.mkdtemp(prefix="ocimagic-", dir=short)  # 0700
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def accepted(door: socket.socket) -> socket.socket:
    """Return the one connection that this process makes to a socket of its own.

    Raises:
        StorageError: it is not made, or somebody else made it.
    """
    door.settimeout(DIAL_S)
    try:
        near = door.accept()[0]
    except OSError as err:
        raise StorageError("gRPC did not connect with itself", why=str(err)) from err
    told = near.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    if _CREDENTIALS.unpack(told)[0] != os.getpid():
        near.close()
        raise StorageError("another process connected with a private socket of gRPC's")
    near.settimeout(None)
    return near


class Junction:
    """Passes bytes between two sockets, both ways, until either side ends; closes neither.

    Args:
        far: of a client.
        near: of gRPC.
        early: what the client has sent already.

    Attributes:
        ended: set when either side has ended.
    """

    def __init__(self, far: socket.socket, near: socket.socket, early: bytes) -> None:
        self.ended = threading.Event()
        self._ends = (far, near)
        self._threads = [
            threading.Thread(target=self._pump, args=each, name="ocimagic-api-grpc", daemon=True)
            for each in ((far, near, early), (near, far, b""))
        ]
        for each in self._threads:
            each.start()

    def close(self) -> None:
        """End both sides; nobody reads or writes them from then on."""
        for each in self._ends:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _pump(self, source: socket.socket, target: socket.socket, first: bytes) -> None:
        room = memoryview(bytearray(_PIECE))
        with suppress(OSError):
            if first:
                target.sendall(first)
            while count := source.recv_into(room):
                target.sendall(room[:count])
        self.ended.set()
        for each in self._ends:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
