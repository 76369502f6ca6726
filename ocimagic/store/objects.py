"""What clients of the containerd role keep: small documents, by namespace, kind and name.

::

    namespace  (in "")  labels
    image      target, labels
    content    labels              by digest: the blob itself is in the store, for all namespaces
    ingest     file, expected, total      a blob that is being written, by the client's word for it
    snapshot   number, kind, parent, labels
    lease      labels
    resource   lease, type, id     what a lease keeps
    container  image, snapshot_key, snapshotter, labels, and what only the client understands
    task       what became of a container's process; its files are in a directory of its own
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ocimagic.errors import Conflict, NotFound, OcimagicError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.home.database import Database

DEFAULT = "default"  # the namespace in which the engine's own images and containers are
NAMESPACE, IMAGE, CONTENT, INGEST = "namespace", "image", "content", "ingest"
SNAPSHOT, LEASE, RESOURCE = "snapshot", "lease", "resource"
CONTAINER, TASK = "container", "task"
_COLUMNS = "SELECT namespace, kind, name, created, updated, document FROM objects"


class ObjectNotFound(NotFound):
    """Nothing of this kind has this name in this namespace."""


class ObjectExists(Conflict):
    """Something of this kind has this name in this namespace already."""

    grpc_code = "ALREADY_EXISTS"


@dataclass(frozen=True, slots=True)
class Object:
    """One row.

    Attributes:
        created: seconds since 1970; ``updated`` likewise.
        document: of its kind.
    """

    namespace: str
    kind: str
    name: str
    created: float
    updated: float
    document: Mapping[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels that a client gave it."""
        return dict(self.document.get("labels", {}))


class Objects:
    """The objects of one data root."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, namespace: str, kind: str, name: str) -> Object | None:
        """Return an object, None if there is none of that name."""
        rows = self._database.rows(
            f"{_COLUMNS} WHERE namespace = ? AND kind = ? AND name = ?", namespace, kind, name
        )
        return _object(rows[0]) if rows else None

    def get(self, namespace: str, kind: str, name: str) -> Object:
        """Return an object.

        Raises:
            ObjectNotFound: there is none of that name.
        """
        found = self.find(namespace, kind, name)
        if found is None:
            raise missing(kind, name)
        return found

    def list(self, namespace: str, kind: str) -> list[Object]:
        """Return all objects of a kind in a namespace, by name."""
        rows = self._database.rows(
            f"{_COLUMNS} WHERE namespace = ? AND kind = ? ORDER BY name", namespace, kind
        )
        return list(map(_object, rows))

    def everywhere(self, kind: str) -> Sequence[Object]:
        """Return all objects of a kind in all namespaces."""
        return [*map(_object, self._database.rows(f"{_COLUMNS} WHERE kind = ?", kind))]

    def add(self, namespace: str, kind: str, name: str, document: Mapping[str, object]) -> Object:
        """Keep a new object.

        Raises:
            ObjectExists: there is one of that name.
        """
        now = time.time()
        row = (namespace, kind, name, now, now, json.dumps(document))
        try:
            with self._database.transaction() as cursor:
                cursor.execute("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?)", row)
        except OcimagicError as err:
            if not isinstance(err.__cause__, sqlite3.IntegrityError):
                raise
            raise ObjectExists(f"{kind} {name!r}: already exists") from err
        return Object(namespace, kind, name, now, now, document)

    def put(self, namespace: str, kind: str, name: str, document: Mapping[str, object]) -> Object:
        """Keep an object, or another document of the one that is there."""
        now = time.time()
        with self._database.transaction() as cursor:
            cursor.execute(
                "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "updated = excluded.updated, document = excluded.document",
                (namespace, kind, name, now, now, json.dumps(document)),
            )
        return self.get(namespace, kind, name)

    def move(
        self, namespace: str, kind: str, name: str, to: str, document: Mapping[str, object]
    ) -> None:
        """Give an object another name and document.

        Raises:
            ObjectNotFound: there is none of that name.
            ObjectExists: there is one of the other.
        """
        try:
            with self._database.transaction() as cursor:
                cursor.execute(
                    "UPDATE objects SET name = ?, updated = ?, document = ? "
                    "WHERE namespace = ? AND kind = ? AND name = ?",
                    (to, time.time(), json.dumps(document), namespace, kind, name),
                )
                if not cursor.rowcount:
                    raise missing(kind, name)
        except OcimagicError as err:
            if not isinstance(err.__cause__, sqlite3.IntegrityError):
                raise
            raise ObjectExists(f"{kind} {to!r}: already exists") from err

    def namespaces(self) -> set[str]:
        """Return the namespaces that have something."""
        rows = self._database.rows("SELECT DISTINCT namespace FROM objects WHERE namespace != ''")
        return {str(row[0]) for row in rows}

    def kinds(self, namespace: str) -> set[str]:
        """Return of what kinds there is something in a namespace."""
        rows = self._database.rows(
            "SELECT DISTINCT kind FROM objects WHERE namespace = ?", namespace
        )
        return {str(row[0]) for row in rows}

    def remove(self, namespace: str, kind: str, name: str) -> None:
        """Forget an object.

        Raises:
            ObjectNotFound: there is none of that name.
        """
        with self._database.transaction() as cursor:
            cursor.execute(
                "DELETE FROM objects WHERE namespace = ? AND kind = ? AND name = ?",
                (namespace, kind, name),
            )
            if not cursor.rowcount:
                raise missing(kind, name)


def missing(kind: str, name: str) -> ObjectNotFound:
    """Return the error for what is not there."""
    return ObjectNotFound(f"{kind} {name!r}: not found")


def _object(row: tuple[object, ...]) -> Object:
    namespace, kind, name, created, updated, document = row
    return Object(
        str(namespace),
        str(kind),
        str(name),
        float(str(created)),
        float(str(updated)),
        json.loads(str(document)),
    )
