"""Layer bytes as they travel, made plain again, and the other way: gzip, zstd or nothing.

What the bytes are is told by their first bytes, never by a media type: registries lie.
Archives that people hand over may be in bzip2 and xz as well.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from ocimagic.errors import LayerRefused

if TYPE_CHECKING:
    from bz2 import BZ2Decompressor
    from collections.abc import Iterable, Iterator
    from lzma import LZMADecompressor

# Small enough that the memory of one piece serves the next: the kernel clears what it gives anew.
_OUT_BYTES = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = tuple(bytes([low, 0x2A, 0x4D, 0x18]) for low in range(0x50, 0x60))
_MAGIC_BYTES = 4
_BZIP2_MAGIC = b"BZh"
_XZ_MAGIC = b"\xfd7zXZ\0"
_GZIP_LEVEL, _ISAL_LEVEL, _ZSTD_LEVEL = 6, 2, 3
_MAX_WINDOW_BYTES = 1 << 27
# A zstd block of 4 bytes can stand for 128 KiB and python-zstandard returns all that an input
# gives at once: 4 KiB in is at most 128 MiB out.
_ZSTD_IN_BYTES = 4096


class Compression(enum.StrEnum):
    """How a blob is compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


def sniff(head: bytes) -> Compression:
    """Tell the compression from a blob's first four bytes or more."""
    if head.startswith(_GZIP_MAGIC):
        return Compression.GZIP
    if head.startswith((_ZSTD_MAGIC, *_ZSTD_SKIPPABLE)):
        return Compression.ZSTD
    return Compression.NONE


def compressed(chunks: Iterable[bytes], kind: Compression) -> Iterator[bytes]:
    """Yield the bytes of a blob; equal input gives equal output, whatever the pieces are.

    Args:
        chunks: the plain bytes.
        kind: how; one member or frame, without a name or a time in it.
    """
    if kind is Compression.NONE:
        yield from chunks
        return
    codec = _zstd_writer() if kind is Compression.ZSTD else _gzip_writer()
    for chunk in chunks:
        if piece := codec.compress(chunk):
            yield piece
    yield codec.flush()


def _gzip_writer() -> Any:  # noqa: ANN401  isal's or zlib's, which have no common type
    gzip_only = 31
    try:
        from isal import isal_zlib
    except ImportError:
        import zlib

        return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, gzip_only)
    return isal_zlib.compressobj(_ISAL_LEVEL, isal_zlib.DEFLATED, gzip_only)


def _zstd_writer() -> Any:  # noqa: ANN401  its type has no name
    import zstandard

    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=False).compressobj()


def decompressed(chunks: Iterable[bytes], *, max_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the plain bytes of a blob, about a quarter of a mebibyte at a time.

    Args:
        chunks: the blob, cut anywhere.
        max_bytes: how many bytes may come out: the guard against a bomb.

    Raises:
        LayerRefused: damaged, truncated, followed by something else, or over ``max_bytes``.
    """
    head, whole = beginning(chunks, _MAGIC_BYTES)
    plain = {Compression.GZIP: _gunzipped, Compression.ZSTD: _unzstd}.get(sniff(head))
    yield from _at_most(plain(whole) if plain else whole, max_bytes)


def _at_most(pieces: Iterable[bytes], max_bytes: int | None) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if max_bytes is not None and total > max_bytes:
            raise LayerRefused("", f"it unpacks to more than {max_bytes} bytes")
        yield piece


def decompressed_archive(
    chunks: Iterable[bytes], *, max_bytes: int | None = None
) -> Iterator[bytes]:
    """Yield the plain bytes of an archive: gzip, zstd, bzip2, xz or nothing.

    Args:
        chunks: the archive, cut anywhere.
        max_bytes: as for ``decompressed``.

    Raises:
        LayerRefused: damaged, truncated, followed by something else, or over ``max_bytes``.
    """
    head, whole = beginning(chunks, len(_XZ_MAGIC))
    # Imported here: a launcher loads this room and never meets either.
    if head.startswith(_BZIP2_MAGIC):
        from bz2 import BZ2Decompressor

        return _at_most(_inflated(whole, BZ2Decompressor, OSError), max_bytes)
    if head.startswith(_XZ_MAGIC):
        from lzma import LZMADecompressor, LZMAError

        return _at_most(_inflated(whole, LZMADecompressor, LZMAError), max_bytes)
    return decompressed(whole, max_bytes=max_bytes)


def beginning(chunks: Iterable[bytes], count: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first ``count`` bytes or more, and all of the bytes again."""
    source = iter(chunks)
    head = b""
    while len(head) < count and (chunk := next(source, None)) is not None:
        head += chunk
    return head, _rejoined(head, source)


def _rejoined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _gunzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Inflate gzip members, one after the other."""
    new_member, failure = _gzip_codec()
    member = None
    waiting = b""  # the beginning of the next member, too short to tell
    try:
        for chunk in chunks:
            data = waiting + chunk
            waiting = b""
            while data:
                if member is None:
                    # gzip pads with zeros for tapes; anything else is no gzip (as Go says).
                    data = data.lstrip(b"\0")
                    if len(data) < len(_GZIP_MAGIC):
                        waiting, data = data, b""
                        continue
                    if not data.startswith(_GZIP_MAGIC):
                        raise LayerRefused("", "garbage after the gzip data")
                    member = new_member()
                if piece := member.decompress(data, _OUT_BYTES):
                    yield piece
                data = member.unused_data if member.eof else member.unconsumed_tail
                # An input that is used up may still have output waiting.
                while not data and not member.eof and len(piece) == _OUT_BYTES:
                    if piece := member.decompress(b"", _OUT_BYTES):
                        yield piece
                    data = member.unused_data if member.eof else member.unconsumed_tail
                if member.eof:
                    member = None
    except failure as err:
        raise LayerRefused("", f"damaged gzip data: {err}") from err
    if member is not None or waiting:
        raise LayerRefused("", "the gzip data ends too early")


def _gzip_codec() -> tuple[Any, Any]:
    """Return what makes a gzip decompressor, and the error it raises."""
    gzip_only = 31
    try:
        from isal import isal_zlib
    except ImportError:
        import zlib

        return lambda: zlib.decompressobj(gzip_only), zlib.error
    return lambda: isal_zlib.decompressobj(gzip_only), isal_zlib.error


def _unzstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress zstd frames, one after the other; skippable ones give nothing."""
    import zstandard

    codec = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    frame = None
    waiting = b""
    try:
        for chunk in chunks:
            for at in range(0, len(chunk), _ZSTD_IN_BYTES):
                data = waiting + chunk[at : at + _ZSTD_IN_BYTES]
                waiting = b""
                while data:
                    if frame is None:
                        if len(data) < _MAGIC_BYTES:
                            waiting, data = data, b""
                            continue
                        if sniff(data) is not Compression.ZSTD:
                            raise LayerRefused("", "garbage after the zstd data")
                        frame = codec.decompressobj()
                    if piece := frame.decompress(data):
                        yield piece
                    data = frame.unused_data if frame.eof else b""
                    if frame.eof:
                        frame = None
    except zstandard.ZstdError as err:
        raise LayerRefused("", f"damaged zstd data: {err}") from err
    if frame is not None or waiting:
        raise LayerRefused("", "the zstd data ends too early")


def _inflated(
    chunks: Iterator[bytes],
    codec: type[BZ2Decompressor | LZMADecompressor],
    failure: type[Exception],
) -> Iterator[bytes]:
    """Decompress streams of bzip2 or xz that follow one another."""
    member = codec()
    for chunk in chunks:
        data = chunk
        while data or not (member.needs_input or member.eof):
            if member.eof:
                data = data.lstrip(b"\0")  # xz pads with zeros
                if not data:
                    break
                member = codec()
            # Only here: what reads the chunks has failures of its own.
            try:
                piece = member.decompress(data, _OUT_BYTES)
            except (failure, EOFError, ValueError) as err:
                raise LayerRefused("", f"damaged compressed data: {err}") from err
            if piece:
                yield piece
            data = member.unused_data if member.eof else b""
    if not member.eof:
        raise LayerRefused("", "the compressed data ends too early")
