"""Files of containers behind an API: copied in and out, compared, exported, committed.

Spec: Docker Engine API v1.41, ContainerArchive, ContainerChanges, ContainerExport, ImageCommit.
"""

from __future__ import annotations

import os
import stat
import tarfile
from typing import TYPE_CHECKING, BinaryIO, cast

from ocimagic.client.looking import KIND
from ocimagic.client.refusing import untold
from ocimagic.client.streams import Streams
from ocimagic.engine.copying import (
    LocalSource,
    Source,
    absolute,
    local_target,
    plan,
    source_name,
    target_in,
    unpack_here,
)
from ocimagic.engine.pipes import Counted, pieces_of, written
from ocimagic.errors import ArchiveRefused, BadInput, NeighbourError
from ocimagic.model.report import Committed, Copied
from ocimagic.spec.reference import Reference
from ocimagic.wire.read_answers import file_changes, path_info
from ocimagic.wire.read_container import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ocimagic.model.report import FileChange, PathInfo
    from ocimagic.model.request import CommitOptions

_STAT = "X-Docker-Container-Path-Stat"
_MOST_LINKS = 8
_PIECE = 1 << 18
MAX_NAMES = 1000


class Files(Streams):
    """Verbs on files."""

    def copy_from(
        self,
        name: str,
        path: str,
        target: str,
        *,
        follow_link: bool = False,
        archive: bool = False,
    ) -> Copied:
        """Copy a file or directory of a container to the machine, by docker's rules."""
        shown = self.get(name)
        follow = follow_link or path.endswith(("/", "/."))
        found, real = self._real(shown.container_id, path, follow=follow)
        source = Source(source_name(path), found.is_directory)
        directory, rebased = plan(source, local_target(target))
        with self._caller.asked(
            "GET", self.at(shown.container_id, "archive"), kind=KIND, query={"path": real}
        ) as (connection, answer):
            counted = Counted(connection.pieces(answer))
            # podman's tar of what is in a directory has no entry for the directory itself.
            first = "" if real.endswith("/.") else None
            unpack_here(_renamed(counted, rebased, first), directory, owners=archive)
        return Copied(source=f"{shown.name}:{path}", target=target, size_bytes=counted.total)

    def copy_to(self, name: str, source: str, path: str, *, follow_link: bool = False) -> Copied:
        """Copy a file or directory of the machine into a container, by docker's rules."""
        shown = self.get(name)
        container_id = shown.container_id
        local = LocalSource.look(source, follow=follow_link)
        target = target_in(
            shown.name,
            path,
            lambda each, follow: self._real(container_id, each, follow=follow)[0],
        )
        directory, rebased = plan(local.source, target)
        counted = Counted(written(lambda pipe: local.write(rebased, pipe.write)))
        self._put(container_id, directory, counted)
        return Copied(source=source, target=f"{shown.name}:{path}", size_bytes=counted.total)

    def _put(self, container_id: str, directory: str, pieces: Iterable[bytes]) -> None:
        query = {"path": directory, "noOverwriteDirNonDir": "true"}
        self._caller.done(
            "PUT", self.at(container_id, "archive"), kind=KIND, query=query, body=pieces
        )

    def stat(self, name: str, path: str, *, follow_link: bool = False) -> PathInfo:
        """Look at a path in a container."""
        return self._real(name, path, follow=follow_link)[0]

    def _real(self, name: str, path: str, *, follow: bool) -> tuple[PathInfo, str]:
        """Look at a path, and say which one it is after symlinks at its end."""
        ending = "/." if path.endswith("/.") else ""
        where = absolute(path)
        for _ in range(_MOST_LINKS):
            header = self._caller.headers(
                self.at(name, "archive"), kind="path", query={"path": where}
            ).get(_STAT, "")
            if not header:
                raise NeighbourError(f"{self._caller.address.url} does not say what {path} is")
            found = path_info(header)
            if not (follow and stat.S_ISLNK(found.mode)):
                return found, where
            above = os.path.dirname(where.removesuffix("/.").rstrip("/"))
            where = os.path.join(above, found.link_target) + ending
        raise BadInput(f"too many symlinks: {path}")

    def names(self, name: str, path: str, *, limit: int = MAX_NAMES) -> tuple[str, ...]:
        """Refuse: an API gives a directory with all that is in it, or nothing."""
        del limit
        raise untold(f"the names in {name}:{path}", "%container_exec NAME ls")

    def read_archive(
        self, name: str, path: str, out: Callable[[bytes], object], *, follow_link: bool = False
    ) -> int:
        """Give a file or directory of a container as a tar; returns its size."""
        follow = follow_link or path.endswith(("/", "/."))
        _, real = self._real(name, path, follow=follow)
        return self._given(self.at(name, "archive"), {"path": real}, out)

    def write_archive(self, name: str, path: str, stdin: int | bytes) -> int:
        """Unpack a tar into a directory of a container; returns its size."""
        counted = Counted(pieces_of(stdin))
        self._put(name, absolute(path), counted)
        return counted.total

    def diff(self, name: str) -> tuple[FileChange, ...]:
        """Return what changed in a container's files since it was made."""
        return file_changes(self._caller.documents(self.at(name, "changes"), kind=KIND))

    def export(self, name: str, out: Callable[[bytes], object]) -> int:
        """Give all files of a container as a tar; returns its size."""
        return self._given(self.at(name, "export"), {}, out)

    def _given(self, path: str, query: dict[str, str], out: Callable[[bytes], object]) -> int:
        with self._caller.asked("GET", path, kind=KIND, query=query) as (connection, answer):
            counted = Counted(connection.pieces(answer))
            for piece in counted:
                out(piece)
        return counted.total

    def commit(self, name: str, options: CommitOptions) -> Committed:
        """Make an image of a container."""
        reference = Reference.parse(options.reference) if options.reference else None
        query: dict[str, str | list[str]] = {
            "container": name,
            "comment": options.message,
            "author": options.author,
            "pause": "1" if options.pause else "0",
            "changes": list(options.changes),
        }
        if reference is not None:
            query |= {"repo": reference.name, "tag": reference.tag or "latest"}
        made = self._caller.document("POST", "/commit", kind=KIND, query=query, body={})
        image_id = digest(made.text("Id"))
        newest = self._caller.documents(f"/images/{image_id}/history", kind="image")
        return Committed(
            image_id=image_id,
            reference=reference.familiar if reference else "",
            size_bytes=newest[0].number("Size", 0) if newest else 0,
        )


def _renamed(pieces: Iterator[bytes] | Counted, name: str, first: str | None) -> Iterator[bytes]:
    """Write a tar anew whose first entry, and what is below it, has another name.

    Args:
        pieces: of the tar.
        name: the other name.
        first: what the first entry is called; None for as it says.

    Raises:
        ArchiveRefused: it is no tar.
    """
    try:
        with tarfile.open(fileobj=cast("BinaryIO", _Readable(iter(pieces))), mode="r|") as tar:
            for each in tar:
                old = each.name.removeprefix("./").rstrip("/")
                first = old if first is None else first
                each.name = _below(old, first, name)
                if each.islnk():
                    each.linkname = _below(each.linkname.removeprefix("./"), first, name)
                each.pax_headers = {}
                yield each.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
                file = tar.extractfile(each) if each.isreg() else None
                while file is not None and (data := file.read(_PIECE)):
                    yield data
                if each.isreg():
                    yield b"\0" * (-each.size % tarfile.BLOCKSIZE)
    except tarfile.TarError as err:
        raise ArchiveRefused("", f"what the container gave is no tar: {err}") from err
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _below(old: str, first: str, name: str) -> str:
    rest = old if first in ("", ".") else old[len(first) :]
    rest = rest.removeprefix("/")
    return f"{name}/{rest}" if rest not in ("", ".") else name


class _Readable:
    """Pieces as a file that is read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = bytearray()

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer only at the end."""
        while len(self._held) < size and (piece := next(self._pieces, b"")):
            self._held += piece
        found = bytes(self._held[:size])
        del self._held[:size]
        return found
