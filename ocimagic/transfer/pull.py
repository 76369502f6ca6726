"""Pull: from a registry into the store.

Each layer is downloaded, verified, inflated, verified again and unpacked in one pass, several
layers at a time.

Spec: distribution-spec, "Pulling manifests", "Pulling blobs".
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from ocimagic.errors import (
    Cancelled,
    ContentError,
    DiskFull,
    InvalidDocument,
    NotFound,
    RegistryError,
    RegistryUnreachable,
    SizeMismatch,
)
from ocimagic.model.event import (
    LayerPhase,
    LayerProgress,
    Notice,
    OnEvent,
    TransferStarted,
    ignore,
)
from ocimagic.spec.codec import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.manifest import Index, Manifest, parse_manifest
from ocimagic.spec.platform import Platform, host_platform
from ocimagic.spec.record import dataclass
from ocimagic.store.blobs import CHUNK, BlobWriter
from ocimagic.store.images import StoredImage
from ocimagic.transfer.layer import Layer, chunks_of, layers_of
from ocimagic.transfer.pace import Pace

if TYPE_CHECKING:
    from ocimagic.registry.client import RegistryClient
    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.reference import Reference
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker
    from ocimagic.transfer.unpacking import Unpacking

_AT_ONCE = 3
_TRIES_WITHOUT_PROGRESS = 3
_EVENT_GAP_S = 0.1
_MAX_INDEX_DEPTH = 4
# What another place may do better.
_PLACES_FAULTS = (RegistryError, ContentError, NotFound)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull came to.

    Attributes:
        target: what the name points at in the registry.
        registry: who gave it: its own, or a mirror.
        downloaded_bytes: over the network, layers only.
        up_to_date: name and content were here already.
    """

    image: StoredImage
    target: Digest
    registry: str
    downloaded_bytes: int
    up_to_date: bool


def pull(
    store: Store,
    unpacker: Unpacker,
    client: RegistryClient,
    reference: Reference,
    *,
    platform: Platform | None = None,
    on_event: OnEvent = ignore,
    cancelled: threading.Event | None = None,
) -> Pulled:
    """Bring an image here, ready to run, and publish its name last.

    Raises:
        ImageNotFound, Unauthorized, RateLimited, RegistryError: what the registry said.
        PlatformNotFound: the image is not made for this platform.
        ContentError, InvalidDocument: what came is not what it was said to be; the store is
            as before.
        Cancelled: ``cancelled`` was set.
    """
    stop = cancelled or threading.Event()
    *mirrors, own = client.places(reference)
    with store.in_use():
        for place in (*mirrors, own):
            job = _Pull(store, unpacker, client.until(stop), reference, place, on_event, stop)
            try:
                return job.run(platform or host_platform())
            except _PLACES_FAULTS as err:
                job.check_cancelled()
                if place is own:
                    raise
                on_event(Notice(f"mirror {place.registry} does not help: {err.what}"))
    raise AssertionError("its own place is the last")


class _Pull:
    """One pull under way."""

    def __init__(
        self,
        store: Store,
        unpacker: Unpacker,
        client: RegistryClient,
        reference: Reference,
        place: Reference,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._place = place  # where it is asked for; its name stays what it is
        self._unpacker = unpacker
        self._client = client
        self._reference = reference
        self._on_event = on_event
        self._stop = stop
        self._failed = threading.Event()
        self._lock = threading.Lock()
        self._idle = threading.Condition()
        self._busy = 0
        self._downloaded = 0

    def run(self, platform: Platform) -> Pulled:
        with self._unpacker.starting():
            target = self._client.resolve(self._place).digest
            manifest = self._manifest(target, platform, 0)
            image = self._describe(manifest)
        layers = layers_of(image)
        before = self._store.images.name(self._reference)
        known = before is not None and (before.target, before.manifest) == (target, manifest.digest)
        if known and all(self._unpacker.is_ready(layer) for layer in layers):
            here = self._store.images.load(manifest.digest)
            return Pulled(here, target, self._place.registry, 0, up_to_date=True)
        sizes = tuple((layer.blob.digest, layer.blob.size) for layer in layers)
        self._on_event(TransferStarted(str(self._reference), target, sizes))
        self._fetch_layers(layers)
        self._store.syncing.blobs()
        names = [(self._reference, target)]  # a name by digest alone is kept with its digest
        self._store.images.add(manifest, names)
        self._store.layout.publish()
        self._store.syncing.soon()
        stored = self._store.images.load(manifest.digest)
        return Pulled(stored, target, self._place.registry, self._downloaded, up_to_date=False)

    def check_cancelled(self) -> None:
        """Raise if the caller wants no more of it."""
        if self._stop.is_set():
            raise Cancelled(
                f"pull of {self._reference.familiar} stopped",
                hint="what was fetched is kept; the next pull goes on from there",
            )

    def _manifest(self, digest: Digest, platform: Platform, depth: int) -> Manifest:
        """Fetch a manifest by digest, going through an index to our platform's."""
        if depth > _MAX_INDEX_DEPTH:
            raise InvalidDocument("this image is not valid", why="indexes within indexes")
        document = self._document(digest)
        if isinstance(document, Manifest):
            return document
        chosen = document.choose(platform)
        return self._manifest(chosen.digest, platform, depth + 1)

    def _document(self, digest: Digest) -> Manifest | Index:
        if self._store.blobs.has(digest):
            return parse_manifest(self._store.blobs.read(digest, max_bytes=MAX_MANIFEST_BYTES))
        fetched = self._client.manifest(self._place.pinned(digest))
        document = parse_manifest(fetched.raw, content_type=fetched.content_type)
        self._store.blobs.put(fetched.raw, digest)
        return document

    def _describe(self, manifest: Manifest) -> StoredImage:
        """Fetch the config and check that it is one."""
        descriptor = manifest.config
        manifest.require_image(self._reference.familiar)
        if descriptor.size > MAX_CONFIG_BYTES:
            raise SizeMismatch(
                "the image config", expected=MAX_CONFIG_BYTES, actual=descriptor.size
            )
        if not self._store.blobs.has(descriptor.digest):
            with self._store.blobs.ingest(descriptor.digest, descriptor.size) as writer:
                # Another engine may have fetched it while this one waited for its turn.
                if not self._store.blobs.has_held(descriptor.digest):
                    self._download(descriptor, writer, None, Pace())
        raw = self._store.blobs.read(descriptor.digest, max_bytes=MAX_CONFIG_BYTES)
        return StoredImage(manifest, ImageConfig.parse(raw), (), 0.0)

    def _fetch_layers(self, layers: list[Layer]) -> None:
        """Fetch what is missing, each layer once, several at a time."""
        wanted: dict[Digest, Layer] = {}
        for layer in layers:
            if self._unpacker.is_ready(layer):
                self._tell(layer.blob, LayerPhase.EXISTS, layer.blob.size)
            else:
                wanted.setdefault(layer.blob.digest, layer)
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ocimagic-pull")
        try:
            jobs = [pool.submit(self._fetch_guarded, layer) for layer in wanted.values()]
            wait(jobs)
        except BaseException:  # an interrupt
            self._failed.set()
            raise
        finally:
            # Left only when all its threads are done, whatever was raised where: an interrupt
            # within ``submit`` leaves one that the pool does not know.
            pool.shutdown(cancel_futures=True)
            with self._idle:
                self._idle.wait_for(lambda: not self._busy)
        failures = [err for err in (job.exception() for job in jobs) if err]
        real = [err for err in failures if not isinstance(err, Cancelled)]
        if any(isinstance(err, DiskFull) for err in failures):
            # Parts kept for a later try would leave no room even for a smaller image.
            for digest in wanted:
                self._store.blobs.forget_part(digest)
        if failures:
            raise (real or failures)[0]
        if self._unpacker.launcher is not None:
            # What leans on lower layers could not be unpacked on its way.
            self._unpacker.ensure(layers)

    def _fetch_guarded(self, layer: Layer) -> None:
        with self._idle:
            if self._failed.is_set():
                raise Cancelled("another layer failed")
            self._busy += 1
        try:
            self._fetch(layer)
        except BaseException:
            self._failed.set()
            raise
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def _fetch(self, layer: Layer) -> None:
        blob, pace = layer.blob, Pace()
        with (
            self._store.blobs.ingest(blob.digest, blob.size) as writer,
            self._unpacker.unpacking(layer) as unpacking,
        ):
            if self._store.blobs.has_held(blob.digest):
                with self._store.blobs.open(blob.digest) as file:
                    for chunk in chunks_of(file):
                        unpacking.write(chunk)
            else:
                pace = Pace()  # what was waited for before is no download
                self._download(blob, writer, unpacking, pace)
            self._tell(blob, LayerPhase.EXTRACTING, blob.size, pace.overall())
            unpacking.finish()
        self._tell(blob, LayerPhase.DONE, blob.size, pace.overall())

    def _download(
        self, blob: Descriptor, writer: BlobWriter, unpacking: Unpacking | None, pace: Pace
    ) -> None:
        """Fetch a blob, going on where an earlier try or a broken connection left off."""
        for chunk in writer.resume():
            if unpacking:
                unpacking.write(chunk)
        tries = 0
        while writer.written < blob.size:
            before = writer.written
            try:
                self._download_on(blob, writer, unpacking, pace)
            except RegistryUnreachable:
                self.check_cancelled()
                tries = 0 if writer.written - before >= CHUNK else tries + 1
                if tries >= _TRIES_WITHOUT_PROGRESS:
                    raise
        writer.commit()

    def _download_on(
        self, blob: Descriptor, writer: BlobWriter, unpacking: Unpacking | None, pace: Pace
    ) -> None:
        told = 0.0
        with self._client.open_blob(self._place, blob, offset=writer.written) as stream:
            skip = writer.written - stream.start_offset
            for received in stream.chunks:
                self._count(len(received))
                pace.add(len(received))
                chunk = received[skip:] if skip > 0 else received
                skip = max(0, skip - len(received))
                if not chunk:
                    continue
                writer.write(chunk)
                if unpacking:
                    unpacking.write(chunk)
                    if time.monotonic() - told > _EVENT_GAP_S:
                        told = time.monotonic()
                        self._tell(blob, LayerPhase.DOWNLOADING, writer.written, pace.now())
                if self._failed.is_set() or self._stop.is_set():
                    self.check_cancelled()
                    raise Cancelled("another layer failed")

    def _count(self, size: int) -> None:
        with self._lock:
            self._downloaded += size

    def _tell(
        self, blob: Descriptor, phase: LayerPhase, done: int, bytes_per_s: float = 0.0
    ) -> None:
        self._on_event(LayerProgress(blob.digest, phase, done, blob.size, bytes_per_s))
