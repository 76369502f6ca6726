"""TLS before the API: a client behind it looks like one of this machine's own sockets.

One thread turns what is on the network into what is said.  So both sides of a connection end on
their own, as docker's client wants it of streams (close_notify, RFC 8446 section 6.1), threads
may read and write at the same time, which OpenSSL's objects do not allow, and who watches for
clients that go need not know of TLS.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import suppress

_HANDSHAKE_S = 30.0
_FAREWELL_S = 2.0
_PIECE, _MOST = 1 << 16, 1 << 20  # bytes of one read; bytes that wait for a slow side


def in_clear(client: socket.socket, context: ssl.SSLContext) -> socket.socket:
    """Return a socket that speaks in clear with a client of TLS; the client's is ours from now.

    A client that does not show who it is looks like one that has gone.
    """
    inner, door = socket.socketpair()
    between = _Between(client.dup(), inner, context)
    threading.Thread(target=between.run, name="ocimagic-api-tls", daemon=True).start()
    return door


class _Between:
    """What is between a client and the server, in one thread."""

    def __init__(self, outer: socket.socket, inner: socket.socket, context: ssl.SSLContext) -> None:
        self._outer, self._inner = outer, inner
        outer.setblocking(False)
        inner.setblocking(False)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_known = False
        self._said, self._sent = bytearray(), bytearray()  # for the server; for the network
        self._client_is_over = self._server_is_over = False
        self._told = False  # the server knows that the client sends no more
        self._until = time.monotonic() + _HANDSHAKE_S

    def run(self) -> None:
        """Pass everything on until both sides have ended, or one has gone."""
        with self._outer, self._inner, suppress(OSError):
            try:
                while not self._is_over():
                    self._wait()
            finally:
                self._flush()

    def _is_over(self) -> bool:
        if self._server_is_over and not self._sent:
            with suppress(OSError):
                self._outer.shutdown(socket.SHUT_WR)
            if self._client_is_over:
                return True
        is_limited = self._server_is_over or not self._is_known
        return is_limited and time.monotonic() > self._until

    def _wait(self) -> None:
        """Do what can be done next."""
        poll, asked = select.poll(), {}
        wants_in = not self._client_is_over and len(self._said) < _MOST
        asked[self._outer] = wants_in * select.POLLIN | bool(self._sent) * select.POLLOUT
        wants_in = not self._server_is_over and len(self._sent) < _MOST
        asked[self._inner] = wants_in * select.POLLIN | bool(self._said) * select.POLLOUT
        for each, events in asked.items():
            if events:  # who is not asked would say all the time that it has hung up
                poll.register(each, events)
        is_limited = self._server_is_over or not self._is_known
        left_ms = max(0.0, self._until - time.monotonic()) * 1000 + 1
        ready = dict(poll.poll(left_ms if is_limited else None))
        self._move(ready.get(self._outer.fileno(), 0), ready.get(self._inner.fileno(), 0))

    def _move(self, outer: int, inner: int) -> None:
        gone = select.POLLHUP | select.POLLERR
        if outer & (select.POLLIN | gone) and not self._client_is_over:
            self._hear(_received(self._outer))
        if inner & (select.POLLIN | gone) and not self._server_is_over:
            self._say(_received(self._inner))
        self._flush()
        if self._said:
            try:
                del self._said[: self._inner.send(self._said)]
            except BlockingIOError:
                return
            except OSError:  # the server has closed it: nobody wants to know
                self._said.clear()
        if self._client_is_over and not self._said and not self._told:
            self._told = True
            self._inner.shutdown(socket.SHUT_WR)

    def _hear(self, data: bytes | None) -> None:
        """Take what came from the network; b"" is its end, None nothing."""
        if data is None:
            return
        if data and self._server_is_over:  # nobody wants to know
            return
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        try:
            if not self._is_known:
                self._tls.do_handshake()
                self._is_known = True
            while piece := self._tls.read(_PIECE):
                self._said += piece
            self._client_is_over = True
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            self._client_is_over = True
            if not self._is_known:
                raise

    def _say(self, data: bytes | None) -> None:
        """Take what the server says; b"" is its end, None nothing."""
        if data:
            self._tls.write(data)
        elif data is not None:
            self._server_is_over, self._until = True, time.monotonic() + _FAREWELL_S
            with suppress(ssl.SSLError):
                self._tls.unwrap()

    def _flush(self) -> None:
        """Send to the network what can be sent."""
        self._sent += self._outgoing.read()
        if self._sent:
            with suppress(BlockingIOError):
                del self._sent[: self._outer.send(self._sent)]


def _received(door: socket.socket) -> bytes | None:
    """Return what came, b"" at the end, None for nothing yet."""
    try:
        return door.recv(_PIECE)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""
