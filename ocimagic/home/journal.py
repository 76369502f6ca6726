"""The event journal: a file that every engine and every shim of a data root appends to.

A line is a JSON object.  It is not synced: what a power cut takes is the last moments.  When the
file has grown enough it becomes the older one of two, and the one before that is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: see ``home.locks``
    fcntl = None  # type: ignore[assignment]

_OLDER = "events.1.jsonl"
MAX_BYTES = 4 << 20
_MAX_LINE = 64 << 10
_WINDOW = 2 * _MAX_LINE  # holds a whole line, wherever it begins
_NEAR = 4 << 10  # bytes that are rather read than looked for
_DISORDER_NS = 10 * 1_000_000_000  # a line may stand behind a newer one of another writer


def note(path: str | os.PathLike[str], document: Mapping[str, object]) -> None:
    """Append what happened just now.

    What it tells of is done already, so a disk that takes no more costs the note only.
    """
    line = json.dumps({"time": time.time_ns(), **document}, separators=(",", ":")) + "\n"
    raw = line.encode("utf-8", "surrogateescape")
    if len(raw) > _MAX_LINE:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
    with contextlib.suppress(OSError):
        fd = os.open(path, flags, 0o600)
        try:
            os.write(fd, raw)  # one call: lines of several writers do not mix
            if os.fstat(fd).st_size > MAX_BYTES:
                _turn(os.fspath(path), fd)
        finally:
            os.close(fd)


def _turn(path: str, fd: int) -> None:
    """Make the file the older one, once, whoever else finds it large."""
    if fcntl is not None:
        fcntl.flock(fd, fcntl.LOCK_EX)
    if os.path.samestat(os.fstat(fd), os.stat(path)):
        os.replace(path, os.path.join(os.path.dirname(path), _OLDER))


class Reading:
    """Reads a journal from some time on, and later what came since.

    Args:
        path: of the file that is appended to.
        since_ns: what is older by some seconds is left out, in nanoseconds since 1970.
    """

    def __init__(self, path: Path, since_ns: int = 0) -> None:
        self._path = path
        self._from_ns = since_ns - _DISORDER_NS
        self._fd = -1
        self._rest = b""
        self._is_begun = False

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def more(self) -> Iterator[dict[str, object]]:
        """Yield what is there and was not yielded yet, oldest first."""
        if not self._is_begun:
            self._is_begun = True
            self._begin()
        while True:
            if self._fd >= 0:
                yield from self._lines()
            with contextlib.suppress(FileNotFoundError):
                if self._fd >= 0 and os.path.samestat(os.fstat(self._fd), self._path.stat()):
                    return
                if self._fd >= 0:  # written to between the last look and its turn
                    yield from self._lines()
                self.close()
                self._rest = b""
            if self._fd >= 0:
                return
            self._fd = _opened(self._path)
            if self._fd < 0:
                return

    def _begin(self) -> None:
        """Open the file that holds the first line that is wanted, and go there."""
        self._fd = _opened(self._path)
        if self._fd >= 0 and not _is_before(self._fd, 0, self._from_ns):
            self.close()
        if self._fd < 0:
            self._fd = _opened(self._path.with_name(_OLDER))
        if self._fd >= 0:
            _go_to(self._fd, self._from_ns)

    def _lines(self) -> Iterator[dict[str, object]]:
        while data := os.read(self._fd, 1 << 16):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):  # half of one, from before a power cut
                    found = json.loads(line)
                    if isinstance(found, dict):
                        yield found


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return -1


def _go_to(fd: int, from_ns: int) -> None:
    """Go to where lines begin that are not older; times grow but for the disorder of writers."""
    low, high = 0, os.fstat(fd).st_size
    while high - low > _NEAR:
        middle = (low + high) // 2
        if _is_before(fd, middle, from_ns):
            low = middle
        else:
            high = middle
    os.lseek(fd, low + _line_at(os.pread(fd, _WINDOW, low)) if low else 0, os.SEEK_SET)


def _is_before(fd: int, offset: int, from_ns: int) -> bool:
    """Say whether the first whole line behind an offset is older than a time."""
    for window in (_NEAR, _WINDOW):
        data = os.pread(fd, window, offset)
        begin = _line_at(data) if offset else 0
        end = data.find(b"\n", begin)
        if end >= 0 and (begin or not offset):
            break
    else:
        return False
    try:
        return int(json.loads(data[begin:end])["time"]) < from_ns
    except (ValueError, TypeError, KeyError):  # half of one, from before a power cut
        return False


def _line_at(data: bytes) -> int:
    """Return where the first line begins behind one that was cut."""
    return data.find(b"\n") + 1
