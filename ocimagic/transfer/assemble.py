"""Assemble: the images of a list, wherever they are, and the index that names them.

Spec: distribution-spec "Push": what an index names comes before the index.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocimagic.errors import ImageNotFound
from ocimagic.layers.compress import Compression
from ocimagic.model.event import OnEvent, ignore
from ocimagic.spec.manifest import Index
from ocimagic.spec.reference import Reference
from ocimagic.transfer.copy import Courier, call_off
from ocimagic.transfer.push import push

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.registry.client import RegistryClient
    from ocimagic.store.images import StoredImage
    from ocimagic.store.lists import ListEntry
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
