"""Container records: what was asked for; what became of it is in files beside the shim."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from ocimagic.errors import ContainerNotFound, NameInUse, OcimagicError
from ocimagic.spec.digest import Digest
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.home.database import Database


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One row.

    Attributes:
        manifest: of its image.
        created: seconds since 1970.
        document: JSON of the engine's own.
    """

    container_id: str
    name: str
    manifest: Digest
    created: float
    document: str


def name_in_use(name: str) -> NameInUse:
    """Return the error for a name that another container has."""
    return NameInUse(
        f"the container name {name!r} is already in use",
        hint=f"remove it with %container_rm {name}, or choose another --name",
    )


class Containers:
    """The containers of one data root."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: ContainerRecord) -> None:
        """Record a new container.

        Raises:
            NameInUse: another has this name.
        """
        try:
            with self._database.transaction() as cursor:
                cursor.execute(
                    "INSERT INTO containers VALUES (?, ?, ?, ?, ?)",
                    (
                        record.container_id,
                        record.name,
                        record.manifest,
                        record.created or time.time(),
                        record.document,
                    ),
                )
        except OcimagicError as err:
            if not isinstance(err.__cause__, sqlite3.IntegrityError):
                raise
            raise name_in_use(record.name) from err

    def find(self, name: str) -> ContainerRecord:
        """Return the container called ``name``, or whose ID begins so.

        Raises:
            ContainerNotFound: none, or more than one.
        """
        text = name.removeprefix("/")
        rows = self._rows("WHERE name = ? OR id = ?", text, text)
        if not rows and text and all(letter in "0123456789abcdef" for letter in text):
            rows = self._rows("WHERE id LIKE ? || '%'", text)
        if len(rows) == 1:
            return rows[0]
        if rows:
            raise ContainerNotFound(f"more than one container's ID begins with {text}")
        near = nearest(text, [each.name for each in self.all()])
        raise ContainerNotFound(
            f"no such container: {text}",
            hint=f"did you mean {near}?" if near else "%container_ls -a lists them all",
        )

    def all(self) -> list[ContainerRecord]:
        """Return all containers, newest first."""
        return self._rows("ORDER BY created DESC")

    def rename(self, container_id: str, name: str) -> None:
        """Give a container another name.

        Raises:
            NameInUse: another has it.
        """
        try:
            with self._database.transaction() as cursor:
                cursor.execute("UPDATE containers SET name = ? WHERE id = ?", (name, container_id))
        except OcimagicError as err:
            if not isinstance(err.__cause__, sqlite3.IntegrityError):
                raise
            raise name_in_use(name) from err

    def rewrite(self, container_id: str, document: str) -> None:
        """Replace what the engine remembers of a container."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "UPDATE containers SET document = ? WHERE id = ?", (document, container_id)
            )

    def remove(self, container_id: str) -> None:
        """Forget a container."""
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM containers WHERE id = ?", (container_id,))

    def _rows(self, condition: str, *values: object) -> list[ContainerRecord]:
        query = f"SELECT id, name, manifest, created, document FROM containers {condition}"  # noqa: S608
        return [
            ContainerRecord(
                str(row[0]), str(row[1]), Digest(str(row[2])), float(str(row[3])), str(row[4])
            )
            for row in self._database.rows(query, *values)
        ]
