"""What was written reaches the disk: blobs before a name is given to them, all else soon.

A blob is what there is; a snapshot can be made again from it.  So a pull waits for its blobs
only, and what it unpacked is written out beside whatever comes next.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.errors import StorageError
from ocimagic.home.disk import storage_errors
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from ocimagic.home.database import Database
    from ocimagic.home.location import Home
    from ocimagic.store.blobs import BlobStore

_MOST_ONE_BY_ONE = 64  # above, writing out the whole file system is the shorter way


class _Waiting(NamedTuple):
    """A file that a row says may be in the page cache only.

    Attributes:
        stamp: the statement that says it is not.
        key: of the row.
        identity: of the file, so that one which takes its place meanwhile is told from it.
    """

    stamp: str
    key: object
    path: Path
    identity: tuple[int, int]


class Syncing:
    """Writes out what rows say may be in the page cache only, and stamps the rows."""

    def __init__(self, home: Home, database: Database, blobs: BlobStore) -> None:
        self._home = home
        self._database = database
        self._blobs = blobs
        self._lock = threading.Lock()
        self._is_closed = False
        self._beside: threading.Thread | None = None

    def close(self) -> None:
        """Touch the database no more; a file system that is being written out goes on."""
        with self._lock:
            self._is_closed = True

    def blobs(self) -> None:
        """Make all blobs durable, before a name is given to them."""
        waiting = self._waiting_blobs()
        if len(waiting) > _MOST_ONE_BY_ONE:
            self.all()
            return
        with storage_errors(self._home.data):
            for each in waiting:
                _write_out(each.path)
            for directory in {each.path.parent for each in waiting}:
                _write_out(directory)
        self._stamp(waiting)

    def all(self) -> None:
        """Make all that was written durable, before something is to stand on it."""
        # Only what is there before the sync begins may be stamped after it.
        waiting = self._waiting_blobs() + self._waiting_snapshots()
        if waiting:
            with storage_errors(self._home.data):
                _write_out_all(self._home.data)
            self._stamp(waiting)

    def soon(self) -> None:
        """Begin to do the same beside whatever comes next.

        Should it fail, or the process end before, the next ``all`` does it.
        """
        if self._beside is None or not self._beside.is_alive():
            self._beside = threading.Thread(
                target=self._all_beside, name="ocimagic-sync", daemon=True
            )
            self._beside.start()

    def _all_beside(self) -> None:
        with contextlib.suppress(StorageError):
            self.all()

    def _waiting_blobs(self) -> list[_Waiting]:
        rows = self._database.rows("SELECT digest FROM blobs WHERE boot_id IS NOT NULL")
        stamp = "UPDATE blobs SET boot_id = NULL WHERE digest = ?"
        paths = [(digest, self._blobs.path(Digest.parse(str(digest)))) for (digest,) in rows]
        return _found(stamp, paths)

    def _waiting_snapshots(self) -> list[_Waiting]:
        rows = self._database.rows("SELECT number FROM snapshots WHERE boot_id IS NOT NULL")
        stamp = "UPDATE snapshots SET boot_id = NULL WHERE number = ?"
        return _found(stamp, [(each, self._home.snapshots / str(each)) for (each,) in rows])

    def _stamp(self, written: list[_Waiting]) -> None:
        with self._lock:
            if self._is_closed:
                return
            with self._database.transaction() as cursor:
                for each in written:
                    if _identity(each.path) == each.identity:
                        cursor.execute(each.stamp, (each.key,))


def _found(stamp: str, paths: list[tuple[object, Path]]) -> list[_Waiting]:
    found = ((key, path, _identity(path)) for key, path in paths)
    return [_Waiting(stamp, key, path, known) for key, path, known in found if known]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns


def _write_out(path: Path) -> None:
    """Write out a file or a directory, if nobody has taken it away."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_out_all(directory: Path) -> None:
    """Write out the file system that a directory is on."""
    try:
        from ocimagic.linux.syscalls import syncfs
    except ImportError:  # no Linux
        if hasattr(os, "sync"):
            os.sync()
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        syncfs(fd)
    finally:
        os.close(fd)
