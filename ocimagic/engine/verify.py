"""Rechecking what is kept: every byte of an image against the digests that name it.

What is checked is what ``pkg/v1/validate`` of go-containerregistry checks (image.go, layer.go,
index.go), and what it leaves out:

- manifest and config are what their digests say, and can be read; the config has the size that
  the manifest says;
- the media types are those of an image;
- each layer blob has its digest and size, and unpacked its diff_id;
- manifest and config have as many layers as each other, and the history as many as they,
  where there is one;
- an index that a name points at is what its digest says, and has the image in it, or an
  index that may lead there; its other children belong to other platforms, and are not kept here.

Spec: image-spec descriptor.md, "Verification"; config.md, "Layer DiffID", "history".
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ocimagic.engine.lineage import title
from ocimagic.errors import BlobNotFound, Cancelled, OcimagicError
from ocimagic.layers.compress import decompressed
from ocimagic.model.event import LayerPhase, LayerProgress, OnEvent, TransferStarted, ignore
from ocimagic.model.report import Fault, Verified
from ocimagic.spec import mediatype
from ocimagic.spec.codec import MAX_MANIFEST_BYTES
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Index, parse_manifest
from ocimagic.store.blobs import CHUNK

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store

_MAX_DEPTH = 4


def verify(
    store: Store,
    names: Sequence[str],
    *,
    on_event: OnEvent = ignore,
    cancelled: threading.Event | None = None,
) -> Verified:
    """Check images, all of them if none is named; nothing is changed.

    Args:
        store: where they are.
        names: references or image IDs.
        on_event: is told how far it is.
        cancelled: stops it when set.

    Raises:
        ImageNotFound: there is none of a name.
        Cancelled: ``cancelled`` was set.
    """
    job = _Verification(store, on_event, cancelled)
    faults: list[Fault] = []
    with store.in_use():  # what is removed from here on stays on disk until the end
        manifests = [store.images.find(name).manifest.digest for name in names]
        if not names:
            rows = store.database.rows("SELECT manifest FROM images ORDER BY added DESC")
            manifests = [Digest(str(row[0])) for row in rows]
        for manifest in dict.fromkeys(manifests):
            faults += job.image(manifest)
    return Verified(images=len(set(manifests)), checked_bytes=job.checked, faults=tuple(faults))


class _Verification:
    def __init__(self, store: Store, on_event: OnEvent, cancelled: threading.Event | None) -> None:
        self._store = store
        self._on_event = on_event
        self._cancelled = cancelled
        self._known: dict[tuple[Digest, Digest], str] = {}  # a layer is read once
        self.checked = 0

    def image(self, manifest: Digest) -> Iterator[Fault]:
        """Yield what is wrong with one image."""
        names = self._store.database.rows(
            "SELECT reference FROM names WHERE manifest = ? ORDER BY 1", manifest
        )
        name = str(names[0][0]) if names else manifest.short
        try:
            image = self._store.images.load(manifest)
        except OcimagicError as err:  # its documents: nothing else can be known
            yield Fault(image=name, digest=manifest, what=_sentence(err))
            return
        for digest, what in (*_documents(image), *self._indexes(image)):
            yield Fault(image=title(image), digest=digest, what=what)
        blobs, diff_ids = image.manifest.layers, image.config.diff_ids
        if len(blobs) != len(diff_ids):
            what = f"its manifest has {len(blobs)} layers, its config {len(diff_ids)}"
            yield Fault(image=title(image), digest=manifest, what=what)
        self._begin(image)
        for blob, diff_id in zip(blobs, diff_ids, strict=False):
            what = self._layer(blob, diff_id)
            if what:
                yield Fault(image=title(image), digest=blob.digest, what=what)

    def _indexes(self, image: StoredImage) -> Iterator[tuple[Digest, str]]:
        """Yield what is wrong with the indexes through which names lead to an image."""
        blobs = self._store.blobs
        own = {image.manifest.digest, image.manifest.as_oci().digest}
        for target in {name.target for name in image.names} - own:
            try:
                raw = blobs.read(target, max_bytes=MAX_MANIFEST_BYTES)
                document = parse_manifest(raw)
            except BlobNotFound:
                continue  # after a push a name may point at what only the registry keeps
            except OcimagicError as err:
                yield target, _sentence(err)
                continue
            if not isinstance(document, Index):
                if document.config.digest != image.image_id:
                    yield target, "the name points at a manifest of another image"
            elif not self._leads_to(document, image.manifest.digest):
                yield target, f"the index does not lead to {image.manifest.digest}"

    def _leads_to(self, index: Index, manifest: Digest, depth: int = 0) -> bool:
        for child in index.manifests:
            if child.digest == manifest:
                return True
            if mediatype.as_oci(child.media_type) != mediatype.OCI_INDEX or depth >= _MAX_DEPTH:
                continue
            try:
                raw = self._store.blobs.read(child.digest, max_bytes=MAX_MANIFEST_BYTES)
                inner = parse_manifest(raw)
            except BlobNotFound:
                return True  # only what a name points at is kept: it may lead there
            except OcimagicError:
                continue
            if isinstance(inner, Index) and self._leads_to(inner, manifest, depth + 1):
                return True
        return False

    def _begin(self, image: StoredImage) -> None:
        sizes = tuple((each.digest, each.size) for each in image.manifest.layers)
        self._on_event(TransferStarted(title(image), image.manifest.digest, sizes, "verifying"))

    def _layer(self, blob: Descriptor, diff_id: Digest) -> str:
        """Return what is wrong with a layer, "" for nothing."""
        key = (blob.digest, diff_id)
        if key not in self._known:
            self._known[key] = self._read_layer(blob, diff_id)
        phase = LayerPhase.DONE
        self._on_event(LayerProgress(blob.digest, phase, blob.size, blob.size))
        return self._known[key]

    def _read_layer(self, blob: Descriptor, diff_id: Digest) -> str:
        outer, inner = hashlib.new(blob.digest.algorithm), hashlib.new(diff_id.algorithm)
        size = 0

        def pieces() -> Iterator[bytes]:
            nonlocal size
            # Not the store's own way, which takes a damaged file away.
            with self._store.blobs.path(blob.digest).open("rb") as file:
                while chunk := file.read(CHUNK):
                    self._check_cancelled()
                    outer.update(chunk)
                    size += len(chunk)
                    yield chunk

        damage = ""
        try:
            for piece in decompressed(pieces()):
                inner.update(piece)
        except FileNotFoundError:
            return "the layer is not here"
        except OSError as err:
            return f"the layer cannot be read: {err.strerror}"
        except Cancelled:
            raise
        except OcimagicError as err:
            damage = _sentence(err)
        self.checked += size
        if size != blob.size:
            return f"the layer has {size} bytes, not {blob.size}"
        if not damage and Digest.of_hash(outer) != blob.digest:
            return f"its content is {Digest.of_hash(outer)}"
        if damage or Digest.of_hash(inner) != diff_id:
            return damage or f"unpacked it is {Digest.of_hash(inner)}, not {diff_id}"
        return ""

    def _check_cancelled(self) -> None:
        if self._cancelled is not None and self._cancelled.is_set():
            raise Cancelled("verification stopped")


def _documents(image: StoredImage) -> Iterator[tuple[Digest, str]]:
    """Yield what is wrong with an image's documents that can be read."""
    manifest, config = image.manifest, image.config
    try:
        manifest.require_image(title(image))
    except OcimagicError as err:
        yield manifest.digest, _sentence(err)
    if len(config.raw) != manifest.config.size:
        yield (
            manifest.config.digest,
            f"the config has {len(config.raw)} bytes, not {manifest.config.size}",
        )
    made = sum(not each.empty_layer for each in config.history)
    if config.history and made != len(config.diff_ids):
        yield (
            manifest.config.digest,
            f"its history makes {made} layers, its rootfs has {len(config.diff_ids)}",
        )


def _sentence(err: OcimagicError) -> str:
    return ": ".join(part for part in (err.what, err.why) if part)
