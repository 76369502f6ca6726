"""What all parts of the containerd role stand on: namespaces, names, labels, and telling of it.

What an engine keeps by itself is in one namespace, ``default``: the one that ``ctr`` looks into
when it is told of none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.errors import BadInput, Conflict
from ocimagic.home import journal
from ocimagic.store import objects
from ocimagic.store.objects import ObjectNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ocimagic.engine.containers import Containers
    from ocimagic.engine.images import Images
    from ocimagic.store.objects import Object
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker

DEFAULT = objects.DEFAULT
_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_LONGEST = 76
_LABEL_BYTES = 4096
_REMOVE = "labels."


class Refused(Conflict):
    """What is there does not allow it now."""


class Taken(Conflict):
    """Somebody else is at work on it; worth another try."""

    grpc_code = "UNAVAILABLE"


class OutOfRange(BadInput):
    """An offset at which nothing can be read or written."""

    grpc_code = "OUT_OF_RANGE"


class Part:
    """One part of the role, over one engine's store.

    Args:
        containers: the engine's, whose store it is.
        images: the engine's.
    """

    def __init__(self, containers: Containers, images: Images) -> None:
        self._engine_containers = containers
        self._engine_images = images

    @property
    def _store(self) -> Store:
        return self._engine_containers.store

    @property
    def _unpacker(self) -> Unpacker:
        return self._engine_containers.unpacker

    @property
    def _objects(self) -> objects.Objects:
        return self._store.objects

    @property
    def _events(self) -> Path:
        return self._store.home.objects / "events" / "events.jsonl"

    def tell(self, namespace: str, topic: str, **fields: str) -> None:
        """Note what was done just now; whoever is subscribed is told."""
        self._events.parent.mkdir(parents=True, exist_ok=True)
        said = {"kind": namespace, "action": topic, "id": "", "attributes": fields}
        journal.note(self._events, said)

    def keep(self, namespace: str, lease: str, kind: str, name: str) -> None:
        """Let a lease keep what was just made; nothing if there is none.

        Raises:
            ObjectNotFound: no such lease.
        """
        if lease:
            self._objects.get(namespace, objects.LEASE, lease)
            key = f"{lease}/{kind}/{name}"
            document = {"lease": lease, "type": kind, "id": name}
            self._objects.put(namespace, objects.RESOURCE, key, document)

    def take_away(self, directory: Path) -> None:
        """Remove a directory whose files may belong to any id; nothing if it is gone."""
        if directory.exists():
            self._unpacker.remove_trees([directory])

    def relabel(
        self, found: Object, labels: Mapping[str, str], paths: Sequence[str]
    ) -> dict[str, object]:
        """Return an object's document with labels changed as a field mask says.

        Raises:
            BadInput: the mask names what cannot be changed.
        """
        known = found.labels
        for path in paths or ("labels",):
            if path == "labels":
                known = dict(labels)
            elif path.startswith(_REMOVE):
                key = path.removeprefix(_REMOVE)
                known[key] = labels.get(key, "")
                if not known[key]:
                    del known[key]
            else:
                raise BadInput(f"cannot update {path!r} field on {found.kind} {found.name!r}")
        return {**found.document, "labels": check_labels(known)}


def check_identifier(text: str, what: str) -> str:
    """Return a name that is a plain word.

    Raises:
        BadInput: it is none.
    """
    if len(text) > _LONGEST:
        raise BadInput(f"{what} {text[:20]!r}… greater than maximum length ({_LONGEST} characters)")
    if not _IDENTIFIER.fullmatch(text):
        raise BadInput(f"{what} {text!r} must match {_IDENTIFIER.pattern}")
    return text


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels, none of which is too long.

    Raises:
        BadInput: one is.
    """
    for key, value in labels.items():
        if len(key.encode()) + len(value.encode()) > _LABEL_BYTES:
            raise BadInput(f"label key and value greater than maximum size: {key[:10]!r}")
    return dict(labels)


class Namespaces(Part):
    """The namespaces there are."""

    def names(self) -> list[str]:
        """Return all, sorted; one that has something is there without having been created."""
        made = {each.name for each in self._objects.list("", objects.NAMESPACE)}
        return sorted({DEFAULT} | made | self._objects.namespaces())

    def labels(self, name: str) -> dict[str, str]:
        """Return a namespace's labels.

        Raises:
            ObjectNotFound: there is none of that name.
        """
        if name not in self.names():
            raise ObjectNotFound(f"namespace {name!r}: not found")
        found = self._objects.find("", objects.NAMESPACE, name)
        return found.labels if found else {}

    def create(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a namespace.

        Raises:
            ObjectExists: it is there.
            BadInput: that is no name.
        """
        check_identifier(name, "namespace")
        if name in self.names() and self._objects.find("", objects.NAMESPACE, name) is None:
            raise objects.ObjectExists(f"namespace {name!r}: already exists")
        self._objects.add("", objects.NAMESPACE, name, {"labels": check_labels(labels)})
        self.tell(name, "/namespaces/create", name=name)

    def update(
        self, name: str, labels: Mapping[str, str], paths: Sequence[str]
    ) -> Mapping[str, str]:
        """Change labels, see ``relabel``."""
        known = self.labels(name)
        found = self._objects.put("", objects.NAMESPACE, name, {"labels": known})
        document = self.relabel(found, labels, paths)
        return self._objects.put("", objects.NAMESPACE, name, document).labels

    def delete(self, name: str) -> None:
        """Forget a namespace that has nothing.

        Raises:
            Refused: it has something, or it is the engine's.
        """
        self.labels(name)
        if name == DEFAULT:
            raise Refused(f"namespace {name!r} must be empty", why="what the engine keeps is in it")
        if kinds := self._objects.kinds(name):
            listed = ", ".join(sorted(kinds))
            raise Refused(f"namespace {name!r} must be empty, but it still has: {listed}")
        self._objects.remove("", objects.NAMESPACE, name)
        self.tell(name, "/namespaces/delete", name=name)
