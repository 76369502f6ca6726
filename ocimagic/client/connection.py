"""One connection to an API: requests written by hand, answers read with patience.

An API takes connections over (``attach``, ``exec``) and answers for as long as a container
lives, so whoever reads must be able to stop at any moment.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, cast

from ocimagic.errors import NeighbourError, NeighbourUnreachable
from ocimagic.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.client.address import Address

IsOver = Callable[[], bool]
AGENT = f"ocimagic/{VERSION}"
PIECE_BYTES = 256 << 10
_CONNECT_S = 10.0
_LOOK_S = 0.2  # how late a stop may be seen
_RECORD_BYTES = 1 << 14  # of TLS; more would wait until there is room for all


class Stopped(Exception):
    """Whoever reads wants no more."""


def never() -> bool:
    """Say that reading goes on."""
    return False


class _TakesNoMore(Exception):
    """The other side has closed, perhaps after an answer."""


class Connection:
    """A connection; closed by whoever opened it.

    Args:
        address: where to.
        path: of a socket that stands for the address, "" for its own.
        tls: for TCP; None for none.

    Attributes:
        is_over: asked again and again while reading; True ends it with ``Stopped``.

    Raises:
        NeighbourUnreachable: nobody can be reached there; says why.
    """

    def __init__(self, address: Address, path: str, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self.is_over: IsOver = never
        self._socket = _connected(address, path or address.path, tls)
        self._writable = select.poll()
        self._writable.register(self._socket, select.POLLOUT)
        self._answer: HTTPResponse | None = None
        self._file: io.BufferedReader | None = None

    def close(self) -> None:
        """Let go of it; a thread that still sends or receives is told so."""
        with suppress(OSError):  # Of the plain socket: see close_sending.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        if self._file is not None:
            self._file.close()
        self._socket.close()

    @property
    def is_free(self) -> bool:
        """Say whether its last answer has come whole, and another may be asked for."""
        answer = self._answer
        return answer is not None and answer.isclosed() and not answer.will_close

    @property
    def is_fresh(self) -> bool:
        """Say whether it is still there: nothing came, not even its end."""
        looked = select.poll()
        looked.register(self._socket, select.POLLIN)
        return not looked.poll(0)

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
    ) -> HTTPResponse:
        """Send a request and return the head of its answer.

        Args:
            method: of HTTP.
            path: with version and query.
            headers: more of them.
            body: all of it, or its pieces, which are sent as they come.

        Raises:
            NeighbourError: it broke, or that is no answer of HTTP.
            Stopped: ``is_over``.
            Exception: what was raised where the pieces of a body come from.
        """
        self._answer = None
        # An answer can come, and the connection end, before a body was sent: that is told then.
        with suppress(_TakesNoMore):
            self._send(method, path, headers, body)
        try:
            answer = HTTPResponse(cast("socket.socket", self), method=method)
            answer.begin()
        except (HTTPException, OSError, ValueError) as err:
            raise self._broken(err) from err
        self._answer = answer  # whose end would close what is read from
        return answer

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
    ) -> None:
        known = {"Host": "docker", "User-Agent": AGENT, "Accept-Encoding": "identity", **headers}
        if isinstance(body, bytes):
            known["Content-Length"] = str(len(body))
        elif body is not None:
            known["Transfer-Encoding"] = "chunked"
        elif method in ("POST", "PUT"):
            known["Content-Length"] = "0"
        lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {text}" for key, text in known.items())]
        self._write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if isinstance(body, bytes):
            self._write(body)
        elif body is not None:
            for piece in body:
                if piece:
                    self._write(b"%x\r\n" % len(piece))
                    self._write(piece)
                    self._write(b"\r\n")
            self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        """Send bytes as the other side takes them, and look meanwhile whether to stop."""
        left = memoryview(data)
        try:
            while left:
                if self.is_over():
                    raise Stopped
                if self._writable.poll(_LOOK_S * 1000):
                    left = left[self._sent(left) :]
        except (BrokenPipeError, ConnectionResetError) as err:
            raise _TakesNoMore from err
        except OSError as err:
            raise self._broken(err) from err

    def _sent(self, data: memoryview) -> int:
        """Send what there is room for; return how much."""
        if isinstance(self._socket, ssl.SSLSocket):
            return self._socket.send(data[:_RECORD_BYTES])
        with suppress(BlockingIOError):
            return self._socket.send(data, socket.MSG_DONTWAIT)
        return 0

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what ``HTTPResponse`` reads from."""
        self._file = io.BufferedReader(_Patient(self._socket, self), PIECE_BYTES)
        return self._file

    def pieces(self, answer: HTTPResponse) -> Iterator[bytes]:
        """Yield the body of an answer as it comes.

        Raises:
            NeighbourError: it broke off.
            Stopped: ``is_over``.
        """
        while True:
            try:
                piece = answer.read1(PIECE_BYTES)
            except (HTTPException, OSError, ValueError) as err:
                raise self._broken(err) from err
            if not piece:
                if answer.length:
                    raise self._broken(EOFError(f"{answer.length} bytes are missing"))
                answer.close()  # 3.11's read1 leaves one of a known length open
                return
            yield piece

    # -- after an API took it over -----------------------------------------------

    def receive(self) -> bytes:
        """Return raw bytes that came, b"" at their end.

        Raises:
            Stopped: ``is_over``.
        """
        assert self._file is not None
        try:
            return self._file.read1(PIECE_BYTES)
        except OSError:
            return b""  # the other side is gone, as when a process ends

    def send(self, data: bytes) -> None:
        """Send raw bytes.

        Raises:
            OSError: nobody is there.
        """
        self._socket.sendall(data)

    def close_sending(self) -> None:
        """Say that no more comes, and go on reading."""
        # Of the plain socket: that of ssl would forget how to read.
        socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def _broken(self, err: Exception) -> NeighbourError:
        url = self._address.url
        if isinstance(err, OSError | EOFError | IncompleteRead):
            why = getattr(err, "strerror", None) or str(err) or "its end did not come"
            return NeighbourError(f"{url} broke off", why=why, hint="is it still there?")
        return NeighbourError(
            f"{url} is no Docker API",
            why=f"it answers no HTTP: {str(err)[:100]!r}",
            hint="is it docker or podman that answers there, and does it want TLS?",
        )


class _Patient(io.RawIOBase):
    """Reads from a socket, and looks now and then whether somebody wants it to stop."""

    def __init__(self, connection: socket.socket, owner: Connection) -> None:
        self._connection = connection
        self._owner = owner
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        is_waiting = isinstance(self._connection, ssl.SSLSocket) and self._connection.pending()
        while True:  # somebody who writes all the time is stopped as well
            if self._owner.is_over():
                raise Stopped
            if is_waiting or self._readable.poll(_LOOK_S * 1000):
                return self._connection.recv_into(buffer)


def _connected(address: Address, path: str, tls: ssl.SSLContext | None) -> socket.socket:
    with ExitStack() as undo:
        try:
            if path:
                made = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                made.connect(path)
            else:
                plain = undo.enter_context(
                    socket.create_connection((address.host, address.port), _CONNECT_S)
                )
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made = tls.wrap_socket(plain, server_hostname=address.host) if tls else plain
                made.settimeout(None)
        except (OSError, ValueError) as err:  # ValueError: a name that no machine can have
            raise _unreachable(address, err) from err
        undo.pop_all()
    return made


def _unreachable(address: Address, err: OSError | ValueError) -> NeighbourUnreachable:
    hint = None
    match err:
        case FileNotFoundError():
            why = "there is no such socket"
            hint = "is its daemon running? For ours: ocimagic serve"
        case ConnectionRefusedError():
            why = "nobody listens there"
            hint = "is its daemon running? For ours: ocimagic serve"
        case PermissionError():
            why = "permission denied: this account may not use the socket"
            hint = "join the group it belongs to (often docker), or run this as root"
        case TimeoutError():
            why = f"no connection in {_CONNECT_S:g} s"
        case ssl.SSLError():
            why = f"no TLS: {err.reason or err}"
            hint = "which certificates does it want? --tlscacert, --tlscert, --tlskey"
        case _:
            why = getattr(err, "strerror", None) or str(err)
    return NeighbourUnreachable(f"{address.url} cannot be reached", why=why, hint=hint)
