"""What creator and first process say to each other until the command runs.

One datagram is one JSON object with a ``type``, descriptors may ride along.  Both ends are
close-on-exec: the end of the conversation means that execve worked, or that the other died.
"""

from __future__ import annotations

import array
import json
import os
import socket
from typing import TYPE_CHECKING, Self

from ocimagic.errors import StartFailed
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Sequence

# A datagram has its limits; what is longer goes along in a file in memory.
_MAX_BYTES = 1 << 15
_SEE_LETTER = b"see letter"
_MAX_FDS = 4
_FDS_BYTES = socket.CMSG_SPACE(_MAX_FDS * 4)


@dataclass(frozen=True, slots=True)
class Message:
    """One thing said.

    Attributes:
        fds: descriptors that came along; the receiver owns them.
    """

    type: str
    fields: dict[str, object]
    fds: tuple[int, ...] = field(default=())


class Channel:
    """One end of the conversation."""

    __slots__ = ("_door",)

    def __init__(self, door: socket.socket) -> None:
        self._door = door

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Return both ends."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(mine), cls(theirs)

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._door.fileno()

    @staticmethod
    def packet(type_: str, **fields: object) -> bytes:
        """Return one message as it is sent."""
        return json.dumps({"type": type_} | fields).encode()

    def say(self, type_: str, *fds: int, **fields: object) -> None:
        """Send one message.

        Raises:
            OSError: nobody listens any more.
        """
        packet = self.packet(type_, **fields)
        if len(packet) <= _MAX_BYTES:
            self._send(packet, fds)
            return
        letter = os.memfd_create("message", os.MFD_CLOEXEC)
        try:
            with open(letter, "wb", closefd=False) as file:
                file.write(packet)
            self._send(_SEE_LETTER, (letter, *fds))
        finally:
            os.close(letter)

    def _send(self, packet: bytes, fds: Sequence[int]) -> None:
        rights = array.array("i", fds)
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
        self._door.sendmsg([packet], extra, socket.MSG_NOSIGNAL)

    def _receive(self) -> tuple[bytes, list[tuple[int, int, bytes]]]:
        packet, extra, _, _ = self._door.recvmsg(_MAX_BYTES, _FDS_BYTES, socket.MSG_CMSG_CLOEXEC)
        return packet, extra

    def hear(self) -> Message | None:
        """Wait for one message; None when the other end is gone.

        Raises:
            StartFailed: what came is no message.
        """
        try:
            packet, extra = self._receive()
        except ConnectionResetError:
            # Said once, when the other end dies without having read all: its last words are
            # still to be had.
            packet, extra = self._receive()
        if not packet:
            return None
        fds = array.array("i")
        for level, kind, data in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if packet == _SEE_LETTER and fds:
            letter = fds.pop(0)
            packet = os.pread(letter, os.fstat(letter).st_size, 0)
            os.close(letter)
        return _read(packet, tuple(fds))

    def close(self) -> None:
        """Let go."""
        self._door.close()


def _read(packet: bytes, fds: tuple[int, ...]) -> Message:
    """Read one message; its other end may be anybody who found the door."""
    fields: dict[str, object] = {}
    type_: object = None
    try:
        fields = json.loads(packet)
        type_ = fields.pop("type")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    if not isinstance(type_, str):
        for fd in fds:
            os.close(fd)
        raise StartFailed("something was said that is no message of this runtime")
    return Message(type_, fields, fds)
