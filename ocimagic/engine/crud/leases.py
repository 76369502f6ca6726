"""Leases: who is at work keeps what it makes, until it lets go or its time is over."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from ocimagic.engine.crud.room import Part, check_labels
from ocimagic.store import gc, objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.store.objects import Object


class Leases(Part):
    """The leases of all namespaces."""

    def create(self, namespace: str, lease_id: str, labels: Mapping[str, str]) -> Object:
        """Make a lease; without an ID it gets one.

        Raises:
            ObjectExists: there is one of that ID.
        """
        name = lease_id or f"{time.time_ns()}-{os.urandom(3).hex()}"
        document = {"labels": check_labels(labels)}
        return self._objects.add(namespace, objects.LEASE, name, document)

    def list(self, namespace: str) -> list[Object]:
        """Return all leases."""
        return self._objects.list(namespace, objects.LEASE)

    def delete(self, namespace: str, lease_id: str) -> None:
        """Let go of what a lease keeps, and take away what nothing else does."""
        self._objects.remove(namespace, objects.LEASE, lease_id)
        for each in self.resources(namespace, lease_id):
            self._objects.remove(namespace, objects.RESOURCE, each.name)
        self.collect()

    def resources(self, namespace: str, lease_id: str) -> Sequence[Object]:
        """Return what a lease keeps."""
        found = self._objects.list(namespace, objects.RESOURCE)
        return [each for each in found if each.document["lease"] == lease_id]

    def add_resource(self, namespace: str, lease_id: str, kind: str, name: str) -> None:
        """Let a lease keep one more thing."""
        self._objects.get(namespace, objects.LEASE, lease_id)
        self.keep(namespace, lease_id, kind, name)

    def delete_resource(self, namespace: str, lease_id: str, kind: str, name: str) -> None:
        """Let a lease keep one thing less."""
        self._objects.get(namespace, objects.LEASE, lease_id)
        with contextlib.suppress(objects.ObjectNotFound):
            self._objects.remove(namespace, objects.RESOURCE, f"{lease_id}/{kind}/{name}")

    def collect(self) -> None:
        """Take away what nothing leads to, now or, if somebody is at work, another time."""
        with self._store.alone() as held:
            if held:
                gc.sweep(self._store, self._unpacker.remove_trees)
