"""A TCP connection that leads on to another one: what comes in on one side goes out on the other.

Short messages are read and written; what fills a buffer goes through a pipe, and its bytes are
never copied into this process.

Source: splice(2); tcp(7).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING

from ocimagic.network.waiting import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.network.waiting import Loop

_READ_BYTES = 1 << 16
_PIPE_BYTES = 1 << 18
_ROUNDS = 8  # before other connections get their turn
_AT_ONCE = struct.pack("ii", 1, 0)


class Stream:
    """Two connections that are one.

    Args:
        loop: calls us.
        near: the one that was accepted.
        far: the other; it may still be about to be there.
        on_end: is called once, when both are closed.
    """

    def __init__(
        self,
        loop: Loop,
        near: socket.socket,
        far: socket.socket,
        on_end: Callable[[Stream], None],
    ) -> None:
        self._loop, self._near, self._far, self._on_end = loop, near, far, on_end
        self._out, self._back = _Lane(near, far), _Lane(far, near)
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.watch(far.fileno(), WRITE, self._connected)

    def _connected(self, _events: int) -> None:
        """Begin, or let the near side see that nobody is there."""
        if self._far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
        else:
            self._turn(0)

    def _turn(self, _events: int) -> None:
        """Move what is there, both ways, and wait for more."""
        try:
            self._out.move()
            self._back.move()
        except OSError:
            self.abort()
            return
        if self._out.is_over and self._back.is_over:
            self._close()
            return
        for each, away, back in (
            (self._near, self._out, self._back),
            (self._far, self._back, self._out),
        ):
            wanted = READ * away.wants_more | WRITE * back.is_full
            self._loop.watch(each.fileno(), wanted, self._turn)

    def abort(self) -> None:
        """Break both connections off, so that both sides see that."""
        for each in (self._near, self._far):
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._close()

    def _close(self) -> None:
        for lane in (self._out, self._back):
            lane.close()
        for each in (self._near, self._far):
            self._loop.forget(each.fileno())
            each.close()
        self._on_end(self)


class _Lane:
    """One direction.

    Attributes:
        is_over: all was read and written, and the other side knows.
    """

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source, sink
        self._data = b""
        self._pipe: tuple[int, int] | None = None
        self._piped = 0  # bytes in it
        self._has_ended = False
        self.is_over = False

    @property
    def is_full(self) -> bool:
        """Say whether something was read that could not be written."""
        return bool(self._data or self._piped)

    @property
    def wants_more(self) -> bool:
        """Say whether something is to be read."""
        return not self._has_ended and not self.is_full

    def move(self) -> None:
        """Read and write as long as both go, but not for ever.

        Raises:
            OSError: one of the connections broke.
        """
        with contextlib.suppress(BlockingIOError):
            for _ in range(_ROUNDS):
                self._write()
                if self._has_ended:
                    self._finish()
                    return
                self._read()

    def _read(self) -> None:
        if self._pipe is None:
            self._data = self._source.recv(_READ_BYTES)
            self._has_ended = not self._data
            if len(self._data) == _READ_BYTES:
                self._open_pipe()
            return
        self._piped = os.splice(
            self._source.fileno(), self._pipe[1], _PIPE_BYTES, flags=os.SPLICE_F_NONBLOCK
        )
        self._has_ended = not self._piped

    def _open_pipe(self) -> None:
        """Take the way that copies nothing, if this process may have more descriptors."""
        with contextlib.suppress(OSError):
            self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            # An account may have only so many large ones: then it is smaller.
            fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def _write(self) -> None:
        while self._data:
            self._data = self._data[self._sink.send(self._data) :]
        while self._piped:
            assert self._pipe is not None
            self._piped -= os.splice(
                self._pipe[0], self._sink.fileno(), self._piped, flags=os.SPLICE_F_NONBLOCK
            )

    def _finish(self) -> None:
        if not self.is_over:
            self.is_over = True
            try:
                self._sink.shutdown(socket.SHUT_WR)
            except OSError as err:
                if err.errno != errno.ENOTCONN:  # it has gone away already
                    raise

    def close(self) -> None:
        """Let go of the pipe."""
        for fd in self._pipe or ():
            os.close(fd)
        self._pipe = None
