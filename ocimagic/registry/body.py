"""The body of a request: its frame, and the patience we have with whoever sends it.

Spec: RFC 9112 section 6 (message body length) and 7.1 (chunked).
"""

from __future__ import annotations

import io
import re
import time
from typing import TYPE_CHECKING, BinaryIO

from ocimagic.registry.reply import Refusal
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from email.message import Message

PIECE_BYTES = 256 << 10
_MAX_LINE = 1024
_MAX_TRAILERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a registry server bears from its clients.

    Attributes:
        idle_s: the longest silence, and the longest wait for the head of a request.
        grace_s: how long a body may be slower than ``least_bytes_per_s``.
        connections: at a time; further ones are sent away.
        manifest_bytes: of a manifest; the spec asks for 4 MiB at least.
        parsed_manifests: looked into at a time, since a large one takes memory.
    """

    idle_s: float = 60.0
    grace_s: float = 30.0
    least_bytes_per_s: int = 1024
    connections: int = 256
    manifest_bytes: int = 4 << 20
    parsed_manifests: int = 2


class PatientSocket(io.RawIOBase):
    """A socket to read from until a deadline.

    Attributes:
        deadline: on the clock of ``time.monotonic``; it holds whatever comes.
    """

    def __init__(self, connection: socket.socket, idle_s: float) -> None:
        self._connection = connection
        self._idle_s = idle_s
        self.deadline = time.monotonic() + idle_s

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read what is there.

        Raises:
            TimeoutError: nothing came for too long, or the deadline passed.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(min(left, self._idle_s))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._idle_s)  # of what is sent


class Body:
    """The body of one request, read once.

    Args:
        headers: say where it ends.
        file: the connection.
        patience: its reading side, for the deadline.
        limits: what is borne.
        go_on: tells a client that asked whether it may send; called before the first byte is read.

    Attributes:
        length: bytes to come, None when only the body itself says.
        is_done: it was read to its end.
        is_broken: there is no point in reading on.

    Raises:
        Refusal: the frame is none, or could be read in two ways.
    """

    def __init__(
        self,
        headers: Message,
        file: BinaryIO,
        patience: PatientSocket,
        limits: Limits,
        go_on: Callable[[], None],
    ) -> None:
        self._file = file
        self._patience = patience
        self._limits = limits
        self._go_on = go_on
        self.length = _length(headers)
        self.is_done = self.length == 0
        self.is_broken = False

    def pieces(self, *, most: int | None = None) -> Iterator[bytes]:
        """Yield it piece by piece.

        Args:
            most: refuse a longer one.

        Raises:
            Refusal: longer than ``most``, cut off, too slow, or its frame breaks.
        """
        if most is not None and (self.length or 0) > most:
            raise _too_long(most)
        if self.is_done:
            return
        self._go_on()
        began, count = time.monotonic(), 0
        source = self._chunked() if self.length is None else self._counted(self.length)
        try:
            for piece in source:
                count += len(piece)
                if most is not None and count > most:
                    raise _too_long(most)
                self._patience.deadline = self._latest(began, count)
                yield piece
        except TimeoutError as err:
            self.is_broken = True
            raise Refusal(408, "UNKNOWN", "the body came too slowly") from err
        except OSError as err:
            raise self._cut_off() from err
        self.is_done = True

    def _latest(self, began: float, count: int) -> float:
        """Return when the next byte must be there: the longer, the more came already."""
        limits = self._limits
        return began + limits.grace_s + count / limits.least_bytes_per_s

    def _counted(self, left: int) -> Iterator[bytes]:
        self._patience.deadline = self._latest(time.monotonic(), 0)
        while left:
            piece = self._some(min(left, PIECE_BYTES))
            left -= len(piece)
            yield piece

    def _chunked(self) -> Iterator[bytes]:
        self._patience.deadline = self._latest(time.monotonic(), 0)
        while size := self._chunk_bytes():
            while size:
                piece = self._some(min(size, PIECE_BYTES))
                size -= len(piece)
                yield piece
            if self._line():
                raise self._garbled("a chunk does not end where it said")
        for _ in range(_MAX_TRAILERS):
            if not self._line():
                return
        raise self._garbled("too many trailers")

    def _chunk_bytes(self) -> int:
        said = self._line().partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", said):
            raise self._garbled("the size of a chunk is no number")
        return int(said, 16)

    def _line(self) -> bytes:
        line = self._file.readline(_MAX_LINE)
        if not line:
            raise self._cut_off()
        if not line.endswith(b"\n"):
            raise self._garbled("a line of the chunked body is too long")
        return line.rstrip(b"\r\n")

    def _some(self, most: int) -> bytes:
        read1: Callable[[int], bytes] = self._file.read1  # type: ignore[attr-defined]
        piece = read1(most)
        if not piece:
            raise self._cut_off()
        return piece

    def _cut_off(self) -> Refusal:
        self.is_broken = True
        return Refusal(400, "BLOB_UPLOAD_INVALID", "the body ended before it was whole")

    def _garbled(self, what: str) -> Refusal:
        self.is_broken = True
        return Refusal(400, "BLOB_UPLOAD_INVALID", what)


def _length(headers: Message) -> int | None:
    """Return the bytes a request says it sends, None for a chunked body.

    Two answers to that question are refused: proxies and servers would disagree on where the
    next request begins.
    """
    coding, said = headers.get_all("Transfer-Encoding", []), headers.get_all("Content-Length", [])
    if coding:
        if said or [each.strip().lower() for each in coding] != ["chunked"]:
            raise Refusal(400, "BLOB_UPLOAD_INVALID", "the length of this request is ambiguous")
        return None
    if not said:
        return 0
    if len(set(said)) > 1 or not re.fullmatch(r"[0-9]{1,18}", said[0].strip()):
        raise Refusal(400, "SIZE_INVALID", "Content-Length must be one whole number")
    return int(said[0])


def _too_long(most: int) -> Refusal:
    return Refusal(413, "SIZE_INVALID", f"more than {most} bytes are not taken here")
