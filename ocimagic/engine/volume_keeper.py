"""The keeper of volumes: their directories, who uses them, and what is removed when.

The row makes a directory a volume: what lies there without one is what a killed removal left,
and is put out of the way before a new volume has its name.  Whoever makes a container holds its
volumes' locks, shared with others who do, until its row names them; who removes a volume holds
its lock alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.engine.names import new_id
from ocimagic.engine.record import Document
from ocimagic.errors import Conflict, HostLacks, VolumeNotFound
from ocimagic.home.disk import storage_errors
from ocimagic.home.locks import locked
from ocimagic.model.volume import SHARED
from ocimagic.store.volumes import VolumeRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ocimagic.model.options import VolumeMount
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker

_GONE = ".gone-"


class VolumeKeeper:
    """Keeps the volumes of one data root.

    Args:
        store: where.
        unpacker: removes what belongs to other ids.
    """

    def __init__(self, store: Store, unpacker: Unpacker) -> None:
        self._store = store
        self._unpacker = unpacker

    # -- where -------------------------------------------------------------------

    def directory(self, name: str) -> Path:
        """Return what holds a volume's files, and those that are on their way to it."""
        return self._store.home.volumes / name

    def data(self, name: str) -> Path:
        """Return where a volume's files are."""
        return self.directory(name) / "_data"

    @contextlib.contextmanager
    def using(self, names: Iterable[str]) -> Iterator[None]:
        """Keep volumes from being removed."""
        with contextlib.ExitStack() as stack:
            for name in sorted(set(names)):
                stack.enter_context(locked(self._locks, _lock(name), shared=True))
            yield

    @contextlib.contextmanager
    def filling(self, names: Iterable[str]) -> Iterator[None]:
        """Be the only one who brings files into volumes, besides the containers that run."""
        with contextlib.ExitStack() as stack:
            for name in sorted(set(names)):
                stack.enter_context(locked(self._locks, _lock(name, "fill")))
            yield

    @property
    def _locks(self) -> Path:
        return self._store.home.locks

    # -- verbs ---------------------------------------------------------------------

    def ensure(self, mount: VolumeMount) -> None:
        """Make a volume, unless it is there as it is; the caller is ``using`` it."""
        name = mount.name
        with self.filling([name]), storage_errors(self._store.home.data):
            there = self._store.volumes.get(name)
            if there is None:
                self._put_away(name)
                self._make(name)
                document = {"labels": dict(mount.labels), "anonymous": mount.anonymous}
                document |= {"options": dict(mount.options)} if mount.options else {}
                record = VolumeRecord(name, time.time(), json.dumps(document))
                self._store.volumes.add(record)
                self._note("create", name)
            else:
                if not self.data(name).exists():
                    self._make(name)
                if json.loads(there.document)["anonymous"]:
                    (self.directory(name) / SHARED).touch()

    def options(self, name: str) -> Mapping[str, str] | None:
        """Return the driver options of a volume, None if there is no such volume."""
        record = self._store.volumes.get(name)
        return None if record is None else options_of(record)

    def expect(self, mount: VolumeMount) -> None:
        """See that a volume is what it was when its mount was thought out.

        Raises:
            Conflict: it was removed and made anew meanwhile.
        """
        if self.options(mount.name) != dict(mount.options):
            raise Conflict(f"volume {mount.name} has become another one", hint="try it again")

    def _make(self, name: str) -> None:
        """Make the directory of a volume; its inside is what a container's root may enter."""
        self.data(name).mkdir(parents=True, exist_ok=True)
        for path in (self.directory(name), self.data(name)):
            path.chmod(0o755)
        self._store.home.volumes.chmod(0o711)

    def remove(self, name: str) -> None:
        """Remove a volume with its files.

        Raises:
            VolumeNotFound: there is none of this name.
            Conflict: a container was made with it.
        """
        with locked(self._locks, _lock(name)), storage_errors(self._store.home.data):
            self._store.volumes.find(name)
            users = self.users().get(name)
            if users:
                raise Conflict(
                    f"remove {name}: volume is in use - [{', '.join(users)}]",
                    why="these containers were made with it",
                    hint=f"%container_rm {users[0][:12]} first",
                )
            self._store.volumes.remove(name)
            self._note("destroy", name)
            gone = self._put_away(name)
            self._unpacker.remove_trees([gone] if gone else [])

    def _note(self, action: str, name: str) -> None:
        self._store.note("volume", action, name, {"driver": "local"})

    def _put_away(self, name: str) -> Path | None:
        gone = self.directory(f"{_GONE}{new_id()[:12]}")
        try:
            os.rename(self.directory(name), gone)
        except FileNotFoundError:
            return None
        return gone

    def release(self, document: str) -> None:
        """Remove the volumes nobody named of a container that is gone, unless others use them."""
        for each in Document.decode(document).options.volumes:
            if each.kept and each.anonymous:
                with contextlib.suppress(VolumeNotFound, Conflict):
                    self.remove(each.name)

    def told(self, container_id: str, document: Document) -> list[dict[str, object]]:
        """Return what events say of each volume when its container starts and ends."""
        return [
            {
                "name": each.name,
                "attributes": {
                    "container": container_id,
                    "destination": each.target,
                    "driver": "local",
                    "propagation": each.propagation,
                    "read/write": "false" if each.read_only else "true",
                },
            }
            for each in document.options.volumes
            if each.kept
        ]

    def ending(self, document: Document) -> list[dict[str, str]]:
        """Return what a shim takes away with its container: volumes that nobody named.

        Only a row says who else has one; but who does has marked it, see ``ensure``.
        """
        if not document.options.remove:
            return []
        return [
            {
                "directory": str(self.directory(each.name)),
                "gone": str(self.directory(f"{_GONE}{new_id()[:12]}")),
                "locks": str(self._locks),
                "lock": _lock(each.name),
            }
            for each in document.options.volumes
            if each.kept and each.anonymous and not each.inherited
        ]

    def users(self) -> dict[str, list[str]]:
        """Return, by volume, the IDs of the containers that were made with it."""
        found: dict[str, list[str]] = defaultdict(list)
        for record in self._store.containers.all():
            for each in Document.decode(record.document).options.volumes:
                if each.kept and record.container_id not in found[each.name]:
                    found[each.name].append(record.container_id)
        return found

    def tidy(self) -> None:
        """Take away what killed removals left."""
        with contextlib.suppress(FileNotFoundError):
            self._unpacker.remove_trees(list(self._store.home.volumes.glob(f"{_GONE}*")))

    # -- for containers --------------------------------------------------------------

    def fill(self, mounts: Sequence[VolumeMount], layers: Mapping[str, object]) -> None:
        """Give empty volumes what an image has where they are mounted.

        Args:
            mounts: of a container that is being made; the caller is ``using`` its volumes.
            layers: the container's ``rootfs`` and ``bundle``.
        """
        # What is mounted by its driver is not ours to fill.
        kept = [each for each in mounts if each.kept and not each.options]
        if not kept:
            return
        volumes = [
            [each.target, str(self.directory(each.name)), not (each.no_copy or each.part)]
            for each in kept
        ]
        with self.filling(each.name for each in kept):
            self.work({"job": "fill", "volumes": volumes, **layers})

    def work(self, request: Mapping[str, object], fds: Sequence[int] = ()) -> Mapping[str, object]:
        """Have a worker do a job on files."""
        launcher = self._unpacker.launcher
        if launcher is None:
            raise HostLacks("this machine cannot work on volumes", why="it takes Linux")
        return launcher.work({"op": "files", **request}, list(fds))

    def named(self, mount: VolumeMount) -> VolumeMount:
        """Return a mount with the volume's name, if it had none, and its place.

        What has a name, or no source, is a volume.
        """
        if mount.source and not (mount.kept or mount.name):
            return mount
        anonymous = mount.anonymous or not mount.name
        name = mount.name or new_id()
        source = str(self.data(name))
        there = self.options(name)
        options = mount.options if there is None else there
        return replace(
            mount, kept=True, name=name, anonymous=anonymous, source=source, options=options
        )


def options_of(record: VolumeRecord) -> Mapping[str, str]:
    """Return the driver options of a volume."""
    options: Mapping[str, str] = json.loads(record.document).get("options", {})
    return options


def _lock(name: str, what: str = "volume") -> str:
    """Return a lock's name, which is shorter than a volume's may be."""
    return f"{what}-{hashlib.sha256(name.encode()).hexdigest()[:24]}"
