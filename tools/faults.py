"""Faults at every write: this process is killed, or its disk is full, from the n-th on.

Where Python goes to the kernel to change a file, and where it hands SQLite a statement, there
is a wrapper after ``install``; each call below one directory is a point and has a number.
Nothing of it is in ocimagic: the program that is shipped is the one that is hurt (ADR 0016).
"""

# ruff: noqa: ANN401  what is wrapped takes and gives anything

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import signal
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODES = ("kill", "torn", "full")
_WRITING = ("BEGIN", "INSERT", "UPDATE", "DELETE", "COMMIT", "CREATE")
_MAKING = os.O_CREAT | os.O_TRUNC


class Faults:
    """What is to happen, and how many points there were.

    Args:
        below: only changes below this directory are counted.
        at: the number of the point, from 1 on; 0 lets all of them pass.
        mode: ``kill`` before the change, ``torn`` half of it first where it is a write,
            ``full`` says that there is no space from here on.

    Attributes:
        seen: the points so far, each in words.
    """

    def __init__(self, below: str, at: int, mode: str) -> None:
        self._below = os.path.realpath(below)
        self._at = at
        self._mode = mode
        self._lock = threading.Lock()
        self.seen: list[str] = []

    def covers(self, path: str) -> bool:
        """Say whether a path is below the directory."""
        return path.startswith(self._below + "/")

    def point(
        self,
        what: str,
        path: str,
        *,
        needs_room: bool = True,
        torn: Callable[[], object] | None = None,
    ) -> None:
        """Count one change that is about to be made; may not return."""
        with self._lock:
            self.seen.append(f"{what} {path.removeprefix(self._below)}")
            number = len(self.seen)
            if self._mode != "full" and number == self._at:
                if torn is not None and self._mode == "torn":
                    torn()
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()
        if self._mode == "full" and needs_room and 0 < self._at <= number:
            if what.startswith("sql"):
                raise sqlite3.OperationalError("database or disk is full")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def install(faults: Faults) -> None:
    """Put the wrappers in; they stay until the process ends."""
    _wrap_names(faults)
    _wrap_descriptors(faults)
    _wrap_files(faults)
    _wrap_sqlite(faults)


def _wrap_names(faults: Faults) -> None:
    """Wrap what changes a directory: its last path argument is where."""
    needing = ("mkdir", "link", "symlink", "mknod", "rename", "replace")
    freeing = ("unlink", "remove", "rmdir", "chmod", "truncate")
    for name in (*needing, *freeing):
        real = getattr(os, name)
        is_pair = name in ("rename", "replace", "link", "symlink")

        def wrapped(
            *args: Any, _real: Any = real, _name: str = name, _pair: bool = is_pair, **named: Any
        ) -> Any:
            directory = named.get("dst_dir_fd" if _pair else "dir_fd")
            path = _path(args[1] if _pair else args[0], directory)
            # Most directories are asked for and there already: no change.
            if faults.covers(path) and not (_name == "mkdir" and os.path.exists(path)):
                faults.point(_name, path, needs_room=_name in needing)
            return _real(*args, **named)

        setattr(os, name, wrapped)


def _wrap_descriptors(faults: Faults) -> None:
    real_open, real_write, real_fsync = os.open, os.write, os.fsync
    real_ftruncate = os.ftruncate

    def opened(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & _MAKING:
            where = _path(path, named.get("dir_fd"))
            # Locks are files as well, and their making is a change.
            if faults.covers(where) and not os.path.exists(where):
                faults.point("create", where)
        return real_open(path, flags, *rest, **named)

    def written(fd: int, data: bytes) -> int:
        where = _path(fd)
        if faults.covers(where):
            half = bytes(data[: len(data) // 2])
            faults.point("write", where, torn=lambda: real_write(fd, half))
        return real_write(fd, data)

    def synced(fd: Any) -> None:
        where = _path(fd)
        if faults.covers(where):
            faults.point("fsync", where)
        real_fsync(fd)

    def truncated(fd: int, length: int) -> None:
        where = _path(fd)
        if faults.covers(where):
            faults.point("truncate", where, needs_room=False)
        real_ftruncate(fd, length)

    os.open, os.write, os.fsync, os.ftruncate = opened, written, synced, truncated


def _wrap_files(faults: Faults) -> None:
    real = io.open

    def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if not set(mode) & set("wax+"):
            return real(file, mode, *rest, **named)
        where = _path(file)
        if not faults.covers(where):
            return real(file, mode, *rest, **named)
        if not os.path.exists(where):
            faults.point("create", where)
        return _File(real(file, mode, *rest, **named), where, faults)

    io.open = builtins.open = opened


class _File:
    """A file that is open for writing."""

    def __init__(self, file: Any, path: str, faults: Faults) -> None:
        self._real = file
        self._path = path
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._real)

    def write(self, data: Any) -> int:
        """Write, through a point."""

        def half() -> None:
            self._real.write(data[: len(data) // 2])
            self._real.flush()

        self._faults.point("write", self._path, torn=half)
        return int(self._real.write(data))

    def truncate(self, *size: int) -> int:
        """Truncate, through a point."""
        self._faults.point("truncate", self._path, needs_room=False)
        return int(self._real.truncate(*size))


def _wrap_sqlite(faults: Faults) -> None:
    real = sqlite3.connect

    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            announce(statement, self.connection)
            return super().execute(statement, *values)

        def executemany(self, statement: str, values: Any) -> sqlite3.Cursor:
            announce(statement, self.connection)
            return super().executemany(statement, values)

    class Connection(sqlite3.Connection):
        path = ""

        def cursor(self, *_: Any) -> sqlite3.Cursor:  # type: ignore[override]
            return super().cursor(Cursor)

    def announce(statement: str, connection: sqlite3.Connection) -> None:
        path = getattr(connection, "path", "")
        if faults.covers(path) and statement.lstrip().upper().startswith(_WRITING):
            faults.point(f"sql {' '.join(statement.split()[:3])}", path)

    def connect(path: Any, **named: Any) -> sqlite3.Connection:
        made: Connection = real(path, factory=Connection, **named)
        made.path = os.path.realpath(os.fspath(path))
        return made

    sqlite3.connect = connect


def _path(where: Any, directory: int | None = None) -> str:
    """Return where a path or descriptor leads."""
    if isinstance(where, int):
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/self/fd/{where}")
        return ""
    path = os.fsdecode(where)
    if directory is not None and not path.startswith("/"):
        with contextlib.suppress(OSError):
            return os.path.join(os.readlink(f"/proc/self/fd/{directory}"), path)
    return os.path.abspath(path)
