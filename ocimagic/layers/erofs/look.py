"""Look into one of our images without mounting it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.errors import ContentError
from ocimagic.layers.erofs import format as on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORMS = (on_disk.FLAT_PLAIN, on_disk.FLAT_INLINE)


class Found(NamedTuple):
    """What an image says of one file; ``mode`` with its type, as ``st_mode``."""

    mode: int
    uid: int
    gid: int


def find_in_image(path: str, name: bytes) -> Found | None:
    """Return what the root directory of an image holds under a name, None for nothing.

    Args:
        path: of the image.
        name: one component.

    Raises:
        ContentError: it is not one that ``write_image`` writes.
        OSError: it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        block = os.pread(fd, on_disk.SUPER.size, on_disk.SUPER_OFFSET)
        if len(block) < on_disk.SUPER.size:
            raise _damaged(path)
        magic, _, _, bits, _, root, *_ = on_disk.SUPER.unpack(block)
        meta = on_disk.SUPER.unpack(block)[10]
        if magic != on_disk.MAGIC or bits != on_disk.BLOCK_BITS:
            raise _damaged(path)
        meta <<= on_disk.BLOCK_BITS
        for each, nid in _names(fd, meta + root * on_disk.NID_BYTES, path):
            if each == name:
                inode = _inode(fd, meta + nid * on_disk.NID_BYTES, path)
                return Found(inode[2], inode[7], inode[8])
    finally:
        os.close(fd)
    return None


def _inode(fd: int, at: int, path: str) -> tuple[int, ...]:
    raw = os.pread(fd, on_disk.INODE_BYTES, at)
    if len(raw) < on_disk.INODE_BYTES or raw[0] not in _FORMS:
        raise _damaged(path)
    return on_disk.INODE.unpack(raw)


def _names(fd: int, at: int, path: str) -> Iterator[tuple[bytes, int]]:
    """Yield the names of a directory, each with its nid."""
    form, xattr_units, mode, _, size, where, *_ = _inode(fd, at, path)
    if not stat.S_ISDIR(mode):
        raise _damaged(path)
    behind = at + on_disk.INODE_BYTES
    if xattr_units:
        behind += on_disk.XATTR_HEADER_BYTES + 4 * (xattr_units - 1)
    for begin in range(0, size, on_disk.BLOCK):
        length = min(on_disk.BLOCK, size - begin)
        inside = form == on_disk.FLAT_INLINE and length < on_disk.BLOCK
        place = behind if inside else (where << on_disk.BLOCK_BITS) + begin
        yield from _block(os.pread(fd, length, place), path)


def _block(block: bytes, path: str) -> Iterator[tuple[bytes, int]]:
    if len(block) < on_disk.DIRENT.size:
        raise _damaged(path)
    count = on_disk.DIRENT.unpack_from(block)[1] // on_disk.DIRENT.size
    if not 0 < count * on_disk.DIRENT.size <= len(block):
        raise _damaged(path)
    entries = [on_disk.DIRENT.unpack_from(block, i * on_disk.DIRENT.size) for i in range(count)]
    ends = [entry[1] for entry in entries[1:]] + [len(block)]
    for (nid, offset, _, _), end in zip(entries, ends, strict=True):
        yield block[offset:end].rstrip(b"\0"), nid


def _damaged(path: str) -> ContentError:
    return ContentError("a layer's image is damaged", where=path)
