"""A container's own layer: what it changed, and which layer of the image that came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.engine.files import Files
from ocimagic.errors import ContentError, NotFound
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.layers.toc import toc_from_bytes
from ocimagic.model.own_layer import ContainerLayers, OwnChange
from ocimagic.model.report import ChangeKind
from ocimagic.transfer.layer import layers_of

if TYPE_CHECKING:
    from ocimagic.store.containers import ContainerRecord
    from ocimagic.store.images import StoredImage


class OwnLayer(Files):
    """The verb ``container layers``."""

    def layers(self, name: str) -> ContainerLayers:
        """Return a container's changes over the read-only layers of its image.

        Raises:
            ContainerNotFound: there is none of this name.
            InvalidState: its files cannot be looked at now.
        """
        record = self.find(name)
        compared = self.compared(record)
        with self.store.in_use():
            image = self._image(record)
            tree = self._tree(image) if image and compared else None
            layers = self.images.layer_infos(image) if image else ()
        summary = self.summary(record)
        return ContainerLayers(
            container_id=record.container_id,
            name=record.name,
            image=summary.image,
            layers=layers,
            changes=tuple(_change(each, tree) for each in compared),
            is_copy=self.unpacker.copies,
        )

    def _image(self, record: ContainerRecord) -> StoredImage | None:
        try:
            return self.store.images.load(record.manifest)
        except (NotFound, ContentError):
            return None  # removed by force, or damaged: the container has its own files

    def _tree(self, image: StoredImage) -> MergedTree:
        return MergedTree(toc_from_bytes(self.unpacker.toc(each)) for each in layers_of(image))


def _change(compared: tuple[str, str, int, bool, bool], tree: MergedTree | None) -> OwnChange:
    kind, path, size, is_directory, copied_up = compared
    found = tree.find(path, follow=False) if tree and kind != ChangeKind.ADDED.value else None
    return OwnChange(
        kind=ChangeKind(kind),
        path=f"/{path}",
        is_directory=is_directory,
        size_bytes=size,
        below=found.placed if found else None,
        copied_bytes=found.entry.size if found and copied_up and not is_directory else 0,
    )
