"""One layer on its way from a blob's bytes to a snapshot, verified as it passes."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.errors import DigestMismatch, OcimagicError
from ocimagic.home.disk import storage_errors
from ocimagic.layers.compress import decompressed
from ocimagic.layers.toc import toc_of
from ocimagic.spec.digest import Digest
from ocimagic.store.images import LayerRecord
from ocimagic.store.snapshots import copied_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ocimagic.transfer.layer import Layer
    from ocimagic.transfer.unpack import Unpacker

_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031


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

    def splice(self, fd: int, count: int) -> int:
        """Take the next bytes of the blob from a file, without a copy of ours where that goes.

        Args:
            fd: of the file, where those bytes begin.
            count: at most so many.

        Returns:
            how many there were, 0 at the end of the file.
        """
        if self._directory is not None and not self._failure:
            with suppress(OSError, AttributeError):  # the worker has its answer, or no splice(2)
                return os.splice(fd, self._writer, count)
        chunk = os.read(fd, count)
        self.write(chunk)
        return len(chunk)

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
            store.snapshots.commit(
                self._directory,
                self._key(),
                no_image=not self._unpacker.mounts_images,
                is_recorded=self._unpacker.records,
            )

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
                    "recorded": self._unpacker.records,
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
