"""Several layers of one root as one: what they come to, in the order of paths.

Nothing is mounted: their tars are read where the merged tree says that a file's content is.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.build.image_files import kept_xattrs
from ocimagic.build.layer_file import LayerFile
from ocimagic.layers.entrypath import locate
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarReader
from ocimagic.layers.toc import toc_entry
from ocimagic.transfer.layer import chunks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from ocimagic.layers.mergedtree import Found
    from ocimagic.layers.toc import TocEntry
    from ocimagic.store.images import LayerRecord
    from ocimagic.store.store import Store

_CHUNK = 1 << 20


class Times(NamedTuple):
    """Which times are kept: a file that is newer than ``newest_ns`` was made at ``epoch_ns``."""

    newest_ns: int
    epoch_ns: int


def flatten(
    store: Store,
    layers: Sequence[LayerRecord],
    *,
    times: Times,
    drop: Callable[[str, Kind], bool],
    empty: frozenset[str] = frozenset(),
) -> LayerRecord:
    """Write layers as one.

    Args:
        store: has their plain tars, and gets the new one.
        layers: bottom first.
        times: of files.
        drop: says of a path and what is there that it is left out.
        empty: paths whose content is.

    Raises:
        LayerRefused: the layers do not fit on each other.
    """
    with ExitStack() as stack:
        blobs = [stack.enter_context(store.blobs.open(each.digest)) for each in layers]
        tocs, xattrs = zip(*map(_read, blobs), strict=True)
        file = stack.enter_context(LayerFile(store))
        written: dict[tuple[int, int], str] = {}
        for found in MergedTree(tocs).walk():
            if not found.path or drop(found.path, found.entry.kind):
                continue
            entry = _entry(found, times, xattrs[found.layer])
            if entry.kind is not Kind.FILE:
                file.add(entry)
                continue
            first = written.setdefault((found.layer, found.entry.offset), found.path)
            if found.path in empty:
                file.add(entry._replace(size=0), ())
            elif first != found.path and first not in empty:
                file.add(entry._replace(kind=Kind.HARDLINK, linkname=first, size=0))
            else:
                content = _content(blobs[found.layer].fileno(), found.entry.offset, entry.size)
                file.add(entry, content)
        return file.finish()


def _read(blob: BinaryIO) -> tuple[list[TocEntry], Mapping[int, Mapping[str, bytes]]]:
    """Return a layer's table of contents, and the attributes of files by offset."""
    toc: list[TocEntry] = []
    xattrs: dict[int, Mapping[str, bytes]] = {}
    for entry in TarReader(chunks_of(blob)):
        toc.append(toc_entry(entry, locate(entry.name)))
        if kept := kept_xattrs(entry.xattrs):
            xattrs[entry.offset] = kept
    return toc, xattrs


def _entry(found: Found, times: Times, xattrs: Mapping[int, Mapping[str, bytes]]) -> Entry:
    told = found.entry
    is_new = told.mtime_ns > times.newest_ns
    return Entry(
        found.path,
        told.kind,
        told.mode,
        told.uid,
        told.gid,
        times.epoch_ns if is_new else told.mtime_ns,
        told.size,
        told.linkname,
        xattrs=xattrs.get(told.offset, {}),
    )


def _content(fd: int, offset: int, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = os.pread(fd, min(size, _CHUNK), offset)
        if not piece:
            return  # the writer says that it is too short
        offset += len(piece)
        size -= len(piece)
        yield piece
