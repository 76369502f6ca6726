"""Files of a place as a layer of their own: what is to be mounted, or stood on, must be one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.build.cache import Made, cache_key, now
from ocimagic.build.layer_file import LayerFile
from ocimagic.build.selection import Selected, described, whole
from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.transfer.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.build.tree import File, Tree
    from ocimagic.spec.digest import Digest
    from ocimagic.store.images import LayerRecord


def layer_of_files(bench: Bench, tree: Tree, file: File, *, top: str = "") -> tuple[Layer, Digest]:
    """Return a layer with one file, or with all that is in a directory, and the name of that.

    Args:
        bench: its cache is asked first.
        tree: where the file is.
        file: of the tree.
        top: what a directory is called in the layer; without, what is in it is at the top.
    """
    is_directory = file.kind is Kind.DIR
    chosen = whole(tree, file, IgnoreRules()) if is_directory else Selected(file.name, file)
    files = chosen.inside if is_directory else ((chosen.name, chosen.file),)
    told: list[object] = described(tree, [chosen])
    if is_directory and top:
        files = ((top, file), *((f"{top}/{name}", each) for name, each in files))
        told = [top, file.mode, *told]
    key = cache_key("context", files=told, **bench.dated)
    return kept(bench, key, lambda: write_layer(bench, tree, files)), key


def kept(bench: Bench, key: Digest, make: Callable[[], LayerRecord]) -> Layer:
    """Return what was made under a key as the lowest of layers; make it if it is not here."""
    made = bench.cache.find(key)
    if made is None or made.layer is None:
        made = Made(make(), now())
        bench.cache.remember(key, made)
    record = made.layer
    assert record is not None
    blob = Descriptor(mediatype.OCI_LAYER, record.digest, record.blob_bytes)
    return Layer(blob, record.diff_id, record.diff_id)


def write_layer(bench: Bench, tree: Tree, files: Sequence[tuple[str, File]]) -> LayerRecord:
    """Write files of a tree into a layer, with the owners that the tree says; links stay links.

    Args:
        bench: of this build.
        tree: has their contents.
        files: parents first, each with its path in the layer.
    """
    with LayerFile(bench.store, bench.options.timestamp) as layer:
        regular: list[tuple[Entry, File]] = []
        first: dict[tuple[int, ...], str] = {}
        links: list[Entry] = []
        for name, file in files:
            entry = Entry(
                name,
                file.kind,
                file.mode,
                file.uid,
                file.gid,
                file.mtime_ns,
                file.size,
                file.linkname,
            )
            if file.links > 1 and first.setdefault(file.identity, name) != name:
                same = first[file.identity]
                links.append(entry._replace(kind=Kind.HARDLINK, size=0, linkname=same))
            elif file.kind is Kind.FILE:
                regular.append((entry, file))
            else:
                layer.add(entry)
        for content in tree.contents([file for _, file in regular]):
            bench.check_cancelled()
            entry = regular[content.number][0]._replace(xattrs=content.xattrs)
            layer.add(entry, content.chunks)
        for link in links:
            layer.add(link)
        return layer.finish()
