"""HTTP/1.1 as far as the Docker Engine API needs it: the request of a client, read from a socket.

Spec: RFC 9112.  What it leaves to be guessed is refused: two lengths, a length beside chunks,
blanks before a colon, folded lines.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEAD = 1 << 16
MAX_LINE = 1 << 12  # of what comes before a chunk
HEAD_S = 30.0  # a head that takes longer is none
BODY_S = 300.0  # and so is a body of which nothing comes for so long
MAX_TRAILERS = 64
_RECEIVE = 1 << 18
_MOST = 1 << 20
_BETWEEN = 64  # bytes that hold the line before a chunk, and something of it
_TIMEVAL = struct.Struct("@ll")
_REQUEST = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/(1\.[01])")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(;[^\r\n]*)?")


class BadRequest(Exception):
    """What a client sent is no request; the connection cannot be used any further.

    Args:
        status: to answer with.
        message: what is wrong with it.
        headers: of the answer, which say what would be right.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] = {}) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Gone(Exception):
    """The client has closed the connection."""


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request.

    Attributes:
        path: percent-decoded.
        query: name to its values, in their order.
        headers: by lower-case name; values of one name are joined by a comma.
        is_last: the connection is to be closed after the answer.
        is_old: of HTTP/1.0, which knows no chunks.
    """

    method: str
    path: str
    query: Mapping[str, tuple[str, ...]]
    headers: Mapping[str, str]
    is_last: bool = False
    target: str = ""
    is_old: bool = False

    def header(self, name: str) -> str:
        """Return a header, "" if it is not there."""
        return self.headers.get(name, "")


@dataclass(slots=True)
class Stream:
    """What comes from a client, buffered; for one reader at a time.

    How long it waits is the kernel's matter (SO_RCVTIMEO, see socket(7)): each settimeout() of
    Python's lets go of the interpreter, and gets it back from a busy notebook only after a while.
    """

    door: socket.socket
    _buffer: bytearray = field(default_factory=bytearray)
    _patience_s: float = 0.0

    def until(self, mark: bytes, limit: int, deadline: float | None) -> bytes:
        """Return what comes before a mark, and take both away.

        Args:
            mark: what ends it.
            limit: bytes that are too many.
            deadline: in time.monotonic() seconds; None waits as the socket does.

        Raises:
            Gone: nothing comes any more.
            BadRequest: it is too long, or takes too long.
        """
        begin = 0
        while (end := self._buffer.find(mark, begin, limit + len(mark))) < 0:
            begin = max(0, len(self._buffer) - len(mark) + 1)
            if len(self._buffer) >= limit + len(mark):
                raise BadRequest(431, f"more than {limit} bytes without an end")
            self._more(deadline)
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found

    def some(self, most: int) -> bytes:
        """Return up to so many bytes, at least one.

        Raises:
            Gone: nothing comes any more.
            BadRequest: it takes too long.
        """
        if not self._buffer:
            if most >= _RECEIVE:  # past the buffer: the bytes of layers are many
                self.be_patient(BODY_S)
                return self._received(min(most, _MOST))
            self._more(None)
        with memoryview(self._buffer) as view:
            found = bytes(view[:most])
        del self._buffer[:most]
        return found

    @property
    def waiting(self) -> int:
        """Return how many bytes are here that were not read."""
        return len(self._buffer)

    def taken(self) -> bytes:
        """Return what came after the request already; it is whoever's who takes the socket over."""
        found = bytes(self._buffer)
        self._buffer.clear()
        return found

    def wait(self, seconds: float) -> None:
        """Wait until anything comes.

        Raises:
            Gone: nothing came.
        """
        if not self._buffer:
            try:
                self._more(time.monotonic() + seconds)
            except BadRequest as err:
                raise Gone("nothing came any more") from err

    def be_patient(self, seconds: float) -> None:
        """Wait so long for each piece from now on; 0 waits for ever."""
        if seconds != self._patience_s:
            whole = int(seconds)
            value = _TIMEVAL.pack(whole, int((seconds - whole) * 1e6))
            self.door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self._patience_s = seconds

    def _more(self, deadline: float | None) -> None:
        left = BODY_S if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise BadRequest(408, "the request takes too long")
        self.be_patient(max(left, 1e-3))
        self._buffer += self._received(_RECEIVE)

    def _received(self, most: int) -> bytes:
        try:
            data = self.door.recv(most)
        except BlockingIOError:
            raise BadRequest(408, "the request takes too long") from None
        except OSError as err:
            raise Gone(str(err)) from err
        if not data:
            raise Gone("the client has closed the connection")
        return data


def read_request(stream: Stream, idle_s: float) -> Request:
    """Wait for a request and read its head.

    Args:
        stream: of a client.
        idle_s: how long nothing may come.

    Raises:
        Gone: there is no other one.
        BadRequest: it is none.
    """
    stream.wait(idle_s)
    deadline = time.monotonic() + HEAD_S
    head = stream.until(b"\r\n\r\n", MAX_HEAD, deadline)
    first, *lines = head.lstrip(b"\r\n").decode("latin-1").split("\r\n")
    found = _REQUEST.fullmatch(first)
    if not found:
        raise BadRequest(400, "this is not HTTP/1.1")
    method, target, version = found.groups()
    headers = _headers(lines)
    path, _, query = target.partition("?")
    if path.startswith(("http://", "https://")):  # as to a proxy
        path = "/" + path.partition("://")[2].partition("/")[2]
    words = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    try:
        asked = parse_qsl(query, keep_blank_values=True, max_num_fields=1000)
    except ValueError as err:
        raise BadRequest(400, f"a query of that kind cannot be read: {err}") from err
    path = unquote(path)
    if "\0" in path or any("\0" in name or "\0" in value for name, value in asked):
        raise BadRequest(400, "a path and a query hold no NUL")
    values: dict[str, tuple[str, ...]] = {}
    for name, value in asked:
        values[name] = (*values.get(name, ()), value)
    is_old = version == "1.0"
    return Request(method, path, values, headers, is_old or "close" in words, target, is_old)


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if not found or "\r" in line or "\n" in line or "\0" in line:
            raise BadRequest(400, "a header line cannot be read")
        name, value = found[1].lower(), found[2]
        if name in headers and name in ("content-length", "transfer-encoding", "host"):
            raise BadRequest(400, f"two headers {found[1]}")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class Body:
    """What comes after the head of a request, as a file to read.

    Args:
        stream: of the client.
        headers: of the request.
        expect: called before anything is read by a client that waits for a word.

    Raises:
        BadRequest: nobody could say how long it is.
    """

    def __init__(self, stream: Stream, headers: Mapping[str, str]) -> None:
        self._stream = stream
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None and length is not None:
            raise BadRequest(400, "Content-Length beside Transfer-Encoding")
        if coding is not None and coding.lower() != "chunked":
            raise BadRequest(501, f"Transfer-Encoding {coding} is not known, only chunked")
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 20):
            raise BadRequest(400, f"Content-Length {length} is no length")
        self.is_chunked = coding is not None
        self._left = int(length or 0)
        self._is_over = not self.is_chunked and not self._left
        self._has_begun = False
        self._is_expected = headers.get("expect", "").lower() == "100-continue"

    @property
    def is_over(self) -> bool:
        """Say whether all of it was read."""
        return self._is_over

    @property
    def is_there(self) -> bool:
        """Say whether there is one, perhaps of no bytes."""
        return self.is_chunked or self._left > 0

    @property
    def length(self) -> int | None:
        """Return how many bytes are left, None if nobody knows."""
        return None if self.is_chunked and not self._is_over else self._left

    def read(self, size: int = -1) -> bytes:
        """Return up to so many bytes, at least one; none at its end.  Without a size all of it.

        Raises:
            Gone: it breaks off.
            BadRequest: its chunks cannot be read.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_RECEIVE), b""))
        if self._is_over or not size:
            return b""
        if self._is_expected:
            self._is_expected = False
            self._stream.door.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        data = self._piece(size)
        if not self.is_chunked or len(data) >= size or not data:
            return data
        # docker's client sends chunks of 32 KiB: what is here already goes on together.
        together = [data]
        left = size - len(data)
        while left and self._stream.waiting > _BETWEEN and (data := self._piece(left)):
            together.append(data)
            left -= len(data)
        return b"".join(together)

    def _piece(self, size: int) -> bytes:
        """Return bytes of one chunk; none at the end."""
        if self.is_chunked and not self._left and not self._next_chunk():
            return b""
        data = self._stream.some(min(size, self._left))
        self._left -= len(data)
        self._is_over = not self.is_chunked and not self._left
        return data

    def drain(self, limit: int) -> bool:
        """Read what nobody wanted, up to so many bytes; say whether the next request follows."""
        if self._is_expected and not self._is_over:
            return False  # it was never sent
        while not self._is_over and limit > 0:
            limit -= len(self.read(_RECEIVE))
        return self._is_over

    def _next_chunk(self) -> bool:
        """Read the line before a chunk; say whether there is another one."""
        if self._has_begun and self._line():
            raise BadRequest(400, "a chunk is longer than it says")
        self._has_begun = True
        found = _CHUNK.fullmatch(self._line())
        if not found:
            raise BadRequest(400, "a chunk has no length")
        self._left = int(found[1], 16)
        if not self._left:
            for _ in range(MAX_TRAILERS):
                if not self._line():
                    self._is_over = True
                    return False
            raise BadRequest(431, f"more than {MAX_TRAILERS} trailers")
        return True

    def _line(self) -> bytes:
        return self._stream.until(b"\r\n", MAX_LINE, None)
