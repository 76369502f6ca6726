"""Networks of a data root, and who has which address in them.

A lease counts as long as its container runs, which only its shim's lock says: leases of others
are taken back when an address is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import NameInUse, NetworkNotFound
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from ocimagic.home.database import Database


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """One row.

    Attributes:
        created: seconds since 1970.
        document: JSON of the engine's own.
    """

    network_id: str
    name: str
    created: float
    document: str


class Networks:
    """The networks of one data root."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, make: Callable[[Sequence[NetworkRecord]], NetworkRecord]) -> NetworkRecord:
        """Record a network that is made in view of those that are there.

        Raises:
            NameInUse: another has this name.
            OcimagicError: what ``make`` says.
        """
        with self._database.transaction() as cursor:
            rows = cursor.execute("SELECT id, name, created, document FROM networks").fetchall()
            there = [_record(row) for row in rows]
            record = make(there)
            if any(each.name == record.name for each in there):
                raise NameInUse(f"network with name {record.name} already exists")
            cursor.execute(
                "INSERT INTO networks VALUES (?, ?, ?, ?)",
                (record.network_id, record.name, record.created, record.document),
            )
        return record

    def find(self, name: str) -> NetworkRecord:
        """Return the network called ``name``, or whose ID begins so.

        Raises:
            NetworkNotFound: none, or more than one.
        """
        there = self.all()
        exact = [each for each in there if name in (each.name, each.network_id)]
        found = exact or [each for each in there if name and each.network_id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise NetworkNotFound(f"more than one network's ID begins with {name}")
        near = nearest(name, [each.name for each in there])
        hint = f"did you mean {near}?" if near else f"%network_create {name} makes it"
        raise NetworkNotFound(f"network {name} not found", hint=hint)

    def all(self) -> list[NetworkRecord]:
        """Return all networks, oldest first."""
        query = "SELECT id, name, created, document FROM networks ORDER BY created, rowid"
        return [_record(row) for row in self._database.rows(query)]

    def rewrite(self, network_id: str, document: str) -> None:
        """Say something else of a network."""
        with self._database.transaction() as cursor:
            cursor.execute("UPDATE networks SET document = ? WHERE id = ?", (document, network_id))

    def remove(self, network_id: str) -> None:
        """Forget a network and its leases."""
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM networks WHERE id = ?", (network_id,))

    # -- leases --------------------------------------------------------------------

    def lease(
        self,
        network_id: str,
        container_id: str,
        choose: Callable[[dict[str, str]], Sequence[str]],
    ) -> tuple[str, ...]:
        """Give a container addresses.

        Args:
            network_id: of the network.
            container_id: who gets them; what it had there is given back.
            choose: given who has which address (address to container), returns free ones.

        Raises:
            OcimagicError: what ``choose`` says.
        """
        with self._database.transaction() as cursor:
            cursor.execute(
                "DELETE FROM leases WHERE network = ? AND container = ?",
                (network_id, container_id),
            )
            rows = cursor.execute(
                "SELECT address, container FROM leases WHERE network = ?", (network_id,)
            ).fetchall()
            chosen = tuple(choose({str(address): str(who) for address, who in rows}))
            cursor.executemany(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)",
                [(network_id, each, container_id) for each in chosen],
            )
        return chosen

    def give_back(self, container_id: str, network_id: str | None = None) -> None:
        """Let others have a container's addresses, in one network or all."""
        more = "" if network_id is None else " AND network = ?"
        values = (container_id,) if network_id is None else (container_id, network_id)
        with self._database.transaction() as cursor:
            cursor.execute(f"DELETE FROM leases WHERE container = ?{more}", values)  # noqa: S608


def _record(row: Sequence[object] | sqlite3.Row) -> NetworkRecord:
    return NetworkRecord(str(row[0]), str(row[1]), float(str(row[2])), str(row[3]))
