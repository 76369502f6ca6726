"""Where caches are: a repository of a registry, or a directory (``cache_directory``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ocimagic.errors import RegistryUnreachable
from ocimagic.spec.manifest import Index, Manifest, parse_manifest
from ocimagic.store.blobs import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.registry.client import RegistryClient
    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.reference import Reference

_TRIES_WITHOUT_PROGRESS = 3


class CachePlace(Protocol):
    """A place that a cache can be read from.

    Attributes:
        shown: what the user calls it.
    """

    shown: str

    def top(self) -> Manifest | Index:
        """Return what the place's name stands for."""

    def manifest(self, digest: Digest) -> Manifest | Index:
        """Return another document, by its digest."""

    def config(self, blob: Descriptor) -> bytes:
        """Return a small blob, verified."""

    def chunks(self, blob: Descriptor) -> Iterator[bytes]:
        """Yield the bytes of a blob; to verify them is up to the caller."""


class RegistryPlace:
    """A repository; see ``CachePlace``."""

    def __init__(self, client: RegistryClient, reference: Reference) -> None:
        self.shown = reference.familiar
        self._client = client
        self._reference = reference

    def top(self) -> Manifest | Index:
        """Fetch what the reference names."""
        fetched = self._client.manifest(self._reference)
        return parse_manifest(fetched.raw, content_type=fetched.content_type)

    def manifest(self, digest: Digest) -> Manifest | Index:
        """Fetch a manifest."""
        fetched = self._client.manifest(self._reference.pinned(digest))
        return parse_manifest(fetched.raw, content_type=fetched.content_type)

    def config(self, blob: Descriptor) -> bytes:
        """Fetch a config."""
        return self._client.small_blob(self._reference, blob)

    def chunks(self, blob: Descriptor) -> Iterator[bytes]:
        """Fetch a blob, going on where a connection broke."""
        done = tries = 0
        while done < blob.size:
            before = done
            try:
                with self._client.open_blob(self._reference, blob, offset=done) as stream:
                    skip = done - stream.start_offset
                    for received in stream.chunks:
                        chunk = received[skip:] if skip > 0 else received
                        skip = max(0, skip - len(received))
                        done += len(chunk)
                        yield chunk
            except RegistryUnreachable:
                tries = 0 if done - before >= CHUNK else tries + 1
                if tries >= _TRIES_WITHOUT_PROGRESS:
                    raise
