"""Assemble: the images of a list or of a name, and the index that names them.

Spec: distribution-spec "Push": what an index names comes before the index.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ocimagic.errors import ImageNotFound
from ocimagic.layers.compress import Compression
from ocimagic.model.event import OnEvent, ignore
from ocimagic.spec.manifest import Index
from ocimagic.spec.record import dataclass, replace
from ocimagic.spec.reference import Reference
from ocimagic.store.naming import Whole
from ocimagic.transfer.copy import Courier, call_off
from ocimagic.transfer.push import Pushed, push

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.registry.client import RegistryClient
    from ocimagic.store.images import StoredImage
    from ocimagic.store.lists import ListEntry
    from ocimagic.store.nameless import Part
    from ocimagic.store.store import Store


@dataclass(frozen=True, slots=True)
class PushedList:
    """What pushing a list came to.

    Attributes:
        index: as it is in the registry.
        entries: of the list, with what became of them.
        sent_bytes: over the network, configs and layers.
    """

    index: Index
    entries: tuple[ListEntry, ...]
    sent_bytes: int


def push_list(
    store: Store,
    client: RegistryClient,
    entries: Sequence[ListEntry],
    reference: Reference,
    *,
    compression: str = "gzip",
    on_event: OnEvent = ignore,
    cancelled: threading.Event | None = None,
) -> PushedList:
    """Bring images to one repository and publish the index of them under a tag.

    Layers that are plain here get other digests on their way, and so do their manifests: the
    index names what is in the registry.

    Raises:
        ImageNotFound: an image of the store is gone.
        Unauthorized, RateLimited, RegistryError, BlobNotFound: what the registries said.
        Cancelled: ``cancelled`` was set.
    """
    stop = cancelled or threading.Event()
    kind = Compression(compression)
    place = replace(reference, tag=None)
    done: list[ListEntry] = []
    sent = 0
    for entry in entries:
        if entry.is_here:
            image = _load(store, entry)
            pushed = push(
                store, client, image, place, compression=kind, on_event=on_event, cancelled=stop
            )
            done.append(replace(entry, pushed=pushed.raw))
            sent += pushed.sent_bytes
        else:
            sent += _carry(client, entry, place, on_event, stop)
            done.append(entry)
    index = Index.build([entry.shown[0] for entry in done])
    with call_off(stop, reference):
        uploader = client.until(stop).uploader(reference)
        uploader.put_manifest(index.raw, index.media_type, tag=reference.tag)
    return PushedList(index, tuple(done), sent)


@dataclass(frozen=True, slots=True)
class PushedIndex:
    """What pushing the images of a name came to; see ``Pushed``."""

    index: Index
    layers: int
    there: int
    mounted: int
    sent_bytes: int


def push_part(
    store: Store,
    client: RegistryClient,
    image: StoredImage,
    reference: Reference,
    *,
    compression: Compression,
    on_event: OnEvent = ignore,
    cancelled: threading.Event | None = None,
) -> Pushed:
    """Bring one image of a name to a registry, under its tag; the name here stays what it is.

    Raises:
        Unauthorized, RateLimited, RegistryError, BlobNotFound: what the registry said.
        Cancelled: ``cancelled`` was set.
    """
    stop = cancelled or threading.Event()
    place = replace(reference, tag=None)
    done = push(
        store, client, image, place, compression=compression, on_event=on_event, cancelled=stop
    )
    with call_off(stop, reference):
        uploader = client.until(stop).uploader(reference)
        uploader.put_manifest(done.raw, done.manifest.media_type, tag=reference.tag)
    return done


def push_index(
    store: Store,
    client: RegistryClient,
    parts: Sequence[Part],
    reference: Reference,
    *,
    compression: Compression,
    on_event: OnEvent = ignore,
    cancelled: threading.Event | None = None,
) -> PushedIndex:
    """Bring all images that a name has here to a registry, and their index under its tag.

    An index that was pulled goes as it came if all that it names is here.  What the name points
    at in the registry is remembered.

    Raises:
        Unauthorized, RateLimited, RegistryError, BlobNotFound: what the registry said.
        Cancelled: ``cancelled`` was set.
    """
    stop = cancelled or threading.Event()
    place = replace(reference, tag=None)
    images = [store.images.load(each.manifest) for each in parts]
    done = [
        push(
            store, client, image, place, compression=compression, on_event=on_event, cancelled=stop
        )
        for image in images
    ]
    platforms = [
        part.platform or image.config.platform for part, image in zip(parts, images, strict=True)
    ]
    described = [
        replace(each.manifest, platform=platform)
        for each, platform in zip(done, platforms, strict=True)
    ]
    known = store.images.name(reference)
    index = store.images.whole_index(reference)
    if not index or {each.digest for each in index.manifests} != {
        each.digest for each in described
    }:
        index = Index.build(described)
    with call_off(stop, reference):
        uploader = client.until(stop).uploader(reference)
        uploader.put_manifest(index.raw, index.media_type, tag=reference.tag)
    store.blobs.put(index.raw)
    store.sync()
    digest = known.manifest if known else None
    run = next((each for each in images if each.manifest.digest == digest), images[0])
    pairs = [(image.manifest, part.platform) for image, part in zip(images, parts, strict=True)]
    store.images.add_index(Whole(index.digest, pairs, run.manifest, [reference]))
    store.layout.publish()
    return PushedIndex(
        index,
        sum(len(image.manifest.layers) for image in images),
        sum(each.there for each in done),
        sum(each.mounted for each in done),
        sum(each.sent_bytes for each in done),
    )


def _carry(
    client: RegistryClient,
    entry: ListEntry,
    place: Reference,
    on_event: OnEvent,
    stop: threading.Event,
) -> int:
    """Bring an image from its registry, where it keeps its digest; return the bytes sent."""
    source = Reference.parse(entry.reference)
    courier = Courier(client, source, place, on_event, stop)
    with call_off(stop, place):
        documents = courier.collect(entry.described.digest, None)
        courier.carry(documents, tag=None)
    return courier.copied(documents).sent_bytes


def _load(store: Store, entry: ListEntry) -> StoredImage:
    # What is known of an image may be remembered when it is gone; its row is not.
    if store.images.image_id(entry.described.digest) is None:
        raise ImageNotFound(
            f"{Reference.parse(entry.reference).familiar} is not here any more",
            why="it was removed since it was put into the list",
            hint="put it in again: docker manifest create --amend LIST IMAGE",
        )
    return store.images.load(entry.described.digest)
