"""The log of a container: written by its shim, each byte once, whenever that is killed.

How far the log is lies in memory that outlives the shim.  The next one cuts off what the last
one appended without saying so, and appends it again.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ocimagic.shim import rotation
from ocimagic.shim.memory import Cell
from ocimagic.shim.records import PIECE, cri_records, json_records, parse_record, pieces, timestamp
from ocimagic.shim.tape import STREAMS

if TYPE_CHECKING:
    from ocimagic.shim.memory import Buffer
    from ocimagic.shim.task import LogOptions

__all__ = ["PIECE", "LogWriter", "parse_record", "timestamp"]

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_FORMS = {"json-file": json_records, "cri": cri_records}
# tape position, file size, inode, dropped records; which set of pending bytes, their lengths;
# how much of what comes next, pending bytes included, is written already
_FORM = "=4QB2II"
_RECORD_BYTES = 72  # of a record besides its text
_SET = 2 * PIECE


class LogWriter:
    """Appends to one log file, and rotates it.

    A full disk loses records, never the container: ``dropped`` counts them.

    Args:
        path: of the current file; older ones are ``path.1``, ``path.2``.
        options: which form, how large, how many.
        buffer: shared memory with zeros, or with what an earlier writer left there.
        offset: where in it.

    Attributes:
        position: of the tape, up to where the log has it.
    """

    def __init__(self, path: str, options: LogOptions, buffer: Buffer, offset: int = 0) -> None:
        self._path = path
        self._options = options
        self._encode = _FORMS.get(options.driver)
        self._cell = Cell(buffer, offset, _FORM)
        self._sets = memoryview(buffer)[offset + Cell.size(_FORM) :]
        self._compressor = rotation.Compressor()
        numbers = self._cell.read()
        self.position, self._size, self._inode, self.dropped, self._which, *rest = numbers
        *lengths, self._skip = rest
        self._pending = [self._saved(stream)[: lengths[stream]].tobytes() for stream in (0, 1)]
        self._fd = -1 if self._encode is None else self._open()

    @staticmethod
    def size() -> int:
        """Return how many bytes of shared memory a writer takes."""
        return Cell.size(_FORM) + 2 * _SET

    def write(self, stream: int, data: bytes, position: int) -> None:
        """Take bytes as they come; whole lines are written at once.

        Args:
            stream: 0 for stdout, 1 for stderr.
            data: what was read.
            position: of the tape after them.
        """
        if self._encode is not None:
            if self._pending[stream]:
                data = self._pending[stream] + data
            self._pending[stream] = self._append(stream, data)
        self.position = position
        self._commit()

    def flush(self) -> None:
        """Write what has no newline yet: the process is over."""
        for stream in (0, 1):
            if self._pending[stream]:
                self._write(stream, [self._pending[stream]])
                self._pending[stream] = b""
                self._commit()

    def close(self, *, durable: bool) -> None:
        """Let go of the file.

        Args:
            durable: wait until what it has would survive a power cut.
        """
        if self._fd >= 0:
            if durable:
                with contextlib.suppress(OSError):
                    os.fdatasync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _append(self, stream: int, data: bytes) -> bytes:
        """Write what is complete and return the rest."""
        end = 0
        ready = []
        for start, end in pieces(data):
            if end > self._skip:
                ready.append((max(start, self._skip), end))
        if not self._options.max_size_bytes:
            self._write(stream, [data[start:stop] for start, stop in ready])
        else:
            for start, stop in ready:
                self._write_limited(stream, data, start, stop)
        self._skip = 0
        return data[end:]

    def _write_limited(self, stream: int, data: bytes, start: int, end: int) -> None:
        """Write as many lines as the file still takes, the others into the next one."""
        limit = self._options.max_size_bytes
        assert limit is not None
        while start < end:
            if self._size >= limit and not self._compressor.is_busy():
                self._skip = start
                self._rotate()
            stop, room = start, max(1, limit - self._size)
            while stop < end and room > 0:
                line_end = data.find(b"\n", stop, end) + 1 or end
                room -= line_end - stop + _RECORD_BYTES
                stop = line_end
            self._write(stream, [data[start:stop]])
            start = stop

    def _write(self, stream: int, ready: list[bytes]) -> None:
        if not ready:
            return
        assert self._encode is not None
        moment = timestamp()
        name = STREAMS[stream]
        records = b"".join(self._encode(name, each, moment) for each in ready)
        try:
            written = os.write(self._fd, records)
            if written < len(records):
                os.ftruncate(self._fd, self._size)  # half a record helps nobody
                written = 0
        except OSError:
            written = 0
        self._size += written
        if not written:
            self.dropped += sum(max(1, each.count(b"\n")) for each in ready)

    def _open(self) -> int:
        fd = os.open(self._path, _FLAGS, 0o640)
        found = os.fstat(fd)
        if found.st_ino == self._inode and found.st_size > self._size:
            os.ftruncate(fd, self._size)  # appended, but not said so: it comes once more
        else:
            self._size, self._inode = found.st_size, found.st_ino
        self._commit()
        return fd

    def _rotate(self) -> None:
        # Up to here everything is in the file that is put aside.
        self._commit()
        with contextlib.suppress(OSError):  # else the old file goes on
            rotation.shift(self._path, self._options.max_files)
            fd = os.open(self._path, _FLAGS, 0o640)
            os.close(self._fd)
            self._fd, self._size, self._inode = fd, 0, os.fstat(fd).st_ino
            self._commit()
            if self._options.compress and self._options.max_files > 1:
                self._compressor.start(f"{self._path}.1")

    def _saved(self, stream: int, which: int | None = None) -> memoryview:
        start = (self._which if which is None else which) * _SET + stream * PIECE
        return self._sets[start : start + PIECE]

    def _commit(self) -> None:
        lengths = [len(each) for each in self._pending]
        if any(lengths):
            self._which = 1 - self._which
            for stream, each in enumerate(self._pending):
                self._saved(stream)[: len(each)] = each
        self._cell.write(
            self.position,
            self._size,
            self._inode,
            self.dropped,
            self._which,
            *lengths,
            self._skip,
        )
