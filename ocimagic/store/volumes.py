"""Volumes of a data root: a row is what makes a directory a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import VolumeNotFound
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ocimagic.home.database import Database

_COLUMNS = "SELECT name, created, document FROM volumes"


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """One row.

    Attributes:
        created: seconds since 1970.
        document: JSON of the engine's own.
    """

    name: str
    created: float
    document: str


class Volumes:
    """The volumes of one data root."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: VolumeRecord) -> None:
        """Record a volume; one of this name stays as it is."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "INSERT OR IGNORE INTO volumes VALUES (?, ?, ?)",
                (record.name, record.created, record.document),
            )

    def get(self, name: str) -> VolumeRecord | None:
        """Return the volume of this name, None if there is none."""
        rows = self._database.rows(f"{_COLUMNS} WHERE name = ?", name)
        return _record(rows[0]) if rows else None

    def find(self, name: str) -> VolumeRecord:
        """Return the volume of this name.

        Raises:
            VolumeNotFound: there is none.
        """
        found = self.get(name)
        if found is None:
            near = nearest(name, [each.name for each in self.all()])
            hint = f"did you mean {near}?" if near else f"%volume_create {name} makes it"
            raise VolumeNotFound(f"no such volume: {name}", hint=hint)
        return found

    def all(self) -> list[VolumeRecord]:
        """Return all volumes, by name."""
        return [_record(row) for row in self._database.rows(f"{_COLUMNS} ORDER BY name")]

    def remove(self, name: str) -> None:
        """Forget a volume."""
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM volumes WHERE name = ?", (name,))


def _record(row: Sequence[object] | sqlite3.Row) -> VolumeRecord:
    return VolumeRecord(str(row[0]), float(str(row[1])), str(row[2]))
