"""The one door for paths that come from an image or a container.

``path_in_root`` strings are never joined by hand: the kernel resolves them below a directory
descriptor, symlinks and ``..`` included, as if that directory were ``/``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks
from ocimagic.linux import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

_RETRIES = 128
_FOLLOW = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_NO_LINKS = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS


def open_in_root(root_fd: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open ``path`` as a process whose ``/`` is ``root_fd`` would; close it yourself.

    Raises:
        OSError: as open(2); ELOOP for a link out of procfs.
        HostLacks: a kernel before 5.6.
    """
    return _resolve(root_fd, path, flags, mode, _FOLLOW)


def open_beneath(dir_fd: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open ``path`` below ``dir_fd`` with no symlink anywhere on the way; close it yourself.

    Raises:
        OSError: ELOOP for a symlink, EXDEV for ``..`` that leaves or an absolute path.
        HostLacks: a kernel before 5.6.
    """
    return _resolve(dir_fd, path, flags, mode, _NO_LINKS)


def _resolve(dir_fd: int, path: str | bytes, flags: int, mode: int, resolve: int) -> int:
    for _ in range(_RETRIES):
        try:
            return syscalls.openat2(dir_fd, path, flags, mode, resolve)
        except OSError as err:
            # EAGAIN: something on the way was renamed meanwhile, the kernel could not be sure.
            if err.errno == errno.EAGAIN:
                continue
            if err.errno == errno.ENOSYS:
                raise HostLacks(
                    "this kernel is too old to open an image's files safely",
                    why="openat2(2) is missing (Linux 5.6)",
                ) from err
            raise OSError(err.errno, err.strerror, os.fsdecode(path)) from err
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), os.fsdecode(path))


def make_directories(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Make a directory and its missing parents inside the root; return it opened with O_PATH.

    Existing parents may be symlinks; they are followed inside the root.

    Raises:
        OSError: a component is there and is no directory.
    """
    flags = os.O_PATH | os.O_DIRECTORY
    parts = [part for part in path.split("/") if part not in ("", ".")]
    try:
        return open_in_root(root_fd, "/".join(parts) or ".", flags)
    except FileNotFoundError:
        if not parts:
            raise
    parent = make_directories(root_fd, "/".join(parts[:-1]), mode)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(parts[-1], mode, dir_fd=parent)
        return open_in_root(root_fd, "/".join(parts), flags)
    finally:
        os.close(parent)


def remove_tree(name: str, dir_fd: int) -> None:
    """Remove a file or a whole tree below ``dir_fd``; symlinks are removed, never followed.

    Raises:
        OSError: something in it cannot be removed.
    """
    try:
        os.unlink(name, dir_fd=dir_fd)
    except IsADirectoryError:
        pass
    except PermissionError:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=dir_fd).st_mode):
            raise
    else:
        return
    child = os.open(
        name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd
    )
    try:
        with os.scandir(child) as entries:
            names = [entry.name for entry in entries]
        for each in names:
            remove_tree(each, child)
    finally:
        os.close(child)
    os.rmdir(name, dir_fd=dir_fd)


def parents(path: str) -> Iterator[str]:
    """Yield the parents of a relative path, the highest first, without the root."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count])
