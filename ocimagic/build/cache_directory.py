"""Caches in a directory, which is an OCI image layout that others can read too.

It is written by one build at a time, blobs first and ``index.json`` last, each synced before it
has its name; so whatever ends a build, what is named is whole.  Nothing is taken away: whoever
wants that removes the directory.

Spec: image-spec image-layout.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ocimagic.errors import (
    BlobNotFound,
    DigestMismatch,
    ImageNotFound,
    InvalidDocument,
    InvalidOption,
)
from ocimagic.home.location import LAYOUT, sync_directory, write_atomic
from ocimagic.home.locks import locked
from ocimagic.spec import mediatype
from ocimagic.spec.codec import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, encode
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Index, Manifest, parse_manifest
from ocimagic.store.blobs import CHUNK
from ocimagic.store.layout import REF_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.spec.descriptor import Descriptor

_LOCK = "index.json.lock"  # BuildKit's name for it
_UNFINISHED = ".ocimagic-"


class CacheDirectory:
    """Caches by their tags; a ``CachePlace``, and one that can be written.

    Args:
        path: of the directory.
        tag: names the cache in it.
        digest: of its manifest, in place of the tag; "" for none.
    """

    def __init__(self, path: str, tag: str, digest: str = "") -> None:
        self.shown = path
        self._path = Path(path)
        self._tag = tag
        self._digest = digest

    def top(self) -> Manifest | Index:
        """Read what the tag names."""
        if self._digest:
            return self.manifest(Digest.parse(self._digest))
        for entry in self._index().manifests:
            if entry.annotations.get(REF_NAME) == self._tag:
                return self.manifest(entry.digest)
        raise ImageNotFound(f"{self._path} has no cache called {self._tag}")

    def manifest(self, digest: Digest) -> Manifest | Index:
        """Read a manifest."""
        raw = _read(self._blob(digest), MAX_MANIFEST_BYTES)
        _verify(raw, digest)
        return parse_manifest(raw)

    def config(self, blob: Descriptor) -> bytes:
        """Read a config."""
        raw = _read(self._blob(blob.digest), MAX_CONFIG_BYTES)
        _verify(raw, blob.digest)
        return raw

    def chunks(self, blob: Descriptor) -> Iterator[bytes]:
        """Read a blob."""
        with _opened(self._blob(blob.digest)) as file:
            while chunk := _some(file, CHUNK):
                yield chunk

    def _index(self) -> Index:
        found = parse_manifest(_read(self._path / "index.json", MAX_MANIFEST_BYTES))
        if not isinstance(found, Index):
            raise InvalidDocument(f"{self._path}/index.json is no index")
        return found

    def _blob(self, digest: Digest) -> Path:
        return self._path / "blobs" / digest.algorithm / digest.hex

    # -- writing ---------------------------------------------------------------

    def write(self, manifest: Manifest, config: bytes) -> None:
        """Name a cache whose layers are here already.

        Raises:
            InvalidOption: it cannot be written; what was there is still.
        """
        self.put([config])
        self.put([manifest.raw])
        entries = [
            each for each in self._index().manifests if each.annotations.get(REF_NAME) != self._tag
        ]
        named = manifest.descriptor.to_json() | {"annotations": {REF_NAME: self._tag}}
        document = {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_INDEX,
            "manifests": [*(each.to_json() for each in entries), named],
        }
        with _writing(self._path):
            sync_directory(self._path / "blobs" / "sha256")
            write_atomic(self._path / "index.json", encode(document), mode=0o644)

    def has(self, digest: Digest, size: int) -> bool:
        """Say whether a blob is here, to its last byte; whoever reads it looks closer."""
        try:
            return self._blob(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def put(self, chunks: Iterable[bytes]) -> tuple[Digest, int]:
        """Keep a blob and return its digest and size."""
        folder = self._path / "blobs" / "sha256"
        temporary = folder / f"{_UNFINISHED}{os.getpid()}-{os.urandom(6).hex()}"
        hasher, size = hashlib.sha256(), 0
        try:
            with _writing(self._path):
                file = temporary.open("xb")
            with file:
                for chunk in chunks:
                    hasher.update(chunk)
                    size += len(chunk)
                    with _writing(self._path):
                        file.write(chunk)
                with _writing(self._path):
                    file.flush()
                    os.fsync(file.fileno())
            actual = Digest.of_hash(hasher)
            with _writing(self._path):
                temporary.chmod(0o644)
                os.replace(temporary, self._blob(actual))
        finally:
            temporary.unlink(missing_ok=True)
        return actual, size

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make the directory ready, and keep other builds from writing there.

        Raises:
            InvalidOption: it holds something else, or cannot be made.
        """
        with _writing(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            is_layout = (self._path / "oci-layout").exists()
            names = [each.name for each in self._path.iterdir()]
            others = [each for each in names if each != _LOCK and not each.startswith(".")]
        if others and not is_layout:
            raise InvalidOption(
                f"{self._path} is not a directory for caches",
                why="there are other files in it",
                hint="name a new or an empty directory",
            )
        with locked(self._path, _LOCK):
            with _writing(self._path):
                if not is_layout:
                    write_atomic(self._path / "oci-layout", LAYOUT, mode=0o644)
                folder = self._path / "blobs" / "sha256"
                folder.mkdir(parents=True, exist_ok=True)
                for left in folder.glob(f"{_UNFINISHED}*"):
                    left.unlink()  # whoever wrote it was killed
                if not (self._path / "index.json").exists():
                    empty = {"schemaVersion": 2, "manifests": []}
                    write_atomic(self._path / "index.json", encode(empty), mode=0o644)
            yield


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise InvalidOption(
            f"cannot write a cache to {path}", why=err.strerror or str(err)
        ) from err


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file; no pipe keeps anybody waiting.

    Raises:
        BlobNotFound: it is none, or cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    except OSError as err:
        raise _unreadable(path, err) from err
    with os.fdopen(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BlobNotFound(f"cannot read {path}", why="it is no regular file")
        yield file


def _some(file: BinaryIO, count: int) -> bytes:
    try:
        return file.read(count)
    except OSError as err:
        raise _unreadable(Path(str(file.name)), err) from err


def _read(path: Path, most: int) -> bytes:
    """Return a document.

    Raises:
        BlobNotFound: it cannot be read.
        InvalidDocument: longer than one may be.
    """
    with _opened(path) as file:
        raw = b""
        while len(raw) <= most and (piece := _some(file, most + 1 - len(raw))):
            raw += piece
    if len(raw) > most:
        raise InvalidDocument(f"{path} is too long", why=f"limit {most} bytes")
    return raw


def _unreadable(path: Path, err: OSError) -> BlobNotFound:
    return BlobNotFound(f"cannot read {path}", why=err.strerror)


def _verify(raw: bytes, digest: Digest) -> None:
    actual = Digest.of_hash(hashlib.new(digest.algorithm, raw))
    if actual != digest:
        raise DigestMismatch(f"blob {digest.short}", expected=digest, actual=actual)
