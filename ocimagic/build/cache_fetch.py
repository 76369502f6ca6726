"""One layer of a cache, on its way into the store: verified, and plain when it is here."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

from ocimagic.errors import DigestMismatch, SizeMismatch
from ocimagic.home.disk import storage_errors
from ocimagic.layers.compress import Compression, beginning, decompressed, sniff
from ocimagic.layers.toc import toc_of
from ocimagic.model.event import LayerPhase, LayerProgress
from ocimagic.spec.digest import Digest
from ocimagic.store.images import LayerRecord
from ocimagic.transfer.layer import most_unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocimagic.build.cache_document import KnownLayer
    from ocimagic.build.cache_places import CachePlace
    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.store.store import Store

_EVENT_GAP_S = 0.1
_MAGIC_BYTES = 4


def fetch_layer(
    store: Store,
    place: CachePlace,
    layer: KnownLayer,
    tell: Callable[[LayerProgress], None],
    check: Callable[[], None],
) -> None:
    """Bring a layer into the store as the build would have written it.

    Args:
        store: where to.
        place: where from; has the layer.
        layer: what is said of it.
        tell: hears how far it is.
        check: called before each piece; may raise.

    Raises:
        SizeMismatch, DigestMismatch: it is not what was said, compressed or plain.
        LayerRefused: malformed, hostile, or it unpacks to more than was said.
        OcimagicError: it cannot be read.
    """
    assert layer.blob is not None
    path = store.home.ingest / f"build-{os.getpid()}-{os.urandom(6).hex()}.tar"
    hasher, size = hashlib.sha256(), 0
    head, chunks = beginning(_verified(place, layer.blob, tell, check), _MAGIC_BYTES)
    most = min(layer.tar_bytes, most_unpacked(layer.blob.size))
    try:
        with storage_errors(store.home.data):
            file = path.open("xb")
        with file:

            def plain() -> Iterator[bytes]:
                nonlocal size
                for piece in decompressed(chunks, max_bytes=most):
                    hasher.update(piece)
                    size += len(piece)
                    with storage_errors(store.home.data):
                        file.write(piece)
                    yield piece

            pieces = plain()
            toc = toc_of(pieces)
            for _ in pieces:  # what follows the end of a tar is in its digest, too
                pass
            with storage_errors(store.home.data):
                file.flush()
        actual = Digest.of_hash(hasher)
        if size != layer.tar_bytes:
            raise SizeMismatch(_name(layer), expected=layer.tar_bytes, actual=size)
        if actual != layer.diff_id:
            raise DigestMismatch(_name(layer), expected=layer.diff_id, actual=actual)
        store.blobs.adopt_file(path, layer.diff_id, size)
    finally:
        path.unlink(missing_ok=True)
    unpacked = sum(entry.size for entry in toc)
    store.images.add_layer(LayerRecord(layer.diff_id, layer.diff_id, size, size, unpacked))
    kind = sniff(head)
    if kind is not Compression.NONE:
        # Pushed again, it is what it was.
        store.images.add_packed(layer.diff_id, kind.value, layer.blob.digest, layer.blob.size)
    tell(LayerProgress(layer.blob.digest, LayerPhase.DONE, layer.blob.size, layer.blob.size))


def _verified(
    place: CachePlace,
    blob: Descriptor,
    tell: Callable[[LayerProgress], None],
    check: Callable[[], None],
) -> Iterator[bytes]:
    """Yield the bytes of a blob; it ends only if they are what was said."""
    hasher, done, told = hashlib.new(blob.digest.algorithm), 0, 0.0
    for chunk in place.chunks(blob):
        check()
        done += len(chunk)
        if done > blob.size:
            raise SizeMismatch(f"blob {blob.digest.short}", expected=blob.size, actual=done)
        hasher.update(chunk)
        yield chunk
        if time.monotonic() - told > _EVENT_GAP_S:
            told = time.monotonic()
            tell(LayerProgress(blob.digest, LayerPhase.DOWNLOADING, done, blob.size))
    if done != blob.size:
        raise SizeMismatch(f"blob {blob.digest.short}", expected=blob.size, actual=done)
    actual = Digest.of_hash(hasher)
    if actual != blob.digest:
        raise DigestMismatch(f"blob {blob.digest.short}", expected=blob.digest, actual=actual)


def _name(layer: KnownLayer) -> str:
    assert layer.blob is not None
    return f"layer {layer.blob.digest.short}, uncompressed"
