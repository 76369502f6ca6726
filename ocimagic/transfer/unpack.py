"""From layer blobs to snapshots: as they arrive, or later from the store.

Where the kernel and the launcher help, a worker unpacks and verifies at once.  Elsewhere a
thread verifies only, so that pulling and looking work on any machine.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, LayerRefused, OcimagicError
from ocimagic.home.disk import storage_errors
from ocimagic.layers.compress import decompressed
from ocimagic.layers.toc import toc_of, toc_to_bytes
from ocimagic.transfer.layer import chunks_of
from ocimagic.transfer.unpacking import Unpacking

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ocimagic.shim.client import Launcher
    from ocimagic.store.store import Store
    from ocimagic.transfer.layer import Layer

SNAPSHOTTERS = ("", "erofs", "overlay")
_REMOVED_AT_ONCE = 10  # of paths with 4096 bytes each


class Unpacker:
    """Unpacks layers into the store.

    Args:
        store: where.
        launcher: None where there is no Linux to unpack with.
        snapshotter: ``erofs``, ``overlay``, or "" for the first of them that works here.
    """

    def __init__(self, store: Store, launcher: Launcher | None, snapshotter: str = "") -> None:
        self.store = store
        self._launcher = launcher
        self._checked = False
        self._snapshotter = snapshotter
        self._mounts_images: bool | None = None
        self._owners_are_lost: str | None = None

    @property
    def launcher(self) -> Launcher | None:
        """Return the launcher if this machine lets it work."""
        if self._launcher is not None and not self._checked:
            try:
                _ = self._launcher.ids
            except HostLacks:
                self._launcher = None
            self._checked = True
        return self._launcher

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Start the launcher, if need be, beside what the with-block does."""

        def start() -> None:
            with suppress(OcimagicError):  # said where it is needed
                _ = self.launcher

        thread = threading.Thread(target=start, daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    @property
    def rootless(self) -> bool:
        """Say whether the launcher is root only in a user namespace."""
        return self.launcher is not None and self.launcher.ids != 0

    @property
    def mounts_images(self) -> bool:
        """Say whether a layer is kept as one file, an image that containers mount.

        Raises:
            HostLacks: that was asked for, and does not work here.
        """
        if self._mounts_images is None:
            self._mounts_images = self._snapshotter != "overlay" and self._may_mount_images()
        return self._mounts_images

    def _may_mount_images(self) -> bool:
        if self.launcher is None or self.copies:
            why = "nothing can be mounted"
        elif self.rootless:
            why = "only root may mount file systems of this kind"
        else:
            request = {"op": "probe_images", "directory": str(self.store.home.own)}
            why = str(self.launcher.work(request)["why"])
        if why and self._snapshotter == "erofs":
            raise HostLacks(
                "layers cannot be kept as EROFS images here",
                why=why,
                hint="it takes root, Linux 6.12 and a data root on a disk: "
                "set OCIMAGIC_SNAPSHOTTER=overlay, or leave it out",
            )
        return not why

    @property
    def shares_processes(self) -> bool:
        """Say whether containers have to see all processes there are: a container in another."""
        return self.launcher is not None and not self.launcher.has_own_processes

    @property
    def copies(self) -> bool:
        """Say whether nothing can be mounted, so that layers are copied instead of stacked."""
        return self.launcher is not None and not self.launcher.may_mount

    @property
    def records(self) -> bool:
        """Say whether a layer's owners are recorded beside its files, for want of more ids."""
        return self.why_owners_are_lost == ""

    @property
    def why_owners_are_lost(self) -> str | None:
        """Say why they cannot be recorded, "" if they are; None where there is no need."""
        if self.launcher is None or self.launcher.ids != 1 or self.copies:
            return None
        if self._owners_are_lost is None:
            request = {"op": "probe_records", "directory": str(self.store.home.snapshots)}
            self._owners_are_lost = str(self.launcher.work(request)["why"])
        return self._owners_are_lost

    @property
    def tracer(self) -> str:
        """Return what shows containers their root, where it cannot even be changed; else ""."""
        return self.launcher.tracer if self.launcher is not None else ""

    def find(self, layer: Layer) -> str | None:
        """Return the directory name of a layer's snapshot, None if it must be unpacked."""
        snapshots = self.store.snapshots
        name = snapshots.find(layer.diff_id, layer.chain_id, copied=self.copies)
        return name if name and not self._is_of_no_use(name) else None

    def _is_of_no_use(self, name: str) -> bool:
        """Say whether a snapshot that is there was made for other rights than ours."""
        snapshots = self.store.snapshots
        if snapshots.is_image(name):
            return not self.mounts_images
        return self.records and not snapshots.is_recorded(name)

    def unpacking(
        self, layer: Layer, parent: Sequence[str] | None = None, *, no_image: bool = False
    ) -> Unpacking:
        """Begin to unpack a layer.

        Args:
            layer: which.
            parent: snapshots below it, bottom first, when it cannot be unpacked alone.
            no_image: into a directory, whatever snapshots are here.
        """
        return Unpacking(self, layer, parent, no_image=no_image)

    def is_ready(self, layer: Layer) -> bool:
        """Say whether a layer needs neither fetching nor unpacking."""
        if not self.store.blobs.has(layer.blob.digest):
            return False
        if self.launcher is None:
            return self.store.images.layer(layer.diff_id) is not None
        return self.find(layer) is not None

    def ensure(self, layers: Sequence[Layer]) -> list[str]:
        """Unpack what is missing and return the snapshots, bottom first.

        Raises:
            BlobNotFound: a layer's blob is gone.
            HostLacks: nothing can be unpacked on this machine.
        """
        if self._launcher is None or self.launcher is None:
            raise HostLacks(
                "this machine cannot run containers",
                why="they need Linux, as root or with user namespaces allowed",
                hint="pull, build without RUN, and look work here; %system_info says more",
            )
        names: list[str] = []
        for layer in layers:
            found = self.find(layer)
            names.append(found or self._from_blob(layer, names))
        return names

    def _from_blob(self, layer: Layer, below: list[str]) -> str:
        if self.copies or not self._try_blob(layer, None):
            self._try_blob(layer, below)
        found = self.find(layer)
        assert found is not None
        return found

    def _try_blob(self, layer: Layer, parent: Sequence[str] | None) -> bool:
        with (
            self.store.blobs.open(layer.blob.digest) as blob,
            storage_errors(self.store.home.data),
            self.unpacking(layer, parent) as unpacking,
        ):
            for chunk in chunks_of(blob):
                unpacking.write(chunk)
            return unpacking.finish() is not None

    def unpacked(self, layer: Layer) -> Path:
        """Unpack a layer that stands alone for the caller to change; return its directory.

        Raises:
            HostLacks: see ``ensure``.
            LayerRefused: it cannot be unpacked, or not without another below it.
        """
        self.ensure(())
        with (
            self.store.blobs.open(layer.blob.digest) as blob,
            storage_errors(self.store.home.data),
            self.unpacking(layer, no_image=True) as unpacking,
        ):
            for chunk in chunks_of(blob):
                unpacking.write(chunk)
            if unpacking.verify() is None:
                raise LayerRefused("", "it cannot be unpacked without what is below it")
            return unpacking.take()

    def toc(self, layer: Layer) -> bytes:
        """Return a layer's table of contents, from its snapshot or else from its blob."""
        snapshots = self.store.snapshots
        # Not ``find``: a table is as good in a snapshot that nobody here may mount, and the
        # launcher, which would know that, need not be started to look at an image.
        for copied in (False, True):
            name = snapshots.find(layer.diff_id, layer.chain_id, copied=copied)
            if name is not None:
                with suppress(OSError):
                    return (snapshots.directory(name) / "toc").read_bytes()
        with self.store.blobs.open(layer.blob.digest) as blob:
            entries = toc_of(decompressed(chunks_of(blob), max_bytes=layer.max_bytes))
        return toc_to_bytes(entries)

    def remove_trees(self, paths: Sequence[Path]) -> None:
        """Remove directories whose files may belong to any of the container's ids."""
        if not paths:
            return
        if self.launcher is None:
            import shutil

            for path in paths:
                shutil.rmtree(path, ignore_errors=True)
            return
        for first in range(0, len(paths), _REMOVED_AT_ONCE):  # a request is a datagram
            some = paths[first : first + _REMOVED_AT_ONCE]
            self.launcher.work({"op": "remove", "paths": [str(path) for path in some]})
