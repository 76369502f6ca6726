"""What creator and first process say to each other until the command runs.

One datagram is one JSON object with a ``type``, descriptors may ride along.  Both ends are
close-on-exec: the end of the conversation means that execve worked, or that the other died.
"""

from __future__ import annotations

import array
import json
import socket
from dataclasses import dataclass, field
from typing import Self

# An error is at most four texts of 4096 characters, six bytes each at worst.
_MAX_BYTES = 1 << 17
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
        rights = array.array("i", fds)
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
        self._door.sendmsg([packet], extra, socket.MSG_NOSIGNAL)

    def hear(self) -> Message | None:
        """Wait for one message; None when the other end is gone."""
        try:
            packet, extra, _, _ = self._door.recvmsg(
                _MAX_BYTES, _FDS_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return None
        if not packet:
            return None
        fds = array.array("i")
        for level, kind, data in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        fields = json.loads(packet)
        return Message(fields.pop("type"), fields, tuple(fds))

    def close(self) -> None:
        """Let go."""
        self._door.close()
