"""Learn that files have changed: inotify(7)."""

from __future__ import annotations

import contextlib
import os
import select
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

from ocimagic.linux import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# <linux/inotify.h>
IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
_IN_Q_OVERFLOW = 0x4000
_IN_ONLYDIR = 0x01000000

_EVENT = struct.Struct("=iIII")
_READ = 1 << 16


class Change(NamedTuple):
    """Something that happened in a directory.

    Attributes:
        directory: which one; None when so much happened that the kernel forgot what.
        name: of the file in it.
    """

    directory: Path | None
    name: str


class Watcher:
    """Watches directories, not what is below them; owns a descriptor until it is closed.

    Raises:
        OSError: this account watches too much already.
    """

    def __init__(self) -> None:
        self._fd = syscalls.call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)
        self._directories: dict[int, Path] = {}

    def __enter__(self) -> Self:
        """Close it at the end of a with-block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        os.close(self._fd)

    def add(self, directory: Path, mask: int) -> None:
        """Watch a directory; one that is gone is none that changes.

        Raises:
            OSError: this account watches too much already.
        """
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            number = syscalls.call(
                "inotify_add_watch", self._fd, os.fsencode(directory), mask | _IN_ONLYDIR
            )
            self._directories[number] = directory

    def wait(self, timeout_s: float) -> list[Change]:
        """Wait for changes; none when the time is over."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return []
        return list(self._parsed(os.read(self._fd, _READ)))

    def _parsed(self, data: bytes) -> Iterator[Change]:
        at = 0
        while at < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            if mask & _IN_Q_OVERFLOW:
                yield Change(None, "")
            elif number in self._directories:
                yield Change(self._directories[number], name)
