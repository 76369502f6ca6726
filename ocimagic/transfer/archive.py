"""What images an archive holds, by its own documents, checked against its files.

Two shapes, often both in one: an OCI layout (``index.json``), and docker's ``manifest.json``.
The layout is asked first, since its manifests keep their digests.

Spec: image-spec image-layout.md; Docker image specification v1.2, "Combined Image JSON +
Filesystem Changeset Format".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.errors import (
    ArchiveRefused,
    DigestMismatch,
    ImageNotFound,
    NotAnImage,
    SizeMismatch,
)
from ocimagic.layers.compress import Compression
from ocimagic.spec import mediatype
from ocimagic.spec.codec import (
    MAX_CONFIG_BYTES,
    MAX_MANIFEST_BYTES,
    decode,
    decode_list,
)
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.manifest import MAX_LAYERS, Index, Manifest, parse_manifest
from ocimagic.spec.platform import host_platform
from ocimagic.spec.record import dataclass, replace
from ocimagic.spec.reference import Reference
from ocimagic.store.layout import CONTAINERD_NAME, REF_NAME
from ocimagic.transfer.spool import COPY_HINT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ocimagic.spec.codec import Fields
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform
    from ocimagic.transfer.spool import Spool, SpooledFile

LAYOUT = "oci-layout"
INDEX = "index.json"
MANIFEST = "manifest.json"
REPOSITORIES = "repositories"
_MAX_INDEX_DEPTH = 4
_CONFIG_NAME = re.compile(r"([0-9a-f]{64})(?:\.json)?")
_MEDIA_TYPES = {
    Compression.NONE: mediatype.OCI_LAYER,
    Compression.GZIP: mediatype.OCI_LAYER_GZIP,
    Compression.ZSTD: mediatype.OCI_LAYER_ZSTD,
}


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image of an archive, whole and verified but for what is inside its layers.

    Attributes:
        layers: bottom first, as many as the manifest has.
        target: what the archive's index points at: this manifest, or an index that names it.
    """

    manifest: Manifest
    config: ImageConfig
    layers: tuple[SpooledFile, ...]
    names: tuple[Reference, ...]
    target: Digest | None = None


@dataclass(frozen=True, slots=True)
class ArchivedIndex:
    """An image of an archive for several platforms, as far as they are in it.

    Attributes:
        index: as it is written; it may name what is not in the archive.
        parts: the images that are, in the index's order; at least one.
        names: that the index has.
    """

    index: Index
    parts: tuple[tuple[ArchivedImage, Platform | None], ...]
    names: tuple[Reference, ...]


def contents_of(spool: Spool) -> tuple[list[ArchivedImage], list[ArchivedIndex]]:
    """List all that an archive holds: images, and what is for several platforms.

    Raises:
        What ``images_of`` raises, PlatformNotFound where entries of one name are for others.
    """
    if not _is_layout(spool):
        return images_of(spool, host_platform()), []
    images: list[ArchivedImage] = []
    found: dict[Digest, ArchivedIndex] = {}
    for entry, names in _entries(spool, host_platform()):
        index = _plain_index(spool, entry)
        if index is None:
            images.append(_layout_image(spool, entry, names, host_platform()))
            continue
        known = found.get(index.digest)
        parts = known.parts if known else _parts(spool, index, names)
        so_far = known.names if known else ()
        found[index.digest] = ArchivedIndex(index, parts, (*so_far, *names))
    owners = [(name, each.manifest.digest) for each in images for name in each.names]
    owners += [(name, each.index.digest) for each in found.values() for name in each.names]
    _refuse_two_of_a_name(owners)
    return (_merged(images) if images or not found else []), list(found.values())


def _plain_index(spool: Spool, entry: Descriptor) -> Index | None:
    """Return what an entry points at if it is an index of nothing but manifests."""
    raw = _blob(spool, entry, "manifest").read("manifest", MAX_MANIFEST_BYTES)
    document = parse_manifest(raw, content_type=entry.media_type)
    if not isinstance(document, Index):
        return None
    deeper = any(each.media_type in mediatype.INDEXES for each in document.manifests)
    return None if deeper else document


def _parts(
    spool: Spool, index: Index, names: tuple[Reference, ...]
) -> tuple[tuple[ArchivedImage, Platform | None], ...]:
    """Return the images of an index that are in the archive whole.

    Raises:
        ArchiveRefused: none is; says what is missing of the first.
    """
    entries = [entry for entry in index.manifests if not entry.is_attestation]
    whole = [entry for entry in entries if _is_there(spool, entry)]
    found, refused = [], None
    for entry in whole or entries[:1]:  # docker leaves out what it has not
        try:
            image = _layout_image(spool, entry, names, host_platform())
        except NotAnImage as err:
            refused = refused or err
        else:
            found.append((replace(image, names=()), entry.platform))
    if not found:
        raise refused or ArchiveRefused(INDEX, "an index in it names no image")
    return tuple(found)


def _is_there(spool: Spool, entry: Descriptor) -> bool:
    """Say whether an archive has all that an image needs."""
    if not spool.has_blob(entry.digest):
        return False
    raw = _blob(spool, entry, "manifest").read("manifest", MAX_MANIFEST_BYTES)
    manifest = parse_manifest(raw, content_type=entry.media_type)
    if not isinstance(manifest, Manifest):
        return True
    return all(spool.has_blob(each.digest) for each in (manifest.config, *manifest.layers))


def images_of(spool: Spool, platform: Platform) -> list[ArchivedImage]:
    """List what an archive holds for a platform, each image once with all its names.

    Raises:
        ArchiveRefused: it holds no images, or not all of one.
        InvalidDocument, InvalidDigest, InvalidReference: a document that breaks its spec.
        PlatformNotFound: an image is not made for this platform.
        DigestMismatch, SizeMismatch: a file is not what a document says.
    """
    if _is_layout(spool):
        entries = _entries(spool, platform)
        return _merged(_layout_image(spool, entry, names, platform) for entry, names in entries)
    if MANIFEST in spool:
        return _merged(_from_docker(spool))
    if REPOSITORIES in spool:
        raise ArchiveRefused(
            "", "it was saved by a docker before 1.10", hint="load and save it with a newer docker"
        )
    raise ArchiveRefused(
        "",
        "it holds neither a manifest.json nor an index.json",
        hint="%image_import makes an image of the files of a root",
    )


def _is_layout(spool: Spool) -> bool:
    return INDEX in spool and (LAYOUT in spool or MANIFEST not in spool)


def _refuse_two_of_a_name(owners: Iterable[tuple[Reference, Digest]]) -> None:
    known: dict[Reference, Digest] = {}
    for name, digest in owners:
        if known.setdefault(name, digest) != digest:
            raise ArchiveRefused("", f"two images have the name {name.familiar}")


def _merged(images: Iterable[ArchivedImage]) -> list[ArchivedImage]:
    """Join what is one image under several names, and refuse a name that means two."""
    found: dict[Digest, ArchivedImage] = {}
    for image in images:
        known = found.setdefault(image.manifest.digest, image)
        names = tuple(dict.fromkeys((*known.names, *image.names)))
        found[image.manifest.digest] = replace(known, names=names)
    _refuse_two_of_a_name(
        (name, each.manifest.digest) for each in found.values() for name in each.names
    )
    if not found:
        raise ArchiveRefused("", "it holds no image")
    return list(found.values())


# -- OCI layouts -------------------------------------------------------------------


def _entries(
    spool: Spool, platform: Platform
) -> Iterator[tuple[Descriptor, tuple[Reference, ...]]]:
    """Yield what a layout's index names; of several entries of one name those for a platform."""
    if LAYOUT in spool:
        decode(spool.file(LAYOUT).read(LAYOUT, MAX_MANIFEST_BYTES), what=LAYOUT)
    index = parse_manifest(spool.file(INDEX).read(INDEX, MAX_MANIFEST_BYTES))
    if not isinstance(index, Index):
        raise ArchiveRefused(INDEX, "it is no index")
    groups: dict[str, list[Descriptor]] = {}
    for entry in index.manifests:
        if not entry.is_attestation:
            groups.setdefault(_said_name(entry), []).append(entry)
    for name, entries in groups.items():
        names = _parsed_names([name] if name else [])
        for entry in _fitting(index, entries, platform):
            yield entry, names


def layout_entry(spool: Spool, tag: str, digest: Digest | None, platform: Platform) -> Descriptor:
    """Return what an OCI layout has under a tag, or under a digest.

    A tag is the whole of what the layout calls an image, or the tag at its end; with one image
    only, that is the one, as in BuildKit.

    Raises:
        ArchiveRefused, InvalidDocument: it is no layout.
        ImageNotFound: there is no such image; lists those there are.
        PlatformNotFound: there is none for this platform.
    """
    index = parse_manifest(spool.file(INDEX).read(INDEX, MAX_MANIFEST_BYTES))
    if not isinstance(index, Index):
        raise ArchiveRefused(INDEX, "it is no index")
    images = [entry for entry in index.manifests if not entry.is_attestation]
    if digest is not None:
        named = [entry for entry in images if entry.digest == digest]
        return named[0] if named else Descriptor("", digest, spool.blob(digest).size)
    groups: dict[str, list[Descriptor]] = {}
    for entry in images:
        groups.setdefault(entry.annotations.get(REF_NAME, ""), []).append(entry)
    names = [name for name in groups if name == tag] or [
        name for name in groups if name.endswith(f":{tag}") or len(groups) == 1
    ]
    if len(names) != 1:
        raise ImageNotFound(
            f"the layout has {'several images' if names else 'no image'} called {tag}",
            why="it has " + (", ".join(sorted(filter(None, groups))) or "none with a name"),
            hint="name one of them: oci-layout://DIRECTORY:TAG, or oci-layout://DIRECTORY@DIGEST",
        )
    return _fitting(index, groups[names[0]], platform)[0]


def layout_config(
    spool: Spool, entry: Descriptor, platform: Platform, names: tuple[Reference, ...] = ()
) -> tuple[Manifest, ImageConfig]:
    """Return manifest and config of an image of a layout; its layers are not read.

    Raises:
        ArchiveRefused, ContentError: the layout is damaged.
        NotAnImage: it is something else.
        PlatformNotFound: there is none for this platform.
    """
    manifest = _manifest(spool, entry, platform, 0)
    manifest.require_image(names[0].familiar if names else f"image {manifest.digest.short}")
    raw = _blob(spool, manifest.config, "config").read("config", MAX_CONFIG_BYTES)
    return manifest, ImageConfig.parse(raw)


def layout_image(
    spool: Spool, manifest: Manifest, config: ImageConfig, names: tuple[Reference, ...], at: Digest
) -> ArchivedImage:
    """Return an image of a layout with its layers.

    Args:
        spool: has the layout.
        manifest: of the image.
        config: of the image.
        names: that it has.
        at: what the layout's index points at.

    Raises:
        ArchiveRefused, ContentError: the layout is damaged.
    """
    layers = tuple(_blob(spool, layer, "layer") for layer in manifest.layers)
    return _checked(ArchivedImage(manifest, config, layers, names, at))


def _said_name(entry: Descriptor) -> str:
    """Return what an entry is called; a bare word is a tag of nobody knows what."""
    full = entry.annotations.get(CONTAINERD_NAME)
    if full:
        return full
    name = entry.annotations.get(REF_NAME, "")
    return name if re.search("[/:@]", name) else ""


def _parsed_names(texts: Iterable[str]) -> tuple[Reference, ...]:
    """Return the names an archive gives to an image; only tags are for it to give.

    Raises:
        InvalidReference: one is no name.
    """
    names = [Reference.parse(text) for text in texts]
    return tuple(replace(name, digest=None) for name in names if name.tag)


def _fitting(index: Index, entries: Sequence[Descriptor], platform: Platform) -> list[Descriptor]:
    """Keep what is for our platform, where entries of one name are told apart by theirs."""
    if len(entries) == 1 or all(entry.platform is None for entry in entries):
        return list(entries)
    chosen = replace(index, manifests=tuple(entries)).choose(platform).platform
    assert chosen
    return [
        entry
        for entry in entries
        if entry.platform is None or entry.platform.canonical == chosen.canonical
    ]


def _layout_image(
    spool: Spool, entry: Descriptor, names: tuple[Reference, ...], platform: Platform
) -> ArchivedImage:
    manifest, config = layout_config(spool, entry, platform, names)
    return layout_image(spool, manifest, config, names, entry.digest)


def _manifest(spool: Spool, entry: Descriptor, platform: Platform, depth: int) -> Manifest:
    """Read a manifest, going through an index to our platform's."""
    if depth > _MAX_INDEX_DEPTH:
        raise ArchiveRefused(INDEX, "indexes within indexes")
    raw = _blob(spool, entry, "manifest").read("manifest", MAX_MANIFEST_BYTES)
    document = parse_manifest(raw, content_type=entry.media_type)
    if isinstance(document, Manifest):
        return document
    return _manifest(spool, document.choose(platform), platform, depth + 1)


def _blob(spool: Spool, descriptor: Descriptor, what: str) -> SpooledFile:
    """Return a blob; that its digest is right was seen when it came."""
    file = spool.blob(descriptor.digest)
    if file.size != descriptor.size:
        raise SizeMismatch(
            f"{what} {descriptor.digest.short} of the archive",
            expected=descriptor.size,
            actual=file.size,
            hint=COPY_HINT,
        )
    return file


# -- docker's archives ---------------------------------------------------------------


def _from_docker(spool: Spool) -> Iterable[ArchivedImage]:
    raw = spool.file(MANIFEST).read(MANIFEST, MAX_MANIFEST_BYTES)
    for item in decode_list(raw, what=MANIFEST, max_bytes=MAX_MANIFEST_BYTES):
        yield _docker_image(spool, item)


def _docker_image(spool: Spool, item: Fields) -> ArchivedImage:
    config_name, layer_names = item.text("Config"), item.texts("Layers")
    if len(layer_names) > MAX_LAYERS:
        raise ArchiveRefused(MANIFEST, f"{len(layer_names)} layers, limit {MAX_LAYERS}")
    config = ImageConfig.parse(spool.file(config_name).read(config_name, MAX_CONFIG_BYTES))
    said = _CONFIG_NAME.fullmatch(config_name)
    if said and config.image_id.hex != said[1]:
        raise DigestMismatch(
            "the image config of the archive",
            expected=f"sha256:{said[1]}",
            actual=config.image_id,
            hint=COPY_HINT,
        )
    layers = tuple(spool.file(name) for name in layer_names)
    manifest = Manifest.build(
        Descriptor(mediatype.OCI_CONFIG, config.image_id, len(config.raw)),
        [layer_descriptor(file) for file in layers],
    )
    names = _parsed_names(item.texts("RepoTags"))
    return _checked(ArchivedImage(manifest, config, layers, names))


def _checked(image: ArchivedImage) -> ArchivedImage:
    """Check an image's layers against the diff_ids of its config."""
    diff_ids = image.config.diff_ids
    if len(diff_ids) != len(image.layers):
        raise ArchiveRefused(
            "", f"an image has {len(image.layers)} layers and {len(diff_ids)} diff_ids"
        )
    for diff_id, file in zip(diff_ids, image.layers, strict=True):
        if file.diff_id is None:
            raise ArchiveRefused(f"layer {file.digest.short}", file.refusal)
        if file.diff_id != diff_id:
            raise DigestMismatch(
                f"layer {file.digest.short} of the archive, uncompressed",
                expected=diff_id,
                actual=file.diff_id,
                hint=COPY_HINT,
            )
    return image


def layer_descriptor(file: SpooledFile) -> Descriptor:
    """Describe a file as a layer blob, by what its bytes are."""
    return Descriptor(_MEDIA_TYPES[file.compression], file.digest, file.size)
