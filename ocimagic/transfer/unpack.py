"""From layer blobs to snapshots: as they arrive, or later from the store.

Where the kernel and the launcher help, a worker unpacks and verifies at once.  Elsewhere a
thread verifies only, so that pulling and looking work on any machine.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ocimagic.errors import DigestMismatch, HostLacks, LayerRefused, OcimagicError
from ocimagic.home.disk import storage_errors
from ocimagic.layers.compress import decompressed
from ocimagic.layers.toc import toc_of, toc_to_bytes
from ocimagic.spec.digest import Digest
from ocimagic.store.images import LayerRecord
from ocimagic.store.snapshots import copied_key
from ocimagic.transfer.layer import chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ocimagic.shim.client import Launcher
    from ocimagic.store.store import Store
    from ocimagic.transfer.layer import Layer

_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
SNAPSHOTTERS = ("", "erofs", "overlay")
_REMOVED_AT_ONCE = 10  # of paths with 4096 bytes each


class Unpacking:
    """One layer on its way: feed it the blob's bytes, then ask for the outcome.

    Use it in a with-block; leaving without ``finish`` takes away what was unpacked.
    """

    def __init__(
        self, unpacker: Unpacker, layer: Layer, parent: Sequence[str] | None, *, no_image: bool
    ) -> None:
        self._unpacker = unpacker
        self._no_image = no_image
        self._layer = layer
        self._parent = parent
        self._failure: OcimagicError | None = None
        self._result: Mapping[str, object] = {}
        self._directory: Path | None = None
        self._thread = threading.Thread(target=self._consume, daemon=True)
        self._queue: queue.Queue[bytes] = queue.Queue(maxsize=4)
        self._reader = self._writer = -1
        self._closed = False
        self.needs_parent = False

    def __enter__(self) -> Unpacking:
        if self._unpacker.launcher:
            store = self._unpacker.store
            with storage_errors(store.home.data):
                self._directory = store.snapshots.new()
            self._reader, self._writer = os.pipe()
            with suppress(OSError):  # only a wider pipe; the usual one works as well
                import fcntl

                fcntl.fcntl(self._writer, _F_SETPIPE_SZ, _PIPE_BYTES)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_input()
        self._thread.join()
        if self._directory is not None and self._directory.exists():
            self._unpacker.remove_trees([self._directory])

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the blob; after a failure they are let pass."""
        if self._failure or self.needs_parent:
            return
        if self._directory is None:
            self._queue.put(chunk)
            return
        view = memoryview(chunk)
        while view:
            try:
                view = view[os.write(self._writer, view) :]
            except BrokenPipeError:
                return  # the worker has its answer already; ``finish`` tells it

    def finish(self) -> LayerRecord | None:
        """Wait for the outcome, keep it, and return what the layer holds.

        None when it must be unpacked over its parent: ask again once that is there.

        Raises:
            DigestMismatch: the tar is not what the config says.
            LayerRefused: malformed or hostile.
        """
        record = self.verify()
        if record:
            self.keep(record)
        return record

    def verify(self) -> LayerRecord | None:
        """Do what ``finish`` does, but keep nothing yet."""
        self._end_input()
        self._thread.join()
        if self._failure:
            raise self._failure
        if "needs_parent" in self._result:
            self.needs_parent = True
            return None
        layer = self._layer
        actual = Digest.parse(str(self._result["diff_id"]))
        if actual != layer.diff_id:
            raise DigestMismatch(
                f"layer {layer.blob.digest.short}, uncompressed",
                expected=layer.diff_id,
                actual=actual,
            )
        return LayerRecord(
            layer.diff_id,
            layer.blob.digest,
            layer.blob.size,
            int(str(self._result["tar_bytes"])),
            int(str(self._result["unpacked_bytes"])),
        )

    def keep(self, record: LayerRecord) -> None:
        """Make what ``verify`` found part of the store."""
        store = self._unpacker.store
        # Before the snapshot: whoever finds that one must know what is in it.
        store.images.add_layer(record)
        if self._directory is not None:
            no_image = not self._unpacker.mounts_images
            store.snapshots.commit(self._directory, self._key(), no_image=no_image)

    def take(self) -> Path:
        """Return the directory with what ``verify`` found; it is the caller's from now on."""
        assert self._directory is not None
        directory, self._directory = self._directory, None
        return directory

    def _key(self) -> str:
        if self._unpacker.copies:
            return copied_key(self._layer.chain_id)
        return self._layer.diff_id if self._parent is None else self._layer.chain_id

    def _end_input(self) -> None:
        if self._directory is None:
            if self._thread.is_alive() and not self._closed:
                self._closed = True
                self._queue.put(b"")
        elif self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def _consume(self) -> None:
        try:
            with storage_errors(self._unpacker.store.home.data):
                self._result = self._verify() if self._directory is None else self._work()
        except OcimagicError as err:
            self._failure = err
        if self._directory is None:
            self._drain()

    def _work(self) -> Mapping[str, object]:
        assert self._unpacker.launcher
        try:
            if self._parent is None and self._unpacker.copies:
                return {"needs_parent": "it is to hold all that is below"}
            return self._unpacker.launcher.work(
                {
                    "op": "apply",
                    "directory": str(self._directory),
                    "max_bytes": self._layer.max_bytes,
                    "userxattr": self._unpacker.rootless,
                    "single_id": self._unpacker.launcher.ids == 1,
                    "image": self._unpacker.mounts_images and not self._no_image,
                    "parent": self._parent_rootfs(),
                },
                [self._reader],
            )
        finally:
            os.close(self._reader)

    def _parent_rootfs(self) -> dict[str, object] | None:
        if self._parent is None:
            return None
        assert self._directory is not None
        if self._unpacker.copies:
            rootfs = self._unpacker.store.snapshots.copied_rootfs(self._parent, self._directory)
            return rootfs.to_json() | {"upper": str(self._directory / "fs")}
        rootfs = self._unpacker.store.snapshots.rootfs(
            self._parent, self._directory, userxattr=self._unpacker.rootless, volatile=True
        )
        os.rmdir(rootfs.upper)
        return rootfs.to_json() | {"upper": str(self._directory / "fs")}

    def _verify(self) -> Mapping[str, object]:
        """Read the layer without unpacking it."""
        hasher = hashlib.sha256()
        total = 0

        def metered() -> Iterator[bytes]:
            nonlocal total
            for chunk in decompressed(self._queued(), max_bytes=self._layer.max_bytes):
                hasher.update(chunk)
                total += len(chunk)
                yield chunk

        toc = toc_of(metered())
        return {
            "diff_id": Digest.of_hash(hasher),
            "tar_bytes": total,
            "unpacked_bytes": sum(entry.size for entry in toc),
        }

    def _queued(self) -> Iterator[bytes]:
        while chunk := self._queue.get():
            yield chunk
        self._closed = True

    def _drain(self) -> None:
        """Let a writer that has not heard of the failure yet go on."""
        while not self._closed and self._queue.get():
            continue


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
    def tracer(self) -> str:
        """Return what shows containers their root, where it cannot even be changed; else ""."""
        return self.launcher.tracer if self.launcher is not None else ""

    def find(self, layer: Layer) -> str | None:
        """Return the directory name of a layer's snapshot, None if it must be unpacked."""
        snapshots = self.store.snapshots
        name = snapshots.find(layer.diff_id, layer.chain_id, copied=self.copies)
        if name and snapshots.is_image(name) and not self.mounts_images:
            return None
        return name

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
        name = self.find(layer)
        if name is not None:
            with suppress(OSError):
                return (self.store.snapshots.directory(name) / "toc").read_bytes()
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
