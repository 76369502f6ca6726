"""Snapshots as containerd means them: directories that clients stack, fill and freeze by name.

Each is ``objects/snapshots/<n>/fs`` beside an empty ``work``: what overlayfs takes.  They are not
the engine's: its layers may be images of file systems, which a client could not mount, and are
shared where these belong to one namespace.  Mounts are returned, never made here.

Where a client may not mount, no mounts are returned: what is to run is known by its key.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING

from ocimagic.engine.crud.room import Part, Refused, check_labels
from ocimagic.errors import BadInput, HostLacks, LayerRefused
from ocimagic.model.rootfs import Rootfs
from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass
from ocimagic.store import objects
from ocimagic.store.objects import ObjectExists, ObjectNotFound
from ocimagic.store.snapshots import EMPTY
from ocimagic.transfer.layer import most_unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ocimagic.store.objects import Object

VIEW, ACTIVE, COMMITTED = "view", "active", "committed"
NAME = "overlayfs"


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A mount for a client to make."""

    type: str
    source: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a layer was when it was unpacked; sizes in bytes."""

    diff_id: Digest
    tar_bytes: int


class Snapshots(Part):
    """The snapshots of all namespaces."""

    # -- making ------------------------------------------------------------------

    def prepare(
        self,
        namespace: str,
        key: str,
        parent: str,
        labels: Mapping[str, str],
        *,
        kind: str = ACTIVE,
        lease: str = "",
    ) -> Sequence[MountPoint]:
        """Make a snapshot to be filled over another, or to be looked at.

        Raises:
            ObjectExists: there is one of that key.
            ObjectNotFound: there is no such parent.
            BadInput: no key, or a parent that is not committed.
        """
        if not key:
            raise BadInput("a snapshot must have a key")
        if self._objects.find(namespace, objects.SNAPSHOT, key):
            raise ObjectExists(f"snapshot {key!r}: already exists")
        if parent:
            self._committed(namespace, parent)
        with self._store.in_use():
            directory = self._new_directory()
            if parent:
                mode = (self._stack(namespace, parent)[-1] / "fs").stat().st_mode
                (directory / "fs").chmod(mode & 0o7777)
            document = {
                "number": int(directory.name),
                "parent": parent,
                "kind": kind,
                "labels": check_labels(labels),
            }
            self._objects.add(namespace, objects.SNAPSHOT, key, document)
        self.keep(namespace, lease, f"snapshots/{NAME}", key)
        self.tell(namespace, "/snapshot/prepare", key=key, parent=parent)
        return self._mounts_of(namespace, self.stat(namespace, key))

    def commit(
        self,
        namespace: str,
        name: str,
        key: str,
        labels: Mapping[str, str],
        *,
        lease: str = "",
    ) -> None:
        """Freeze a snapshot under a name that others can stand on.

        Raises:
            ObjectNotFound: there is none of that key.
            ObjectExists: there is one of that name.
            Refused: it is not one that is being filled.
        """
        if not name:
            raise BadInput("a snapshot must have a name")
        found = self._objects.get(namespace, objects.SNAPSHOT, key)
        if found.document["kind"] != ACTIVE:
            raise Refused(f"snapshot {key!r} is not active")
        kept = {**found.document, "kind": COMMITTED, "labels": check_labels(labels)}
        self._objects.move(namespace, objects.SNAPSHOT, key, name, kept)
        self.keep(namespace, lease, f"snapshots/{NAME}", name)
        self.tell(namespace, "/snapshot/commit", key=key, name=name)

    def apply(self, namespace: str, text: str, size: int, mounts: Sequence[MountPoint]) -> Applied:
        """Unpack a layer into the snapshot that these are the mounts of.

        Raises:
            ObjectNotFound: the blob is no content here, or the mounts are not ours.
            LayerRefused: malformed or hostile.
            HostLacks: nothing can be unpacked on this machine.
        """
        found = self.of_mounts(namespace, mounts)
        if found.document["kind"] != ACTIVE:
            raise Refused(f"snapshot {found.name!r} is not active")
        directory = self.directory(found)
        parent = str(found.document["parent"])
        result: Mapping[str, object] = {"needs_parent": "it is not the first in it"}
        is_first = not any((directory / "fs").iterdir())
        if is_first:
            result = self._unpack(directory, text, size, None)
        if "needs_parent" in result:
            if not parent:
                raise LayerRefused("", "it cannot be unpacked without what is below it")
            result = self._unpack(directory, text, size, self._rootfs(namespace, found))
            (directory / "work").mkdir(exist_ok=True)
        return Applied(Digest.parse(str(result["diff_id"])), int(str(result["tar_bytes"])))

    def _unpack(
        self, directory: Path, text: str, size: int, parent: Rootfs | None
    ) -> Mapping[str, object]:
        launcher = self._unpacker.launcher
        if launcher is None or self._unpacker.copies:
            raise HostLacks("nothing can be unpacked here", why="nothing can be mounted")
        with self._store.blobs.open(Digest.parse(text)) as blob:
            return launcher.work(
                {
                    "op": "apply",
                    "directory": str(directory),
                    "max_bytes": most_unpacked(size),
                    "userxattr": self._unpacker.rootless,
                    "single_id": launcher.ids == 1,
                    "recorded": self._unpacker.records,
                    "image": False,
                    "parent": parent.to_json() if parent else None,
                },
                [blob.fileno()],
            )

    # -- looking -----------------------------------------------------------------

    def stat(self, namespace: str, key: str) -> Object:
        """Return one snapshot; its document has ``kind`` and ``parent``."""
        return self._objects.get(namespace, objects.SNAPSHOT, key)

    def list(self, namespace: str) -> list[Object]:
        """Return all snapshots, by key."""
        return self._objects.list(namespace, objects.SNAPSHOT)

    def update(
        self, namespace: str, key: str, labels: Mapping[str, str], paths: Sequence[str]
    ) -> Object:
        """Change labels, see ``relabel``."""
        document = self.relabel(self.stat(namespace, key), labels, paths)
        return self._objects.put(namespace, objects.SNAPSHOT, key, document)

    def usage(self, namespace: str, key: str) -> tuple[int, int]:
        """Return how many bytes a snapshot's own files have, and how many they are."""
        path = self.directory(self.stat(namespace, key)) / "fs"
        request = {"op": "files", "job": "measure", "path": str(path)}
        told = self._engine_containers.launcher.work(request)
        return int(str(told["bytes"])), int(str(told["files"]))

    def mounts(self, namespace: str, key: str) -> Sequence[MountPoint]:
        """Return the mounts that show a snapshot; none where no client of ours may mount.

        Raises:
            Refused: it is committed.
        """
        found = self.stat(namespace, key)
        if found.document["kind"] == COMMITTED:
            raise Refused(f"snapshot {key!r} is not active")
        return () if self._unpacker.rootless else self._mounts_of(namespace, found)

    def _mounts_of(self, namespace: str, found: Object) -> Sequence[MountPoint]:
        own = str(self.directory(found) / "fs")
        is_active = found.document["kind"] == ACTIVE
        parent = str(found.document["parent"])
        lowers = [str(each / "fs") for each in reversed(self._stack(namespace, parent))]
        if not parent:
            return (MountPoint("bind", own, ("rw" if is_active else "ro", "rbind")),)
        if not is_active and len(lowers) == 1:
            return (MountPoint("bind", lowers[0], ("ro", "rbind")),)
        options = [f"lowerdir={':'.join(lowers)}"]
        if is_active:
            work = str(self.directory(found) / "work")
            options = [f"workdir={work}", f"upperdir={own}", *options]
        return (MountPoint("overlay", "overlay", ("index=off", *options)),)

    def remove(self, namespace: str, key: str) -> None:
        """Take a snapshot away.

        Raises:
            Refused: another stands on it, or a container was made to run in it and does.
        """
        found = self.stat(namespace, key)
        if any(each.document["parent"] == key for each in self.list(namespace)):
            raise Refused(f"cannot remove snapshot {key!r} with child")
        for each in self._objects.list(namespace, objects.TASK):
            container = self._objects.find(namespace, objects.CONTAINER, each.name)
            if container and container.document.get("snapshot_key") == key:
                raise Refused(f"snapshot {key!r} is in use", why=f"task {each.name} has it")
        self._objects.remove(namespace, objects.SNAPSHOT, key)
        self.take_away(self.directory(found))
        self.tell(namespace, "/snapshot/remove", key=key)

    # -- what it is on disk --------------------------------------------------------

    def root_of(self, namespace: str, mounts: Sequence[MountPoint], scratch: Path) -> Rootfs:
        """Return the root that these mounts show, for a task.

        Args:
            namespace: whose snapshot it must be.
            mounts: what ``mounts`` returned.
            scratch: takes the changes to what is only to be looked at.
        """
        found = self.of_mounts(namespace, mounts)
        return self._rootfs(namespace, found, scratch=scratch)

    def root_of_key(self, namespace: str, key: str, scratch: Path) -> Rootfs:
        """Return the root of a snapshot by its key, see ``root_of``."""
        return self._rootfs(namespace, self.stat(namespace, key), scratch=scratch)

    def _rootfs(self, namespace: str, found: Object, *, scratch: Path | None = None) -> Rootfs:
        below = self._stack(namespace, str(found.document["parent"]))
        own = self.directory(found)
        if found.document["kind"] != ACTIVE:
            assert scratch is not None
            below, own = [*below, own], scratch
            (own / "fs").mkdir(parents=True)
        (own / "work").mkdir(exist_ok=True)
        if not below:
            empty = self._room / EMPTY
            (empty / "fs").mkdir(parents=True, exist_ok=True)
            below = [empty]
        return Rootfs(
            base=str(self._room),
            lowers=tuple(f"{each.name}/fs" for each in reversed(below)),
            upper=str(own / "fs"),
            work=str(own / "work"),
            userxattr=self._unpacker.rootless,
        )

    @property
    def _room(self) -> Path:
        return self._store.home.objects / "snapshots"

    def directory(self, found: Object) -> Path:
        """Return where a snapshot is: ``fs`` and ``work``."""
        return self._room / str(found.document["number"])

    def _new_directory(self) -> Path:
        self._room.mkdir(parents=True, exist_ok=True)
        numbers = [int(each.name) for each in self._room.iterdir() if each.name.isdecimal()]
        for number in count(max(numbers, default=0) + 1):
            path = self._room / str(number)
            try:
                path.mkdir(mode=0o711)
            except FileExistsError:
                continue
            for name in ("fs", "work"):
                (path / name).mkdir()
            (path / "fs").chmod(0o755)
            return path
        raise AssertionError("there is always a next number")

    def _committed(self, namespace: str, key: str) -> Object:
        found = self._objects.find(namespace, objects.SNAPSHOT, key)
        if found is None:
            raise ObjectNotFound(f"parent snapshot {key!r} does not exist: not found")
        if found.document["kind"] != COMMITTED:
            raise BadInput(f"parent {key!r} is not a committed snapshot")
        return found

    def _stack(self, namespace: str, key: str) -> Sequence[Path]:
        """Return the directories of a snapshot and of all below it, bottom first."""
        paths = []
        while key:
            found = self._committed(namespace, key)
            paths.append(self.directory(found))
            key = str(found.document["parent"])
        return paths[::-1]

    def of_mounts(self, namespace: str, mounts: Sequence[MountPoint]) -> Object:
        """Return the snapshot that a client shows us the mounts of.

        Raises:
            ObjectNotFound: it is of none of this namespace.
        """
        for each in self.list(namespace):
            if each.document["kind"] != COMMITTED and tuple(
                self._mounts_of(namespace, each)
            ) == tuple(mounts):
                return each
        raise ObjectNotFound(
            "these mounts are of no snapshot of this namespace",
            why=", ".join(os.fspath(each.source) for each in mounts) or "there are none",
        )
