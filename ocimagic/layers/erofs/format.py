"""The on-disk format of EROFS, as far as our images use it.

No compression, blocks of 4096 bytes, extended inodes, attributes inside of inodes.

Source: Linux fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst, "On-disk details".
"""

from __future__ import annotations

from struct import Struct

BLOCK_BITS = 12
BLOCK = 1 << BLOCK_BITS
SUPER_OFFSET = 1024
MAGIC = 0xE0F5E1E2
INODE_BYTES = 64
NID_BYTES = 32  # a nid is a place in the metadata, counted in these
MAX_BLOCKS = 0xFFFFFFFF
MAX_XATTR_VALUE = 0xFFFF
MAX_XATTR_UNITS = 0xFFFF  # of four bytes, all attributes of one inode

HAS_CHECKSUM, HAS_MTIME = 1, 2  # feature_compat

# i_format: bit 0 says "extended", the next three where the data is.
FLAT_PLAIN = 1 | 0 << 1
FLAT_INLINE = 1 | 2 << 1

# magic, checksum, feature_compat, blkszbits, extslots, root_nid, inos, build_time,
# build_time_nsec, blocks, meta_blkaddr, xattr_blkaddr, uuid, volume_name, feature_incompat
SUPER = Struct("<IIIBBHQQIIII16s16sI44x")
# i_format, i_xattr_icount, i_mode, reserved, i_size, block address or device, i_ino, i_uid,
# i_gid, i_mtime, i_mtime_nsec, i_nlink
INODE = Struct("<HHHHQIIIIqII16x")
LINKS_OFFSET = 44  # of i_nlink in an inode
DIRENT = Struct("<QHBB")  # nid, offset of the name in its block, type, reserved
XATTR_HEADER_BYTES = 12
XATTR_ENTRY = Struct("<BBH")  # length of the name, index of its prefix, size of the value

XATTR_PREFIXES = (
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
)

_CASTAGNOLI = 0x82F63B78  # reflected
_MAGIC_STATE = 0x5045B54A  # CRC-32C, not inverted, of the magic and of a checksum of zero


def checksum(block: bytes) -> int:
    """Return the checksum of a superblock.

    Args:
        block: from the superblock's offset to the end of its file system block.
    """
    crc = _MAGIC_STATE
    for byte in block[8:]:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


def _table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        crc = index
        for _ in range(8):
            crc = crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _table()


def encode_device(major: int, minor: int) -> int:
    """Return a device number as the kernel keeps it: 12 bits of major, 20 of minor.

    Raises:
        ValueError: it does not fit.
    """
    if major >> 12 or minor >> 20:
        raise ValueError(f"no device can be numbered {major}:{minor}")
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
