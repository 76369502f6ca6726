"""The files of an archive on disk, while nobody knows yet what they are.

What an archive holds is said by a document that may come last, so everything is written into
the ingest directory as it passes, under names of our own, and hashed on its way: compressed
files twice, so that digest and diff_id of a layer are known when its turn comes.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from typing import TYPE_CHECKING, Self

from ocimagic.errors import ArchiveRefused, DigestMismatch, InvalidDigest, LayerRefused
from ocimagic.home.disk import storage_errors
from ocimagic.layers.compress import Compression, beginning, decompressed, sniff
from ocimagic.layers.entrypath import normalise
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarReader
from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass
from ocimagic.transfer.layer import chunks_of, most_unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ocimagic.store.store import Store

COPY_HINT = "get another copy of the archive; nothing of this one was kept"
_MAX_ENTRIES = 20_000
_MAX_LINKS = 8
_MAGIC_BYTES = 4
_BLOBS = "blobs/"


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """One file of an archive.

    Attributes:
        path: where its bytes are until somebody moves them away.
        size: in bytes, as stored.
        digest: of the bytes as stored.
        diff_id: of the bytes uncompressed; None when they cannot be.
        refusal: why not.
    """

    path: Path
    size: int
    digest: Digest
    compression: Compression
    diff_id: Digest | None
    refusal: str = ""

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the bytes of a document.

        Raises:
            ArchiveRefused: it is longer than ``max_bytes``.
        """
        if self.size > max_bytes:
            raise ArchiveRefused(name, f"{self.size} bytes, at most {max_bytes} are read")
        return self.path.read_bytes()


class Spool:
    """What an archive holds, by name; leaving the with-block takes away what nobody moved.

    Args:
        store: gets the files, outside of what anybody sees.
        check: called again and again; may raise.
    """

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check
        self._prefix = f"load-{os.getpid()}-{os.urandom(6).hex()}"
        self._taken = 0
        self._files: dict[str, SpooledFile] = {}
        self._links: dict[str, str] = {}
        self._directory: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(self._taken):
            self._path(number).unlink(missing_ok=True)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read_tar(self, chunks: Iterable[bytes]) -> None:
        """Take all files of an archive, in one pass.

        Args:
            chunks: its plain bytes.

        Raises:
            ArchiveRefused: malformed, truncated or hostile.
            DigestMismatch: a blob is not what its name says.
        """
        reader = TarReader(chunks)
        try:
            for number, entry in enumerate(reader):
                if number >= _MAX_ENTRIES:
                    raise ArchiveRefused("", f"more than {_MAX_ENTRIES} files")
                self._entry(entry, reader)
        except LayerRefused as err:
            raise ArchiveRefused(err.entry, err.reason) from err

    def read_directory(self, directory: Path) -> None:
        """Take all files of an OCI layout that lies in a directory.

        Raises:
            ArchiveRefused: it cannot be read, or holds more than an archive may.
            DigestMismatch: a blob is not what its name says.
        """
        known = [directory / name for name in ("oci-layout", "index.json")]
        try:
            for path in (*known, *sorted(directory.glob("blobs/*/*"))):
                self._check()
                name = path.relative_to(directory).as_posix()
                said = _digest_of_name(name)
                if not path.is_file() or (said is None and path not in known):
                    continue  # others may keep more in a layout than images
                if self._taken >= _MAX_ENTRIES:
                    raise ArchiveRefused("", f"more than {_MAX_ENTRIES} files")
                with path.open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    self._files[name] = self._take_said(said, size, chunks_of(file))
        except OSError as err:
            raise ArchiveRefused(str(err.filename or directory), err.strerror or "") from err

    def look_into(self, directory: Path) -> None:
        """Take a file of an OCI layout in a directory when it is asked for, and no others."""
        self._directory = directory

    def take(
        self, chunks: Iterable[bytes], *, size: int = 0, algorithm: str = "sha256"
    ) -> SpooledFile:
        """Write bytes to a file and learn all about them.

        Args:
            chunks: the bytes.
            size: how many there will be, if that is known: what they may unpack to.
            algorithm: of the digest.
        """
        path = self._path(self._taken)
        self._taken += 1
        with storage_errors(self._store.home.data), path.open("xb") as file:
            passing = _Passing(chunks, file.write, algorithm, self._check)
            head, rest = beginning(passing, _MAGIC_BYTES)
            compression = sniff(head)
            diff_id, refusal = None, ""
            if compression is Compression.NONE and algorithm == "sha256":
                for _ in rest:
                    continue
                diff_id = passing.digest
            else:
                diff_id, refusal = _plain_digest(rest, passing, most_unpacked(size))
        return SpooledFile(path, passing.size, passing.digest, compression, diff_id, refusal)

    def file(self, name: str) -> SpooledFile:
        """Return a file by its name; links within the archive are followed.

        Raises:
            ArchiveRefused: it is not there.
        """
        at = posixpath.normpath(name)
        for _ in range(_MAX_LINKS):
            if at in self._files:
                return self._files[at]
            if self._directory is not None:
                self._files[at] = self._take_from(self._directory, at)
                return self._files[at]
            if at not in self._links:
                break
            at = self._links[at]
        raise ArchiveRefused(name, "it is named in the archive and not there")

    def has_blob(self, digest: Digest) -> bool:
        """Say whether an OCI layout has a blob."""
        try:
            self.blob(digest)
        except ArchiveRefused:
            return False
        return True

    def blob(self, digest: Digest) -> SpooledFile:
        """Return a blob of an OCI layout.

        Raises:
            ArchiveRefused: it is not there.
        """
        return self.file(f"{_BLOBS}{digest.algorithm}/{digest.hex}")

    def _take_from(self, directory: Path, name: str) -> SpooledFile:
        path = directory / name
        try:
            if not path.is_file():
                raise ArchiveRefused(name, f"there is no such file in {directory}")
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                return self._take_said(_digest_of_name(name), size, chunks_of(file))
        except OSError as err:
            raise ArchiveRefused(name, err.strerror or "") from err

    def _path(self, number: int) -> Path:
        return self._store.home.ingest / f"{self._prefix}-{number}"

    def _entry(self, entry: Entry, reader: TarReader) -> None:
        self._check()
        if entry.name.startswith("/"):
            raise ArchiveRefused(entry.name, "its name is absolute")
        name = normalise(entry.name)
        if entry.kind is Kind.DIR:
            return
        if not name or name in self._files or name in self._links:
            raise ArchiveRefused(name, "two files have this name")
        if entry.kind is Kind.SYMLINK:
            self._links[name] = _target(name, entry.linkname)
        elif entry.kind is Kind.FILE:
            self._files[name] = self._take_entry(name, entry.size, reader)
        else:
            raise ArchiveRefused(name, f"it is a {entry.kind.name.lower()}, not a file")

    def _take_entry(self, name: str, size: int, reader: TarReader) -> SpooledFile:
        return self._take_said(_digest_of_name(name), size, map(bytes, reader.content()))

    def _take_said(self, said: Digest | None, size: int, chunks: Iterable[bytes]) -> SpooledFile:
        algorithm = said.algorithm if said else "sha256"
        taken = self.take(chunks, size=size, algorithm=algorithm)
        if said and taken.digest != said:
            raise DigestMismatch(
                f"blob {said.short} of the archive",
                expected=said,
                actual=taken.digest,
                hint=COPY_HINT,
            )
        return taken


class _Passing:
    """Bytes that are written and hashed as they pass.

    Not a generator: a decompressor that gives up closes those it reads from, and the rest of
    the bytes has to be written all the same.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        write: Callable[[bytes], object],
        algorithm: str,
        check: Callable[[], None],
    ) -> None:
        self._chunks = iter(chunks)
        self._write = write
        self._check = check
        self._hasher = hashlib.new(algorithm)
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._check()
        self._write(chunk)
        self._hasher.update(chunk)
        self.size += len(chunk)
        return chunk

    @property
    def digest(self) -> Digest:
        """Name what has passed."""
        return Digest.of_hash(self._hasher)


def _plain_digest(
    chunks: Iterator[bytes], passing: _Passing, max_bytes: int
) -> tuple[Digest | None, str]:
    """Return the digest of what is uncompressed, or why there is none; all bytes have passed."""
    hasher = hashlib.sha256()
    try:
        for piece in decompressed(chunks, max_bytes=max_bytes):
            hasher.update(piece)
    except LayerRefused as err:
        for _ in passing:
            continue
        return None, err.reason
    return Digest.of_hash(hasher), ""


def _digest_of_name(name: str) -> Digest | None:
    """Return what a blob of an OCI layout is said to be, None for any other file."""
    directory, _, digits = name.rpartition("/")
    if directory.startswith(_BLOBS):
        try:
            return Digest.parse(f"{directory.removeprefix(_BLOBS)}:{digits}")
        except InvalidDigest:
            return None
    return None


def _target(name: str, link: str) -> str:
    """Return what a link names: old dockers write a layer once and link to it."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
    if link.startswith("/") or target.split("/")[0] == "..":
        raise ArchiveRefused(name, f"it is a link to {link!r}, out of the archive")
    return target
