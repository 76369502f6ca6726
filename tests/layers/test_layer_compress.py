from __future__ import annotations

import gzip
import os
import sys
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import LayerRefused
from ocimagic.layers import compress
from ocimagic.layers.compress import Compression, decompressed, sniff

PLAIN = bytes(range(256)) * 9000
MIB = 1 << 20


def cut(data: bytes, size: int):
    return [data[at : at + size] for at in range(0, len(data), size)]


def plain(data: bytes, size: int = 1 << 16, **options) -> bytes:
    return b"".join(decompressed(cut(data, size), **options))


@pytest.fixture(params=["isal", "zlib"])
def codec(request, monkeypatch):
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    else:
        pytest.importorskip("isal")
    return request.param


def test_bytes_tell_what_they_are():
    assert Compression.GZIP is sniff(gzip.compress(b""))
    assert Compression.ZSTD is sniff(zstandard.compress(b""))
    assert Compression.ZSTD is sniff(b"\x5a\x2a\x4d\x18\0\0\0\0")
    assert Compression.NONE is sniff(b"etc/passwd")
    assert Compression.NONE is sniff(b"")


@pytest.mark.parametrize("size", [1, 3, 4096, MIB])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_any_compression_in_any_pieces(codec, pack, size):
    data = PLAIN[:50_000] if size == 1 else PLAIN
    assert data == plain(pack(data), size)


@given(parts=st.lists(st.binary(max_size=200), min_size=1, max_size=5), size=st.integers(1, 50))
def test_members_and_frames_in_a_row(parts, size):
    whole = b"".join(parts)
    assert whole == plain(b"".join(map(gzip.compress, parts)), size)
    assert whole == plain(b"".join(map(zstandard.compress, parts)), size)


def test_output_comes_in_bounded_pieces(codec):
    bomb = gzip.compress(bytes(64 * MIB))
    assert max(map(len, decompressed([bomb]))) <= MIB
    assert sum(map(len, decompressed([bomb]))) == 64 * MIB


def test_bomb_stops_at_the_limit(codec):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(MIB)
    bomb = (packer.compress(block) for _ in range(10_240))
    got: list[int] = []
    with pytest.raises(LayerRefused, match="more than"):
        got.extend(map(len, decompressed(bomb, max_bytes=100 * MIB)))
    assert sum(got) <= 100 * MIB


def test_limit_is_inclusive():
    assert plain(gzip.compress(PLAIN), max_bytes=len(PLAIN)) == PLAIN
    with pytest.raises(LayerRefused):
        plain(PLAIN, max_bytes=len(PLAIN) - 1)


def test_zeros_after_gzip_are_padding_other_bytes_are_not(codec):
    assert plain(gzip.compress(PLAIN) + bytes(1000), 100) == PLAIN
    for garbage in (b"garbage", b"\x1f", b"\0\0x", b"\x1f\x8b"):
        with pytest.raises(LayerRefused):
            plain(gzip.compress(PLAIN) + garbage, 100)


def test_garbage_after_zstd():
    for garbage in (b"garbage", b"\x28\xb5", b"\0"):
        with pytest.raises(LayerRefused):
            plain(zstandard.compress(PLAIN) + garbage)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_truncated(codec, pack):
    packed = pack(os.urandom(3000))
    for length in (4, 5, 11, 50, len(packed) // 2, len(packed) - 1):
        with pytest.raises(LayerRefused):
            plain(packed[:length], 7)


def test_damaged(codec):
    packed = bytearray(gzip.compress(PLAIN))
    packed[-5] ^= 1  # the checksum
    with pytest.raises(LayerRefused, match="damaged"):
        plain(bytes(packed))
    with pytest.raises(LayerRefused, match="damaged"):
        plain(b"\x28\xb5\x2f\xfd" + b"\xff" * 50)


def test_gzip_in_gzip_is_unpacked_once():
    inner = gzip.compress(PLAIN)
    assert inner == plain(gzip.compress(inner))


def test_zstd_window_of_two_gibibytes():
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(LayerRefused, match="zstd"):
        plain(packer.compress(PLAIN) + packer.flush())


@pytest.mark.slow
def test_a_million_empty_frames():
    frame = b"\x50\x2a\x4d\x18\0\0\0\0"
    assert plain(frame * 1_000_000 + zstandard.compress(PLAIN), MIB) == PLAIN


@pytest.mark.slow
def test_zstd_bomb_comes_in_bounded_pieces():
    # The window of level 19, without its time.
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=23)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(1024)) + packer.flush()
    with pytest.raises(LayerRefused, match="more than"):
        plain(bomb, max_bytes=100 * MIB)
    assert max(map(len, decompressed([bomb]))) <= 128 * MIB


def test_nothing_is_nothing():
    assert plain(b"") == b""
    assert compress.sniff(b"") is Compression.NONE
