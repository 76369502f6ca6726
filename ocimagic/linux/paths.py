"""The one door for paths that come from an image or a container.

``path_in_root`` strings are never joined by hand: the kernel resolves them below a directory
descriptor, symlinks and ``..`` included, as if that directory were ``/``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks
from ocimagic.linux import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RETRIES = 128
_DEEP = 32
_LINKS = 40  # as many as the kernel follows
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
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


def make_directories(root_fd: int, path: str, mode: int = 0o755, *, links: bool = True) -> int:
    """Make a directory and its missing parents inside the root; return it opened with O_PATH.

    Args:
        root_fd: a directory.
        path: below it.
        mode: of what is made.
        links: parts of the path may be symlinks; they are followed inside the root, also one
            that leads to nothing yet: the directory is made where it points.

    Raises:
        OSError: a part is there and is no directory, or links go round.
    """
    return _make_directories(root_fd, path, mode, _LINKS if links else 0)


def _make_directories(root_fd: int, path: str, mode: int, links: int) -> int:
    door = open_in_root if links else open_beneath
    parts = [part for part in path.split("/") if part not in ("", ".")]
    there, here = _nearest(root_fd, parts, door)
    for count in range(there, len(parts)):
        part, above = parts[count], "/".join(parts[:count])
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, mode, dir_fd=here)
            if part == "..":
                made = door(root_fd, f"{above}/..", _DIRECTORY)
            else:
                made = open_beneath(here, part, _DIRECTORY)
        except OSError as err:
            if err.errno != errno.ELOOP or not links:
                raise
            # A symlink to nothing; ``..`` and other links on its way are the kernel's work.
            onward = os.path.join("/", above, os.readlink(part, dir_fd=here), *parts[count + 1 :])
            return _make_directories(root_fd, onward, mode, links - 1)
        finally:
            os.close(here)
        here = made
    return here


def _nearest(
    root_fd: int, parts: list[str], door: Callable[[int, str, int], int]
) -> tuple[int, int]:
    """Return how many parts of a path are there, and the directory they lead to."""
    there = len(parts)
    while True:
        try:
            return there, door(root_fd, "/".join(parts[:there]) or ".", _DIRECTORY)
        except FileNotFoundError:
            if not there:
                raise
            there -= 1


def make_file(root_fd: int, path: str, mode: int = 0o644) -> int:
    """Make an empty file and its missing parents inside the root, unless something is there.

    Returns it opened with O_PATH.  Symlinks are followed inside the root, also one that leads
    to nothing yet: the file is made where it points.

    Raises:
        OSError: a parent is no directory, or links go round.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
    for _ in range(_LINKS):
        head, _, tail = path.rstrip("/").rpartition("/")
        parent = make_directories(root_fd, head)
        try:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(tail, flags, mode, dir_fd=parent))
            with contextlib.suppress(FileNotFoundError):
                return open_in_root(root_fd, path, os.O_PATH)
            # A symlink to nothing; ``..`` and other links on its way are the kernel's work.
            path = os.path.join(head, os.readlink(tail, dir_fd=parent))
        finally:
            os.close(parent)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def remove_tree(name: str, dir_fd: int) -> None:
    """Remove a file or a whole tree below ``dir_fd``; symlinks are removed, never followed.

    Deep trees cost neither stack nor descriptors: what lies deeper than ``_DEEP`` is moved up
    first.

    Raises:
        OSError: something in it cannot be removed.
    """
    if _unlink(name, dir_fd):
        return
    with _directory(name, dir_fd) as top:
        while names := _names(top):
            for each in names:
                if not _unlink(each, top):
                    _remove_below(each, top, top, 1)
    os.rmdir(name, dir_fd=dir_fd)


def _remove_below(name: str, dir_fd: int, top: int, depth: int) -> None:
    with _directory(name, dir_fd) as here:
        for each in _names(here):
            if _unlink(each, here):
                continue
            if depth < _DEEP:
                _remove_below(each, here, top, depth + 1)
            else:
                os.rename(each, f".deep-{os.urandom(8).hex()}", src_dir_fd=here, dst_dir_fd=top)
    os.rmdir(name, dir_fd=dir_fd)


def _unlink(name: str, dir_fd: int) -> bool:
    """Remove anything but a directory; return whether it is gone."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except IsADirectoryError:
        return False
    return True


def _names(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return [entry.name for entry in entries]


@contextlib.contextmanager
def _directory(name: str, dir_fd: int) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=dir_fd)
    except PermissionError:
        # A directory that its own owner may not list: an image may have such.
        os.chmod(name, 0o700, dir_fd=dir_fd)
        fd = os.open(name, flags, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)
