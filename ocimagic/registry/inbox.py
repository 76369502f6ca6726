"""Blobs on their way into a registry: files that grow until somebody names their digest.

Spec: distribution-spec "Pushing a blob in chunks".
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState, NotFound
from ocimagic.home.disk import storage_errors
from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPLOAD_AGE_S = 3600.0
_PIECE_BYTES = 1 << 20


@dataclass(slots=True)
class Upload:
    """One blob on its way; used by one request at a time.

    Attributes:
        written: bytes kept so far.
        touched: when it was last used, on the clock of ``time.monotonic``.
    """

    repository: str
    path: Path
    written: int = 0
    touched: float = field(default_factory=time.monotonic)
    _hasher: hashlib._Hash = field(default_factory=hashlib.sha256)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def append(self, piece: bytes) -> None:
        """Keep some more bytes.

        Raises:
            DiskFull, StorageError: they cannot be written.
        """
        # Opened for each piece: an upload that nobody goes on with holds no descriptor.
        with storage_errors(self.path), self.path.open("r+b") as file:
            file.seek(self.written)
            file.write(piece)
        self.written += len(piece)
        self._hasher.update(piece)
        self.touched = time.monotonic()

    def cut(self, written: int) -> None:
        """Take back what was kept after ``written`` bytes."""
        with storage_errors(self.path), self.path.open("r+b") as file:
            file.truncate(written)
            self.written = written
            self._hasher = hashlib.sha256()
            while piece := file.read(_PIECE_BYTES):
                self._hasher.update(piece)

    def digest(self, algorithm: str) -> Digest:
        """Name what was kept so far."""
        if algorithm == "sha256":
            return Digest.of_hash(self._hasher)
        with storage_errors(self.path), self.path.open("rb") as file:
            return Digest.of_hash(hashlib.file_digest(file, algorithm))

    def sync(self) -> None:
        """Wait until its bytes would survive a power cut."""
        with storage_errors(self.path), self.path.open("r+b") as file:
            os.fsync(file.fileno())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other requests out.

        Raises:
            InvalidState: one is at work on it.
        """
        if not self._lock.acquire(blocking=False):
            raise InvalidState("another request writes to this upload")
        try:
            yield
        finally:
            self.touched = time.monotonic()
            self._lock.release()

    @property
    def is_idle(self) -> bool:
        """Say whether no request is at work on it."""
        return not self._lock.locked()


class Inbox:
    """All uploads of one registry; those of an earlier process are taken away.

    Args:
        directory: where their files are.
        age_s: how long one may lie untouched.
    """

    def __init__(self, directory: Path, *, age_s: float = UPLOAD_AGE_S) -> None:
        self._directory = directory
        self._age_s = age_s
        self._lock = threading.Lock()
        self._uploads: dict[str, Upload] = {}
        with storage_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for left in directory.iterdir():
                left.unlink()

    def begin(self, repository: str) -> str:
        """Begin an upload and return its name."""
        self.sweep()
        name = str(uuid.uuid4())
        upload = Upload(repository, self._directory / name)
        with storage_errors(self._directory):
            upload.path.touch(mode=0o600)
        with self._lock:
            self._uploads[name] = upload
        return name

    def find(self, repository: str, name: str) -> Upload:
        """Return an upload.

        Raises:
            NotFound: it ended, was abandoned, or never began in this repository.
        """
        upload = self._uploads.get(name)
        if upload is None or upload.repository != repository:
            raise NotFound(f"no upload {name[:40]} in {repository}", hint="begin a new one")
        return upload

    def forget(self, name: str) -> None:
        """Take an upload away; its file too, if it is still there."""
        with self._lock:
            upload = self._uploads.pop(name, None)
        if upload:
            upload.path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Take away what nobody went on with."""
        now = time.monotonic()
        with self._lock:
            old = [
                name
                for name, upload in self._uploads.items()
                if upload.is_idle and now - upload.touched > self._age_s
            ]
        for name in old:
            self.forget(name)
