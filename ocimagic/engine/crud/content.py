"""Content: blobs by digest, and those that clients are writing.

The bytes are in the store, once for all namespaces; a row makes them content of a namespace.  In
``default`` the engine's blobs are content without one.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ocimagic.engine.crud.room import DEFAULT, OutOfRange, Part, Refused, Taken, check_labels
from ocimagic.errors import BadInput, BlobNotFound, OcimagicError
from ocimagic.home.disk import storage_errors
from ocimagic.home.locks import try_locked
from ocimagic.spec.digest import Digest
from ocimagic.store import gc, objects
from ocimagic.store.objects import ObjectExists, missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Blob:
    """What is known of content; times in seconds since 1970."""

    digest: Digest
    size: int
    created: float
    updated: float
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ingest:
    """A blob that is being written.

    Attributes:
        ref: the client's word for it.
        offset: how many bytes are here.
        total: how many there will be, 0 if nobody said.
        expected: its digest, "" if nobody said.
    """

    ref: str
    offset: int
    total: int
    expected: str
    started: float
    updated: float


class Content(Part):
    """The content of all namespaces."""

    # -- what is here ------------------------------------------------------------

    def info(self, namespace: str, text: str) -> Blob:
        """Return what is known of a blob.

        Raises:
            InvalidDigest: that is no digest.
            ObjectNotFound: it is no content of this namespace.
        """
        digest = Digest.parse(text)
        found = self._objects.find(namespace, objects.CONTENT, digest)
        is_visible = found is not None or (namespace == DEFAULT and self._is_engines(digest))
        if not is_visible or not self._store.blobs.has(digest):
            raise missing("content", text)
        return self._blob(digest, found)

    def list(self, namespace: str) -> Iterator[Blob]:
        """Yield all content of a namespace."""
        found = {each.name: each for each in self._objects.list(namespace, objects.CONTENT)}
        names = set(found)
        if namespace == DEFAULT:
            rows = self._store.database.rows("SELECT digest FROM blobs")
            others = {each.name for each in self._objects.everywhere(objects.CONTENT)}
            names |= {str(row[0]) for row in rows} - others
            names |= {str(each) for each in gc.needed_blobs(self._store)}
        for name in sorted(names):
            if self._store.blobs.has(Digest(name)):
                yield self._blob(Digest(name), found.get(name))

    def _blob(self, digest: Digest, found: objects.Object | None) -> Blob:
        told = self._store.blobs.path(digest).stat()
        times = (found.created, found.updated) if found else (told.st_mtime, told.st_mtime)
        return Blob(digest, told.st_size, *times, found.labels if found else {})

    def _is_engines(self, digest: Digest) -> bool:
        """Say whether a blob is the engine's, and not only of other namespaces."""
        others = "SELECT 1 FROM objects WHERE kind = ? AND name = ?"
        if not self._store.database.rows(others, objects.CONTENT, digest):
            return True
        return digest in gc.needed_blobs(self._store)

    def read(self, namespace: str, text: str, offset: int, size: int) -> Iterator[bytes]:
        """Yield a blob's bytes from an offset on; ``size`` 0 or less means all of them.

        Raises:
            OutOfRange: it is not that long.
        """
        blob = self.info(namespace, text)
        if offset < 0 or offset > blob.size:
            raise OutOfRange(f"read past object length {blob.size} bytes")
        left = min(size, blob.size - offset) if size > 0 else blob.size - offset
        with self._store.blobs.open(blob.digest) as file:
            file.seek(offset)
            while left and (chunk := file.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk

    def update(
        self, namespace: str, text: str, labels: Mapping[str, str], paths: Sequence[str]
    ) -> Blob:
        """Change a blob's labels, see ``Part.relabel``."""
        blob = self.info(namespace, text)
        document = {"labels": dict(blob.labels)}
        found = objects.Object(namespace, objects.CONTENT, text, 0.0, 0.0, document)
        changed = self.relabel(found, labels, paths)
        self._objects.put(namespace, objects.CONTENT, blob.digest, changed)
        return self.info(namespace, text)

    def delete(self, namespace: str, text: str) -> None:
        """Take a blob out of a namespace; it goes when no other has it.

        Raises:
            Refused: an image, a container or the build cache of the engine needs it.
        """
        blob = self.info(namespace, text)
        if namespace == DEFAULT and blob.digest in gc.needed_blobs(self._store):
            raise Refused(
                f"content {text} is needed",
                why="an image, a container or the build cache stands on it",
            )
        with contextlib.suppress(objects.ObjectNotFound):
            self._objects.remove(namespace, objects.CONTENT, blob.digest)
        others = {each.name for each in self._objects.everywhere(objects.CONTENT)}
        with self._store.alone() as held:
            needed = held and blob.digest in gc.needed_blobs(self._store)
            if held and not needed and blob.digest not in others:
                self._store.blobs.remove(blob.digest)
        self.tell(namespace, "/content/delete", digest=text)

    # -- what is being written ---------------------------------------------------

    def ingests(self, namespace: str) -> Sequence[Ingest]:
        """Return what is being written in a namespace."""
        found = []
        for each in self._objects.list(namespace, objects.INGEST):
            with contextlib.suppress(objects.ObjectNotFound):
                found.append(self.status(namespace, each.name))
        return found

    def status(self, namespace: str, ref: str) -> Ingest:
        """Return how far a blob has come.

        Raises:
            ObjectNotFound: nobody writes it.
        """
        found = self._objects.get(namespace, objects.INGEST, ref)
        try:
            told = self._path(namespace, ref).stat()
        except FileNotFoundError:  # nobody went on for too long
            raise missing("ingest", ref) from None
        document = found.document
        return Ingest(
            ref,
            told.st_size,
            int(document["total"]),
            str(document["expected"]),
            found.created,
            told.st_mtime,
        )

    def abort(self, namespace: str, ref: str) -> None:
        """Take away what was written of a blob.

        Raises:
            ObjectNotFound: nobody writes it.
        """
        self._objects.remove(namespace, objects.INGEST, ref)
        self._path(namespace, ref).unlink(missing_ok=True)

    @contextlib.contextmanager
    def writer(
        self, namespace: str, ref: str, *, total: int, expected: str, lease: str = ""
    ) -> Iterator[Writer]:
        """Write a blob, or go on with it; one writer at a time.

        Raises:
            ObjectExists: what is expected is here.
            Taken: somebody writes it.
        """
        if not ref:
            raise BadInput("a writer must have a reference")
        if expected:
            with contextlib.suppress(objects.ObjectNotFound):
                self.info(namespace, expected)
                self.keep(namespace, lease, "content", expected)
                raise ObjectExists(f"content {expected}: already exists")
        with try_locked(self._store.home.locks, f"ingest-{_name(namespace, ref)}") as held:
            if not held:
                raise Taken(f"ref {ref} locked", why="somebody writes it")
            before = self._objects.find(namespace, objects.INGEST, ref)
            known = before.document if before else {"total": 0, "expected": ""}
            document = {
                "total": max(0, total) or known["total"],
                "expected": expected or known["expected"],
            }
            self._objects.put(namespace, objects.INGEST, ref, document)
            with (
                storage_errors(self._store.home.data),
                Writer(self, namespace, ref, document, lease) as writer,
            ):
                yield writer

    def _path(self, namespace: str, ref: str) -> Path:
        return self._store.home.ingest / f"object-{_name(namespace, ref)}.part"

    def finish(self, writer: Writer, digest: Digest, labels: Mapping[str, str]) -> None:
        """Make a blob of what was written; ``Writer.commit`` has looked at it."""
        path = self._path(writer.namespace, writer.ref)
        with self._store.in_use():
            if not self._store.blobs.has(digest):
                self._store.blobs.adopt_file(path, digest, writer.offset)
            self._publish(writer.namespace, digest, labels, writer.lease)

    def share(self, writer: Writer, digest: Digest, labels: Mapping[str, str]) -> None:
        """Give a namespace what another one has already: whoever knows its digest may have it."""
        self._publish(writer.namespace, digest, labels, writer.lease)

    def _publish(
        self, namespace: str, digest: Digest, labels: Mapping[str, str], lease: str
    ) -> None:
        document = {"labels": check_labels(labels)}
        if namespace == DEFAULT:  # the engine may have pulled it meanwhile
            self._objects.put(namespace, objects.CONTENT, digest, document)
        else:
            self._objects.add(namespace, objects.CONTENT, digest, document)
        self.keep(namespace, lease, "content", digest)

    def has_elsewhere(self, expected: str) -> int | None:
        """Return the size of a blob that is here for somebody, None if it is not."""
        try:
            return self._store.blobs.size(Digest.parse(expected)) if expected else None
        except BlobNotFound:
            return None


class Writer:
    """A blob that is being written, in a with-block of ``Content.writer``.

    Attributes:
        offset: how many bytes are here.
        total: how many there will be, 0 if nobody said.
        expected: its digest, "" if nobody said.
    """

    def __init__(
        self, content: Content, namespace: str, ref: str, document: Mapping[str, Any], lease: str
    ) -> None:
        self._content = content
        self.namespace = namespace
        self.ref = ref
        self.lease = lease
        self.total = int(document["total"])
        self.expected = str(document["expected"])
        self._file = content._path(namespace, ref).open("a+b")  # noqa: SLF001  its other half
        self._hasher = hashlib.sha256()
        self.offset = 0
        size = content.has_elsewhere(self.expected)
        self._is_shared = size is not None
        if size is not None:
            self.offset = self.total = size
            return
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._hasher.update(chunk)
            self.offset += len(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def digest(self) -> Digest:
        """Return the digest of what is here."""
        return Digest(self.expected) if self._is_shared else Digest.of_hash(self._hasher)

    def restart(self) -> None:
        """Throw away what is here."""
        self._file.truncate(0)
        self._hasher = hashlib.sha256()
        self.offset, self._is_shared = 0, False

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            OutOfRange: more than were said to come.
        """
        if self.total and self.offset + len(data) > self.total:
            raise OutOfRange(f"more than the {self.total} bytes that {self.ref} was to have")
        if self._is_shared:
            raise OutOfRange(f"{self.ref} is whole already")
        self._file.write(data)
        self._file.flush()
        self._hasher.update(data)
        self.offset += len(data)

    def commit(self, size: int, expected: str, labels: Mapping[str, str]) -> Digest:
        """Make a blob of it, if it is what was said.

        Raises:
            Refused: it has another size or digest.
            ObjectExists: this namespace has it.
        """
        size, expected = size or self.total, expected or self.expected
        try:
            if size > 0 and self.offset != size:
                raise Refused(f"unexpected commit size {self.offset}, expected {size}")
            if expected and Digest.parse(expected) != self.digest:
                raise Refused(f"unexpected commit digest {self.digest}, expected {expected}")
            done = self.digest
            if self._is_shared:
                self._content.share(self, done, labels)
            else:
                self._content.finish(self, done, labels)
        finally:
            with contextlib.suppress(OcimagicError):
                self._content.abort(self.namespace, self.ref)
        return done


def _name(namespace: str, ref: str) -> str:
    return hashlib.sha256(f"{namespace}\0{ref}".encode()).hexdigest()[:32]
