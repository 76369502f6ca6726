"""Images with all that their indexes name, and which of that is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError
from ocimagic.model.distribution import ImageTree, TreePart
from ocimagic.spec.codec import MAX_MANIFEST_BYTES
from ocimagic.spec.descriptor import REFERENCE_DIGEST
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Index, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.manifest import Manifest
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store


def trees(store: Store, used: Iterable[Digest]) -> tuple[ImageTree, ...]:
    """Return a tree for each thing that names point at, the newest image first.

    Args:
        store: where the images are.
        used: manifests that containers were made from.
    """
    images = store.images.all()
    sizes = store.images.layer_sizes()
    here = {image.manifest.digest: image for image in images}
    in_use = set(used)
    parts = set(store.images.wholes())
    alone = store.images.nameless()
    parts |= {part.manifest for each in alone for part in each.parts}
    shown = {each.run: each.index for each in alone}
    grouped: dict[Digest, list[StoredImage]] = {}
    for image in images:
        targets = {name.target: None for name in image.names}
        if not targets and image.manifest.digest in shown:
            targets = {shown[image.manifest.digest]: None}
        elif not targets and image.manifest.digest not in parts:
            targets = {image.manifest.digest: None}
        for target in targets:
            grouped.setdefault(target, []).append(image)
    return tuple(
        _tree(store, target, group, here, sizes, in_use) for target, group in grouped.items()
    )


def _tree(
    store: Store,
    target: Digest,
    images: Sequence[StoredImage],
    here: Mapping[Digest, StoredImage],
    sizes: Mapping[str, int],
    used: set[Digest],
) -> ImageTree:
    names = [
        name.reference.familiar for image in images for name in image.names if name.target == target
    ]
    index = _index(store, target)
    parts = [_part(each, here, sizes) for each in index.manifests] if index else []
    listed = {part.digest for part in parts}
    # Pushed with other layers, or pulled through an index within an index.
    own = {each.manifest.digest: each for each in images}
    for name in (name for image in images for name in image.names if name.target == target):
        found = [each.manifest for each in store.images.parts(name.reference)]
        own |= {each: here[each] for each in found if each in here}
    parts += [_own_part(each, sizes) for digest, each in own.items() if digest not in listed]
    first = images[0]
    return ImageTree(
        names=tuple(sorted(names)),
        digest=target,
        image_id=first.image_id,
        created=first.config.created,
        in_use=any(each.manifest.digest in used for each in images),
        is_index=index is not None,
        parts=tuple(parts),
    )


def _index(store: Store, target: Digest) -> Index | None:
    """Read what a name points at, if it is an index that was kept."""
    try:
        raw = store.blobs.read(target, max_bytes=MAX_MANIFEST_BYTES)
        document = parse_manifest(raw)
    except OcimagicError:
        return None  # an image of another engine's making, or a damaged one: verify says so
    return document if isinstance(document, Index) else None


def _part(
    entry: Descriptor, here: Mapping[Digest, StoredImage], sizes: Mapping[str, int]
) -> TreePart:
    image = here.get(entry.digest)
    about = entry.annotations.get(REFERENCE_DIGEST, "") if entry.is_attestation else ""
    return TreePart(
        digest=entry.digest,
        platform=entry.platform if entry.platform or not image else image.config.platform,
        is_here=image is not None,
        size_bytes=_unpacked(image, sizes) if image else 0,
        content_bytes=_content(image.manifest) if image else entry.size,
        describes=Digest(about) if about else None,
        is_attestation=entry.is_attestation,
        artifact_type=entry.artifact_type,
    )


def _own_part(image: StoredImage, sizes: Mapping[str, int]) -> TreePart:
    return TreePart(
        digest=image.manifest.digest,
        platform=image.config.platform,
        is_here=True,
        size_bytes=_unpacked(image, sizes),
        content_bytes=_content(image.manifest),
    )


def _unpacked(image: StoredImage, sizes: Mapping[str, int]) -> int:
    return sum(sizes.get(each, 0) for each in set(image.config.diff_ids))


def _content(manifest: Manifest) -> int:
    blobs = {each.digest: each.size for each in (manifest.config, *manifest.layers)}
    return len(manifest.raw) + sum(blobs.values())
