"""Memory that outlives the shim: shared with its holder, and always whole.

A process that is killed between two stores must leave what the next one can read.  So
what belongs together is written beside the valid copy, and one byte says which copy is valid.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from typing import TYPE_CHECKING

from ocimagic.linux import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable

_FLAGS = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
_PIECE_BYTES = 1 << 18
Buffer = mmap.mmap | bytearray


def anonymous(size: int) -> mmap.mmap:
    """Return memory that forks share; pages nobody writes cost nothing."""
    return mmap.mmap(-1, size, flags=_FLAGS)


def own_pages(is_wanted: Callable[[], bool]) -> None:
    """Copy now what this process shares with the one it was forked from.

    Python writes to nearly all it reads, the counts of references; page by page, in the middle
    of a start, that costs a tenth of the start.

    Args:
        is_wanted: asked between the pieces: this process has something better to do.
    """
    with open("/proc/self/maps", "rb") as file:
        lines = file.read().splitlines()
    for line in lines:
        where, rights = line.split(None, 2)[:2]
        if rights != b"rw-p":
            continue
        first, end = (int(each, 16) for each in where.split(b"-"))
        for address in range(first, end, _PIECE_BYTES):
            if is_wanted():
                return
            with contextlib.suppress(OSError):  # an older kernel, or no room: page by page then
                syscalls.populate(address, min(_PIECE_BYTES, end - address))


class Cell:
    """Some numbers in shared memory that change together.

    Args:
        buffer: where; zeros mean that all numbers are 0.
        offset: of the cell.
        form: as for ``struct``; ``size`` says how many bytes the cell takes.
    """

    __slots__ = ("_buffer", "_form", "_offset")

    def __init__(self, buffer: Buffer, offset: int, form: str) -> None:
        self._buffer = buffer
        self._offset = offset
        self._form = struct.Struct(form)

    @staticmethod
    def size(form: str) -> int:
        """Return how many bytes a cell of this form takes."""
        return 8 + 2 * struct.calcsize(form)

    def read(self) -> tuple[int, ...]:
        """Return the numbers."""
        return self._form.unpack_from(self._buffer, self._place(self._buffer[self._offset]))

    def write(self, *numbers: int) -> None:
        """Replace all of them: a kill leaves the old ones or these."""
        other = 1 - self._buffer[self._offset]
        self._form.pack_into(self._buffer, self._place(other), *numbers)
        self._buffer[self._offset] = other

    def _place(self, copy: int) -> int:
        return self._offset + 8 + copy * self._form.size


class Blob:
    """Bytes in shared memory that are replaced whole.

    Args:
        buffer: where.
        offset: of the blob.
        capacity: the most bytes it can hold.
    """

    __slots__ = ("_buffer", "_capacity", "_cell", "_start")

    _FORM = "=BI"

    def __init__(self, buffer: Buffer, offset: int, capacity: int) -> None:
        self._buffer = buffer
        self._capacity = capacity
        self._cell = Cell(buffer, offset, self._FORM)
        self._start = offset + Cell.size(self._FORM)

    @classmethod
    def size(cls, capacity: int) -> int:
        """Return how many bytes a blob of this capacity takes."""
        return Cell.size(cls._FORM) + 2 * capacity

    def read(self) -> bytes:
        """Return the bytes; none were written yet if it is empty."""
        which, length = self._cell.read()
        start = self._start + which * self._capacity
        return bytes(self._buffer[start : start + length])

    def write(self, content: bytes) -> None:
        """Replace the bytes: a kill leaves the old ones or these.

        Raises:
            ValueError: more than the capacity.
        """
        if len(content) > self._capacity:
            raise ValueError(f"{len(content)} bytes for a blob of {self._capacity}")
        other = 1 - self._cell.read()[0]
        start = self._start + other * self._capacity
        self._buffer[start : start + len(content)] = content
        self._cell.write(other, len(content))
