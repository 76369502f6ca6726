"""Read the upper directory of an overlay mount as a layer.

Spec: image-spec layer.md, "Representing Changes".
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import LayerRefused, StorageError
from ocimagic.layers.attributes import keeps_xattr, owner_outside
from ocimagic.layers.entrypath import (
    OPAQUE_NAME,
    WHITEOUT_MODE,
    WHITEOUT_PREFIX,
    as_bytes,
    from_bytes,
    locate,
)
from ocimagic.layers.ownership import ROOT, XATTR, Ownership, as_recorded, find_record
from ocimagic.layers.rootdir import OPEN_DIRECTORY
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.toc import TocEntry, toc_entry
from ocimagic.linux.paths import open_beneath

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ocimagic.layers.attributes import Owner
    from ocimagic.layers.ownership import Leaves
    from ocimagic.layers.tarstream import TarWriter

_READ_BYTES = 1 << 20
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIR,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}


def diff_upper(  # noqa: PLR0913  each says another thing that the directory does not tell
    upper_fd: int,
    *,
    userxattr: bool,
    writer: TarWriter,
    clamp_mtime: int | None = None,
    hidden: Collection[str] = (),
    deleted: Iterable[str] = (),
    owner: Owner = owner_outside,
    leaves: Leaves | None = None,
) -> tuple[TocEntry, ...]:
    """Write an upper directory as a layer tar in normal form, and finish the tar.

    A directory's whiteouts come before what is in it; names are sorted bytewise; the root
    has no entry.  Equal directories give equal bytes, on every file system.

    Args:
        upper_fd: the upper directory, open; nothing may write in it meanwhile.
        userxattr: whether the mount had this option.
        writer: takes the entries; its sink is where digests are taken.
        clamp_mtime: seconds since 1970 that no time in the layer is later than.
        hidden: paths to leave out, directories with all that is in them.
        deleted: paths that get a whiteout, which nothing in the directory tells.
        owner: says whose a file is.
        leaves: where owners are recorded, what is recorded of symlinks and FIFOs; a file's
            record wins over ``owner``, and a device's makes a device of the file.

    Raises:
        StorageError: it cannot be read, or only together with its lower directories.
        LayerRefused: it holds a file that no layer can say, such as one called ``.wh.x``.
    """
    walk = _Walk(upper_fd, writer, "user" if userxattr else "trusted", clamp_mtime)
    walk.hidden = hidden
    walk.owner = owner
    walk.leaves = leaves
    for path in deleted:
        parent, _, name = path.rpartition("/")
        walk.deleted.setdefault(parent, set()).add(as_bytes(name))
    try:
        walk.run()
    except OSError as err:
        raise StorageError(
            "a container's changes cannot be read", why=err.strerror, where=walk.path
        ) from err
    writer.finish()
    return tuple(walk.toc)


class _Walk:
    """One pass over an upper directory, a directory at a time."""

    def __init__(
        self, upper_fd: int, writer: TarWriter, namespace: str, clamp_mtime: int | None
    ) -> None:
        self.toc: list[TocEntry] = []
        self.path = ""
        self.hidden: Collection[str] = ()
        self.deleted: dict[str, set[bytes]] = {}
        self.owner: Owner = owner_outside
        self.leaves: Leaves | None = None
        self._upper_fd = upper_fd
        self._writer = writer
        self._overlay = f"{namespace}.overlay."
        self._clamp_mtime = clamp_mtime
        self._linked: dict[tuple[int, int], str] = {}

    def run(self) -> None:
        """Write all entries, each directory before what is in it."""
        # Paths, not descriptors: a tree may be deeper than a process may hold files open.
        pending = [""]
        while pending:
            self.path = pending.pop()
            if self.path in self.hidden:
                continue
            fd = self._open(os.O_PATH | os.O_NOFOLLOW)
            try:
                told = os.fstat(fd)
                kind = _KINDS.get(stat.S_IFMT(told.st_mode))
                if kind is Kind.DIR:
                    pending.extend(reversed(self._put_directory(told)))
                elif kind:  # a socket means nothing without its process
                    self._put_leaf(kind, fd, told)
            finally:
                os.close(fd)

    def _put_directory(self, told: os.stat_result) -> list[str]:
        """Write a directory and its whiteouts; return the other paths in it, sorted."""
        fd = self._open(OPEN_DIRECTORY)
        try:
            xattrs = self._xattrs(fd)
            names = sorted(map(os.fsencode, os.listdir(fd)))
            hidden = {name for name in names if _is_whiteout(name, fd)}
        finally:
            os.close(fd)
        prefix = ""
        if self.path:
            prefix = f"{self.path}/"
            self._put(self._dressed(self._entry(Kind.DIR, told), xattrs))
        if xattrs.get(self._overlay + "opaque") == b"y":
            self._put(Entry(prefix + OPAQUE_NAME, Kind.FILE, WHITEOUT_MODE))
        for name in sorted(hidden | self.deleted.get(self.path, set())):
            whiteout = prefix + WHITEOUT_PREFIX + from_bytes(name)
            self._put(Entry(whiteout, Kind.FILE, WHITEOUT_MODE))
        return [prefix + from_bytes(name) for name in names if name not in hidden]

    def _put_leaf(self, kind: Kind, fd: int, told: os.stat_result) -> None:
        if self.path.rpartition("/")[2].startswith(WHITEOUT_PREFIX):
            raise LayerRefused(self.path, "in a layer this name would delete another file")
        entry = self._entry(kind, told)
        if self.leaves and kind is not Kind.FILE and self.path in self.leaves:
            uid, gid, *_ = self.leaves[self.path]
            entry = entry._replace(uid=uid, gid=gid)
        key = (told.st_dev, told.st_ino)
        if told.st_nlink > 1:
            first = self._linked.setdefault(key, self.path)
            if first != self.path:
                if self.leaves is not None and kind is Kind.FILE:
                    found = find_record(f"/proc/self/fd/{fd}") or ROOT
                    entry = entry._replace(uid=found.uid, gid=found.gid)
                self._put(entry._replace(kind=Kind.HARDLINK, linkname=first))
                return
        if kind is Kind.FILE:
            self._put_file(entry._replace(size=told.st_size))
        elif kind is Kind.SYMLINK:
            self._put(entry._replace(linkname=from_bytes(os.readlink(b"", dir_fd=fd))))
        else:
            major, minor = os.major(told.st_rdev), os.minor(told.st_rdev)
            self._put(entry._replace(dev_major=major, dev_minor=minor))

    def _put_file(self, entry: Entry) -> None:
        fd = self._open(os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            entry = self._dressed(entry, self._xattrs(fd))
            self._put(entry, _content(fd, entry.size))
        finally:
            os.close(fd)

    def _dressed(self, entry: Entry, xattrs: dict[str, bytes]) -> Entry:
        """Return an entry with its attributes, as its record says if there is one."""
        entry = entry._replace(xattrs=_kept(xattrs))
        if self.leaves is None:
            return entry
        return as_recorded(entry, Ownership.of_bytes(xattrs.get(XATTR, b"")))

    def _open(self, flags: int) -> int:
        return open_beneath(self._upper_fd, as_bytes(self.path) or b".", flags)

    def _entry(self, kind: Kind, told: os.stat_result) -> Entry:
        seconds = told.st_mtime_ns // 1_000_000_000
        if self._clamp_mtime is not None:
            seconds = min(seconds, self._clamp_mtime)
        return Entry(
            self.path + ("/" if kind is Kind.DIR else ""),
            kind,
            stat.S_IMODE(told.st_mode),
            *self.owner(told),
            seconds * 1_000_000_000,
        )

    def _xattrs(self, fd: int) -> dict[str, bytes]:
        """Return a file's attributes, refusing what only overlayfs can make sense of."""
        xattrs = {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
        for word in ("redirect", "metacopy"):
            if self._overlay + word in xattrs:
                raise StorageError(
                    "a container's changes cannot be read without its lower layers",
                    why=f"overlayfs wrote {self._overlay}{word}",
                    hint="mount with redirect_dir=off and metacopy=off",
                    where=self.path,
                )
        return xattrs

    def _put(self, entry: Entry, content: Iterable[bytes] = ()) -> None:
        offset = self._writer.add(entry, content)
        self.toc.append(toc_entry(entry._replace(offset=offset), locate(entry.name)))


def _is_whiteout(name: bytes, dir_fd: int) -> bool:
    told = os.lstat(name, dir_fd=dir_fd)
    return stat.S_ISCHR(told.st_mode) and told.st_rdev == 0


def _kept(xattrs: dict[str, bytes]) -> dict[str, bytes]:
    # PAX cuts a record at its first "=": such a name cannot be said in a tar.
    return {name: xattrs[name] for name in xattrs if keeps_xattr(name) and "=" not in name}


def _content(fd: int, size: int) -> Iterator[bytes]:
    """Read a file as long as it was when it was looked at."""
    while size and (piece := os.read(fd, min(size, _READ_BYTES))):
        size -= len(piece)
        yield piece
