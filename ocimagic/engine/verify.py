"""Rechecking what is kept: every byte of an image against the digests that name it.

Spec: image-spec descriptor.md, "Verification"; config.md, "Layer DiffID".
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ocimagic.engine.lineage import title
from ocimagic.errors import Cancelled, OcimagicError
from ocimagic.layers.compress import decompressed
from ocimagic.model.event import LayerPhase, LayerProgress, OnEvent, TransferStarted, ignore
from ocimagic.model.report import Fault, Verified
from ocimagic.spec.digest import Digest
from ocimagic.store.blobs import CHUNK

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store


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
        blobs, diff_ids = image.manifest.layers, image.config.diff_ids
        if len(blobs) != len(diff_ids):
            what = f"its manifest has {len(blobs)} layers, its config {len(diff_ids)}"
            yield Fault(image=title(image), digest=manifest, what=what)
        self._begin(image)
        for blob, diff_id in zip(blobs, diff_ids, strict=False):
            what = self._layer(blob, diff_id)
            if what:
                yield Fault(image=title(image), digest=blob.digest, what=what)

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


def _sentence(err: OcimagicError) -> str:
    return ": ".join(part for part in (err.what, err.why) if part)
