"""Names in a registry's directory, and which repository has which blob: one small database.

::

    tags       (repository, tag) → digest
    manifests  (repository, digest) → media type, size, and what the list of referrers says
    blobs      (repository, digest)
    parts      (repository, manifest, digest) → size       what a manifest names

A blob's file may be in several repositories; it is taken away with its last row.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ocimagic.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION = 1
_SCHEMA = (
    (
        "CREATE TABLE tags (repository TEXT, tag TEXT, digest TEXT NOT NULL,"
        " PRIMARY KEY (repository, tag))"
    ),
    (
        "CREATE TABLE manifests (repository TEXT, digest TEXT, media_type TEXT NOT NULL,"
        " size INTEGER NOT NULL, subject TEXT, artifact_type TEXT NOT NULL,"
        " annotations TEXT NOT NULL, PRIMARY KEY (repository, digest))"
    ),
    "CREATE TABLE blobs (repository TEXT, digest TEXT, PRIMARY KEY (repository, digest))",
    (
        "CREATE TABLE parts (repository TEXT, manifest TEXT, digest TEXT, size INTEGER NOT NULL,"
        " PRIMARY KEY (repository, manifest, digest))"
    ),
    "CREATE INDEX manifests_by_subject ON manifests (repository, subject)",
    "CREATE INDEX manifests_by_digest ON manifests (digest)",
    "CREATE INDEX blobs_by_digest ON blobs (digest)",
    "CREATE INDEX parts_by_digest ON parts (repository, digest)",
)


class Catalog:
    """The database of one registry, used by all threads of this process in turn."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # FULL: what a client was told is kept must survive a power cut.
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate()
        except sqlite3.Error as err:
            raise StorageError(
                "cannot open the registry's database", why=str(err), where=str(path)
            ) from err

    def _migrate(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise StorageError(
                "this registry was written by a newer ocimagic",
                why=f"database version {version}, this one knows {_VERSION}",
                hint="upgrade ocimagic, or name another directory with --data",
            )
        if version == 0:
            with self.transaction() as cursor:
                for statement in _SCHEMA:
                    cursor.execute(statement)
                cursor.execute(f"PRAGMA user_version={_VERSION}")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Change several rows at once, or none; nobody else reads or writes meanwhile.

        Raises:
            StorageError: the database fails.
        """
        with self._lock:
            try:
                cursor = self._connection.cursor()
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                cursor.execute("COMMIT")
            except sqlite3.Error as err:
                raise StorageError("cannot write the registry's database", why=str(err)) from err
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return all rows of a query."""
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as err:
                raise StorageError("cannot read the registry's database", why=str(err)) from err
