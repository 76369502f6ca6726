"""Who talks to a shim: the door they come in by, and what is kept of each."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass, field

from ocimagic.shim import protocol

SOCKET_NAME = "shim.sock"
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid


@dataclass(slots=True, eq=False)
class Client:
    """Somebody connected.

    Attributes:
        patient: the container waits for it rather than losing its output.
        sends_stdin: it has; it is not listened to while that is not read.
    """

    door: socket.socket
    attached: bool = False
    patient: bool = False
    sends_stdin: bool = False
    frames: protocol.Frames = field(default_factory=protocol.Frames)
    out: bytearray = field(default_factory=bytearray)


def listen(run_directory: str) -> socket.socket:
    """Open the door for clients, for this account only."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    directory = os.open(run_directory, os.O_PATH | os.O_CLOEXEC)
    try:
        # Through the descriptor, since a socket's path may have 107 bytes only.
        path = f"/proc/self/fd/{directory}/{SOCKET_NAME}"
        door.bind(path)
        os.chmod(path, 0o600)
    finally:
        os.close(directory)
    door.listen(16)
    door.setblocking(False)
    return door


def is_ours(connection: socket.socket) -> bool:
    """Say whether the other end is the same account; a second lock beside the directory's."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _pid, uid, _gid = _UCRED.unpack(raw)
    return bool(uid == os.geteuid())
