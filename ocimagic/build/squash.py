"""``--squash``: all that a stage added to its FROM as one layer, and history as docker writes it.

Nothing is mounted: what the layers come to is known from their tables of contents, and so is
what of the FROM has to be hidden.

Source: Docker CLI reference, ``docker build --squash`` (the classic builder; its history lines
lose their layers, and one more says what was merged to what).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.build.cache import Made, cache_key, now
from ocimagic.build.layer_file import LayerFile
from ocimagic.build.plain_layers import PlainLayers
from ocimagic.build.result import result_of, with_image
from ocimagic.layers.tarheader import Kind
from ocimagic.spec.config import HistoryEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.build.state import StageState
    from ocimagic.layers.mergedtree import MergedTree
    from ocimagic.layers.toc import TocEntry
    from ocimagic.store.images import LayerRecord


def squashed(bench: Bench, state: StageState) -> StageState:
    """Return what a stage has come to with one layer in the place of all that it added.

    A stage that added none stays as it is.
    """
    begun = state.begun
    below, added = state.layers[: begun.layers], state.layers[begun.layers :]
    if not added:
        return state
    key = cache_key(
        "squash",
        below=below[-1].chain_id if below else "",
        layers=[layer.diff_id for layer in added],
        **bench.dated,
    )
    made = bench.cache.find(key)
    if made is None or made.layer is None:
        made = Made(_merge(bench, state), now())
        bench.cache.remember(key, made)
    assert made.layer is not None
    image_id = result_of(bench, state).config.image_id
    before = replace(state, image_id=image_id)
    said = f"create new from {image_id}"
    if begun.image_id:
        said = f"merge {image_id} to {begun.image_id}"
    bare = replace(
        before,
        layers=below,
        made=(
            *state.made[: begun.lines],
            *(replace(each, empty_layer=True) for each in state.made[begun.lines :]),
        ),
    )
    after = bare.with_layer(made.layer, made.created, "")
    *lines, last = after.made
    line = HistoryEntry(created=last.created, comment=said)
    return with_image(bench, before, replace(after, made=(*lines, line)))


def _merge(bench: Bench, state: StageState) -> LayerRecord:
    first = state.begun.layers
    below, added = state.layers[:first], state.layers[first:]
    base, whole = bench.files(below).merged, bench.files(state.layers).merged
    hidden = _hidden(base, whole)
    with (
        PlainLayers(bench.store, [layer.diff_id for layer in added]) as tars,
        LayerFile(bench.store, bench.options.timestamp) as file,
    ):
        written: dict[tuple[int, int], str] = {}
        for found in whole.walk():
            bench.check_cancelled()
            if found.path and found.placed >= first:
                _write(file, tars, found.layer - first, found.entry, written)
            for path in hidden.get(found.path, ()):
                file.hide(path)
        return file.finish()


def _write(
    file: LayerFile,
    tars: PlainLayers,
    layer: int,
    told: TocEntry,
    written: dict[tuple[int, int], str],
) -> None:
    """Write a file that a stage added; one inode under several names stays one."""
    assert layer >= 0, "layers that are made here link to nothing below them"
    entry = tars.entry(layer, told)
    if entry.kind is not Kind.FILE:
        file.add(entry)
        return
    name = written.setdefault((layer, told.offset), told.path)
    if name != told.path:
        file.add(entry._replace(kind=Kind.HARDLINK, linkname=name, size=0))
    else:
        file.add(entry, tars.content(layer, told))


def _hidden(base: MergedTree, whole: MergedTree) -> Mapping[str, Sequence[str]]:
    """Return what of a base is gone, by the directory that it is gone from and that is there."""
    there = {found.path: found.entry.kind for found in whole.walk()}
    gone: dict[str, list[str]] = {}
    for found in base.walk():
        parent = found.path.rpartition("/")[0]
        if found.path not in there and there.get(parent) is Kind.DIR:
            gone.setdefault(parent, []).append(found.path)
    return gone
