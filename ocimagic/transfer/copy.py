"""Copy: from one repository to another, past the store.

Documents are read first and kept as bytes, so every digest stays.  Blobs then pass through
memory a piece at a time: what is there already is not sent, what the same registry has is taken
over there, and whichever of the two connections breaks, the blob goes on where the target has
it.  Manifests come last, what an index names before the index.

Spec: distribution-spec "Pull", "Push", "Pushing Manifests with Subject".
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from typing import TYPE_CHECKING

from ocimagic.errors import (
    Cancelled,
    DigestMismatch,
    ImageNotFound,
    InvalidDocument,
    RegistryUnreachable,
)
from ocimagic.model.event import LayerPhase, LayerProgress, OnEvent, TransferStarted, ignore
from ocimagic.registry.discovery import referrers_tag
from ocimagic.registry.upload import Source
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Index, Manifest, parse_manifest
from ocimagic.spec.record import dataclass, replace
from ocimagic.transfer.together import together

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.registry.client import RegistryClient
    from ocimagic.spec.platform import Platform
    from ocimagic.spec.reference import Reference

_EVENT_GAP_S = 0.1
_MAX_INDEX_DEPTH = 4
_MAX_DOCUMENTS_BYTES = 64 << 20
_DOCUMENTS = frozenset({*mediatype.INDEXES, *mediatype.MANIFESTS})


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy came to.

    Attributes:
        manifest: what the target's tag names now.
        documents: how many manifests and indexes that is.
        blobs: how many configs and layers they name.
        there: how many of those the target had already.
        mounted: how many it took over from another of its repositories.
        sent_bytes: of the others.
    """

    manifest: Descriptor
    documents: int
    blobs: int
    there: int
    mounted: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index on its way; ``digest`` is what it is asked for by."""

    digest: Digest
    content: Manifest | Index

    @property
    def descriptor(self) -> Descriptor:
        """Describe it."""
        return Descriptor(self.content.media_type, self.digest, len(self.content.raw))

    @property
    def blobs(self) -> list[Descriptor]:
        """List what must be there before it: of an index, what it names that is no manifest."""
        if isinstance(self.content, Index):
            # BuildKit's caches are such indexes.
            return [each for each in self.content.manifests if each.media_type not in _DOCUMENTS]
        layers = (each for each in self.content.layers if not each.is_foreign)
        return [self.content.config, *layers]


def copy(
    client: RegistryClient,
    source: Reference,
    target: Reference,
    *,
    platform: Platform | None,
    on_event: OnEvent = ignore,
    cancelled: threading.Event | None = None,
) -> Copied:
    """Bring what one name names in its registry to another name, perhaps in another registry.

    Args:
        client: the way to both.
        source: what to copy.
        target: the tag it gets.
        platform: of an index, the one image to copy; None copies all that it names.
        on_event: is told how far it is.
        cancelled: stops it; what was sent stays with the registry for a while.

    Raises:
        ImageNotFound, Unauthorized, RateLimited, RegistryError: what a registry said.
        PlatformNotFound: the index has no image for the platform.
        ContentError, InvalidDocument: what came is not what it was said to be; the target's
            tag is as before.
        Cancelled: ``cancelled`` was set.
    """
    stop = cancelled or threading.Event()
    with call_off(stop, target):
        courier = Courier(client, source, target, on_event, stop)
        documents = courier.collect(client.until(stop).resolve(source).digest, platform)
        courier.carry(documents, tag=target.tag)
    return courier.copied(documents)


@contextlib.contextmanager
def call_off(stop: threading.Event, target: Reference) -> Iterator[None]:
    """Turn the broken connections of a copy that was called off into that fact.

    Raises:
        Cancelled: the event was set.
    """
    try:
        yield
    except RegistryUnreachable as err:
        if stop.is_set():
            raise _stopped(target) from err
        raise


def _stopped(target: Reference) -> Cancelled:
    return Cancelled(
        f"copy to {target.familiar} stopped",
        hint="blobs that have arrived are kept there; the next copy goes on from them",
    )


class Courier:
    """Brings documents and blobs from one repository to another."""

    def __init__(
        self,
        client: RegistryClient,
        source: Reference,
        target: Reference,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> None:
        self._client = client.until(stop)
        self._source = client.places(source)[-1]  # a mirror may lag behind
        self._target = target
        self._uploader = self._client.uploader(target)
        self._on_event = on_event
        self._stop = stop
        self._failed = threading.Event()
        self._lock = threading.Lock()
        self._sent = self._there = self._mounted = 0

    def collect(self, digest: Digest, platform: Platform | None) -> list[Document]:
        """Read a manifest or index and what it names, each once, what is named first.

        Args:
            digest: where to begin.
            platform: of an index, the one image to follow; None follows all.
        """
        found: dict[Digest, Document] = {}
        self._collect(digest, platform, found, 0)
        return list(found.values())

    def _collect(
        self, digest: Digest, platform: Platform | None, found: dict[Digest, Document], depth: int
    ) -> None:
        if depth > _MAX_INDEX_DEPTH:
            raise InvalidDocument("this image is not valid", why="indexes within indexes")
        fetched = self._client.manifest(self._source.pinned(digest))
        content = parse_manifest(fetched.raw, content_type=fetched.content_type)
        if isinstance(content, Index) and platform is not None:
            self._collect(content.choose(platform).digest, platform, found, depth + 1)
            return
        for entry in content.manifests if isinstance(content, Index) else ():
            if entry.media_type in _DOCUMENTS and entry.digest not in found:
                self._collect(entry.digest, None, found, depth + 1)
        found[digest] = Document(digest, content)
        if sum(len(each.content.raw) for each in found.values()) > _MAX_DOCUMENTS_BYTES:
            raise InvalidDocument(
                f"{self._source.familiar} has too many manifests",
                why=f"together they may have {_MAX_DOCUMENTS_BYTES >> 20} MiB",
            )

    def carry(self, documents: Sequence[Document], *, tag: str | None) -> None:
        """Bring documents there with their blobs; the last one gets the tag."""
        root = documents[-1]
        blobs = _blobs(documents)
        sizes = tuple((each.digest, each.size) for each in blobs.values())
        self._on_event(TransferStarted(str(self._target), root.digest, sizes, "copying"))
        missing = [each for each in documents if not self._is_there(each, root, tag)]
        wanted = _blobs(missing)
        for blob in blobs.values():
            if blob.digest not in wanted:
                self._exists(blob)
        together(
            self._bring,
            list(wanted.values()),
            failed=self._failed,
            stop=self._stop,
            name="ocimagic-copy",
        )
        for document in missing:
            self._put(document, tag if document is root else None)

    def copied(self, documents: Sequence[Document]) -> Copied:
        """Say what it came to."""
        return Copied(
            documents[-1].descriptor,
            len(documents),
            len(_blobs(documents)),
            self._there,
            self._mounted,
            self._sent,
        )

    # -- documents ---------------------------------------------------------------

    def _is_there(self, document: Document, root: Document, tag: str | None) -> bool:
        """Say whether a document needs nothing more; its registry took it with all it names."""
        self._check_stopped()
        wanted = tag if document is root else None
        return self._uploader.has_manifest(document.digest, tag=wanted)

    def _put(self, document: Document, tag: str | None) -> None:
        content = document.content
        put = self._uploader.put_manifest(
            content.raw, content.media_type, tag=tag, digest=document.digest
        )
        if content.subject and not put.knows_subject:
            self._refer(document, content.subject.digest)

    def _refer(self, document: Document, subject: Digest) -> None:
        """Write what refers to a manifest under a tag, for a registry that keeps no such list.

        Spec: distribution-spec "Pushing Manifests with Subject", "Referrers Tag Schema".
        """
        place = replace(self._target, tag=referrers_tag(subject), digest=None)
        known: tuple[Descriptor, ...] = ()
        try:
            fetched = self._client.manifest(place)
        except ImageNotFound:
            pass
        else:
            before = parse_manifest(fetched.raw, content_type=fetched.content_type)
            known = before.manifests if isinstance(before, Index) else ()
        if document.digest in {each.digest for each in known}:
            return
        content = document.content
        entry = replace(
            document.descriptor,
            annotations=content.annotations,
            artifact_type=content.artifact_type,
        )
        index = Index.build([*known, entry], kind=mediatype.OCI_INDEX)
        self._uploader.put_manifest(index.raw, index.media_type, tag=place.tag)

    # -- blobs -------------------------------------------------------------------

    def _bring(self, blob: Descriptor) -> None:
        self._check_stopped()
        if self._uploader.has(blob.digest):
            self._exists(blob)
            return
        told = [0.0]

        def on_sent(done: int) -> None:
            if time.monotonic() - told[0] > _EVENT_GAP_S:
                told[0] = time.monotonic()
                self._tell(blob, LayerPhase.UPLOADING, done)

        relay = _Relay(self._client, self._source, blob, self._failed)
        is_mounted = self._uploader.upload(
            blob, Source(relay.read, on_sent), mount_from=self._mount_from
        )
        with self._lock:
            self._mounted += is_mounted
            self._sent += 0 if is_mounted else blob.size
        self._tell(blob, LayerPhase.MOUNTED if is_mounted else LayerPhase.DONE, blob.size)

    @property
    def _mount_from(self) -> str:
        """Return the repository that the target's registry can take blobs over from, or ""."""
        source, target = self._source, self._target
        is_near = source.registry == target.registry and source.repository != target.repository
        return source.repository if is_near else ""

    def _exists(self, blob: Descriptor) -> None:
        with self._lock:
            self._there += 1
        self._tell(blob, LayerPhase.EXISTS, blob.size)

    def _check_stopped(self) -> None:
        if self._stop.is_set():
            raise _stopped(self._target)

    def _tell(self, blob: Descriptor, phase: LayerPhase, done: int) -> None:
        self._on_event(LayerProgress(blob.digest, phase, done, blob.size))


class _Relay:
    """One blob that is read in one registry while it is written in the other."""

    def __init__(
        self,
        client: RegistryClient,
        source: Reference,
        blob: Descriptor,
        failed: threading.Event,
    ) -> None:
        self._client = client
        self._source = source
        self._blob = blob
        self._failed = failed
        self._hasher = hashlib.new(blob.digest.algorithm)
        self._hashed = 0

    def read(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes from an offset on; once more from where the target has them.

        Raises:
            DigestMismatch: they are not what their descriptor says; the upload is not ended then.
        """
        with self._client.open_blob(self._source, self._blob, offset=offset) as stream:
            at = stream.start_offset
            for chunk in stream.chunks:
                if self._failed.is_set():
                    raise Cancelled("another layer failed")
                piece = chunk[max(0, offset - at) :]
                at += len(chunk)
                self._hash(piece, at)
                if piece:
                    yield piece
        actual = Digest.of_hash(self._hasher)
        if self._hashed == self._blob.size and actual != self._blob.digest:
            raise DigestMismatch(
                f"blob {self._blob.digest.short} of {self._source.familiar}",
                expected=self._blob.digest,
                actual=actual,
                where=self._source.registry,
            )

    def _hash(self, piece: bytes, end: int) -> None:
        """Hash what was not before: the last bytes of a broken upload come twice."""
        news = end - self._hashed
        if news > 0:
            self._hasher.update(piece[-news:] if news < len(piece) else piece)
            self._hashed = end


def _blobs(documents: Sequence[Document]) -> dict[Digest, Descriptor]:
    return {blob.digest: blob for each in documents for blob in each.blobs}
