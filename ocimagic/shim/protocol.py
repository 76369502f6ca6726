"""What is said over a shim's socket, and over a worker's.

A frame is one byte for its kind, four for the length of its payload (big endian), then the
payload.  ``M`` carries a JSON message, ``1`` and ``2`` bytes of stdout and stderr, ``0`` bytes
for stdin (an empty one closes it).  A frame is at most 1 MiB; longer ones are refused.

Client to shim: ``{"op": "attach"}``, ``{"op": "kill", "signal": 15}``.
Shim to client: ``{"started": {...}}`` or ``{"error": {...}}``, ``{"attached": {}}``, and last
``{"exit": {...}}``.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VERSION = 1
HEADER = struct.Struct(">cI")
MAX_FRAME = 1 << 20
MESSAGE, STDIN, STDOUT, STDERR = b"M", b"0", b"1", b"2"
KINDS = frozenset((MESSAGE, STDIN, STDOUT, STDERR))
STREAMS = {STDOUT: "stdout", STDERR: "stderr"}


class ProtocolError(Exception):
    """The other side said something that is no frame."""


def frame(kind: bytes, payload: bytes) -> bytes:
    """Return one frame."""
    return HEADER.pack(kind, len(payload)) + payload


def message(content: Mapping[str, object]) -> bytes:
    """Return one JSON frame."""
    return frame(MESSAGE, json.dumps(content).encode())


@dataclass(slots=True)
class Frames:
    """Cuts a byte stream into frames."""

    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Take what arrived and yield ``(kind, payload)`` of each frame that is whole.

        Raises:
            ProtocolError: an unknown kind, or a length beyond the limit.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer)
            if kind not in KINDS or length > MAX_FRAME:
                raise ProtocolError(f"kind {kind!r}, length {length}")
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield kind, payload


def parse_message(payload: bytes) -> dict[str, object]:
    """Return a JSON frame's object.

    Raises:
        ProtocolError: not JSON, or not an object.
    """
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError) as err:
        raise ProtocolError(str(err)) from err
    if not isinstance(content, dict):
        raise ProtocolError("not an object")
    return content
