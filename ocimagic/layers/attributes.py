"""Owners, modes, times and extended attributes of what a layer makes."""

from __future__ import annotations

import enum
import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, LayerRefused
from ocimagic.layers.entrypath import as_bytes, from_bytes
from ocimagic.layers.ownership import Leaves, Ownership, record
from ocimagic.layers.rootdir import OPEN_DIRECTORY, chmod_nofollow
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.layers.rootdir import OpenDirectory, RootDirectory

    Owner = Callable[[os.stat_result], tuple[int, int]]

_OWNERS, _READ_AND_WRITE = 0o700, 0o600
_OUR_XATTRS = ("user.overlay.", "user.ocimagic.")
# setxattr(2): no such attributes here, not ours to set, too large for the file system.
_XATTR_REFUSALS = (errno.ENOTSUP, errno.EPERM, errno.E2BIG, errno.ENOSPC, errno.ERANGE)


class IdPolicy(enum.Enum):
    """Who shall own the files."""

    REAL = enum.auto()  # the owners the layer says
    SINGLE = enum.auto()  # whoever runs this; the toc still says whose they were meant to be
    PLAIN = enum.auto()  # the same, who has no privilege and so keeps the right to read and write
    RECORDED = enum.auto()  # whoever runs this, with a record of whose they were meant to be

    @classmethod
    def here(cls, *, single: bool, recorded: bool = False) -> IdPolicy:
        """Return the policy of this process.

        Args:
            single: it has one id only.
            recorded: who reads the files later knows of records.
        """
        if not single:
            return cls.REAL
        if recorded:
            return cls.RECORDED
        return cls.SINGLE if os.geteuid() == 0 else cls.PLAIN


@dataclass(frozen=True, slots=True)
class Skipped:
    """What of an entry this machine or the house rules left out.

    Attributes:
        path: the entry.
        what: ``device`` or ``xattr NAME``.
        why: the reason, for people.
    """

    path: str
    what: str
    why: str


def owner_outside(told: os.stat_result) -> tuple[int, int]:
    """Return user and group of a file."""
    return told.st_uid, told.st_gid


def owner_inside(told: os.stat_result) -> tuple[int, int]:
    """Return user and group of a file as its container sees them.

    Who runs this without being root, not even of a user namespace, is root in there.
    """
    return (
        0 if told.st_uid == os.geteuid() else told.st_uid,
        0 if told.st_gid == os.getegid() else told.st_gid,
    )


def keeps_xattr(name: str) -> bool:
    """Say whether a layer may set, and a container's layer should keep, this attribute.

    The rest is the host's: overlayfs would obey its own and read other layers.
    """
    if name == "security.capability":
        return True
    return name.startswith("user.") and not name.startswith(_OUR_XATTRS)


@dataclass(slots=True)
class _DirectoryEnd:
    """What a directory shall be when all is in it."""

    path: str  # without symlinks: those of the layer may be gone by then
    mode: int
    mtime_ns: int


class Attributes:
    """Give files what their entries say, and directories when nothing more goes into them.

    Args:
        ids: whether owners are changed.
    """

    def __init__(self, ids: IdPolicy) -> None:
        self.skipped: list[Skipped] = []
        self.records = ids is IdPolicy.RECORDED
        self._leaves: dict[str, tuple[int, Ownership]] = {}  # by path: inode number, owner
        self._chowns = ids is IdPolicy.REAL
        self._kept_mode = _OWNERS if ids is IdPolicy.PLAIN else 0
        # By inode number, since symlinks give a directory several paths.
        self._ends: dict[int, _DirectoryEnd] = {}

    def dress_file(self, fd: int, entry: Entry, path: str) -> None:
        """Dress a file that has all its content."""
        # In this order: chown(2) and write(2) take setuid bits and capabilities away.
        if self._chowns:
            _chown(fd, entry.uid, entry.gid, path)
        elif self.records:
            _record(fd, entry, path)
        os.fchmod(fd, entry.mode | self._kept_mode & _READ_AND_WRITE)
        if entry.xattrs:
            self._set_xattrs(fd, path, entry)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def dress_nofollow(self, parent: OpenDirectory, name: bytes, entry: Entry, path: str) -> None:
        """Dress what cannot be opened: a symlink, a FIFO or a device."""
        if self._chowns:
            _chown(name, entry.uid, entry.gid, path, dir_fd=parent.fd)
        elif self.records:
            place = f"{parent.path}/{from_bytes(name)}" if parent.path else from_bytes(name)
            self._leaves.pop(place, None)
            if entry.uid or entry.gid:
                ino = os.lstat(name, dir_fd=parent.fd).st_ino
                self._leaves[place] = ino, Ownership(entry.uid, entry.gid)
        if entry.kind is not Kind.SYMLINK:
            chmod_nofollow(name, entry.mode, parent.fd)
        self.skipped.extend(
            Skipped(path, f"xattr {key}", "only files and directories keep attributes")
            for key in entry.xattrs
        )
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent.fd, follow_symlinks=False)

    def dress_directory(self, fd: int, entry: Entry, path: str) -> None:
        """Give a directory, new or old, owner and attributes; mode and time in the end.

        Args:
            fd: the directory, open for reading.
            entry: what the layer says of it.
            path: where it really is.
        """
        told = os.fstat(fd)
        if self._chowns:
            _chown(fd, entry.uid, entry.gid, path)
        elif told.st_mode & 0o700 != 0o700:  # its owner needs it open while it is filled
            os.fchmod(fd, stat.S_IMODE(told.st_mode) | 0o700)
        if self.records:
            _record(fd, entry, path)
        for name in os.listxattr(fd):
            if keeps_xattr(name) and name not in entry.xattrs:
                os.removexattr(fd, name)
        self._set_xattrs(fd, path, entry)
        mode = entry.mode | self._kept_mode
        self._ends[told.st_ino] = _DirectoryEnd(path, mode, entry.mtime_ns)

    def dress_implied(self, directory: OpenDirectory, fd: int, mtime_ns: int) -> None:
        """Dress a directory that the layer uses without listing it."""
        if self._chowns:
            _chown(fd, 0, 0, directory.path)
        self._ends[directory.ino] = _DirectoryEnd(directory.path, 0o755, mtime_ns)

    def touch(self, directory: OpenDirectory) -> None:
        """Remember how a lower directory looks, so that changes in it leave no trace."""
        mode = stat.S_IMODE(directory.mode)
        if directory.ino not in self._ends:
            self._ends[directory.ino] = _DirectoryEnd(directory.path, mode, directory.mtime_ns)
        if mode & 0o300 != 0o300 and not self._chowns:
            os.chmod(f"/proc/self/fd/{directory.fd}", mode | 0o700)

    def leaves(self, root: RootDirectory) -> Leaves:
        """Return what is recorded of symlinks and FIFOs; a later entry may have replaced them."""
        found: Leaves = {}
        for path, (ino, owner) in self._leaves.items():
            above, _, name = path.rpartition("/")
            root.close_retired()
            try:
                told = os.lstat(as_bytes(name), dir_fd=root.open(above).fd)
            except OSError as err:
                if err.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                continue
            # A number alone may be another file's by now.
            if told.st_ino == ino and stat.S_IFMT(told.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                found[path] = owner
        return found

    def finish(self, root: RootDirectory) -> None:
        """Set modes and times of directories, now that nothing changes them any more."""
        # The deepest first: a directory may be shut by its own mode.
        ends = sorted(self._ends.items(), key=lambda item: _depth(item[1].path), reverse=True)
        for ino, end in ends:
            root.close_retired()
            _end_directory(root, ino, end)

    def _set_xattrs(self, fd: int, path: str, entry: Entry) -> None:
        for name, value in entry.xattrs.items():
            why = "no layer may set it"
            if keeps_xattr(name):
                try:
                    os.setxattr(fd, as_bytes(name), value)
                except OSError as err:
                    if err.errno not in _XATTR_REFUSALS:
                        raise
                    why = os.strerror(err.errno)
                else:
                    continue
            self.skipped.append(Skipped(path, f"xattr {name}", why))


def _depth(path: str) -> int:
    return path.count("/") + 1 if path else 0


def _end_directory(root: RootDirectory, ino: int, end: _DirectoryEnd) -> None:
    try:
        fd = os.open(b".", OPEN_DIRECTORY, dir_fd=root.open(end.path).fd)
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return  # a later entry took its place
        raise
    try:
        # Another directory may be there now.
        if os.fstat(fd).st_ino == ino:
            os.fchmod(fd, end.mode)
            os.utime(fd, ns=(end.mtime_ns, end.mtime_ns))
    finally:
        os.close(fd)


def _record(fd: int, entry: Entry, path: str) -> None:
    device = str(entry.kind) if entry.kind in (Kind.CHAR, Kind.BLOCK) else ""
    owner = Ownership(entry.uid, entry.gid, device, entry.dev_major, entry.dev_minor)
    try:
        record(fd, owner)
    except OSError as err:
        if err.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
        raise HostLacks(
            "the owners of a layer's files cannot be recorded here",
            why=f"setxattr: {err.strerror}",
            hint="keep the data root on a file system with user attributes, such as ext4 or xfs",
            where=path,
        ) from err


def _chown(file: int | bytes, uid: int, gid: int, path: str, dir_fd: int | None = None) -> None:
    try:
        if isinstance(file, int):
            os.fchown(file, uid, gid)
        else:
            os.chown(file, uid, gid, dir_fd=dir_fd, follow_symlinks=False)
    except OSError as err:
        if err.errno == errno.EINVAL:
            raise LayerRefused(
                path,
                f"its owner {uid}:{gid} has no place in this user namespace, "
                f"which maps {_mapped('uid')} user and {_mapped('gid')} group ids",
            ) from err
        if err.errno == errno.EPERM:
            raise HostLacks(
                f"files of a layer cannot be given to {uid}:{gid}",
                why="this process may not change owners",
                hint="unpack with IdPolicy.SINGLE or inside a user namespace",
                where=path,
            ) from err
        raise


def _mapped(which: str) -> int:
    """Count the ids this user namespace maps."""
    with open(f"/proc/self/{which}_map", encoding="ascii") as lines:
        return sum(int(line.split()[2]) for line in lines)
