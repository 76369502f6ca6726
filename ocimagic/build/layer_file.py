"""A layer written straight into a tar of the store: COPY, ADD and WORKDIR mount nothing."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Self

from ocimagic.errors import LayerRefused
from ocimagic.home.disk import storage_errors
from ocimagic.layers.entrypath import WHITEOUT_MODE, WHITEOUT_PREFIX, Mark, locate
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarWriter
from ocimagic.layers.toc import TocEntry, toc_entry
from ocimagic.spec.digest import Digest
from ocimagic.store.images import LayerRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.store.store import Store

_BUFFER = 1 << 20


class LayerFile:
    """One layer being written; leaving the with-block without ``finish`` takes it away.

    Args:
        store: where.
        clamp_mtime: seconds since 1970 that no time in the layer is later than.
    """

    def __init__(self, store: Store, clamp_mtime: int | None = None) -> None:
        self.toc: list[TocEntry] = []
        self._store = store
        self._latest_ns = None if clamp_mtime is None else clamp_mtime * 1_000_000_000
        self._path = store.home.ingest / f"build-{os.getpid()}-{os.urandom(6).hex()}.tar"
        self._hasher = hashlib.sha256()
        with storage_errors(store.home.data):
            self._file = self._path.open("xb", buffering=0)
        self._pieces: list[bytes] = []  # not written yet
        self._waiting = 0  # bytes of them
        self._writer = TarWriter(self._sink)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, entry: Entry, content: Iterable[bytes | memoryview] = ()) -> None:
        """Write one entry; directories come before what is in them.

        Raises:
            LayerRefused: a name that no layer may hold, such as ``.wh.x``.
        """
        place = locate(entry.name)
        if place.mark is not Mark.PLAIN:
            raise LayerRefused(entry.name, "in a layer this name would delete another file")
        name = place.path + ("/" if entry.kind is Kind.DIR else "")
        # A size is what TarWriter holds the content to; only files have one.
        size = entry.size if entry.kind is Kind.FILE else 0
        mtime_ns = entry.mtime_ns
        if self._latest_ns is not None:
            mtime_ns = min(mtime_ns, self._latest_ns)
        if (name, size, mtime_ns) != (entry.name, entry.size, entry.mtime_ns):
            entry = entry._replace(name=name, size=size, mtime_ns=mtime_ns)
        offset = self._writer.add(entry, content)
        self.toc.append(toc_entry(entry._replace(offset=offset), place))

    def hide(self, path: str) -> None:
        """Write a whiteout: what lower layers have at a path is not seen."""
        parent, _, name = path.rpartition("/")
        prefix = f"{parent}/" if parent else ""
        entry = Entry(f"{prefix}{WHITEOUT_PREFIX}{name}", Kind.FILE, WHITEOUT_MODE)
        offset = self._writer.add(entry)
        self.toc.append(toc_entry(entry._replace(offset=offset), locate(entry.name)))

    def finish(self) -> LayerRecord:
        """Give the layer its digest and its place among the blobs."""
        size = self._writer.finish()
        self._flush()
        diff_id = Digest.of_hash(self._hasher)
        with storage_errors(self._store.home.data):
            self._file.close()
            self._store.blobs.adopt_file(self._path, diff_id, size)
        unpacked = sum(entry.size for entry in self.toc)
        record = LayerRecord(diff_id, diff_id, size, size, unpacked)
        self._store.images.add_layer(record)
        return record

    def _sink(self, piece: bytes | memoryview) -> None:
        self._pieces.append(bytes(piece))
        self._waiting += len(piece)
        if self._waiting >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        """Hash and write what waits: a small file is three pieces, and each call costs."""
        data = memoryview(b"".join(self._pieces))
        self._pieces.clear()
        self._waiting = 0
        self._hasher.update(data)
        with storage_errors(self._store.home.data):
            while data:
                data = data[self._file.write(data) :]
