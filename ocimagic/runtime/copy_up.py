"""Filling a tmpfs with what it covers: the mount option ``tmpcopyup``.

Spec: runtime-spec config.md, "Linux mount options".
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from ocimagic.linux.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)

_CHUNK = 1 << 20
_DEEPEST = 200
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_up(source: int, target: int) -> None:
    """Copy all that is in a directory into an empty one: kinds, modes, owners, times, marks.

    Symlinks are copied and never followed, a file with several names becomes several files,
    and what is mounted below the source stays empty.

    Args:
        source: a directory, with O_PATH at least; so is ``target``.
        target: on the tmpfs.

    Raises:
        OSError: it does not fit, or cannot be read.
    """
    here, there = (os.open(".", _DIRECTORY, dir_fd=fd) for fd in (source, target))
    try:
        _copy_directory(here, there, 1)
    finally:
        os.close(here)
        os.close(there)


def _copy_directory(here: int, there: int, depth: int) -> None:
    if depth > _DEEPEST:
        raise OSError(errno.ENAMETOOLONG, f"directories deeper than {_DEEPEST} are not copied up")
    marks = os.fstat(here)
    with os.scandir(here) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        found = os.stat(name, dir_fd=here, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            _copy_below(name, here, there, depth)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(name, here, there)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=here), name, dir_fd=there)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=there, follow_symlinks=False)
        else:
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=there)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=there, follow_symlinks=False)
    _mark(here, there, marks)


def _copy_below(name: str, here: int, there: int, depth: int) -> None:
    os.mkdir(name, 0o755, dir_fd=there)
    source = _open_here(here, name, _DIRECTORY)
    if source < 0:
        return
    try:
        target = os.open(name, _DIRECTORY, dir_fd=there)
        try:
            _copy_directory(source, target, depth + 1)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_file(name: str, here: int, there: int) -> None:
    target = os.open(name, _WRITE, 0o600, dir_fd=there)
    try:
        source = _open_here(here, name, _READ)
        if source < 0:
            return
        try:
            marks = os.fstat(source)
            while os.sendfile(target, source, None, _CHUNK):
                pass
            _mark(source, target, marks)
        finally:
            os.close(source)
    finally:
        os.close(target)


def _open_here(here: int, name: str, flags: int) -> int:
    """Open what is on the same mount, -1 for what is mounted over it."""
    try:
        return openat2(
            here, name, flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
        )
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
        return -1


def _mark(source: int, target: int, found: os.stat_result) -> None:
    """Copy owner, mode, extended attributes and times; the owner first, it clears set-uid."""
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source):
        with contextlib.suppress(OSError):  # before Linux 6.6 a tmpfs takes no user.* ones
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
