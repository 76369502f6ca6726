"""Load: from an archive, or the tar of a root, into the store.

Everything passes once, into files that nobody sees; when all of it is known to be right, the
files become blobs, and the names of all images are published together.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.errors import ArchiveRefused, LayerRefused
from ocimagic.layers.compress import decompressed_archive
from ocimagic.model.event import LayerPhase, LayerProgress, OnEvent, TransferStarted
from ocimagic.spec import mediatype
from ocimagic.spec.config import HistoryEntry, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.platform import candidates, host_platform
from ocimagic.spec.record import dataclass, replace
from ocimagic.store.blobs import CHUNK
from ocimagic.store.images import StoredImage
from ocimagic.store.naming import Whole
from ocimagic.transfer.archive import (
    INDEX,
    ArchivedImage,
    ArchivedIndex,
    contents_of,
    images_of,
    layer_descriptor,
    layout_config,
    layout_entry,
    layout_image,
)
from ocimagic.transfer.layer import Layer, layers_of, most_unpacked
from ocimagic.transfer.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ocimagic.spec.config import ContainerConfig
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform
    from ocimagic.spec.reference import Reference
    from ocimagic.store.images import LayerRecord
    from ocimagic.store.store import Store
    from ocimagic.transfer.spool import SpooledFile
    from ocimagic.transfer.unpack import Unpacker
    from ocimagic.transfer.unpacking import Unpacking

_EVENT_GAP_S = 0.1


@dataclass(frozen=True, slots=True)
class Kept:
    """An image that is in the store now.

    Attributes:
        names: that the archive gave it.
        replaced: those of them that another image had until now, each with that image's ID.
    """

    image: StoredImage
    names: tuple[Reference, ...]
    replaced: tuple[tuple[Reference, Digest], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RootImage:
    """What is said of the image that a root's tar becomes.

    Attributes:
        name: None for none.
    """

    name: Reference | None
    config: ContainerConfig
    platform: Platform
    comment: str = ""


class Loader:
    """Puts what people hand over into a store.

    Args:
        store: where.
        unpacker: unpacks the layers at once where this machine can.
        on_event: hears how far it is.
        check: called again and again; may raise.
    """

    def __init__(
        self, store: Store, unpacker: Unpacker, on_event: OnEvent, check: Callable[[], None]
    ) -> None:
        self._store = store
        self._unpacker = unpacker
        self._on_event = on_event
        self._check = check

    def load(
        self,
        chunks: Iterable[bytes],
        platform: Platform | None,
        wanted: Mapping[Digest, Sequence[Reference]] | None = None,
    ) -> list[Kept]:
        """Load all images of an archive, or none.

        Args:
            chunks: a docker or OCI archive, compressed or not.
            platform: chosen where an image has several; None takes all that are there.
            wanted: the images it has to hold and no others, by image ID or by the digest of
                their manifest or index, each with the names it gets instead of the archive's;
                with a platform.

        Raises:
            ArchiveRefused, InvalidDocument: it is malformed, incomplete or hostile.
            DigestMismatch, SizeMismatch: something in it is not what it is said to be.
            LayerRefused: a layer that cannot be unpacked safely.
        """
        with self._store.in_use(), Spool(self._store, self._check) as spool:
            spool.read_tar(_plain(chunks))
            if platform is None:
                return self._keep(*contents_of(spool))
            found = images_of(spool, platform)
            return self._keep(found if wanted is None else _renamed(found, wanted))

    def load_directory(self, directory: Path, platform: Platform | None) -> list[Kept]:
        """Load all images of an OCI layout in a directory, or none; it stays as it is.

        Raises:
            What ``load`` raises.
        """
        with self._store.in_use(), Spool(self._store, self._check) as spool:
            spool.read_directory(directory)
            if platform is None:
                return self._keep(*contents_of(spool))
            return self._keep(images_of(spool, platform))

    def load_layout(
        self, directory: Path, tag: str, digest: Digest | None, platform: Platform
    ) -> StoredImage:
        """Load one image of an OCI layout in a directory, without a name; the rest is not read.

        Args:
            directory: of the layout; it stays as it is.
            tag: which image; "" where the digest alone says it.
            digest: of the image's manifest or index; None for whatever the tag means.
            platform: chosen where the image has several.

        Raises:
            ImageNotFound: the layout has no such image.
            What ``load`` raises.
        """
        if not (directory / INDEX).is_file():
            raise ArchiveRefused(
                "",
                f"{directory} is no OCI layout: it has no {INDEX}",
                hint="make one, for example: skopeo copy docker://IMAGE oci:DIRECTORY:TAG",
            )
        with self._store.in_use(), Spool(self._store, self._check) as spool:
            spool.look_into(directory)
            entry = layout_entry(spool, tag, digest, platform)
            manifest, config = layout_config(spool, entry, platform)
            if known := self._whole(config.image_id):
                return known
            [kept] = self._keep([layout_image(spool, manifest, config, (), entry.digest)])
            return kept.image

    def load_root(self, chunks: Iterable[bytes], root: RootImage) -> Kept:
        """Make an image of one layer: the tar of a root, compressed or not.

        Raises:
            LayerRefused: it is no tar, or not one that can be unpacked safely.
        """
        with self._store.in_use(), Spool(self._store, self._check) as spool:
            layer = spool.take(_plain(chunks))
            if not layer.size:
                raise LayerRefused("", "it is empty")
            [kept] = self._keep([_root_image(root, layer)])
            return kept

    def _keep(
        self, images: Sequence[ArchivedImage], indexes: Sequence[ArchivedIndex] = ()
    ) -> list[Kept]:
        parts = [image for each in indexes for image, _ in each.parts]
        stored = [self._known(image) or _stored(image) for image in images]
        pairs = list(zip(images, stored, strict=True))
        new = [image for image, kept in pairs if kept.manifest.raw == image.manifest.raw]
        self._take_in([*new, *parts], [name for each in indexes for name in each.names])
        for each in indexes:
            self._store.blobs.put(each.index.raw, each.index.digest)
        stored_parts = [_stored(image) for image in parts]
        if self._unpacker.launcher is not None:
            for one in (*stored, *stored_parts):
                # What leans on lower layers can be unpacked only now.
                self._unpacker.ensure(layers_of(one))
        return self.publish([(each, image.names) for image, each in pairs], indexes)

    def publish(
        self,
        images: Sequence[tuple[StoredImage, Sequence[Reference]]],
        indexes: Sequence[ArchivedIndex] = (),
    ) -> list[Kept]:
        """Give images that are here their names, all of them or none.

        Returns:
            the images; of each index the one that its names stand for.
        """
        runs = [_run_of(each) for each in indexes]
        kept = [Kept(each, tuple(names), self._replaced(names, each)) for each, names in images]
        of_indexes = [
            Kept(run, each.names, self._replaced(each.names, run))
            for run, each in zip(runs, indexes, strict=True)
        ]
        self._store.syncing.blobs()
        self._store.images.add_all(
            [
                (each.image.manifest, [(name, each.image.manifest.digest) for name in each.names])
                for each in kept
            ],
            [
                Whole(
                    each.index.digest,
                    [(image.manifest, platform) for image, platform in each.parts],
                    run.manifest,
                    each.names,
                )
                for run, each in zip(runs, indexes, strict=True)
            ],
        )
        self._store.layout.publish()
        self._store.syncing.soon()
        return [*kept, *of_indexes]

    def _known(self, image: ArchivedImage) -> StoredImage | None:
        """Return an image of this ID that is here and whole, in whatever form it came."""
        return self._whole(image.config.image_id)

    def _whole(self, image_id: Digest) -> StoredImage | None:
        for known in self._store.images.with_id(image_id):
            if all(self._store.blobs.has(layer.digest) for layer in known.manifest.layers):
                return known
        return None

    def _take_in(
        self, images: Sequence[ArchivedImage], names_of_indexes: Sequence[Reference]
    ) -> None:
        """Unpack the layers that are not here, and keep all of it or nothing."""
        wanted: dict[Digest, tuple[Layer, SpooledFile]] = {}
        for image in images:
            layers = layers_of(_stored(image))
            for layer, file in zip(layers, image.layers, strict=True):
                wanted.setdefault(layer.blob.digest, (layer, file))
        names = [name.familiar for image in images for name in image.names]
        names += [name.familiar for name in names_of_indexes]
        what = ", ".join(names) or "an image without a name"
        sizes = tuple((layer.blob.digest, layer.blob.size) for layer, _ in wanted.values())
        self._on_event(TransferStarted(what, None, sizes, "loading"))
        with ExitStack() as stack:
            verified: list[tuple[Unpacking, LayerRecord]] = []
            for layer, file in wanted.values():
                if self._unpacker.is_ready(layer):
                    self._tell(layer, LayerPhase.EXISTS, layer.blob.size)
                    continue
                unpacking = stack.enter_context(self._unpacker.unpacking(layer))
                record = self._unpack(layer, file, unpacking)
                if record:
                    verified.append((unpacking, record))
                self._tell(layer, LayerPhase.DONE, layer.blob.size)
            for image in images:
                self._adopt(image)
            for unpacking, record in verified:
                unpacking.keep(record)

    def _unpack(self, layer: Layer, file: SpooledFile, unpacking: Unpacking) -> LayerRecord | None:
        told, done = 0.0, 0
        with file.path.open("rb", buffering=0) as opened:
            while came := unpacking.splice(opened.fileno(), CHUNK):
                self._check()
                done += came
                if time.monotonic() - told > _EVENT_GAP_S:
                    told = time.monotonic()
                    self._tell(layer, LayerPhase.EXTRACTING, done)
        return unpacking.verify()

    def _adopt(self, image: ArchivedImage) -> None:
        """Make blobs of an image's files; one that several images share is moved once."""
        blobs = self._store.blobs
        for file in image.layers:
            if not blobs.has(file.digest):
                blobs.adopt_file(file.path, file.digest, file.size)
        blobs.put(image.config.raw, image.manifest.config.digest)
        blobs.put(image.manifest.raw, image.manifest.digest)

    def _replaced(
        self, names: Sequence[Reference], image: StoredImage
    ) -> tuple[tuple[Reference, Digest], ...]:
        """Find the images that lose their names to another."""
        images = self._store.images
        found = [(name, known.manifest) for name in names if (known := images.name(name))]
        olds = [(name, images.image_id(manifest)) for name, manifest in found]
        return tuple((name, old) for name, old in olds if old not in (None, image.image_id))

    def _tell(self, layer: Layer, phase: LayerPhase, done: int) -> None:
        size = layer.blob.size
        self._on_event(LayerProgress(layer.blob.digest, phase, done, size))


def _stored(image: ArchivedImage) -> StoredImage:
    return StoredImage(image.manifest, image.config, (), 0.0)


def _run_of(index: ArchivedIndex) -> StoredImage:
    """Choose what runs best on this machine, or the first."""
    own = [
        ((platform or image.config.platform).canonical, _stored(image))
        for image, platform in index.parts
    ]
    for wanted in candidates(host_platform()):
        for platform, image in own:
            if platform == wanted:
                return image
    return own[0][1]


def _renamed(
    images: Sequence[ArchivedImage], wanted: Mapping[Digest, Sequence[Reference]]
) -> list[ArchivedImage]:
    """Give the wanted images the wanted names, and refuse an archive of anything else."""
    found = []
    missing = set(wanted)
    for image in images:
        known = (image.config.image_id, image.manifest.digest, image.target)
        said = next((each for each in known if each in wanted), None)
        if said is None:
            raise ArchiveRefused("", f"image {image.config.image_id} in it was not asked for")
        missing.discard(said)
        found.append(replace(image, names=tuple(wanted[said])))
    if missing:
        raise ArchiveRefused("", f"image {min(missing)} is not in it")
    return found


def _root_image(root: RootImage, layer: SpooledFile) -> ArchivedImage:
    if layer.diff_id is None:
        raise LayerRefused("", layer.refusal)
    now = datetime.now(UTC)
    config = ImageConfig(
        platform=root.platform,
        created=now,
        config=root.config,
        diff_ids=(layer.diff_id,),
        history=(HistoryEntry(created=now, comment=root.comment),),
    ).encoded()
    described = Descriptor(mediatype.OCI_CONFIG, config.image_id, len(config.raw))
    manifest = Manifest.build(described, [layer_descriptor(layer)])
    names = (root.name,) if root.name else ()
    return ArchivedImage(manifest, config, (layer,), names)


def _plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield an archive's plain bytes, as long as they are in proportion to what came in."""
    came = gave = 0

    def counted() -> Iterator[bytes]:
        nonlocal came
        for chunk in chunks:
            came += len(chunk)
            yield chunk

    for piece in decompressed_archive(counted()):
        gave += len(piece)
        if gave > most_unpacked(came):
            raise LayerRefused("", f"{came} bytes of it unpack to {gave} and more")
        yield piece
