"""The directory a layer is applied to: its directories held open, and what is removed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.layers.entrypath import as_bytes, from_bytes
from ocimagic.linux.paths import open_beneath, open_in_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD_OPEN = 64


class OpenDirectory(NamedTuple):
    """A directory held open, and what it was when it was opened.

    Attributes:
        path: where it really is below the root, whatever symlinks the layer's name went through.
    """

    fd: int
    path: str
    ino: int
    mode: int
    mtime_ns: int


class RootDirectory:
    """A root, and the last few of its directories that entries were put in.

    A tar names a directory thousands of times in a row; the kernel resolves it once.  All
    descriptors but ``fd`` itself are closed on exit.

    Args:
        fd: the root, open and the caller's to close.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._held: dict[str, OpenDirectory] = {}
        self._retired: list[int] = []

    def __enter__(self) -> RootDirectory:
        """Hold directories open until exit."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close them."""
        self.forget()
        self.close_retired()

    def open(self, path: str) -> OpenDirectory:
        """Return a directory by its normalised name; symlinks lead where a chroot's would.

        It stays open until ``close_retired`` is called, at least.

        Raises:
            OSError: it is not there, or is no directory.
        """
        held = self._held.get(path)
        if held is not None:
            return held
        flags = os.O_PATH | os.O_DIRECTORY
        try:
            return self._keep(path, path, open_beneath(self.fd, as_bytes(path) or b".", flags))
        except OSError as err:
            if err.errno != errno.ELOOP:
                raise
        fd = open_in_root(self.fd, as_bytes(path), flags)
        try:
            real_path = self._real_path(fd)
        except BaseException:
            os.close(fd)
            raise
        return self._keep(path, real_path, fd)

    def hold(self, path: str, fd: int) -> OpenDirectory:
        """Take over a descriptor of the directory that is at ``path``, without symlinks."""
        return self._keep(path, path, fd)

    def _keep(self, name: str, path: str, fd: int) -> OpenDirectory:
        told = os.fstat(fd)
        held = OpenDirectory(fd, path, told.st_ino, told.st_mode, told.st_mtime_ns)
        before = self._held.pop(name, None)
        if before is None and len(self._held) >= _HELD_OPEN:
            before = self._held.pop(next(iter(self._held)))
        if before is not None:
            self._retired.append(before.fd)
        self._held[name] = held
        return held

    def _real_path(self, fd: int) -> str:
        """Ask the kernel where a directory is below the root."""
        base, here = (os.readlink(b"/proc/self/fd/%d" % each) for each in (self.fd, fd))
        return from_bytes(here.removeprefix(base).lstrip(b"/"))

    def forget(self) -> None:
        """Look every name up again: a directory or symlink on some way was removed.

        The descriptors live on until ``close_retired``, because callers still use them.
        """
        self._retired.extend(held.fd for held in self._held.values())
        self._held.clear()

    def close_retired(self) -> None:
        """Close what nobody can be using any more; call it between entries."""
        while self._retired:
            os.close(self._retired.pop())


def chmod_nofollow(name: bytes, mode: int, dir_fd: int) -> None:
    """Set a file's mode without opening it for reading; a symlink has none and keeps it."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            return
        # fchmod(2) refuses O_PATH; this name leads to the very file that is open.
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def remove(name: bytes, dir_fd: int, spare: Callable[[int, bytes], bool] | None = None) -> bool:
    """Remove a file or tree, except what ``spare`` wants kept; never follow a symlink.

    A directory in which something is kept stays too, and looks as before.

    A directory that cannot be searched is made so first: an ordinary user who unpacks
    read-only directories must be able to remove them again.

    Args:
        name: what to remove.
        dir_fd: the directory it is in.
        spare: is asked with a directory's inode number and a name in it.

    Returns:
        Whether all of it is gone.

    Raises:
        OSError: something in it cannot be removed.
    """
    with contextlib.suppress(IsADirectoryError, PermissionError):
        os.unlink(name, dir_fd=dir_fd)
        return True
    # On a directory unlink(2) says EISDIR, or EPERM on some file systems.
    told = os.lstat(name, dir_fd=dir_fd)
    if not stat.S_ISDIR(told.st_mode):
        os.unlink(name, dir_fd=dir_fd)
        return True
    fd = open_searchable(name, dir_fd)
    try:
        if not empty(fd, spare):
            os.fchmod(fd, stat.S_IMODE(told.st_mode))
            os.utime(fd, ns=(told.st_mtime_ns, told.st_mtime_ns))
            return False
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=dir_fd)
    return True


def empty(fd: int, spare: Callable[[int, bytes], bool] | None = None) -> bool:
    """Remove what a directory holds, except what ``spare`` wants kept.

    A directory to keep loses what is in it by the same rule.

    Args:
        fd: the directory, open for reading.
        spare: as in ``remove``.

    Returns:
        Whether nothing is left in it.
    """
    ino = os.fstat(fd).st_ino
    is_empty = True
    for name in map(os.fsencode, os.listdir(fd)):
        if spare is None or not spare(ino, name):
            is_empty &= remove(name, fd, spare)
            continue
        is_empty = False
        if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
            child = open_searchable(name, fd)
            try:
                empty(child, spare)
            finally:
                os.close(child)
    return is_empty


def open_searchable(name: bytes, dir_fd: int) -> int:
    """Open a directory, first opening it to its owner if it is shut."""
    try:
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd)
    except PermissionError:
        chmod_nofollow(name, 0o700, dir_fd)
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd)
    mode = os.fstat(fd).st_mode
    if mode & 0o700 != 0o700:
        try:
            os.fchmod(fd, stat.S_IMODE(mode) | 0o700)
        except BaseException:
            os.close(fd)
            raise
    return fd
