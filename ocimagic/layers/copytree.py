"""Copy a directory with all that is in it: owners, modes, times, attributes and hard links.

The root of a container where no file system can be mounted.  What a file system can share
between two files (btrfs, xfs), ``copy_file_range`` shares.
"""

from __future__ import annotations

import errno
import os
import stat

from ocimagic.layers.attributes import keeps_xattr
from ocimagic.layers.rootdir import OPEN_DIRECTORY
from ocimagic.linux.paths import open_beneath

_CHUNK = 1 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_BY_THE_KERNEL = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def copy_tree(source: str, target: str) -> None:
    """Copy what is in one directory into another one, which is empty, and what that is like.

    Args:
        source: nobody may change anything in it meanwhile.
        target: a directory.

    Raises:
        OSError: something cannot be read or made.
    """
    flags = OPEN_DIRECTORY & ~os.O_NOFOLLOW
    from_fd = os.open(source, flags)
    try:
        to_fd = os.open(target, flags)
        try:
            _Copy(from_fd, to_fd).run()
        finally:
            os.close(to_fd)
    finally:
        os.close(from_fd)


def copy_attributes(source: int, target: int) -> None:
    """Give an open file or directory the owner, attributes, mode and times of another."""
    _set(source, target, os.fstat(source), owner=None)


def _set(source: int, target: int, told: os.stat_result, *, owner: tuple[int, int] | None) -> None:
    """Set what is told of the source; ``owner`` is whose the target is already."""
    # A change of owner takes capabilities and set-id bits away: they come after.
    if (told.st_uid, told.st_gid) != owner:
        os.fchown(target, told.st_uid, told.st_gid)
    for name in filter(keeps_xattr, os.listxattr(source)):
        os.setxattr(target, name, os.getxattr(source, name))
    os.fchmod(target, stat.S_IMODE(told.st_mode))
    os.utime(target, ns=(told.st_atime_ns, told.st_mtime_ns))


class _Copy:
    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._linked: dict[tuple[int, int], str] = {}
        self._owner = (os.geteuid(), os.getegid())

    def run(self) -> None:
        """Copy; directories get their owners, modes and times when nothing changes them more."""
        # Paths, not descriptors: a tree may be deeper than a process may hold files open.
        done: list[str] = []
        pending = ["."]
        while pending:
            path = pending.pop()
            done.append(path)
            here = open_beneath(self._source, os.fsencode(path), OPEN_DIRECTORY)
            try:
                there = open_beneath(self._target, os.fsencode(path), OPEN_DIRECTORY)
                try:
                    pending += self._copy_entries(path, here, there)
                finally:
                    os.close(there)
            finally:
                os.close(here)
        for path in reversed(done):
            self._finish(path)

    def _copy_entries(self, path: str, here: int, there: int) -> list[str]:
        """Copy what is in one directory; return the paths of the directories among it."""
        directories = []
        for name in os.listdir(here):
            told = os.lstat(name, dir_fd=here)
            if stat.S_ISDIR(told.st_mode):
                os.mkdir(name, 0o700, dir_fd=there)
                directories.append(f"{path}/{name}")
            elif not (told.st_nlink > 1 and self._link(name, f"{path}/{name}", told, there)):
                self._copy_leaf(name, told, here, there)
        return directories

    def _link(self, name: str, path: str, told: os.stat_result, there: int) -> bool:
        """Link a name to the copy that was made of another one; say whether there was one."""
        first = self._linked.setdefault((told.st_dev, told.st_ino), path)
        if first == path:
            return False
        os.link(first, name, src_dir_fd=self._target, dst_dir_fd=there, follow_symlinks=False)
        return True

    def _copy_leaf(self, name: str, told: os.stat_result, here: int, there: int) -> None:
        if stat.S_ISREG(told.st_mode):
            self._copy_file(name, told, here, there)
            return
        if stat.S_ISLNK(told.st_mode):
            os.symlink(os.readlink(name, dir_fd=here), name, dir_fd=there)
        elif stat.S_ISSOCK(told.st_mode):
            return  # it means nothing without its process
        else:
            os.mknod(name, told.st_mode, told.st_rdev, dir_fd=there)
        if (told.st_uid, told.st_gid) != self._owner:
            os.chown(name, told.st_uid, told.st_gid, dir_fd=there, follow_symlinks=False)
        if not stat.S_ISLNK(told.st_mode):
            os.chmod(name, stat.S_IMODE(told.st_mode), dir_fd=there)
        times = (told.st_atime_ns, told.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=there, follow_symlinks=False)

    def _copy_file(self, name: str, told: os.stat_result, here: int, there: int) -> None:
        source = os.open(name, _READ, dir_fd=here)
        try:
            target = os.open(name, _CREATE, 0o600, dir_fd=there)
            try:
                _copy_content(source, target, told.st_size)
                _set(source, target, told, owner=self._owner)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _finish(self, path: str) -> None:
        source = open_beneath(self._source, os.fsencode(path), OPEN_DIRECTORY)
        try:
            target = open_beneath(self._target, os.fsencode(path), OPEN_DIRECTORY)
            try:
                _set(source, target, os.fstat(source), owner=self._owner)
            finally:
                os.close(target)
        finally:
            os.close(source)


def _copy_content(source: int, target: int, size: int) -> None:
    try:
        while size > 0:
            copied = os.copy_file_range(source, target, size)
            if not copied:
                return
            size -= copied
    except OSError as err:
        if err.errno not in _NOT_BY_THE_KERNEL:
            raise
        while chunk := os.read(source, _CHUNK):
            view = memoryview(chunk)
            while view:
                view = view[os.write(target, view) :]
