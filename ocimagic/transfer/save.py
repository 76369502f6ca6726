"""Save: images of the store as one tar that everybody can load.

It is docker's archive and an OCI image layout in one: ``manifest.json`` of the one and
``index.json`` of the other point at the same blobs, each written once, as they are stored but
for zstd, which docker learned late.  Equal images give equal bytes: the order is that of
digests, and no entry has a time or an owner.

Spec: image-spec image-layout.md; docker save since version 25.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ocimagic.errors import DigestMismatch
from ocimagic.home.location import LAYOUT as LAYOUT_VERSION
from ocimagic.layers.compress import Compression, decompressed, sniff
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarWriter
from ocimagic.spec import mediatype
from ocimagic.spec.codec import encode
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Index, Manifest
from ocimagic.spec.record import dataclass
from ocimagic.store.layout import CONTAINERD_NAME, REF_NAME
from ocimagic.transfer.archive import INDEX, LAYOUT, MANIFEST, REPOSITORIES
from ocimagic.transfer.layer import chunks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ocimagic.model.archive import ArchiveFormat
    from ocimagic.spec.reference import Reference
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store


@dataclass(frozen=True, slots=True)
class Chosen:
    """An image to save.

    Attributes:
        names: that it shall have in the archive.
    """

    image: StoredImage
    names: tuple[Reference, ...]

    @property
    def manifest(self) -> Manifest:
        """Return the manifest under OCI media types, which every tool can read."""
        return self.image.manifest.as_oci()

    @property
    def image_id(self) -> Digest:
        """Return the digest of the config."""
        return self.image.image_id


@dataclass(frozen=True, slots=True)
class ChosenIndex:
    """An image for several platforms to save, for an OCI layout only.

    Attributes:
        index: names all of ``images`` by their manifests, which are OCI's.
        names: that it shall have in the archive.
    """

    index: Index
    images: tuple[StoredImage, ...]
    names: tuple[Reference, ...]


def save(
    store: Store,
    images: Sequence[Chosen],
    write: Callable[[bytes], object],
    *,
    archive_format: ArchiveFormat,
    check: Callable[[], None],
    indexes: Sequence[ChosenIndex] = (),
) -> int:
    """Write images as a tar and return its size in bytes.

    Args:
        store: has them; the caller keeps sweeps away.
        images: in any order; nothing in the tar depends on it.
        write: takes the tar, piece by piece.
        archive_format: for whom.
        check: called before each piece; may raise.
        indexes: what is for several platforms, besides ``images``.

    Raises:
        BlobNotFound: a layer is gone; nothing was written.
        DigestMismatch: a blob was changed behind our back.
    """
    packed = [
        _packed(store, each, for_docker=archive_format == "docker")
        for each in sorted(images, key=lambda each: (each.image_id, each.manifest.digest))
    ]
    of_indexes = [Chosen(image, ()) for each in indexes for image in each.images]
    parts = [_packed(store, each, for_docker=False) for each in of_indexes]
    writer = TarWriter(lambda piece: write(bytes(piece)))
    for name, content in _documents(packed, indexes, archive_format):
        writer.add(_file(name, len(content)), [content])
    documents = {each.index.digest: each.index.raw for each in indexes}
    _add_blobs(store, [*packed, *parts], documents, writer, check)
    return writer.finish()


@dataclass(frozen=True, slots=True)
class _Packed:
    """An image as it is in the archive.

    Attributes:
        layers: digest there to size there and the digest it is stored under.
    """

    image: StoredImage
    manifest: Manifest
    layers: dict[Digest, tuple[int, Digest]]
    names: list[Reference]


def _packed(store: Store, chosen: Chosen, *, for_docker: bool) -> _Packed:
    manifest = chosen.manifest
    layers = list(manifest.layers)
    if for_docker:
        for number, diff_id in enumerate(chosen.image.config.diff_ids):
            layers[number] = _readable(store, layers[number], diff_id)
    kept = {
        layer.digest: (layer.size, stored.digest)
        for layer, stored in zip(layers, manifest.layers, strict=True)
    }
    for _, stored in kept.values():
        store.blobs.open(stored).close()
    if tuple(layers) != manifest.layers:
        manifest = Manifest.build(manifest.config, layers, manifest.annotations)
    return _Packed(chosen.image, manifest, kept, sorted(chosen.names, key=str))


def _readable(store: Store, layer: Descriptor, diff_id: Digest) -> Descriptor:
    """Return how a layer is written for docker: version 20.10 cannot read zstd."""
    with store.blobs.open(layer.digest) as blob:
        if sniff(blob.read(4)) is not Compression.ZSTD:
            return layer
        blob.seek(0)
        known = store.images.layer(diff_id)
        size = known.tar_bytes if known else sum(map(len, decompressed(chunks_of(blob))))
    return Descriptor(mediatype.OCI_LAYER, diff_id, size)


def _documents(
    packed: Sequence[_Packed], indexes: Sequence[ChosenIndex], archive_format: ArchiveFormat
) -> list[tuple[str, bytes]]:
    """Return name and content of what says what the blobs are."""
    documents = [(INDEX, _index(packed, indexes)), (LAYOUT, LAYOUT_VERSION)]
    if archive_format == "docker":
        documents += [(MANIFEST, _manifest(packed)), (REPOSITORIES, _repositories(packed))]
    return sorted(documents)


def _add_blobs(
    store: Store,
    packed: Sequence[_Packed],
    indexes: Mapping[Digest, bytes],
    writer: TarWriter,
    check: Callable[[], None],
) -> None:
    documents = {each.manifest.digest: each.manifest.raw for each in packed}
    documents |= indexes
    documents |= {each.image.image_id: each.image.config.raw for each in packed}
    layers = {digest: source for each in packed for digest, source in each.layers.items()}
    digests = sorted({*documents, *layers})
    writer.add(Entry("blobs/", Kind.DIR, 0o755))
    for algorithm in sorted({each.algorithm for each in digests}):
        writer.add(Entry(f"blobs/{algorithm}/", Kind.DIR, 0o755))
    for digest in digests:
        if digest in documents:
            raw = documents[digest]
            writer.add(_file(_path(digest), len(raw)), [raw])
        else:
            size, stored = layers[digest]
            writer.add(_file(_path(digest), size), _pieces(store, digest, stored, check))


def _pieces(
    store: Store, digest: Digest, stored: Digest, check: Callable[[], None]
) -> Iterator[bytes]:
    """Read a blob as it is to be in the archive, and see that it is what it is called."""
    hasher = hashlib.new(digest.algorithm)
    with store.blobs.open(stored) as blob:
        chunks = chunks_of(blob)
        for chunk in chunks if digest == stored else decompressed(chunks):
            check()
            hasher.update(chunk)
            yield chunk
    actual = Digest.of_hash(hasher)
    if actual != digest:
        raise DigestMismatch(f"blob {digest.short}", expected=digest, actual=actual)


def _file(name: str, size: int) -> Entry:
    return Entry(name, Kind.FILE, 0o644, size=size)


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _index(packed: Sequence[_Packed], indexes: Sequence[ChosenIndex]) -> bytes:
    """Return the layout's index: an entry for each name, and one for an image without any."""
    entries = [
        Descriptor(each.index.media_type, each.index.digest, len(each.index.raw), said)
        for each in sorted(indexes, key=lambda each: each.index.digest)
        for said in [_annotations(name) for name in sorted(each.names, key=str)] or [{}]
    ]
    entries += [
        Descriptor(each.manifest.media_type, each.manifest.digest, len(each.manifest.raw), said)
        for each in packed
        for said in [_annotations(name) for name in each.names] or [{}]
    ]
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_INDEX,
            "manifests": [entry.to_json() for entry in entries],
        }
    )


def _annotations(name: Reference) -> dict[str, str]:
    # The whole name in both: a bare tag, as docker writes it, would mean several images at once.
    return {REF_NAME: str(name), CONTAINERD_NAME: str(name)}


def _manifest(packed: Sequence[_Packed]) -> bytes:
    return encode(
        [
            {
                "Config": _path(each.image.image_id),
                "RepoTags": [name.familiar for name in each.names] or None,
                "Layers": [_path(layer.digest) for layer in each.manifest.layers],
            }
            for each in packed
        ]
    )


def _repositories(packed: Sequence[_Packed]) -> bytes:
    """Return what docker keeps for readers older than ``manifest.json``."""
    tops: dict[str, dict[str, str]] = {}
    for each in packed:
        for name in each.names if each.manifest.layers else ():
            top = each.manifest.layers[-1].digest.hex
            tops.setdefault(name.familiar_name, {})[name.tag or ""] = top
    return encode(tops)
