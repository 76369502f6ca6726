"""One header of a tar: what an entry is, and how its fields are written.

Formats read: v7, POSIX ustar, PAX (``x`` and ``g``), GNU long names and base-256 numbers.
Spec: POSIX.1-2017 pax, "pax Interchange Format" and "ustar Interchange Format".
"""

from __future__ import annotations

import enum
import re
import zlib
from functools import lru_cache
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ocimagic.errors import LayerRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BLOCK = 512
MAX_ENTRIES = 1 << 20
MAX_NAME_BYTES = 4096
MAX_COMPONENT_BYTES = 255
MAX_PAX_BYTES = 1 << 20
MAX_XATTR_BYTES = 1 << 16
MAX_XATTR_NAME_BYTES = 255  # XATTR_NAME_MAX
MAX_FILE_BYTES = 1 << 40
MAX_ID = (1 << 32) - 2  # 2^32-1 means "leave as it is" to chown(2)
MAX_TIME_S = 1 << 40

XATTR_KEY = "SCHILY.xattr."
FIELDS = Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_TIME = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_NO_XATTRS: Mapping[str, bytes] = MappingProxyType({})


class Kind(enum.StrEnum):
    """What an entry makes.

    A tar knows the first seven; the last two are what image-spec means by a file named
    ``.wh.*``, and occur in a table of contents only.
    """

    FILE = "f"
    DIR = "d"
    SYMLINK = "l"
    HARDLINK = "h"
    CHAR = "c"
    BLOCK = "b"
    FIFO = "p"
    WHITEOUT = "w"
    OPAQUE = "o"


class Entry(NamedTuple):
    """One entry of a tar, as its headers say; nothing in it has been judged but sizes.

    A named tuple, because a layer has ten thousands and a frozen dataclass is five times
    slower to make.

    Attributes:
        name: as written; undecodable bytes are surrogates, as in ``os.fsdecode``.
        size: bytes of content; 0 for everything but a file.
        offset: where the content begins in the uncompressed stream.
    """

    name: str
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    linkname: str = ""
    dev_major: int = 0
    dev_minor: int = 0
    xattrs: Mapping[str, bytes] = _NO_XATTRS
    offset: int = 0


TYPE_FLAGS = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHAR: b"3",
    Kind.BLOCK: b"4",
    Kind.DIR: b"5",
    Kind.FIFO: b"6",
}
_KINDS = {flag: kind for kind, flag in TYPE_FLAGS.items()} | {b"\0": Kind.FILE, b"7": Kind.FILE}
_WORDS = {b"S": "a GNU sparse file", b"M": "a part of a multi-volume tar", b"D": "a GNU dump"}


def parse_header(block: bytes, extended: Mapping[str, bytes], offset: int) -> Entry:
    """Read a header block and what the extended headers before it said.

    Args:
        block: 512 bytes whose checksum is right.
        extended: PAX records for this entry; they win over the block.
        offset: where the content begins.

    Raises:
        LayerRefused: a field is no number, out of range, or of an unknown type.
    """
    name, mode, uid, gid, size, mtime, _, flag, link, magic, _, _, major, minor, prefix = (
        FIELDS.unpack(block)
    )
    path = _text(name)
    # Only POSIX has a prefix there: GNU ("ustar  ") keeps other things in those bytes.
    if prefix[0] and magic.startswith(b"ustar\0"):
        path = f"{_text(prefix)}/{path}"
    kind = _KINDS.get(flag)
    if kind is None:
        word = _WORDS.get(flag, f"an entry of the unknown type {flag!r}")
        raise LayerRefused(path, f"{word}, which no layer may hold")
    if flag == b"\0" and path.endswith("/"):  # v7 had no type for directories
        kind = Kind.DIR
    is_device = kind is Kind.CHAR or kind is Kind.BLOCK
    try:
        entry = Entry(
            path,
            kind,
            small_number(mode) & 0o7777,
            small_number(uid),
            small_number(gid),
            number(mtime) * 1_000_000_000,
            number(size) if kind is Kind.FILE else 0,
            _text(link),
            small_number(major) if is_device else 0,
            small_number(minor) if is_device else 0,
            offset=offset,
        )
    except ValueError as err:
        raise LayerRefused(path, f"a number in its header is broken: {err}") from err
    if extended:
        entry = _amended(entry, extended)
    if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
        raise LayerRefused(entry.name, f"no such owner can be: {entry.uid}:{entry.gid}")
    if not 0 <= entry.size <= MAX_FILE_BYTES:
        raise LayerRefused(entry.name, f"no such size can be: {entry.size}")
    return entry


def _amended(entry: Entry, extended: Mapping[str, bytes]) -> Entry:
    """Put PAX records over an entry; records with other keys change nothing here."""
    try:
        return entry._replace(**dict(_changes(entry.kind, extended)))
    except ValueError as err:
        name = extended.get("path", b"").decode("utf-8", "surrogateescape") or entry.name
        raise LayerRefused(name[:MAX_NAME_BYTES], str(err)) from err


def _changes(kind: Kind, extended: Mapping[str, bytes]) -> Iterator[tuple[str, Any]]:
    xattrs: dict[str, bytes] = {}
    for key, value in extended.items():
        if key.startswith(XATTR_KEY):
            xattrs[key[len(XATTR_KEY) :]] = value
        elif key.startswith("GNU.sparse."):
            raise ValueError("a GNU sparse file, which no layer may hold")
        # POSIX: an empty value takes a record back.
        elif value and key in _PAX_FIELDS and (key != "size" or kind is Kind.FILE):
            field, read = _PAX_FIELDS[key]
            yield field, read(value)
    if xattrs:
        _check_xattrs(xattrs)
        yield "xattrs", xattrs


def _pax_text(value: bytes) -> str:
    if len(value) > MAX_NAME_BYTES:
        raise ValueError(f"a name longer than {MAX_NAME_BYTES} bytes")
    if b"\0" in value:
        raise ValueError("a name that holds a NUL byte")
    return value.decode("utf-8", "surrogateescape")


def _check_xattrs(xattrs: Mapping[str, bytes]) -> None:
    for name, value in xattrs.items():
        if not name or "\0" in name or len(name) > MAX_XATTR_NAME_BYTES:
            raise ValueError(f"no extended attribute can be named {name[:80]!r}")
        if len(value) > MAX_XATTR_BYTES:
            raise ValueError(f"its extended attribute {name!r} is over {MAX_XATTR_BYTES} bytes")


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def number(field: bytes) -> int:
    """Read an octal or GNU base-256 number.

    Raises:
        ValueError: it is neither.
    """
    digits = field[:-1]
    if field[-1] in (0, 32) and digits.isdigit():
        return int(digits, 8)
    if field[0] in (0x80, 0xFF):
        positive = field[0] == 0x80
        return int.from_bytes(field[1:], "big") - (0 if positive else 1 << 8 * (len(field) - 1))
    digits = field.partition(b"\0")[0].strip(b" ")
    if digits and not digits.isdigit():  # int() alone would take a sign and underscores
        raise ValueError(f"{field!r} is not octal")
    return int(digits or b"0", 8)


# Modes and owners are the same few bytes again and again.
small_number = lru_cache(maxsize=512)(number)


def _decimal(value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise ValueError(f"not a number: {value[:40]!r}")
    return int(value)


def pax_time_ns(value: bytes) -> int:
    """Read a PAX time: seconds with a sign and any number of decimals.

    Raises:
        ValueError: not a number, or farther away than about 35,000 years.
    """
    found = _TIME.fullmatch(value)
    if not found or int(found[2]) > MAX_TIME_S:
        raise ValueError(f"not a time: {value[:40]!r}")
    nanoseconds = int(found[2]) * 1_000_000_000 + int((found[3] or b"")[:9].ljust(9, b"0"))
    return -nanoseconds if found[1] else nanoseconds


_PAX_FIELDS: dict[str, tuple[str, Callable[[bytes], int | str]]] = {
    "path": ("name", _pax_text),
    "linkpath": ("linkname", _pax_text),
    "uid": ("uid", _decimal),
    "gid": ("gid", _decimal),
    "size": ("size", _decimal),
    "mtime": ("mtime_ns", pax_time_ns),
}


def checksum_is_right(block: bytes) -> bool:
    """Say whether a header block carries the sum of its own bytes."""
    try:
        said = number(block[148:156])
    except ValueError:
        return False
    blank = block[:148] + b"        " + block[156:]
    # The low half of Adler-32 is 1 + the sum of the bytes modulo 65521: the same sum at
    # twenty times the speed, for every header that is not made of bytes over 127.
    if said < 65520 and (zlib.adler32(blank) & 0xFFFF) == said + 1:
        return True
    total = sum(blank)
    # Some old tars summed signed bytes.
    return said in (total, total - 256 * sum(byte > 127 for byte in blank))


def pax_records(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the records of an extended header: ``LENGTH KEY=VALUE`` and a newline each.

    Raises:
        LayerRefused: a record whose length does not fit.
    """
    at = 0
    while at < len(data):
        length, blank, _ = data[at : at + 12].partition(b" ")
        end = at + int(length) if blank and length.isdigit() else 0
        record = data[at + len(length) + 1 : end]
        key, equals, value = record[:-1].partition(b"=")
        if end > len(data) or record[-1:] != b"\n" or not (equals and key):
            raise LayerRefused("", "a PAX header with a broken record")
        yield key.decode("utf-8", "surrogateescape"), value
        at = end


def pax_record(key: bytes, value: bytes) -> bytes:
    """Write one record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if length != rest + len(str(length)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
