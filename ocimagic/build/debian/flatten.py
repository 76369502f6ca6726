"""Several layers of one root as one: what they come to, in the order of paths.

Nothing is mounted: their tars are read where the merged tree says that a file's content is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ocimagic.build.layer_file import LayerFile
from ocimagic.build.plain_layers import PlainLayers
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.layers.tarheader import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.store.images import LayerRecord
    from ocimagic.store.store import Store


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
    with PlainLayers(store, [each.digest for each in layers]) as tars, LayerFile(store) as file:
        written: dict[tuple[int, int], str] = {}
        for found in MergedTree(tars.tocs).walk():
            if not found.path or drop(found.path, found.entry.kind):
                continue
            entry = _dated(tars.entry(found.layer, found.entry), times)
            if entry.kind is not Kind.FILE:
                file.add(entry)
                continue
            first = written.setdefault((found.layer, found.entry.offset), found.path)
            if found.path in empty:
                file.add(entry._replace(size=0), ())
            elif first != found.path and first not in empty:
                file.add(entry._replace(kind=Kind.HARDLINK, linkname=first, size=0))
            else:
                file.add(entry, tars.content(found.layer, found.entry))
        return file.finish()


def _dated(entry: Entry, times: Times) -> Entry:
    is_new = entry.mtime_ns > times.newest_ns
    return entry._replace(mtime_ns=times.epoch_ns) if is_new else entry
