"""Blobs: bytes under their digest, whole and verified or not there.

Spec: image-spec image-layout.md, "Blobs".
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, BinaryIO, Self

from ocimagic.errors import BlobNotFound, DigestMismatch, SizeMismatch
from ocimagic.home.disk import storage_errors
from ocimagic.home.locks import locked
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocimagic.home.database import Database
    from ocimagic.home.location import Home

CHUNK = 1 << 20


class BlobStore:
    """The blobs of one data root.

    A blob is trusted when a row vouches for it; a file without a row is verified first.
    """

    def __init__(self, home: Home, database: Database, boot_id: str) -> None:
        self._home = home
        self._database = database
        self._boot_id = boot_id

    def path(self, digest: Digest) -> Path:
        """Return where a blob is or would be."""
        return self._home.data / "blobs" / digest.algorithm / digest.hex

    def has(self, digest: Digest) -> bool:
        """Say whether a blob is here and verified."""
        if self._is_vouched(digest):
            return True
        if not self.path(digest).exists():
            return False
        with locked(self._home.locks, digest.hex):
            return self._is_vouched(digest) or self._adopt(digest)

    def _is_vouched(self, digest: Digest) -> bool:
        rows = self._database.rows("SELECT boot_id FROM blobs WHERE digest = ?", digest)
        trusted = bool(rows) and rows[0][0] in (None, self._boot_id)
        return trusted and self.path(digest).exists()

    def has_held(self, digest: Digest) -> bool:
        """Say what ``has`` says, for a caller inside ``ingest``: it holds the blob's lock."""
        return self._is_vouched(digest) or (self.path(digest).exists() and self._adopt(digest))

    def _adopt(self, digest: Digest) -> bool:
        """Verify a file that nobody vouches for; a wrong one is taken away."""
        hasher = hashlib.new(digest.algorithm)
        size = 0
        with contextlib.suppress(FileNotFoundError), self.path(digest).open("rb") as file:
            while chunk := file.read(CHUNK):
                hasher.update(chunk)
                size += len(chunk)
        if Digest.of_hash(hasher) != digest:
            self.path(digest).unlink(missing_ok=True)
            return False
        self.vouch(digest, size)
        return True

    def size(self, digest: Digest) -> int:
        """Return a blob's size in bytes.

        Raises:
            BlobNotFound: it is not here.
        """
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as err:
            raise _missing(digest) from err

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; close it yourself.

        Raises:
            BlobNotFound: it is not here, or what is here is damaged.
        """
        if not self.has(digest):
            raise _missing(digest)
        return self.path(digest).open("rb")

    def read(self, digest: Digest, *, max_bytes: int) -> bytes:
        """Return a small blob's bytes, verified again.

        Raises:
            BlobNotFound: it is not here.
            DigestMismatch: the file was changed behind our back.
            SizeMismatch: it is longer than ``max_bytes``.
        """
        try:
            with self.path(digest).open("rb") as file:
                content = file.read(max_bytes + 1)
        except FileNotFoundError as err:
            raise _missing(digest) from err
        if len(content) > max_bytes:
            raise SizeMismatch(f"blob {digest.short}", expected=max_bytes, actual=len(content))
        hasher = hashlib.new(digest.algorithm, content)
        if Digest.of_hash(hasher) != digest:
            actual = Digest.of_hash(hasher)
            raise DigestMismatch(f"blob {digest.short}", expected=digest, actual=actual)
        return content

    def put(self, content: bytes, digest: Digest | None = None) -> Digest:
        """Store bytes; a second time does nothing.

        Raises:
            DigestMismatch: they are not what ``digest`` says.
        """
        name = digest or Digest.of(content)
        if not self.has(name):
            with self.ingest(name, len(content)) as writer:
                if not self.has_held(name):
                    writer.restart()
                    writer.write(content)
                    writer.commit()
        return name

    @contextlib.contextmanager
    def ingest(self, digest: Digest, size: int) -> Iterator[BlobWriter]:
        """Write a blob whose name is known; one writer at a time in all processes.

        What was written stays for a later try unless it is proven wrong.  The caller looks
        with ``has_held`` once inside: somebody else may have finished it meanwhile.
        """
        with locked(self._home.locks, digest.hex):
            path = self._part(digest)
            with storage_errors(self._home.data), BlobWriter(self, path, digest, size) as writer:
                yield writer

    def forget_part(self, digest: Digest) -> None:
        """Take away what was written of an unfinished blob: its room is needed."""
        with locked(self._home.locks, digest.hex):
            self._part(digest).unlink(missing_ok=True)

    def _part(self, digest: Digest) -> Path:
        return self._home.ingest / f"{digest.algorithm}-{digest.hex}.part"

    def adopt_file(self, temporary: Path, digest: Digest, size: int) -> None:
        """Move a finished file of this data root under its digest and vouch for it.

        A blob that is here stays: what takes its place would be in the page cache only, while
        images stand on the one that is on the disk.

        Raises:
            DiskFull, StorageError: it cannot be moved.
        """
        target = self.path(digest)
        with (
            locked(self._home.locks, f"adopt-{digest.hex}"),
            storage_errors(self._home.data),
        ):
            if self._is_vouched(digest) and target.stat().st_size == size:
                temporary.unlink()
                return
            target.parent.mkdir(exist_ok=True)
            # Writable by its owner: skopeo rewrites a manifest that is there already in place.
            temporary.chmod(0o644)
            os.replace(temporary, target)
            self.vouch(digest, size)

    def vouch(self, digest: Digest, size: int) -> None:
        """Remember that a blob was verified."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", (digest, size, self._boot_id)
            )

    def remove(self, digest: Digest) -> int:
        """Take a blob away and return the bytes freed."""
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
        try:
            size = self.path(digest).stat().st_size
            self.path(digest).unlink()
        except FileNotFoundError:
            return 0
        return size


class BlobWriter:
    """One unfinished blob on disk, hashed while it is written."""

    def __init__(self, store: BlobStore, path: Path, digest: Digest, size: int) -> None:
        self._store = store
        self._path = path
        self._digest = digest
        self._size = size
        self._file = path.open("a+b")
        self._hasher = hashlib.new(digest.algorithm)
        self.written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            empty = not os.fstat(self._file.fileno()).st_size and not self.written
        if empty:  # somebody else had the blob already
            self.discard()

    def resume(self) -> Iterator[bytes]:
        """Yield what an earlier try left, hashing it; write the rest after it."""
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._hasher.update(chunk)
            self.written += len(chunk)
            yield chunk

    def restart(self) -> None:
        """Throw away what an earlier try left."""
        self._file.truncate(0)
        self._hasher = hashlib.new(self._digest.algorithm)
        self.written = 0

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            SizeMismatch: more than the descriptor says.
        """
        self.written += len(chunk)
        if self.written > self._size:
            self.discard()
            raise SizeMismatch(
                f"blob {self._digest.short}", expected=self._size, actual=self.written
            )
        self._hasher.update(chunk)
        self._file.write(chunk)

    def commit(self) -> None:
        """Check size and digest and give the blob its name.

        Raises:
            SizeMismatch: fewer bytes than the descriptor says.
            DigestMismatch: other bytes.
        """
        self._file.flush()
        if self.written != self._size:
            raise SizeMismatch(
                f"blob {self._digest.short}", expected=self._size, actual=self.written
            )
        actual = Digest.of_hash(self._hasher)
        if actual != self._digest:
            self.discard()
            raise DigestMismatch(f"blob {self._digest.short}", expected=self._digest, actual=actual)
        self._store.adopt_file(self._path, self._digest, self._size)

    def discard(self) -> None:
        """Take the unfinished file away."""
        self._path.unlink(missing_ok=True)


def _missing(digest: Digest) -> BlobNotFound:
    return BlobNotFound(
        f"blob {digest.short} is not in the store",
        why="it was never fetched, or its file was damaged and taken away",
        hint="pull or build the image again",
    )
