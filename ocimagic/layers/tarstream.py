"""Read and write a tar as a stream, without the file system.

The reader is strict where programs disagree (a smuggled name is a name another program does
not see) and tolerant where they agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import LayerRefused
from ocimagic.layers import tarheader
from ocimagic.layers.tarheader import BLOCK, Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_ZEROS = bytes(BLOCK)
_GNU_NAMES = {b"L": "path", b"K": "linkpath"}
_EXTENDED = (b"x", b"g", b"L", b"K")
# Go's archive/tar ignores global headers, GNU tar obeys them: these would split their views.
_NEVER_GLOBAL = ("path", "linkpath", "size", "GNU.sparse.")
_LONGEST_OCTAL_SIZE = 0o77777777777
_LARGEST_OCTAL_ID = 0o7777777


class TarReader:
    """Iterate over the entries of a tar that arrives in chunks.

    While an entry is current, ``content()`` yields its bytes; what is not asked for is
    skipped.  When the iteration ends by itself, the chunks have been read to their end, so
    that a digest taken over them is complete.

    Args:
        chunks: the uncompressed tar, cut anywhere.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._view = memoryview(b"")
        self._at = 0
        self._base = 0  # offset in the stream of the buffer's first byte
        self._left = 0  # content of the current entry not yet handed out
        self._padding = 0
        self._global: dict[str, bytes] = {}
        self._global_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        """Yield each entry.

        Raises:
            LayerRefused: the tar is malformed, truncated or over a limit.
        """
        extended: dict[str, bytes] = {}
        count = 0
        while (block := self._next_header()) is not None:
            flag = block[156:157]
            if flag in _EXTENDED:
                self._extend(flag, self._extended_data(flag, block), extended)
                continue
            records = {**self._global, **extended} if extended or self._global else extended
            entry = tarheader.parse_header(block, records, self._base + self._at)
            if extended:
                extended = {}
            count += 1
            if count > tarheader.MAX_ENTRIES:
                raise LayerRefused("", f"more than {tarheader.MAX_ENTRIES} entries")
            self._left = entry.size
            self._padding = -entry.size % BLOCK
            yield entry
        if extended:
            raise LayerRefused("", "the tar ends after an extended header")

    def content(self) -> Iterator[memoryview]:
        """Yield what is left of the current entry's content, as views of the chunks.

        Raises:
            LayerRefused: the tar ends too early.
        """
        while self._left:
            piece = self._view[self._at : self._at + self._left]
            if not piece:
                self._refill()
                continue
            self._at += len(piece)
            self._left -= len(piece)
            yield piece

    def _next_header(self) -> bytes | None:
        """Go to the next header; None, with everything read, at the end."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        block = self._take(BLOCK)
        if not block:  # no end blocks: common, and nothing is missing
            return None
        if block == _ZEROS:
            if self._take(BLOCK) not in (_ZEROS, b""):
                raise LayerRefused("", "a single block of zeros between entries")
            while self._next_chunk():
                pass
            return None
        if len(block) < BLOCK:
            raise LayerRefused("", "the tar ends inside a header")
        if not tarheader.checksum_is_right(block):
            raise LayerRefused("", f"a wrong header checksum at {self._base + self._at - BLOCK}")
        return block

    def _extended_data(self, flag: bytes, block: bytes) -> bytes:
        """Return the content of an extended header."""
        try:
            size = tarheader.number(block[124:136])
        except ValueError as err:
            raise LayerRefused("", f"an extended header of broken size: {err}") from err
        limit = 2 * tarheader.MAX_NAME_BYTES if flag in _GNU_NAMES else tarheader.MAX_PAX_BYTES
        if not 0 <= size <= limit:
            raise LayerRefused("", f"an extended header of {size} bytes")
        data = self._take(size)
        if len(data) < size:
            raise LayerRefused("", "the tar ends inside an extended header")
        self._padding = -size % BLOCK
        return data

    def _extend(self, flag: bytes, data: bytes, extended: dict[str, bytes]) -> None:
        """Add what an extended header says to ``extended``, or to the global records."""
        if flag == b"g":
            records = dict(tarheader.pax_records(data))
            if any(key.startswith(_NEVER_GLOBAL) for key in records):
                raise LayerRefused("", "a global PAX header that names or sizes entries")
            self._global |= records
            self._global_bytes += len(data)
            if self._global_bytes > tarheader.MAX_PAX_BYTES:
                raise LayerRefused("", "too many global PAX headers")
            return
        if flag == b"x":
            records = dict(tarheader.pax_records(data))
        else:
            records = {_GNU_NAMES[flag]: data.partition(b"\0")[0]}
        # Which of two would win differs from program to program.
        if not extended.keys().isdisjoint(records):
            raise LayerRefused("", "two extended headers say the same of one entry")
        extended.update(records)
        if sum(map(len, extended.values())) > tarheader.MAX_PAX_BYTES:
            raise LayerRefused("", "too many extended headers for one entry")

    def _take(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer at the end of the stream."""
        piece = self._buffer[self._at : self._at + count]
        self._at += len(piece)
        if len(piece) == count:
            return piece
        parts = [piece]
        missing = count - len(piece)
        while missing and self._next_chunk():
            parts.append(self._buffer[:missing])
            self._at = len(parts[-1])
            missing -= self._at
        return b"".join(parts)

    def _skip(self, count: int) -> None:
        self._at += count
        while self._at > len(self._buffer):
            beyond = self._at - len(self._buffer)
            self._refill()
            self._at = beyond

    def _refill(self) -> None:
        if not self._next_chunk():
            raise LayerRefused("", "the tar ends inside a file")

    def _next_chunk(self) -> bool:
        self._base += len(self._buffer)
        self._at = 0
        for chunk in self._chunks:
            if chunk:
                self._buffer = chunk
                self._view = memoryview(chunk)
                return True
        self._buffer = b""
        self._view = memoryview(b"")
        return False


class TarWriter:
    """Write a tar in the house's normal form: equal entries give equal bytes.

    USTAR, with a PAX header only where USTAR cannot say it; no names of owners, times in
    whole seconds, device numbers on devices only.  The order is the caller's.

    Args:
        sink: is called with each piece of the tar, in order.
    """

    def __init__(self, sink: Callable[[bytes | memoryview], object]) -> None:
        self._sink = sink
        self._offset = 0

    def add(self, entry: Entry, content: Iterable[bytes | memoryview] = ()) -> int:
        """Write one entry and return the offset of its content.

        Args:
            entry: its ``offset`` is ignored, its name written as it is.
            content: exactly ``entry.size`` bytes.

        Raises:
            LayerRefused: the content is shorter or longer than the entry says.
        """
        records, name, prefix, link = _pax_needed(entry)
        if records:
            data = b"".join(tarheader.pax_record(key, records[key]) for key in sorted(records))
            self._put(_header(b"PaxHeaders/entry", b"x", len(data), mode=0o644))
            self._put(data + bytes(-len(data) % BLOCK))
        self._put(
            _header(
                name,
                tarheader.TYPE_FLAGS[entry.kind],
                entry.size if b"size" not in records else 0,
                mode=entry.mode,
                entry=entry,
                link=link,
                prefix=prefix,
            )
        )
        begin = self._offset
        for piece in content:
            self._put(piece)
        if self._offset - begin != entry.size:
            raise LayerRefused(entry.name, "its content changed size while it was read")
        self._put(bytes(-entry.size % BLOCK))
        return begin

    def finish(self) -> int:
        """Write the two end blocks and return the size of the tar in bytes."""
        self._put(_ZEROS + _ZEROS)
        return self._offset

    def _put(self, piece: bytes | memoryview) -> None:
        if piece:
            self._sink(piece)
            self._offset += len(piece)


def _pax_needed(entry: Entry) -> tuple[dict[bytes, bytes], bytes, bytes, bytes]:
    """Return the PAX records an entry needs, and its name, prefix and link for USTAR."""
    records: dict[bytes, bytes] = {}
    raw_name = entry.name.encode("utf-8", "surrogateescape")
    raw_link = entry.linkname.encode("utf-8", "surrogateescape")
    prefix, name = _split(raw_name)
    if not name or not raw_name.isascii():
        records[b"path"] = raw_name
        prefix, name = b"", entry.name.encode("ascii", "replace")[:100]
    if len(raw_link) > 100 or not raw_link.isascii():
        records[b"linkpath"] = raw_link
    for key, value in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if value > _LARGEST_OCTAL_ID:
            records[key] = b"%d" % value
    if entry.size > _LONGEST_OCTAL_SIZE:
        records[b"size"] = b"%d" % entry.size
    seconds = entry.mtime_ns // 1_000_000_000
    if not 0 <= seconds <= _LONGEST_OCTAL_SIZE:
        records[b"mtime"] = b"%d" % seconds
    for xattr, content in entry.xattrs.items():
        key = (tarheader.XATTR_KEY + xattr).encode("utf-8", "surrogateescape")
        if b"=" in key:
            raise LayerRefused(entry.name, f"the attribute name {xattr!r} does not fit in a tar")
        records[key] = content
    if any(not _is_utf8(records.get(key, b"")) for key in (b"path", b"linkpath")):
        records[b"hdrcharset"] = b"BINARY"
    return records, name, prefix, entry.linkname.encode("ascii", "replace")[:100]


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """Cut a name into USTAR's prefix and name; an empty name means it does not fit."""
    if len(raw) <= 100:
        return b"", raw
    # At the first slash that leaves 100 bytes or fewer, so that the prefix is shortest.
    cut = raw.find(b"/", len(raw) - 101, len(raw) - 1)
    return (raw[:cut], raw[cut + 1 :]) if 0 < cut <= 155 else (b"", b"")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _header(
    name: bytes,
    flag: bytes,
    size: int,
    *,
    mode: int,
    entry: Entry | None = None,
    link: bytes = b"",
    prefix: bytes = b"",
) -> bytes:
    seconds = entry.mtime_ns // 1_000_000_000 if entry else 0
    is_device = entry is not None and entry.kind in (Kind.CHAR, Kind.BLOCK)
    block = tarheader.FIELDS.pack(
        name,
        b"%07o\0" % mode,
        b"%07o\0" % (entry.uid if entry and entry.uid <= _LARGEST_OCTAL_ID else 0),
        b"%07o\0" % (entry.gid if entry and entry.gid <= _LARGEST_OCTAL_ID else 0),
        b"%011o\0" % size,
        b"%011o\0" % (seconds if 0 <= seconds <= _LONGEST_OCTAL_SIZE else 0),
        b"        ",
        flag,
        link,
        b"ustar\00000",
        b"",
        b"",
        b"%07o\0" % (entry.dev_major if entry and is_device else 0),
        b"%07o\0" % (entry.dev_minor if entry and is_device else 0),
        prefix,
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
