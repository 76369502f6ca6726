"""Where a registry keeps what is pushed to it: a directory that is an OCI image layout.

::

    DIR/oci-layout  index.json  blobs/<algorithm>/<hex>   what skopeo and others may read
    DIR/ocimagic/registry.sqlite                          names, and who has which blob: the truth
    DIR/ocimagic/uploads/                                 blobs on their way
    DIR/ocimagic/token.key                                signs tokens, if there are any

A blob is synced and has its name before a row speaks of it, and a row goes before its file
does; so whatever kills the process, what is listed is whole.  ``index.json`` is a view, made
anew whenever a name changes and when the directory is opened.

Spec: image-spec image-layout.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING, BinaryIO, Self

from ocimagic.errors import (
    BlobNotFound,
    DigestMismatch,
    ImageInUse,
    InvalidOption,
    SizeMismatch,
)
from ocimagic.home.disk import storage_errors
from ocimagic.home.location import LAYOUT, sync_directory, write_atomic
from ocimagic.home.locks import try_locked
from ocimagic.registry.catalog import Catalog
from ocimagic.registry.inbox import UPLOAD_AGE_S, Inbox
from ocimagic.registry.signing import KEY_BYTES
from ocimagic.spec import mediatype
from ocimagic.spec.codec import encode
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ocimagic.registry.contents import Contents

REF_NAME = "org.opencontainers.image.ref.name"


class RegistryDirectory:
    """A registry's content on disk; one process at a time has it open.

    Args:
        path: made when it is not there; otherwise empty, or a registry's already.
        upload_age_s: how long an unfinished upload is kept.

    Raises:
        InvalidOption: it holds something else, or another registry has it open.
        StorageError: it cannot be read or written.
    """

    def __init__(self, path: Path, *, upload_age_s: float = UPLOAD_AGE_S) -> None:
        self._path = path
        self._own = path / "ocimagic"
        self._changing = threading.RLock()
        with contextlib.ExitStack() as undo:
            self._prepare(undo)
            self._catalog = Catalog(self._own / "registry.sqlite")
            undo.callback(self._catalog.close)
            self._uploads = Inbox(self._own / "uploads", age_s=upload_age_s)
            self._sweep()
            self._publish()
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the directory go; a second call does nothing."""
        self._undo.close()

    def _prepare(self, undo: contextlib.ExitStack) -> None:
        with storage_errors(self._path):
            is_new = not self._path.exists() or not any(self._path.iterdir())
        if not is_new and not (self._own / "registry.sqlite").exists():
            raise InvalidOption(
                f"{self._path} is not a registry's directory",
                why="there are files in it, and a registry clears away what it does not know",
                hint="name a new or an empty directory",
            )
        with storage_errors(self._path):
            for each in (self._path, self._own):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        if not undo.enter_context(try_locked(self._own, "serving")):
            raise InvalidOption(
                f"{self._path} is served already",
                why="another registry has it open",
                hint="stop that one, or name another directory with --data",
            )
        with storage_errors(self._path):
            write_atomic(self._path / "oci-layout", LAYOUT, mode=0o644)

    def secret(self) -> bytes:
        """Return random bytes that are this registry's alone, made the first time.

        Raises:
            StorageError: they cannot be read or written.
        """
        path = self._own / "token.key"
        with storage_errors(path):
            if not path.exists() or path.stat().st_size != KEY_BYTES:
                write_atomic(path, os.urandom(KEY_BYTES))
            return path.read_bytes()

    # -- looking ---------------------------------------------------------------

    @property
    def uploads(self) -> Inbox:
        """Return the blobs on their way."""
        return self._uploads

    def repositories(self) -> list[str]:
        """List the repositories that have a manifest."""
        rows = self._catalog.rows("SELECT DISTINCT repository FROM manifests")
        return [str(row[0]) for row in rows]

    def tags(self, repository: str) -> dict[str, Digest] | None:
        """Return the tags of a repository; None when there is no such repository."""
        rows = self._catalog.rows("SELECT tag, digest FROM tags WHERE repository = ?", repository)
        found = {str(tag): Digest(digest) for tag, digest in rows}
        return found if found or self._is_known(repository) else None

    def _is_known(self, repository: str) -> bool:
        query = "SELECT 1 FROM {} WHERE repository = ? LIMIT 1"
        tables = ("manifests", "blobs")
        return any(self._catalog.rows(query.format(each), repository) for each in tables)

    def resolve(self, repository: str, tag: str) -> Digest | None:
        """Return what a tag names."""
        query = "SELECT digest FROM tags WHERE repository = ? AND tag = ?"
        rows = self._catalog.rows(query, repository, tag)
        return Digest(rows[0][0]) if rows else None

    def manifest(self, repository: str, digest: Digest) -> tuple[bytes, str] | None:
        """Return the bytes and media type of a manifest or index."""
        query = "SELECT media_type FROM manifests WHERE repository = ? AND digest = ?"
        rows = self._catalog.rows(query, repository, digest)
        if not rows:
            return None
        try:
            return self._file(digest).read_bytes(), str(rows[0][0])
        except FileNotFoundError:  # deleted since
            return None

    def open_blob(self, repository: str, digest: Digest) -> tuple[int, BinaryIO] | None:
        """Open a config or layer."""
        if not self._has_blob(repository, digest):
            return None
        try:
            file = self._file(digest).open("rb")
        except FileNotFoundError:  # deleted since
            return None
        return os.fstat(file.fileno()).st_size, file

    def _has_blob(self, repository: str, digest: Digest) -> bool:
        query = "SELECT 1 FROM blobs WHERE repository = ? AND digest = ?"
        return bool(self._catalog.rows(query, repository, digest))

    def part_bytes(self, repository: str, digest: Digest) -> int | None:
        """Return the size of a blob that a manifest of this repository names, if one does."""
        query = "SELECT size FROM parts WHERE repository = ? AND digest = ? LIMIT 1"
        rows = self._catalog.rows(query, repository, digest)
        return int(str(rows[0][0])) if rows else None

    def referrers(self, repository: str, subject: Digest) -> Sequence[tuple[Descriptor, str]]:
        """Return the manifests about a subject with their artifact types, by digest."""
        rows = self._catalog.rows(
            "SELECT media_type, digest, size, annotations, artifact_type FROM manifests"
            " WHERE repository = ? AND subject = ? ORDER BY digest",
            repository,
            subject,
        )
        return [
            (
                Descriptor(str(kind), Digest(digest), int(str(size)), json.loads(str(annotations))),
                str(artifact_type),
            )
            for kind, digest, size, annotations, artifact_type in rows
        ]

    # -- keeping ---------------------------------------------------------------

    def keep_upload(self, repository: str, name: str, digest: Digest) -> None:
        """Give a finished upload its digest, in this repository.

        Raises:
            DigestMismatch: it is not what ``digest`` says; the upload is taken away.
            DiskFull, StorageError: it cannot be kept.
        """
        upload = self._uploads.find(repository, name)
        actual = upload.digest(digest.algorithm)
        if actual != digest:
            self._uploads.forget(name)
            raise DigestMismatch("the upload", expected=digest, actual=actual)
        upload.sync()
        with self._change() as cursor:
            target = self._file(digest)
            with storage_errors(self._path):
                target.parent.mkdir(exist_ok=True)
                upload.path.chmod(0o644)
                os.replace(upload.path, target)
                sync_directory(target.parent)
            cursor.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (repository, digest))
        self._uploads.forget(name)

    def mount(self, repository: str, digest: Digest, *, origin: str | None) -> bool:
        """Take a blob over from another repository, from any when ``origin`` is None."""
        with self._change() as cursor:
            query = "SELECT 1 FROM blobs WHERE digest = ? AND repository = COALESCE(?, repository)"
            if cursor.execute(query, (digest, origin)).fetchone() is None:
                return False
            cursor.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (repository, digest))
        return True

    def keep_manifest(
        self,
        repository: str,
        raw: bytes,
        contents: Contents,
        *,
        digest: Digest,
        tag: str | None,
        whole: bool = True,
    ) -> None:
        """Keep a manifest and let a tag name it.

        Args:
            repository: where.
            raw: its bytes, which ``digest`` names.
            contents: what is in it.
            digest: its name.
            tag: one more name for it.
            whole: all that it names must be there.

        Raises:
            BlobNotFound, SizeMismatch: something it names is not there, or is not that size.
            DiskFull, StorageError: it cannot be kept.
        """
        with self._changing:
            with self._change() as cursor:
                if whole:
                    self._check_parts(cursor, repository, contents)
                with storage_errors(self._path):
                    self._file(digest).parent.mkdir(exist_ok=True)
                    write_atomic(self._file(digest), raw, mode=0o644)
                _record(cursor, repository, digest, len(raw), contents)
                if tag is not None:
                    row = (repository, tag, digest)
                    cursor.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", row)
            self._publish()

    def keep_tag(self, repository: str, tag: str, digest: Digest) -> None:
        """Let a tag name a manifest that is here."""
        if self.resolve(repository, tag) != digest:
            with self._changing:
                with self._change() as cursor:
                    row = (repository, tag, digest)
                    cursor.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", row)
                self._publish()

    def _check_parts(self, cursor: sqlite3.Cursor, repository: str, contents: Contents) -> None:
        """Refuse a manifest that names what this repository has not."""
        blob = "SELECT 1 FROM blobs WHERE repository = ? AND digest = ?"
        for part in (*contents.blobs, *contents.manifests):
            found = cursor.execute(blob, (repository, part.digest)).fetchone()
            if not found and part in contents.manifests:
                # An index may name blobs as well: BuildKit's caches do.
                other = blob.replace("blobs", "manifests")
                found = cursor.execute(other, (repository, part.digest)).fetchone()
            try:
                size = self._file(part.digest).stat().st_size if found else None
            except FileNotFoundError:
                size = None
            if size is None:
                raise BlobNotFound(f"{repository} has no {part.digest}, which the manifest names")
            if size != part.size:
                raise SizeMismatch(part.digest, expected=part.size, actual=size)

    # -- taking away -----------------------------------------------------------

    def remove_tag(self, repository: str, tag: str) -> bool:
        """Take a tag away; says whether it was there."""
        with self._changing:
            with self._change() as cursor:
                cursor.execute(
                    "DELETE FROM tags WHERE repository = ? AND tag = ?", (repository, tag)
                )
                there = cursor.rowcount > 0
            self._publish()
        return there

    def remove_manifest(self, repository: str, digest: Digest) -> bool:
        """Take a manifest and its tags away; says whether it was there.

        What only it named stays until the directory is opened again: somebody may be about to
        push a manifest that names it, too.
        """
        key = (repository, digest)
        with self._changing:
            with self._change() as cursor:
                cursor.execute("DELETE FROM manifests WHERE repository = ? AND digest = ?", key)
                there = cursor.rowcount > 0
                cursor.execute("DELETE FROM tags WHERE repository = ? AND digest = ?", key)
                cursor.execute("DELETE FROM parts WHERE repository = ? AND manifest = ?", key)
            self._publish()  # before the file goes: a view leads to what is there
            self._unlink_unless_named(digest)
        return there

    def remove_blob(self, repository: str, digest: Digest) -> bool:
        """Take a blob away; says whether it was there.

        Raises:
            ImageInUse: a manifest of this repository names it.
        """
        with self._changing:
            with self._change() as cursor:
                key = (repository, digest)
                named = "SELECT 1 FROM parts WHERE repository = ? AND digest = ?"
                if cursor.execute(named, key).fetchone():
                    raise ImageInUse(
                        f"a manifest of {repository} names {digest}", hint="delete that one first"
                    )
                cursor.execute("DELETE FROM blobs WHERE repository = ? AND digest = ?", key)
                there = cursor.rowcount > 0
            self._unlink_unless_named(digest)
        return there

    def _unlink_unless_named(self, digest: Digest) -> None:
        for table in ("blobs", "manifests"):
            if self._catalog.rows(f"SELECT 1 FROM {table} WHERE digest = ? LIMIT 1", digest):  # noqa: S608
                return
        self._file(digest).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Take away what no manifest names, and files that no row speaks of.

        Now nobody pushes; a kill leaves such a file when it comes between its name and its row.
        """
        with self._change() as cursor:
            cursor.execute(
                "DELETE FROM blobs WHERE NOT EXISTS (SELECT 1 FROM parts WHERE"
                " parts.repository = blobs.repository AND parts.digest = blobs.digest)"
            )
        query = "SELECT digest FROM blobs UNION SELECT digest FROM manifests"
        known = {str(row[0]) for row in self._catalog.rows(query)}
        with storage_errors(self._path):
            for folder in (self._path / "blobs").iterdir():
                for file in folder.iterdir():
                    if f"{folder.name}:{file.name}" not in known:
                        file.unlink()
            for file in (*self._path.glob(".*.*"), *self._own.glob(".*.*")):
                file.unlink()  # half a view, left by a kill

    # -- parts of the above ----------------------------------------------------

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Cursor]:
        with self._changing, self._catalog.transaction() as cursor:
            yield cursor

    def _file(self, digest: Digest) -> Path:
        return self._path / "blobs" / digest.algorithm / digest.hex

    def _publish(self) -> None:
        """Write ``index.json`` anew; not synced, for it can be made again."""
        rows = self._catalog.rows(
            "SELECT DISTINCT media_type, manifests.digest, size,"
            " tags.repository || ':' || tag AS name FROM manifests LEFT JOIN tags"
            " ON tags.repository = manifests.repository AND tags.digest = manifests.digest"
            " ORDER BY name, manifests.digest"
        )
        named = {digest for _, digest, _, name in rows if name}
        entries = [
            Descriptor(
                str(kind), Digest(digest), int(str(size)), {REF_NAME: str(name)} if name else {}
            )
            for kind, digest, size, name in rows
            if name or digest not in named
        ]
        document = {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_INDEX,
            "manifests": [each.to_json() for each in entries],
        }
        with storage_errors(self._path):
            path = self._path / "index.json"
            write_atomic(path, encode(document), durable=False, mode=0o644)


def _record(
    cursor: sqlite3.Cursor, repository: str, digest: Digest, size: int, contents: Contents
) -> None:
    cursor.execute(
        "INSERT OR REPLACE INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            repository,
            digest,
            contents.media_type,
            size,
            contents.subject,
            contents.artifact_type,
            json.dumps(dict(contents.annotations)),
        ),
    )
    cursor.executemany(
        "INSERT OR IGNORE INTO parts VALUES (?, ?, ?, ?)",
        [
            (repository, digest, part.digest, part.size)
            for part in (*contents.blobs, *contents.manifests)
        ],
    )
