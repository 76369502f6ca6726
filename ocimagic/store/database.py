"""The one database of a data root: names, images, layers, snapshots, containers, build steps.

::

    names       reference → target (digest the name pointed at) and manifest (for our platform)
    images      manifest → image_id            every image here, named or not
    blobs       digest → size                  a blob somebody verified; its file is in blobs/
    layers      (diff_id, digest) → sizes      what a layer blob holds when unpacked
    packed      (diff_id, kind) → digest, size a layer as it was compressed for a push
    snapshots   key → number                   key is a diff_id, or a chain_id where the layer
                                               cannot be unpacked without its parent
    containers  id → name, manifest, document
    steps       cache key → document           build cache
    steps_use   (cache key, diff_id)           which layers a step keeps

``boot_id`` marks a row whose files may still be in the page cache only: NULL once a syncfs
came after them.  After a machine crash such a row is dropped and its files made anew or
verified again.

Any number of processes use it: WAL, short transactions, nobody is the leader.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING

from ocimagic.errors import DiskFull, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE names (reference TEXT PRIMARY KEY, target TEXT NOT NULL, manifest TEXT NOT NULL,
                    updated REAL NOT NULL);
CREATE TABLE images (manifest TEXT PRIMARY KEY, image_id TEXT NOT NULL, added REAL NOT NULL);
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, boot_id TEXT);
CREATE TABLE layers (diff_id TEXT NOT NULL, digest TEXT NOT NULL, blob_bytes INTEGER NOT NULL,
                     tar_bytes INTEGER NOT NULL, unpacked_bytes INTEGER NOT NULL,
                     PRIMARY KEY (diff_id, digest));
CREATE TABLE snapshots (key TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, boot_id TEXT);
CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, manifest TEXT NOT NULL,
                         created REAL NOT NULL, document TEXT NOT NULL);
CREATE TABLE steps (key TEXT PRIMARY KEY, document TEXT NOT NULL, used REAL NOT NULL);
CREATE TABLE steps_use (key TEXT NOT NULL REFERENCES steps ON DELETE CASCADE,
                        diff_id TEXT NOT NULL);
CREATE INDEX images_by_id ON images (image_id);
CREATE INDEX steps_by_layer ON steps_use (diff_id);
"""
_SINCE_VERSION_1 = """
CREATE TABLE packed (diff_id TEXT NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL,
                     size INTEGER NOT NULL, PRIMARY KEY (diff_id, kind));
"""


class Database:
    """One connection, used by all threads of this process in turn."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=30.0
            )
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate()
        except sqlite3.Error as err:
            raise StorageError(
                "cannot open the image database", why=str(err), where=str(path)
            ) from err

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _migrate(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StorageError(
                "this data root was written by a newer ocimagic",
                why=f"database version {version}, this one knows {SCHEMA_VERSION}",
                hint="upgrade ocimagic, or set OCIMAGIC_ROOT to another directory",
            )
        if version == SCHEMA_VERSION:
            return
        with self.transaction() as cursor:
            # Another process may have made the tables while this one waited for the lock.
            version = cursor.execute("PRAGMA user_version").fetchone()[0]
            steps = {0: _SCHEMA + _SINCE_VERSION_1, 1: _SINCE_VERSION_1}.get(version, "")
            for statement in filter(str.strip, steps.split(";")):
                cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Cursor]:
        """Change several rows at once, or none.

        Args:
            durable: wait until the change would survive a power cut.

        Raises:
            DiskFull: no space for it.
            StorageError: any other failure of the database.
        """
        with self._lock:
            try:
                self._roll_back()  # an interrupt between two steps here leaves one open
                if durable:
                    self._connection.execute("PRAGMA synchronous=FULL")
                cursor = self._connection.cursor()
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                cursor.execute("COMMIT")
            except sqlite3.Error as err:
                full = "full" in str(err)
                raise (DiskFull if full else StorageError)(
                    "cannot write the image database", why=str(err)
                ) from err
            finally:
                self._roll_back()
                if durable:
                    self._connection.execute("PRAGMA synchronous=NORMAL")

    def _roll_back(self) -> None:
        """End a transaction that came to nothing, unless SQLite has done so itself."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return all rows of a query."""
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as err:
                raise StorageError("cannot read the image database", why=str(err)) from err
