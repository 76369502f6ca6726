"""A small SQLite database that any number of threads and processes may use.

WAL, short transactions, nobody is the leader.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING, ClassVar

from ocimagic.errors import DiskFull, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WAIT_S = 30.0


class Database:
    """One connection, used by all threads of this process in turn.

    Attributes:
        noun: what errors call it.
        steps: the statements that lead from each version to the next one, the first from nothing.
        if_newer: what to say and to advise when a newer ocimagic wrote it.
        is_durable: each change survives a power cut, not only those that ask for it.
    """

    noun: ClassVar[str]
    steps: ClassVar[tuple[str, ...]]
    if_newer: ClassVar[tuple[str, str]]
    is_durable: ClassVar[bool] = False

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=_WAIT_S
            )
            for pragma in ("journal_mode=WAL", self._synchronous(), "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate()
        except sqlite3.Error as err:
            raise StorageError(
                f"cannot open the {self.noun}", why=str(err), where=str(path)
            ) from err

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _migrate(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        newest = len(self.steps)
        if version > newest:
            what, hint = self.if_newer
            raise StorageError(
                what, why=f"database version {version}, this one knows {newest}", hint=hint
            )
        if version == newest:
            return
        with self.transaction() as cursor:
            # Another process may have made the tables while this one waited for the lock.
            version = cursor.execute("PRAGMA user_version").fetchone()[0]
            for step in self.steps[version:]:
                for statement in filter(str.strip, step.split(";")):
                    cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version={newest}")

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
                    f"cannot write the {self.noun}", why=str(err)
                ) from err
            finally:
                self._roll_back()
                if durable:
                    self._connection.execute(f"PRAGMA {self._synchronous()}")

    def _synchronous(self) -> str:
        return f"synchronous={'FULL' if self.is_durable else 'NORMAL'}"

    def _roll_back(self) -> None:
        """End a transaction that came to nothing, unless SQLite has done so itself."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def state(self) -> tuple[int, int]:
        """Return what is another one whenever anything may have changed, by whomever.

        Source: SQLite's "PRAGMA data_version" (others' changes) and "sqlite3_total_changes" (own).
        """
        with self._lock:
            version = int(str(self.rows("PRAGMA data_version")[0][0]))
            return version, self._connection.total_changes

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return all rows of a query."""
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as err:
                raise StorageError(f"cannot read the {self.noun}", why=str(err)) from err
