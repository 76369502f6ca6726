"""The last bytes a process wrote, as frames, in memory that outlives the shim.

A byte leaves the process's pipe once and is on the tape once, whenever the shim is killed:
splice(2) moves it into a pipe of our own, the *sieve*, which is empty whenever nothing is under
way.  What the tape's numbers say and what is left in the sieve tell the next shim exactly how
far the last one came.

The tape is a ring.  Positions count bytes of frames since its beginning and only grow.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import termios
from typing import TYPE_CHECKING

from ocimagic.shim import protocol
from ocimagic.shim.memory import Cell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.shim.memory import Buffer

CHUNK = 1 << 16  # a pipe's capacity
CAPACITY = 1 << 22
STREAMS = ("stdout", "stderr")
_KINDS = (protocol.STDOUT, protocol.STDERR)
_HEADER = protocol.HEADER.size
_RESTART = 1 << 18  # pages up to here stay in use when all have read all
# head, tail; bytes of each stream up to head, up to tail; the stream being read + 1, how much
_FORM = "=QQ2Q2QBI"


class Tape:
    """A ring of frames with one writer; readers keep their own positions.

    Args:
        buffer: zeros, or what an earlier tape left there.
        offset: where in it.
        sieve: read end and write end of a pipe that nothing else uses.

    Attributes:
        head: position after the last frame.
        tail: position of the oldest frame that is still there.
        totals: bytes of stdout and stderr up to ``head``.
    """

    __slots__ = ("_cell", "_ring", "_sieve", "_tail_totals", "head", "tail", "totals")

    def __init__(self, buffer: Buffer, offset: int, sieve: tuple[int, int]) -> None:
        self._cell = Cell(buffer, offset, _FORM)
        start = offset + Cell.size(_FORM)
        self._ring = memoryview(buffer)[start : start + CAPACITY]
        self._sieve = sieve
        self.head, self.tail, *totals, stream, length = self._cell.read()
        self.totals, self._tail_totals = totals[:2], totals[2:]
        if stream:
            self._recover(stream - 1, length)

    @staticmethod
    def size() -> int:
        """Return how many bytes a tape takes."""
        return Cell.size(_FORM) + CAPACITY

    def take(self, stream: int, fd: int) -> bytes | None:
        """Move what a descriptor has onto the tape; exactly once, whatever happens.

        Args:
            stream: 0 for stdout, 1 for stderr.
            fd: a pipe or the master of a terminal, not blocking.

        Returns:
            The bytes, none at the end of the stream; None if there is nothing just now.
        """
        self._commit(stream + 1)
        try:
            length = self._sift(fd)
        except BlockingIOError:
            return None
        except OSError as err:
            if err.errno != errno.EIO:  # how a terminal says that nobody has it open
                raise
            return b""
        return self._pour(stream, length) if length else b""

    def parts(self, position: int, length: int) -> list[memoryview]:
        """Return ``length`` bytes from ``position``, in two pieces where the ring begins anew."""
        start = position % CAPACITY
        first = self._ring[start : start + length]
        rest = length - len(first)
        return [first, self._ring[:rest]] if rest else [first]

    def settle(self) -> bool:
        """Say that nobody needs what is on the tape; return whether ``head`` has moved.

        The ring then begins anew before it has touched much memory.
        """
        self.tail, self._tail_totals = self.head, self.totals[:]
        used = self.head % CAPACITY
        if used < _RESTART:
            return False
        self.head = self.tail = self.head + CAPACITY - used
        self._commit()
        return True

    def resume(self, offsets: Mapping[str, int]) -> tuple[int, bytes, int]:
        """Find where somebody is who has had so many bytes of each stream.

        Returns:
            The position to go on from, what is to be sent before that, and how many bytes are
            lost because the ring has begun anew.
        """
        had = [offsets.get(name, 0) for name in STREAMS]
        missed = sum(max(0, old - got) for old, got in zip(self._tail_totals, had, strict=True))
        seen, position = self._tail_totals[:], self.tail
        while position < self.head:
            stream, length = self._frame(position)
            known = min(length, max(0, had[stream] - seen[stream]))
            if known < length:
                rest = b"".join(self.parts(position + _HEADER + known, length - known))
                if not known:
                    return position, b"", missed
                after = position + _HEADER + length
                return after, protocol.frame(_KINDS[stream], rest), missed
            seen[stream] += length
            position += _HEADER + length
        return position, b"", missed

    def since(self, position: int) -> list[tuple[int, bytes, int]]:
        """Return ``(stream, bytes, position after)`` of each frame from a position on."""
        found = []
        position = max(position, self.tail)
        while position < self.head:
            stream, length = self._frame(position)
            data = b"".join(self.parts(position + _HEADER, length))
            position += _HEADER + length
            found.append((stream, data, position))
        return found

    def close(self) -> None:
        """Let go of the memory."""
        self._ring.release()

    def _sift(self, fd: int) -> int:
        try:
            return os.splice(fd, self._sieve[1], CHUNK, flags=os.SPLICE_F_NONBLOCK)
        except OSError as err:
            if err.errno != errno.EINVAL:
                raise
        # A terminal on Linux before 5.11: a kill just here loses what was read.
        return os.write(self._sieve[1], os.read(fd, CHUNK))

    def _pour(self, stream: int, length: int, done: int = 0) -> bytes:
        """Bring a frame of ``length`` bytes in, of which the ring has ``done`` already."""
        self._make_room(_HEADER + length)
        self._commit(stream + 1, length)
        self._put(protocol.HEADER.pack(_KINDS[stream], length))
        start = self.head + _HEADER
        while done < length:
            done += os.readv(self._sieve[0], self.parts(start + done, length - done))
        self.head = start + length
        self.totals[stream] += length
        self._commit()
        return b"".join(self.parts(start, length))

    def _recover(self, stream: int, length: int) -> None:
        waiting = array.array("i", [0])
        fcntl.ioctl(self._sieve[0], termios.FIONREAD, waiting)
        left = waiting[0]
        if not length:  # perhaps moved into the sieve, not yet counted
            length = left
        if length:
            self._pour(stream, length, length - left)
        else:
            self._commit()

    def _make_room(self, length: int) -> None:
        while self.head + length - self.tail > CAPACITY:
            stream, old = self._frame(self.tail)
            self.tail += _HEADER + old
            self._tail_totals[stream] += old

    def _frame(self, position: int) -> tuple[int, int]:
        kind, length = protocol.HEADER.unpack(b"".join(self.parts(position, _HEADER)))
        return _KINDS.index(kind), length

    def _put(self, content: bytes) -> None:
        done = 0
        for part in self.parts(self.head, len(content)):
            part[:] = content[done : done + len(part)]
            done += len(part)

    def _commit(self, stream: int = 0, length: int = 0) -> None:
        numbers = (*self.totals, *self._tail_totals)
        self._cell.write(self.head, self.tail, *numbers, stream, length)
