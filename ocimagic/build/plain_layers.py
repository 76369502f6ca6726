"""Layers that are plain tars in the store, read at the places that a merged tree tells."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from ocimagic.build.image_files import kept_xattrs
from ocimagic.layers.entrypath import locate
from ocimagic.layers.tarheader import Entry
from ocimagic.layers.tarstream import TarReader
from ocimagic.layers.toc import toc_entry
from ocimagic.transfer.layer import chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from ocimagic.layers.toc import TocEntry
    from ocimagic.spec.digest import Digest
    from ocimagic.store.store import Store

_CHUNK = 1 << 20


class PlainLayers:
    """Open layers; leaving the with-block closes them.

    Args:
        store: has their plain tars.
        digests: of these, bottom first.

    Attributes:
        tocs: their tables of contents.

    Raises:
        LayerRefused: one of them is no layer.
    """

    def __init__(self, store: Store, digests: Sequence[Digest]) -> None:
        self.tocs: list[list[TocEntry]] = []
        self._entries: list[dict[int, Entry]] = []
        with ExitStack() as stack:
            self._blobs = [stack.enter_context(store.blobs.open(each)) for each in digests]
            for blob in self._blobs:
                self._read(blob)
            self._held = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _read(self, blob: BinaryIO) -> None:
        toc: list[TocEntry] = []
        entries: dict[int, Entry] = {}
        for entry in TarReader(chunks_of(blob)):
            toc.append(toc_entry(entry, locate(entry.name)))
            kept = kept_xattrs(entry.xattrs)
            if kept or entry.dev_major or entry.dev_minor:
                entries[entry.offset] = entry._replace(xattrs=kept)
        self.tocs.append(toc)
        self._entries.append(entries)

    def entry(self, layer: int, told: TocEntry) -> Entry:
        """Return what a tar says of a file, with what its table of contents leaves out.

        Args:
            layer: which of these layers has it.
            told: its line, at the path that it shall have.
        """
        more = self._entries[layer].get(told.offset, Entry("", told.kind))
        return Entry(
            told.path,
            told.kind,
            told.mode,
            told.uid,
            told.gid,
            told.mtime_ns,
            told.size,
            told.linkname,
            more.dev_major,
            more.dev_minor,
            more.xattrs,
        )

    def content(self, layer: int, told: TocEntry) -> Iterator[bytes]:
        """Yield the content of a file, a mebibyte at a time."""
        fd, offset, missing = self._blobs[layer].fileno(), told.offset, told.size
        while missing > 0:
            piece = os.pread(fd, min(missing, _CHUNK), offset)
            if not piece:
                return  # the writer says that it is too short
            offset += len(piece)
            missing -= len(piece)
            yield piece
