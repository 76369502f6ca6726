"""What is in the files that COPY takes, told by digests: names and bytes count, times do not.

Reading a file again is spared while device, inode, size, mtime and ctime are the same.  The
ctime is what makes this safe: a file written anew with its old size and mtime has another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

# Two writes within one tick of the clock can leave the same ctime; FAT's ticks take 2 seconds.
_SETTLED_NS = 2_000_000_000
_SCHEMA = "CREATE TABLE IF NOT EXISTS files (identity TEXT PRIMARY KEY, sha256 TEXT NOT NULL)"


class HashCache:
    """Digests of files of the machine, kept between builds in a file that may be deleted.

    Args:
        path: the file.
        check: called before a file is read; may raise.
    """

    def __init__(self, path: Path, check: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._check = check
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def digests(self, files: Sequence[tuple[tuple[int, ...], Iterable[bytes]]]) -> list[str]:
        """Return the sha256 of each file, given its identity and what reads it."""
        found: list[str] = []
        learned: list[tuple[str, str]] = []
        settled = time.time_ns() - _SETTLED_NS
        for identity, chunks in files:
            key = ".".join(map(str, identity))
            known = self._known(key)
            if known is None:
                self._check()
                known = sha256_of(chunks)
                if identity[-1] < settled:
                    learned.append((key, known))
            found.append(known)
        self._learn(learned)
        return found

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self._path, isolation_level=None, timeout=1.0, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=OFF")
            self._connection.execute(_SCHEMA)
        return self._connection

    def _known(self, key: str) -> str | None:
        if os.name != "posix":  # ctime is the time of creation there
            return None
        with self._lock, contextlib.suppress(sqlite3.Error):
            query = "SELECT sha256 FROM files WHERE identity = ?"
            row = self._open().execute(query, (key,)).fetchone()
            return str(row[0]) if row else None
        return None

    def _learn(self, learned: Sequence[tuple[str, str]]) -> None:
        if learned and os.name == "posix":
            # Without it files are only read again.
            with self._lock, contextlib.suppress(sqlite3.Error):
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?)", learned)
                connection.execute("COMMIT")


def sha256_of(chunks: Iterable[bytes | memoryview]) -> str:
    """Return the hex digits for the bytes in ``chunks``."""
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()
