"""The local image repository: one object that holds the parts of a data root together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ocimagic.home import journal
from ocimagic.home.locks import locked, try_locked
from ocimagic.store.blobs import BlobStore
from ocimagic.store.containers import Containers
from ocimagic.store.database import ImageDatabase
from ocimagic.store.images import Images
from ocimagic.store.layout import Layout
from ocimagic.store.lists import ManifestLists
from ocimagic.store.networks import Networks
from ocimagic.store.objects import Objects
from ocimagic.store.results import StepResults
from ocimagic.store.snapshots import Snapshots
from ocimagic.store.steps import Steps
from ocimagic.store.syncing import Syncing
from ocimagic.store.timelines import Timelines
from ocimagic.store.volumes import Volumes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.home.location import Home


class Store:
    """Everything kept under one data root."""

    def __init__(self, home: Home) -> None:
        home.create()
        self.home = home
        self._boot_id = _boot_id()
        self.database = ImageDatabase(home.database)
        self.blobs = BlobStore(home, self.database, self._boot_id)
        self.results = StepResults(self.database)
        self.images = Images(self.database, self.blobs, self.results)
        self.snapshots = Snapshots(home, self.database, self._boot_id)
        self.containers = Containers(self.database)
        self.networks = Networks(self.database)
        self.volumes = Volumes(self.database)
        self.steps = Steps(self.database)
        self.timelines = Timelines(self.database)
        self.objects = Objects(self.database)
        self.layout = Layout(home, self.blobs, self.images)
        self.lists = ManifestLists(home)
        self.syncing = Syncing(home, self.database, self.blobs)

    def close(self) -> None:
        """Close the database."""
        self.syncing.close()
        self.database.close()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep sweeps away while something is being made that nothing names yet."""
        with locked(self.home.locks, "store", shared=True):
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Keep others out if nobody uses the store now; yields whether that is so."""
        with try_locked(self.home.locks, "store") as held:
            yield held

    def note(
        self, kind: str, action: str, actor: str, attributes: Mapping[str, str] | None = None
    ) -> None:
        """Write into the event journal what was done just now; see ``model.system_event``."""
        document = {"kind": kind, "action": action, "id": actor, "attributes": attributes or {}}
        journal.note(self.home.journal, document)

    def sync(self) -> None:
        """Make all that was written durable, once, before something is to stand on it."""
        self.syncing.all()


def _boot_id() -> str:
    """Return the kernel's name for this boot; elsewhere a constant: crashes go unseen there."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return "unknown"
