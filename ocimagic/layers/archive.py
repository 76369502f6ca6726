"""Files of a root as a tar: what ``cp`` takes out of a container, and ``export`` all of it.

Every file is opened below a descriptor by the kernel (openat2): in a container that runs,
anything may be exchanged for a symlink at any moment.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.layers.attributes import keeps_xattr, owner_outside
from ocimagic.layers.entrypath import as_bytes, from_bytes
from ocimagic.layers.ownership import as_recorded, find_record
from ocimagic.layers.rootdir import OPEN_DIRECTORY
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.linux import syscalls
from ocimagic.linux.paths import open_beneath, open_in_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.layers.attributes import Owner
    from ocimagic.layers.tarstream import TarWriter

_READ_BYTES = 1 << 20
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIR,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}
# proc, sysfs, cgroup, cgroup2, devpts, mqueue: windows of the kernel, no files.
_WINDOWS = (0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x1CD1, 0x19800202)


class PathStat(NamedTuple):
    """What a path in a root is.

    Attributes:
        name: its last component, as it is really called.
        mode: type and permission bits, as in ``st_mode``.
        linkname: a symlink's text.
    """

    name: str
    size: int
    mode: int
    mtime_ns: int
    linkname: str

    @property
    def is_directory(self) -> bool:
        """Say whether it is a directory."""
        return stat.S_ISDIR(self.mode)


def stat_path(root_fd: int, path: str, *, follow: bool = False) -> PathStat:
    """Look at a path as a process whose ``/`` is ``root_fd`` would.

    Args:
        root_fd: the root, open.
        path: absolute; a slash at its end asks for a directory.
        follow: look at what a symlink at its end leads to.

    Raises:
        OSError: it is not there.
    """
    fd = open_in_root(root_fd, as_bytes(path) or b".", _look(follow=follow))
    try:
        _refuse_window(fd, path)
        told = os.fstat(fd)
        link = from_bytes(os.readlink(b"", dir_fd=fd)) if stat.S_ISLNK(told.st_mode) else ""
        base, here = (os.readlink(b"/proc/self/fd/%d" % each) for each in (root_fd, fd))
        name = from_bytes(here.removeprefix(base).rpartition(b"/")[2])
    finally:
        os.close(fd)
    return PathStat(name, told.st_size, told.st_mode, told.st_mtime_ns, link)


def names_in(root_fd: int, path: str, limit: int) -> list[str]:
    """Return the names in a directory as a process whose ``/`` is ``root_fd`` would see them.

    Args:
        root_fd: the root, open.
        path: absolute.
        limit: at most so many, the first ones of the directory.

    Returns:
        Sorted; those of directories end with a slash.

    Raises:
        OSError: it is no directory, or not there.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    fd = open_in_root(root_fd, as_bytes(path) or b".", flags)
    try:
        _refuse_window(fd, path)
        with os.scandir(fd) as entries:
            return sorted(
                each.name + ("/" if each.is_dir(follow_symlinks=False) else "")
                for each in itertools.islice(entries, limit)
            )
    finally:
        os.close(fd)


def write_tree(
    root_fd: int,
    path: str,
    name: str,
    writer: TarWriter,
    *,
    follow: bool = False,
    owner: Owner = owner_outside,
    recorded: bool = False,
) -> None:
    """Write a file, or a directory with all in it, as a tar, and finish the tar.

    A file that shrinks meanwhile is filled up with zeros, one that goes away is left out.

    Args:
        root_fd: the root, open.
        path: absolute; the last component is not followed unless it ends with a slash.
        name: how the first entry is called; "." for what is in a directory, "" for only that.
        writer: takes the entries.
        follow: write what a symlink at the end leads to.
        owner: says whose a file is.
        recorded: a record of the owner, where a file has one, wins.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    fd = open_in_root(root_fd, as_bytes(path) or b".", _look(follow=follow))
    try:
        _refuse_window(fd, path)
        told = os.fstat(fd)
        if stat.S_ISDIR(told.st_mode):
            _Tree(fd, name, writer, owner, recorded=recorded).run()
        else:
            _Tree(fd, name, writer, owner, recorded=recorded).leaf(fd, "", told)
    finally:
        os.close(fd)
    writer.finish()


def _refuse_window(fd: int, path: str) -> None:
    if syscalls.file_system_magic(fd) in _WINDOWS:
        raise OSError(errno.ENOENT, "it is a window of the kernel, not a file", path)


def _look(*, follow: bool) -> int:
    return os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW


class _Tree:
    """One pass over a directory."""

    def __init__(
        self, base_fd: int, name: str, writer: TarWriter, owner: Owner, *, recorded: bool
    ) -> None:
        self._base = base_fd
        self._recorded = recorded
        self._owner = owner
        self._name = name
        self._writer = writer
        self._linked: dict[tuple[int, int], str] = {}

    def run(self) -> None:
        """Write all entries, each directory before what is in it."""
        # Paths, not descriptors: a tree may be deeper than a process may hold files open.
        pending = [""]
        while pending:
            path = pending.pop()
            try:
                pending.extend(reversed(self._write(path)))
            except OSError as err:
                if not path or err.errno not in _GONE:
                    raise

    def _write(self, path: str) -> list[str]:
        """Write what is at a path; of a directory return the paths in it, sorted."""
        fd = self._open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            told = os.fstat(fd)
            if stat.S_ISDIR(told.st_mode):
                return self._directory(fd, path, told)
            self.leaf(fd, path, told)
        finally:
            os.close(fd)
        return []

    def _directory(self, fd: int, path: str, told: os.stat_result) -> list[str]:
        if syscalls.file_system_magic(fd) in _WINDOWS:
            self._writer.add(self._entry(path, Kind.DIR, told))
            return []
        reader = os.open(b".", OPEN_DIRECTORY, dir_fd=fd)
        try:
            entry = self._dressed(self._entry(path, Kind.DIR, told), reader)
            names = sorted(map(os.fsencode, os.listdir(reader)))
        finally:
            os.close(reader)
        if entry.name != "/":
            self._writer.add(entry)
        return [f"{path}/{from_bytes(name)}" if path else from_bytes(name) for name in names]

    def leaf(self, fd: int, path: str, told: os.stat_result) -> None:
        """Write what is no directory."""
        kind = _KINDS.get(stat.S_IFMT(told.st_mode))
        if kind is None:  # a socket means nothing without its process
            return
        entry = self._entry(path, kind, told)
        if told.st_nlink > 1:
            first = self._linked.setdefault((told.st_dev, told.st_ino), entry.name)
            if first != entry.name:
                self._writer.add(entry._replace(kind=Kind.HARDLINK, linkname=first))
                return
        if kind is Kind.FILE:
            self._file(fd, entry)
        elif kind is Kind.SYMLINK:
            link = from_bytes(os.readlink(b"", dir_fd=fd))
            self._writer.add(entry._replace(linkname=link))
        else:
            major, minor = os.major(told.st_rdev), os.minor(told.st_rdev)
            self._writer.add(entry._replace(dev_major=major, dev_minor=minor))

    def _file(self, fd: int, entry: Entry) -> None:
        # The very file that was looked at, whatever its path leads to by now.
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            entry = self._dressed(entry._replace(size=os.fstat(reader).st_size), reader)
            self._writer.add(entry, _content(reader, entry.size))
        finally:
            os.close(reader)

    def _dressed(self, entry: Entry, fd: int) -> Entry:
        entry = entry._replace(xattrs=_xattrs(fd))
        return as_recorded(entry, find_record(fd)) if self._recorded else entry

    def _open(self, path: str, flags: int) -> int:
        return open_beneath(self._base, as_bytes(path) or b".", flags)

    def _entry(self, path: str, kind: Kind, told: os.stat_result) -> Entry:
        name = "/".join(filter(None, (self._name, path)))
        return Entry(
            name + ("/" if kind is Kind.DIR else ""),
            kind,
            stat.S_IMODE(told.st_mode),
            *self._owner(told),
            told.st_mtime_ns,
        )


def _xattrs(fd: int) -> dict[str, bytes]:
    # PAX cuts a record at its first "=": such a name cannot be said in a tar.
    names = [name for name in os.listxattr(fd) if keeps_xattr(name) and "=" not in name]
    return {name: os.getxattr(fd, name) for name in names}


def _content(fd: int, size: int) -> Iterator[bytes]:
    """Read exactly as much as was promised."""
    while size:
        piece = os.read(fd, min(size, _READ_BYTES)) or bytes(min(size, _READ_BYTES))
        size -= len(piece)
        yield piece
