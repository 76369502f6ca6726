"""A container's log as one sequence of records, however many files its shim made of it.

``path`` is being written; ``path.1`` was before it, ``path.2`` before that; they may be
gzipped.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Self

from ocimagic.shim.records import parse_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_BLOCK = 1 << 16
_TOGETHER = 256  # lines that are parsed at once

LogEntry = tuple[str, str, bytes]


class LogFiles:
    """Reads a log, and what is added to it; close it with a with-block.

    Args:
        path: of the current file; a log that is not there is an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._last = ""  # when the last record was written that was read

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # never started, or removed meanwhile
            self._file = self._path.open("rb")

    def records(self, tail: int | None = None) -> Iterator[LogEntry]:
        """Yield what is there, oldest first; with ``tail`` only the last so many."""
        if self._file is None:
            return
        older = self._older()
        if tail is None:
            for each in reversed(older):
                yield from self._parsed(_lines_of(each))
            yield from self._parsed(_whole_lines(self._file))
            return
        lines = _last_lines(self._file, tail)
        for each in older:
            if len(lines) >= tail:
                break
            lines.extendleft(reversed(deque(_lines_of(each), tail - len(lines))))
        yield from self._parsed(lines)

    def more(self) -> Iterator[LogEntry]:
        """Yield what was added since the last time, also to files that came later."""
        if self._file is None:
            self._open()
        if self._file is None:
            return
        yield from self._parsed(_whole_lines(self._file))
        while self._was_rotated():
            self._file.close()
            # Our file is one of the older ones now, perhaps compressed: a record is told from
            # its time, which only grows.
            last = self._last
            new = self._path.open("rb")
            lines = [line for each in reversed(self._older()) for line in _lines_of(each)]
            self._file = new
            found = self._parsed(itertools.chain(lines, _whole_lines(new)))
            yield from (record for record in found if record[0] > last)

    def _was_rotated(self) -> bool:
        assert self._file is not None
        try:
            return os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino
        except FileNotFoundError:
            return False

    def _older(self) -> list[Path]:
        """Return the files before the current one, the newest first."""
        found: list[Path] = []
        for number in itertools.count(1):
            names = (
                self._path.with_name(f"{self._path.name}.{number}{end}") for end in ("", ".gz")
            )
            there = next((each for each in names if each.exists()), None)
            if there is None:
                return found
            found.append(there)
        raise AssertionError("counting does not end")

    def _parsed(self, lines: Iterable[bytes]) -> Iterator[LogEntry]:
        left = iter(lines)
        while several := list(itertools.islice(left, _TOGETHER)):
            for record in parse_records(several):
                self._last = record[0]
                yield record


def _lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file that is not written any more; none if it is gone by now."""
    with contextlib.suppress(FileNotFoundError, EOFError, gzip.BadGzipFile):
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                yield from packed
        else:
            with path.open("rb") as file:
                yield from file


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield what is there, leaving a line that is still being written for the next time."""
    for line in file:
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        yield line


def _last_lines(file: BinaryIO, count: int) -> deque[bytes]:
    """Return the last whole lines of a file, and leave it at their end."""
    end = start = file.seek(0, os.SEEK_END)
    data = b""
    while start and data.count(b"\n") <= count:
        begin = max(start - _BLOCK, 0)
        file.seek(begin)
        data = file.read(start - begin) + data
        start = begin
    whole, _, rest = data.rpartition(b"\n")
    file.seek(end - len(rest))
    lines = deque(whole.split(b"\n") if whole else (), count)
    return deque(line + b"\n" for line in lines)
