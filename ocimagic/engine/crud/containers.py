"""Containers as containerd means them: what is to be run, not what runs.

The engine's own are in ``default``, by their IDs: to be looked at, run and removed, not changed.
What only the client understands is kept as it came: ``{"type_url": …, "value": base64}``.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from ocimagic.engine.crud.room import DEFAULT, Part, Refused, check_identifier, check_labels
from ocimagic.engine.record import Document
from ocimagic.errors import BadInput, ContainerNotFound
from ocimagic.store import objects
from ocimagic.store.objects import Object, missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.store.containers import ContainerRecord

SPEC_URL = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
RUNTIME = "dev.ocimagic.runtime"  # what runs the engine's own
NAME_LABEL = "dev.ocimagic.name"  # what the engine calls them
_FIELDS = frozenset({"image", "spec", "snapshot_key", "snapshotter", "extensions", "sandbox"})


class Containers(Part):
    """The containers of all namespaces; a document has the fields of containerd's message."""

    def list(self, namespace: str) -> list[Object]:
        """Return all containers, by ID."""
        found = self._objects.list(namespace, objects.CONTAINER)
        if namespace == DEFAULT:
            records = self._store.containers.all()
            register = self._engine_containers
            found += [self._of_engine(each) for each in records if not register.is_gone(each)]
        return sorted(found, key=lambda each: each.name)

    def get(self, namespace: str, container_id: str) -> Object:
        """Return a container.

        Raises:
            ObjectNotFound: there is none of that ID.
        """
        found = self._objects.find(namespace, objects.CONTAINER, container_id)
        if found is None and (record := self.engines(namespace, container_id)):
            return self._of_engine(record)
        if found is None:
            raise missing("container", container_id)
        return found

    def engines(self, namespace: str, container_id: str) -> ContainerRecord | None:
        """Return a container of the engine's by its ID or name, None if it has none."""
        if namespace != DEFAULT:
            return None
        try:
            record = self._engine_containers.find(container_id)
        except ContainerNotFound:
            return None
        return record if container_id in (record.container_id, record.name) else None

    def create(self, namespace: str, container_id: str, document: Mapping[str, Any]) -> Object:
        """Keep a new container.

        Raises:
            ObjectExists: there is one of that ID.
            BadInput: that is no ID, or it does not say what is to run.
        """
        check_identifier(container_id, "container id")
        if self.engines(namespace, container_id):
            raise objects.ObjectExists(f"container {container_id!r}: already exists")
        if not document.get("spec"):
            raise BadInput(f"container {container_id!r}: the field spec must be set")
        if not document.get("runtime", {}).get("name"):
            raise BadInput(f"container {container_id!r}: the field runtime must be set")
        kept = {**document, "labels": check_labels(document.get("labels", {}))}
        made = self._objects.add(namespace, objects.CONTAINER, container_id, kept)
        self.tell(namespace, "/containers/create", id=container_id, image=str(kept["image"]))
        return made

    def update(
        self, namespace: str, container_id: str, new: Mapping[str, Any], paths: Sequence[str]
    ) -> Object:
        """Change what a field mask names; without one all that can be changed."""
        found = self._own(namespace, container_id)
        document = dict(found.document)
        for path in paths or ("labels", *_FIELDS):
            field, _, key = path.partition(".")
            if field == "labels":
                document = self.relabel(
                    Object(namespace, found.kind, found.name, 0.0, 0.0, document),
                    new["labels"],
                    [path],
                )
            elif field == "extensions" and key:
                document["extensions"] = {**document["extensions"], key: new["extensions"][key]}
            elif field in _FIELDS:
                document[field] = new[field]
            else:
                raise BadInput(f"cannot update {path!r} field on container {container_id!r}")
        return self._objects.put(namespace, objects.CONTAINER, container_id, document)

    def delete(self, namespace: str, container_id: str) -> None:
        """Forget a container; one of the engine's is removed with its files.

        Raises:
            ObjectNotFound: there is none of that ID.
            Refused: it has a task.
            InvalidState: one of the engine's that runs.
        """
        if record := self.engines(namespace, container_id):
            self._engine_containers.remove(record.container_id)
            return
        if self._objects.find(namespace, objects.TASK, container_id):
            raise Refused(f"cannot delete running task {container_id}")
        self._objects.remove(namespace, objects.CONTAINER, container_id)
        self.tell(namespace, "/containers/delete", id=container_id)

    def _own(self, namespace: str, container_id: str) -> Object:
        if self.engines(namespace, container_id):
            raise Refused(
                f"container {container_id} is the engine's", why="it is made by %container_run"
            )
        return self._objects.get(namespace, objects.CONTAINER, container_id)

    def _of_engine(self, record: ContainerRecord) -> Object:
        document = Document.decode(record.document)
        config = self._engine_containers.directory(record.container_id) / "bundle" / "config.json"
        raw = config.read_bytes() if config.exists() else b"{}"
        return Object(
            DEFAULT,
            objects.CONTAINER,
            record.container_id,
            record.created,
            record.created,
            {
                "image": document.options.image,
                "labels": {**document.labels, NAME_LABEL: record.name},
                "runtime": {"name": RUNTIME, "options": None},
                "spec": {"type_url": SPEC_URL, "value": base64.b64encode(raw).decode()},
                "snapshotter": "",
                "snapshot_key": "",
                "extensions": {},
                "sandbox": "",
            },
        )


def spec_of(container: Object) -> bytes:
    """Return the runtime-spec config of a container, as JSON."""
    return base64.b64decode(container.document["spec"]["value"])
