"""A failing disk, told in our own words, and a wish about where a disk puts directories."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from typing import TYPE_CHECKING

from ocimagic.errors import DiskFull, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS of linux/fs.h
_TOP_OF_TREES = 0x20000  # FS_TOPDIR_FL


def spread_out(directory: Path) -> None:
    """Have each directory made in this one start in a part of the disk with room, where it can.

    ext4 puts a new file beside its directory, and for minutes after files were deleted there it
    passes over each of their inodes, one by one, for every new file: an image pulled after
    another was removed took twelve times as long to unpack.  Other file systems have no such
    flag, and nothing is lost.

    Source: chattr(1) "T"; the Orlov allocator and ``recently_deleted`` in Linux's
    fs/ext4/ialloc.c.
    """
    try:
        from fcntl import ioctl
    except ImportError:  # no POSIX
        return
    with contextlib.suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            (flags,) = struct.unpack("i", ioctl(fd, _GET_FLAGS, bytes(4)))
            if not flags & _TOP_OF_TREES:
                ioctl(fd, _SET_FLAGS, struct.pack("i", flags | _TOP_OF_TREES))
        finally:
            os.close(fd)


@contextlib.contextmanager
def storage_errors(where: Path) -> Iterator[None]:
    """Turn a failing disk into our own errors.

    Raises:
        DiskFull: no space or quota left.
        StorageError: not readable or writable.
    """
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                "the disk is full",
                where=str(where),
                hint="remove images you do not need (%image_rm), or set OCIMAGIC_ROOT elsewhere",
            ) from err
        name = f": {err.filename}" if err.filename else ""
        raise StorageError(
            "cannot write the data root", why=f"{err.strerror}{name}", where=str(where)
        ) from err
