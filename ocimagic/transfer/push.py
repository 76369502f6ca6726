"""Push: from the store to a registry.

What the registry has is not sent, what another repository there has is taken over; a built
layer, kept as a plain tar, is compressed on its way, and how that turned out is remembered, so
that the next push can ask first.  The manifest comes last.

Spec: distribution-spec, "Push".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from typing import TYPE_CHECKING

from ocimagic.errors import BlobNotFound, Cancelled, OcimagicError, RegistryUnreachable
from ocimagic.home.disk import storage_errors
from ocimagic.layers.compress import Compression, compressed
from ocimagic.model.event import LayerPhase, LayerProgress, OnEvent, TransferStarted, ignore
from ocimagic.registry.upload import Source
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.record import dataclass, replace
from ocimagic.store.blobs import CHUNK
from ocimagic.transfer.pace import Pace
from ocimagic.transfer.together import together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocimagic.registry.client import RegistryClient
    from ocimagic.spec.reference import Reference
    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store

_EVENT_GAP_S = 0.1
_PLAIN = (mediatype.OCI_LAYER, mediatype.DOCKER_LAYER)
PACKED = {
    Compression.GZIP: mediatype.OCI_LAYER_GZIP,
    Compression.ZSTD: mediatype.OCI_LAYER_ZSTD,
}


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push came to.

    Attributes:
        manifest: as it is in the registry.
        raw: its bytes.
        sent_bytes: over the network, config and layers.
        there: how many layers were there already.
        mounted: how many were taken over from another repository.
    """

    manifest: Descriptor
    raw: bytes
    sent_bytes: int
    there: int
    mounted: int


def push(
    store: Store,
    client: RegistryClient,
    image: StoredImage,
    reference: Reference,
    *,
    compression: Compression = Compression.GZIP,
    on_event: OnEvent = ignore,
    cancelled: threading.Event | None = None,
) -> Pushed:
    """Bring an image to a registry under a name, and remember what it is called there.

    Args:
        store: where it is.
        client: the way to the registry.
        image: what to push.
        reference: with the tag it gets; without one, the manifest is there by its digest only,
            and nothing is remembered here.
        compression: of layers that are plain here; others go as they came.
        on_event: is told how far it is.
        cancelled: stops it; what was sent stays with the registry for a while.

    Raises:
        Unauthorized, RateLimited, RegistryError, ImageNotFound: what the registry said.
        BlobNotFound: a layer of the image is not here.
        Cancelled: ``cancelled`` was set.
    """
    stop = cancelled or threading.Event()
    with store.in_use():
        job = _Push(
            store, client.until(stop), image.manifest, reference, compression, on_event, stop
        )
        return job.run(remembered=True)


def push_manifest(
    store: Store,
    client: RegistryClient,
    manifest: Manifest,
    reference: Reference,
    *,
    compression: Compression = Compression.GZIP,
    on_event: OnEvent = ignore,
    cancelled: threading.Event | None = None,
) -> Pushed:
    """Bring what need not be an image to a registry; see ``push``.  Nothing is remembered here."""
    stop = cancelled or threading.Event()
    with store.in_use():
        job = _Push(store, client.until(stop), manifest, reference, compression, on_event, stop)
        return job.run(remembered=False)


class _Push:
    """One push under way."""

    def __init__(
        self,
        store: Store,
        client: RegistryClient,
        manifest: Manifest,
        reference: Reference,
        compression: Compression,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._uploader = client.uploader(reference)
        self._manifest = manifest
        self._reference = reference
        self._compression = compression
        self._on_event = on_event
        self._stop = stop
        self._failed = threading.Event()
        self._lock = threading.Lock()
        self._sent = self._there = self._mounted = 0
        self._neighbours = _neighbours(store, reference)

    def run(self, *, remembered: bool) -> Pushed:
        """Push, and keep the name that it has in the registry if that is wanted."""
        try:
            return self._run(remembered=remembered)
        except RegistryUnreachable:
            self.check_cancelled()
            raise

    def _run(self, *, remembered: bool) -> Pushed:
        manifest = self._manifest
        layers = {each.digest: each for each in manifest.layers if not each.is_foreign}
        sizes = tuple((each.digest, each.size) for each in layers.values())
        self._on_event(TransferStarted(str(self._reference), None, sizes, "pushing"))
        gone = self._push_all(list(layers.values()))
        self._push_config(manifest.config)
        if any(gone[each] != layers[each] for each in layers):
            chosen = [gone.get(each.digest, each) for each in manifest.layers]
            manifest = Manifest.build(manifest.config, chosen, manifest.annotations)
        tag = self._reference.tag
        digest = self._uploader.put_manifest(manifest.raw, manifest.media_type, tag=tag).digest
        if tag is not None and remembered:
            self._remember(manifest, digest)
        described = Descriptor(manifest.media_type, digest, len(manifest.raw))
        return Pushed(described, manifest.raw, self._sent, self._there, self._mounted)

    def check_cancelled(self) -> None:
        """Raise if the caller wants no more of it."""
        if self._stop.is_set():
            raise Cancelled(
                f"push of {self._reference.familiar} stopped",
                hint="layers that have arrived are kept there; the next push goes on from them",
            )

    def _push_all(self, layers: list[Descriptor]) -> dict[Digest, Descriptor]:
        """Push several layers at a time; return each as it is in the registry."""
        done = together(
            self._push_layer, layers, failed=self._failed, stop=self._stop, name="ocimagic-push"
        )
        return {layer.digest: pushed for layer, pushed in zip(layers, done, strict=True)}

    def _push_layer(self, layer: Descriptor) -> Descriptor:
        self.check_cancelled()
        is_plain = layer.media_type in _PLAIN and self._compression is not Compression.NONE
        return self._push_plain(layer) if is_plain else self._push_blob(layer, layer)

    def _push_config(self, config: Descriptor) -> None:
        if not self._uploader.has(config.digest):
            self._send(config, self._source(config, self._store.blobs.path(config.digest)))

    def _push_blob(
        self, shown: Descriptor, blob: Descriptor, path: Path | None = None
    ) -> Descriptor:
        """Bring one blob there unless it is; ``shown`` is what it is called here."""
        if self._uploader.has(blob.digest):
            with self._lock:
                self._there += 1
            self._tell(shown, LayerPhase.EXISTS, blob.size, blob.size)
            return blob
        if path is None and not self._store.blobs.has(blob.digest):
            raise BlobNotFound(
                f"layer {blob.digest.short} of {self._reference.familiar} is not here",
                why="the registry does not have it either",
                hint="pull or build the image again",
            )
        pace = Pace()
        source = self._source(blob, path or self._store.blobs.path(blob.digest), shown, pace)
        phase = LayerPhase.MOUNTED if self._send(blob, source) else LayerPhase.DONE
        self._tell(shown, phase, blob.size, blob.size, pace.overall())
        return blob

    def _send(self, blob: Descriptor, source: Source) -> bool:
        is_mounted = self._uploader.upload(
            blob, source, mount_from=self._neighbours.get(blob.digest, "")
        )
        with self._lock:
            self._mounted += is_mounted
            self._sent += 0 if is_mounted else blob.size
        return is_mounted

    # -- layers that are plain here ------------------------------------------------

    def _push_plain(self, layer: Descriptor) -> Descriptor:
        """Push a layer compressed; ask first whether it is there as it once turned out."""
        kind = self._compression
        known = self._store.images.packed(layer.digest, kind.value)
        if known is not None:
            blob = replace(layer, media_type=PACKED[kind], digest=known[0], size=known[1])
            if self._uploader.has(blob.digest):
                return self._push_blob(layer, blob)
        with self._packed(layer) as (blob, path):
            self._store.images.add_packed(layer.digest, kind.value, blob.digest, blob.size)
            return self._push_blob(layer, blob, path)

    @contextlib.contextmanager
    def _packed(self, layer: Descriptor) -> Iterator[tuple[Descriptor, Path]]:
        """Compress a layer into a file that is there as long as the block runs."""
        ingest = self._store.home.ingest
        path = ingest / f"build-push-{os.getpid()}-{os.urandom(6).hex()}.tar"
        hasher, size = hashlib.sha256(), 0
        try:
            with storage_errors(self._store.home.data), path.open("xb") as out:
                for piece in compressed(self._read(layer), self._compression):
                    hasher.update(piece)
                    size += len(piece)
                    out.write(piece)
            digest = Digest.of_hash(hasher)
            media_type = PACKED[self._compression]
            yield replace(layer, media_type=media_type, digest=digest, size=size), path
        finally:
            path.unlink(missing_ok=True)

    def _read(self, layer: Descriptor) -> Iterator[bytes]:
        done, told = 0, 0.0
        with self._store.blobs.open(layer.digest) as file:
            while chunk := file.read(CHUNK):
                if self._failed.is_set():
                    raise Cancelled("another layer failed")
                self.check_cancelled()
                yield chunk
                done += len(chunk)
                if time.monotonic() - told > _EVENT_GAP_S:
                    told = time.monotonic()
                    self._tell(layer, LayerPhase.COMPRESSING, done, layer.size)

    # -- bytes ---------------------------------------------------------------------

    def _source(
        self,
        blob: Descriptor,
        path: Path,
        shown: Descriptor | None = None,
        pace: Pace | None = None,
    ) -> Source:
        told = [0.0]

        def read(offset: int) -> Iterator[bytes]:
            with path.open("rb") as file:
                file.seek(offset)
                while chunk := file.read(CHUNK):
                    if self._failed.is_set():
                        raise Cancelled("another layer failed")
                    yield chunk

        def on_sent(done: int) -> None:
            if pace is not None:
                pace.reached(done)
            if shown is not None and time.monotonic() - told[0] > _EVENT_GAP_S:
                told[0] = time.monotonic()
                rate = pace.now() if pace else 0.0
                self._tell(shown, LayerPhase.UPLOADING, done, blob.size, rate)

        return Source(read, on_sent)

    def _tell(
        self,
        layer: Descriptor,
        phase: LayerPhase,
        done: int,
        total: int,
        bytes_per_s: float = 0.0,
    ) -> None:
        self._on_event(LayerProgress(layer.digest, phase, done, total, bytes_per_s))

    # -- afterwards ----------------------------------------------------------------

    def _remember(self, manifest: Manifest, digest: Digest) -> None:
        """Keep what the name points at in its registry now, as a pull would."""
        store = self._store
        store.blobs.put(manifest.raw, digest)
        store.sync()
        store.images.add(self._manifest, [(self._reference, digest)])
        store.layout.publish()


def _neighbours(store: Store, reference: Reference) -> dict[Digest, str]:
    """Return which other repositories of the same registry probably have which blobs."""
    found: dict[Digest, str] = {}
    for name in store.images.names():
        there = name.reference
        if there.registry != reference.registry or there.repository == reference.repository:
            continue
        with contextlib.suppress(OcimagicError):  # a damaged image is no help
            image = store.images.load(name.manifest)
            blobs = [each.digest for each in image.manifest.layers]
            kinds = [kind.value for kind in PACKED]
            pairs = [store.images.packed(each, kind) for each in blobs for kind in kinds]
            blobs += [pair[0] for pair in pairs if pair]
            found |= dict.fromkeys(blobs, there.repository)
    return found
