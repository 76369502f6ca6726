"""Where copied files go in the image: directories, parents and links on the way.

The tree below is known from tables of contents, so nothing has to be mounted; and every
directory on the way is written with what it already is, so that the layer stands alone.

Source: facts/build.md section 1.2 (COPY).
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from ocimagic.build.tree import kind_word
from ocimagic.layers.tarheader import Entry, Kind

if TYPE_CHECKING:
    from ocimagic.dockerfile.source import SourceRange
    from ocimagic.layers.mergedtree import MergedTree

_MAX_LINKS = 40  # as the kernel


class Placement:
    """The entries that one layer will have, parents first.

    Args:
        below: the image so far.
        source: the instruction, for errors.
        owner: uid and gid of directories that must be made; None is root, and the group of
            a setgid directory above, as the kernel gives it.
        mtime_ns: their time.
    """

    def __init__(
        self,
        below: MergedTree,
        source: SourceRange,
        *,
        owner: tuple[int, int] | None = None,
        mtime_ns: int = 0,
    ) -> None:
        self._below = below
        self._source = source
        self.owner = owner
        self._mtime_ns = mtime_ns
        self._kinds: dict[str, Kind] = {}
        self._setgid: dict[str, int] = {}  # directories of this layer to the group they pass on
        self._pending: list[Entry] = []

    def take(self) -> list[Entry]:
        """Return the entries without content that are to be written now, once."""
        taken, self._pending = self._pending, []
        return taken

    def kind(self, path: str) -> Kind | None:
        """Say what is at a path without following it, this layer's own entries first."""
        if path in self._kinds:
            return self._kinds[path]
        found = self._below.lookup(path, follow=False)
        return found.kind if found else None

    def resolve(self, path: str) -> str:
        """Follow all links of the image on the way to a path, whether or not it exists.

        Raises:
            DockerfileError: links that go round in circles.
        """
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            found = None if here in self._kinds else self._below.lookup(here, follow=False)
            if found is None or found.kind is not Kind.SYMLINK:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise self._source.error(f"too many links on the way to /{path}", at=path)
            if found.linkname.startswith("/"):
                done = []
            todo += [each for each in reversed(found.linkname.split("/")) if each not in ("", ".")]
        return "/".join(done)

    def parents(self, path: str) -> None:
        """Have all directories above a resolved path written."""
        at = path.find("/")
        while at > 0:
            self.directory(path[:at])
            at = path.find("/", at + 1)

    def directory(self, path: str, *, new: Entry | None = None) -> None:
        """Have a resolved directory written as it is, or made.

        Args:
            path: of the directory.
            new: what to make if there is none; otherwise one of mode 0755.

        Raises:
            DockerfileError: something else is there.
        """
        if not path or self._kinds.get(path) is Kind.DIR:
            return
        found = None if path in self._kinds else self._below.lookup(path, follow=False)
        if found is not None and found.kind is Kind.DIR:
            self._put(Entry(path, Kind.DIR, found.mode, found.uid, found.gid, found.mtime_ns))
            return
        if self.kind(path) is not None:
            raise self.not_a_directory(path)
        self._put(new or self._made(path))

    def _made(self, path: str) -> Entry:
        group = self._setgid.get(path.rpartition("/")[0])
        uid, gid = self.owner or (0, group or 0)
        mode = 0o755 if group is None else 0o755 | stat.S_ISGID
        return Entry(path, Kind.DIR, mode, uid, gid, self._mtime_ns)

    def put(self, entry: Entry, *, replace: bool = False) -> None:
        """Have a directory, link or file placed, its parents first.

        A file is not written by ``take``: whoever has its content writes it.

        Args:
            entry: its name is a resolved path.
            replace: directories may take the place of others, and others of directories.

        Raises:
            DockerfileError: what is there is of another kind.
        """
        there = None if replace else self.kind(entry.name)
        if entry.kind is Kind.DIR and there not in (None, Kind.DIR):
            raise self.not_a_directory(entry.name)
        if entry.kind is not Kind.DIR and there is Kind.DIR:
            raise self._source.error(
                f"cannot replace directory /{entry.name} with {kind_word(entry.kind)}",
                why="the image has a directory of that name",
                hint="remove it first with RUN rm -r, or copy to another place",
            )
        self.parents(entry.name)
        if entry.kind is Kind.FILE:
            self._kinds[entry.name] = entry.kind
        else:
            self._put(entry)

    def not_a_directory(self, path: str) -> Exception:
        """Return the error for a directory that cannot be there."""
        kind = self.kind(path)
        return self._source.error(
            f"cannot copy to non-directory: /{path}",
            why=f"the image has {kind_word(kind) if kind else 'something else'} of that name",
            hint="copy to another place"
            + (", or to where the link leads" if kind is Kind.SYMLINK else ""),
        )

    def _put(self, entry: Entry) -> None:
        self._kinds[entry.name] = entry.kind
        self._setgid.pop(entry.name, None)
        if entry.kind is Kind.DIR and entry.mode & stat.S_ISGID:
            self._setgid[entry.name] = entry.gid
        self._pending.append(entry)
