"""The log of a container: docker's json-file format, so that its readers read ours.

One JSON object a line: ``log`` (text with its newline), ``stream`` and ``time`` (RFC 3339 with
nanoseconds).  A line longer than 16 KiB is cut; a piece without a newline means "goes on".
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 16384


class LogWriter:
    """Appends to one log file; owned by the shim.

    A full disk loses records, never the container: ``dropped`` counts them.
    """

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o640)
        self._pending = {"stdout": bytearray(), "stderr": bytearray()}
        self.dropped = 0

    def write(self, stream: str, data: bytes) -> None:
        """Take bytes as they come; whole lines are written at once."""
        pending = self._pending[stream]
        pending += data
        pieces = list(_cut(pending))
        if pieces:
            self._append(stream, pieces)

    def close(self) -> None:
        """Write what has no newline yet and close the file."""
        for stream, pending in self._pending.items():
            if pending:
                self._append(stream, [bytes(pending)])
        os.close(self._fd)

    def _append(self, stream: str, pieces: list[bytes]) -> None:
        moment = timestamp()
        records = "".join(
            json.dumps(
                {"log": piece.decode(errors="replace"), "stream": stream, "time": moment},
                ensure_ascii=False,
                separators=(",", ":"),
            )
            + "\n"
            for piece in pieces
        )
        try:
            os.write(self._fd, records.encode())
        except OSError:
            self.dropped += len(pieces)


def _cut(pending: bytearray) -> Iterator[bytes]:
    """Take whole lines, and full pieces of longer ones, out of the front."""
    start = 0
    while True:
        end = pending.find(b"\n", start, start + PIECE) + 1
        if not end:
            if len(pending) - start < PIECE:
                break
            end = start + PIECE
        yield bytes(pending[start:end])
        start = end
    del pending[:start]


def timestamp() -> str:
    """Return the time now as RFC 3339 in UTC with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09}Z"


def parse_record(line: bytes) -> tuple[str, str, bytes]:
    """Return ``(time, stream, bytes)`` of one line of a log.

    Raises:
        ValueError: the line is not a record; a crash may leave half of one.
    """
    record = json.loads(line)
    return str(record["time"]), str(record["stream"]), str(record["log"]).encode()
