"""The files of a stage or an image, read out of its layers; nothing is unpacked or mounted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.build.content import sha256_of
from ocimagic.build.tree import Content, File
from ocimagic.layers.compress import decompressed
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.tarstream import TarReader
from ocimagic.transfer.layer import chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocimagic.layers.mergedtree import Found, MergedTree
    from ocimagic.store.store import Store
    from ocimagic.transfer.layer import Layer


class ImageFiles:
    """A merged tree that can also be read.

    Args:
        store: has the layers' blobs.
        layers: bottom first.
        merged: the tree they make; the attribute is for look-ups that follow no links.
    """

    def __init__(self, store: Store, layers: Sequence[Layer], merged: MergedTree) -> None:
        self._store = store
        self._layers = layers
        self.merged = merged

    def find(self, path: str) -> File | None:
        """Look up a path as a process in the image would."""
        found = self.merged.find(path)
        return _file(found) if found else None

    def layer(self, number: int) -> Layer:
        """Return a layer by its place, the lowest being 0."""
        return self._layers[number]

    def children(self, directory: File) -> Sequence[File]:
        """List a directory."""
        return [_file(each) for each in self.merged.children(directory.path)]

    def contents(self, files: Sequence[File]) -> Iterator[Content]:
        """Yield contents layer by layer, each layer read once from its beginning."""
        by_layer: dict[int, dict[int, list[int]]] = {}
        for index, file in enumerate(files):
            if not file.size:
                yield Content(index, {}, ())
                continue
            layer, offset = file.identity
            by_layer.setdefault(layer, {}).setdefault(offset, []).append(index)
        for layer in sorted(by_layer):
            wanted = by_layer[layer]
            while wanted:  # again for those who want the same file a second time
                once = {offset: indexes.pop() for offset, indexes in wanted.items()}
                wanted = {offset: rest for offset, rest in wanted.items() if rest}
                yield from self._one_pass(self._layers[layer], once)

    def digests(self, files: Sequence[File]) -> list[str]:
        """Return digests; each layer is read once."""
        found = {content.number: sha256_of(content.chunks) for content in self.contents(files)}
        return [found[index] for index in range(len(files))]

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Return a small file, b"" if there is none."""
        file = self.find(path)
        if file is None or not 0 < file.size <= max_bytes:
            return b""
        return b"".join(next(self.contents([file])).chunks)

    def _one_pass(self, layer: Layer, wanted: dict[int, int]) -> Iterator[Content]:
        with self._store.blobs.open(layer.blob.digest) as blob:
            reader = TarReader(decompressed(chunks_of(blob), max_bytes=layer.max_bytes))
            for entry in reader:
                index = wanted.pop(entry.offset, None) if entry.size else None
                if index is not None:
                    yield Content(index, kept_xattrs(entry.xattrs), reader.content())
                if not wanted:
                    return


def kept_xattrs(xattrs: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the attributes that are the file's own, not those a file system put on it."""
    return {
        name: value
        for name, value in xattrs.items()
        if name == "security.capability"
        or (name.startswith("user.") and not name.startswith("user.overlay."))
    }


def _file(found: Found) -> File:
    entry = found.entry
    return File(
        found.path,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.mtime_ns,
        entry.size,
        entry.linkname,
        (found.layer, entry.offset),
        2 if entry.kind is Kind.FILE else 1,  # what has this place in a tar under two names is one
    )
