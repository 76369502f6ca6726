"""The data root as others see it: an OCI image layout, published and read back.

The database holds the truth; ``index.json`` is a view of it, replaced whole.  What skopeo or
umoci wrote there since our last view is taken into the database first.

Spec: image-spec image-layout.md, "index.json"; annotations.md (ref.name).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError
from ocimagic.home.disk import storage_errors
from ocimagic.home.location import write_atomic
from ocimagic.home.locks import locked
from ocimagic.spec import mediatype
from ocimagic.spec.codec import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, decode, encode
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.manifest import Manifest, parse_manifest
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.home.location import Home
    from ocimagic.spec.digest import Digest
    from ocimagic.store.blobs import BlobStore
    from ocimagic.store.images import Images

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
ORIGINAL = "dev.ocimagic.manifest"
TARGET = "dev.ocimagic.target"
_VIEW = "index.view"
_NEXT_VIEW = "index.next"


class Layout:
    """Publishes ``index.json`` and takes over what others wrote into it."""

    def __init__(self, home: Home, blobs: BlobStore, images: Images) -> None:
        self._home = home
        self._blobs = blobs
        self._images = images

    @property
    def _index(self) -> str:
        return "index.json"

    def publish(self) -> None:
        """Write the view anew, foreign names taken in first."""
        # No sweep takes what is about to be described.
        with locked(self._home.locks, "store", shared=True):
            self.publish_held()

    def publish_held(self) -> None:
        """Do what ``publish`` does, for a caller that has the store's lock."""
        with locked(self._home.locks, "index"), storage_errors(self._home.data):
            self._import_foreign()
            self._write()

    def refresh(self) -> None:
        """Take in what others wrote, if anybody did."""
        path = self._home.data / self._index
        if path.exists() and path.read_bytes() != self._view(_VIEW):
            self.publish()

    def _write(self) -> None:
        entries = [
            self._entry(each.reference, each.target, each.manifest) for each in self._images.names()
        ]
        raw = encode(
            {
                "schemaVersion": 2,
                "mediaType": mediatype.OCI_INDEX,
                "manifests": [entry.to_json() for entry in entries],
            }
        )
        if raw == self._view(_VIEW) == self._published():
            return
        # A crash in between leaves an index that one of the two views tells for ours.
        write_atomic(self._home.own / _NEXT_VIEW, raw)
        write_atomic(self._home.data / self._index, raw, mode=0o644)
        os.replace(self._home.own / _NEXT_VIEW, self._home.own / _VIEW)

    def _entry(self, reference: Reference, target: Digest, manifest: Digest) -> Descriptor:
        annotations = {
            REF_NAME: str(reference),
            CONTAINERD_NAME: str(reference),
            ORIGINAL: str(manifest),
            TARGET: str(target),
        }
        index = self._images.whole_index(reference)
        if index and index.media_type == mediatype.OCI_INDEX and index.digest == target:
            return Descriptor(index.media_type, target, len(index.raw), annotations)
        document, _ = self._images.documents(manifest)
        twin = document.as_oci()
        self._blobs.put(twin.raw)
        return Descriptor(twin.media_type, twin.digest, len(twin.raw), annotations)

    def _view(self, name: str) -> bytes:
        """Return what we published last, or were about to when we were killed."""
        try:
            return (self._home.own / name).read_bytes()
        except FileNotFoundError:
            return b""

    def _published(self) -> bytes:
        try:
            return (self._home.data / self._index).read_bytes()
        except FileNotFoundError:
            return b""

    def _import_foreign(self) -> None:
        raw = self._published()
        if not raw:
            return
        views = [self._view(_VIEW), self._view(_NEXT_VIEW)]
        if raw in views:
            return
        ours = {entry for view in views for entry in _names(view)}
        try:
            found = list(_names(raw))
        except OcimagicError:
            return  # somebody spoilt the view; the truth is in the database
        for name, (digest, original) in found:
            if (name, (digest, original)) not in ours:
                self._take(name, digest)

    def _take(self, name: str, digest: Digest) -> None:
        """Add an image that somebody else put into this layout, if it is whole."""
        try:
            reference = Reference.parse(name)
            manifest = parse_manifest(self._blobs.read(digest, max_bytes=MAX_MANIFEST_BYTES))
            if not isinstance(manifest, Manifest):
                return
            raw = self._blobs.read(manifest.config.digest, max_bytes=MAX_CONFIG_BYTES)
            config = ImageConfig.parse(raw)
            whole = all(self._blobs.has(layer.digest) for layer in manifest.layers)
        except OcimagicError:
            # Not ours to judge: others may keep in this layout what is no image.
            return
        if whole and len(config.diff_ids) == len(manifest.layers):
            self._blobs.has(digest)
            self._blobs.has(manifest.config.digest)
            self._images.add(manifest, [(reference, digest)])


def _names(raw: bytes) -> Iterator[tuple[str, tuple[Digest, str]]]:
    if not raw:
        return
    fields = decode(raw, what="index.json", max_bytes=MAX_MANIFEST_BYTES)
    for entry in fields.children("manifests"):
        descriptor = Descriptor.from_fields(entry)
        name = descriptor.annotations.get(REF_NAME)
        if name:
            yield name, (descriptor.digest, descriptor.annotations.get(ORIGINAL, ""))
