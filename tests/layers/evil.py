"""Layer tars that nobody should trust, built byte by byte and by no code under test."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ZEROS = bytes(512)
END = ZEROS * 2


def checksummed(block: bytes) -> bytes:
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def header(
    name: str | bytes,
    flag: bytes = b"0",
    size: int | bytes = 0,
    *,
    link: str | bytes = b"",
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 1_000_000_000,
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
) -> bytes:
    def field(value: int | bytes, width: int) -> bytes:
        raw = value if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)
        assert len(raw) <= width, raw
        return raw.ljust(width, b"\0")

    def text(value: str | bytes, width: int) -> bytes:
        raw = os.fsencode(value)
        assert len(raw) <= width, raw
        return raw.ljust(width, b"\0")

    block = (
        text(name, 100) + field(mode, 8) + field(uid, 8) + field(gid, 8) + field(size, 12)
        + field(mtime, 12) + bytes(8) + flag + text(link, 100) + magic + text("root", 32)
        + text("root", 32) + field(device[0], 8) + field(device[1], 8) + text(prefix, 155)
        + bytes(12)
    )  # fmt: skip
    assert len(block) == 512
    return checksummed(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def file(name: str | bytes, data: bytes = b"evil", **fields) -> bytes:
    return header(name, b"0", len(data), **fields) + padded(data)


def directory(name: str | bytes, **fields) -> bytes:
    return header(name, b"5", **{"mode": 0o755, **fields})


def symlink(name: str | bytes, target: str | bytes, **fields) -> bytes:
    return header(name, b"2", link=target, **{"mode": 0o777, **fields})


def hardlink(name: str | bytes, target: str | bytes, **fields) -> bytes:
    return header(name, b"1", link=target, **fields)


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length += 1
    return b"%d" % length + body


def pax(records: dict[bytes, bytes], flag: bytes = b"x") -> bytes:
    data = b"".join(record(key, value) for key, value in records.items())
    return raw_pax(data, flag)


def raw_pax(data: bytes, flag: bytes = b"x") -> bytes:
    return header("PaxHeaders/x", flag, len(data)) + padded(data)


def gnu_long(flag: bytes, name: bytes) -> bytes:
    return header("././@LongLink", flag, len(name) + 1, magic=b"ustar  \0") + padded(name + b"\0")


def base256(value: int, width: int) -> bytes:
    raw = (value % (1 << 8 * width)).to_bytes(width, "big")
    return bytes([0xFF if value < 0 else 0x80]) + raw[1:]


@dataclass(frozen=True)
class Case:
    """One tar: the parts of it, and what must come of it.

    ``refused`` means LayerRefused in style MERGE, and LayerRefused or NeedsParent in style
    OVERLAY.  Otherwise ``leaves`` are the paths that must be there afterwards, all of them.
    """

    name: str
    parts: tuple[bytes, ...]
    refused: bool = True
    leaves: frozenset[str] = frozenset()
    end: bytes = END

    @property
    def tar(self) -> bytes:
        return b"".join(self.parts) + self.end


def bad(name: str, *parts: bytes, end: bytes = END) -> Case:
    return Case(name, parts, end=end)


def fine(name: str, *parts: bytes, leaves: str = "", end: bytes = END) -> Case:
    return Case(name, parts, refused=False, leaves=frozenset(leaves.split()), end=end)


def cases(canary: str) -> list[Case]:
    """Return the corpus of design/facts/runtime.md section 3, layer tars."""
    return [*_names(), *_links(canary), *_nodes(), *_whiteouts(canary), *_headers(), *_sizes()]


def _names() -> list[Case]:
    deep = b"/".join([b"d"] * 100_000)
    return [
        bad("parent", file("../x")),
        bad("parent after dot", file("./../x")),
        bad("parent inside", file("a/../../x")),
        bad("parent that stays inside", directory("a"), file("a/../x")),
        bad("only parent", directory("..")),
        fine("absolute", file("/x"), leaves="x"),
        fine("many slashes", directory("//a//"), file("//a/.//x"), leaves="a a/x"),
        bad("file without a name", file("")),
        bad("file called dot", file(".")),
        fine("root as dot", directory("."), leaves=""),
        fine("root as nothing", directory(""), leaves=""),
        bad("symlink in place of the root", symlink("./", "/")),
        bad("NUL by PAX", pax({b"path": b"a\0b"}), file("x")),
        bad("NUL in a link by PAX", pax({b"linkpath": b"a\0b"}), symlink("x", "y")),
        fine("newline", file("a\nb")),
        fine("no UTF-8", file(b"\xff\xfe")),
        bad("4097 bytes", pax({b"path": b"a/" * 2048 + b"b"}), file("x")),
        bad("component of 256 bytes", pax({b"path": b"a" * 256}), file("x")),
        fine("component of 255 bytes", pax({b"path": b"a" * 255}), file("x")),
        bad("100,000 deep", pax({b"path": deep}), file("x")),
        fine("cases differ", file("README"), file("readme"), leaves="README readme"),
    ]


def _links(canary: str) -> list[Case]:
    chain = [symlink(f"l{n}", f"l{n + 1}") for n in range(41)]
    return [
        fine("through a link to /", symlink("a", "/"), file("a/x"), leaves="a x"),
        fine("link to /, deep", symlink("a", "/"), directory("etc"), file("a/etc/canary"),
             leaves="a etc etc/canary"),
        fine("above the root", symlink("a", "../../.."), file("a/x"), leaves="a x"),
        bad("through a link to the canary", symlink("a", canary), file("a/x")),
        bad("through a relative link out", symlink("a", f"../../../../../..{canary}"),
            file("a/x")),
        bad("41 links", *chain, directory("l41"), file("l0/x")),
        fine("file over a link", symlink("a", f"{canary}/file"), file("a"), leaves="a"),
        fine("directory over a link", symlink("a", canary), directory("a"), file("a/x"),
             leaves="a a/x"),
        fine("mode through a link", symlink("a", f"{canary}/file"), file("a", mode=0o777),
             leaves="a"),
        bad("parent replaced by a link", directory("a"), symlink("a", canary), file("a/x")),
        fine("parent replaced by a link inside", directory("a"), directory("b"),
             symlink("a", "b"), file("a/x"), leaves="a b b/x"),
        fine("file, then directory", file("a"), directory("a"), file("a/x"), leaves="a a/x"),
        fine("directory, then file", directory("a"), file("a/x"), file("a"), leaves="a"),
        bad("below a file", file("a"), file("a/x")),
        bad("hard link out", hardlink("x", "/etc/shadow")),
        bad("hard link up", hardlink("x", "../../x")),
        bad("hard link through a link", symlink("a", canary), hardlink("x", "a/file")),
        fine("hard link to a link", symlink("a", f"{canary}/file"), hardlink("x", "a"),
             leaves="a x"),
        fine("mode through a hard link to a link", symlink("a", f"{canary}/file"),
             hardlink("x", "a", mode=0o777), file("x", mode=0o777), leaves="a x"),
        bad("hard link to itself", file("x"), hardlink("x", "x")),
        bad("hard link to itself by a link", directory("d"), symlink("a", "d"), file("d/x"),
            hardlink("a/x", "d/x")),
        bad("hard link to nothing", hardlink("x", "nothing")),
        bad("hard link to a directory", directory("d"), hardlink("x", "d")),
        bad("hard link to what it replaces", directory("d"), file("d/x"), hardlink("d", "d/x")),
        fine("hard link with content size", file("x"), header("y", b"1", 512, link="x"),
             file("z"), leaves="x y z"),
        bad("symlink to nothing", symlink("x", "")),
    ]  # fmt: skip


def _nodes() -> list[Case]:
    return [
        bad("forged whiteout", header("x", b"3")),
        fine("FIFO", header("x", b"6"), leaves="x"),
        fine("mode on a symlink", symlink("x", "y", mode=0o4777), leaves="x"),
        bad("uid 2^32-1", file("x", uid=base256((1 << 32) - 1, 8))),
        bad("gid 2^32", file("x", gid=base256(1 << 32, 8))),
        bad("uid 2^40 by PAX", pax({b"uid": b"%d" % (1 << 40)}), file("x")),
        bad("uid -1 by PAX", pax({b"uid": b"-1"}), file("x")),
        bad("negative uid", file("x", uid=base256(-1, 8))),
        bad("huge xattr", pax({b"SCHILY.xattr.user.x": bytes(1 << 17)}), file("x")),
        bad("nameless xattr", pax({b"SCHILY.xattr.": b"x"}), file("x")),
        bad("xattr name of 256", pax({b"SCHILY.xattr.user." + b"x" * 251: b"x"}), file("x")),
        bad("unknown type", header("x", b"Z")),
        bad("volume header", header("x", b"V")),
    ]


def _whiteouts(canary: str) -> list[Case]:
    return [
        bad("whiteout of nothing", file(".wh.")),
        bad("whiteout of .", file(".wh..")),
        bad("whiteout of ..", file(".wh...")),
        bad("below a whiteout", file(".wh./x")),
        bad("below a named whiteout", file(".wh.a/x")),
        bad("opaque file", file("a"), file("a/.wh..wh..opq"), file("a/x")),
        bad("hard link to a whiteout name", file("x"), hardlink("y", ".wh.x")),
        fine("aufs", directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs"),
             file("x"), leaves="x"),
        fine("whiteout through a link to the root", directory("d"), symlink("d/a", "/"),
             file("d/a/.wh.gone"), file("x"), leaves="d d/a x"),
        bad("whiteout through a link out", symlink("a", canary), file("a/.wh.file"),
            file("a/x")),
    ]  # fmt: skip


def _headers() -> list[Case]:
    broken = bytearray(header("x"))
    broken[0] ^= 1
    return [
        fine("PAX path", pax({b"path": b"real"}), file("decoy"), leaves="real"),
        bad("PAX path out", pax({b"path": b"../x"}), file("decoy")),
        bad("PAX linkpath out", pax({b"linkpath": b"../../x"}), hardlink("x", "y")),
        bad("two names, PAX and GNU", pax({b"path": b"a"}), gnu_long(b"L", b"b"), file("c")),
        bad("two GNU names", gnu_long(b"L", b"a"), gnu_long(b"L", b"b"), file("c")),
        bad("global path", pax({b"path": b"x"}, b"g"), file("a"), file("b")),
        bad("global size", pax({b"size": b"0"}, b"g"), file("a")),
        fine("global comment", pax({b"comment": b"x"}, b"g"), file("a"), leaves="a"),
        fine("hdrcharset", pax({b"hdrcharset": b"BINARY", b"path": b"a"}), file("x"),
             leaves="a"),
        bad("sparse by PAX", pax({b"GNU.sparse.map": b"0,1,0,99999999999"}), file("x")),
        bad("sparse 1.0", pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}), file("x")),
        bad("old sparse", header("x", b"S")),
        bad("mtime NaN", pax({b"mtime": b"nan"}), file("x")),
        bad("mtime 1e300", pax({b"mtime": b"1e300"}), file("x")),
        bad("mtime of 300 digits", pax({b"mtime": b"9" * 300}), file("x")),
        fine("mtime negative", pax({b"mtime": b"-1.5"}), file("x"), leaves="x"),
        fine("mtime negative base 256", file("x", mtime=base256(-10, 12)), leaves="x"),
        fine("mtime nanoseconds", pax({b"mtime": b"1.000000001"}), file("x"), leaves="x"),
        bad("GNU name of a gibibyte", header("L", b"L", 1 << 30), file("x")),
        bad("PAX header of a gibibyte", header("L", b"x", 1 << 30), file("x")),
        bad("PAX record too long", raw_pax(b"999 path=a\n"), file("x")),
        bad("PAX record of length 0", raw_pax(b"0 path=a\n"), file("x")),
        bad("PAX record negative", raw_pax(b"-9 path=a\n"), file("x")),
        bad("PAX record without newline", raw_pax(b"10 path=abc"), file("x")),
        bad("PAX record without value", raw_pax(b"7 path\n"), file("x")),
        bad("PAX and then nothing", pax({b"path": b"x"})),
        bad("wrong checksum", bytes(broken)),
        bad("no tar at all", b"\x89PNG" + bytes(508)),
        bad("lone block of zeros", file("a"), ZEROS, file("b")),
        bad("octal with a sign", file("x", mode=b"-000644")),
        bad("octal with underscores", file("x", mode=b"0_00644")),
        bad("octal 9", file("x", mode=b"0000649")),
        fine("empty"),
        fine("nothing at all", end=b""),
        fine("no end blocks", file("a"), leaves="a", end=b""),
        fine("one end block", file("a"), leaves="a", end=ZEROS),
        fine("trailing garbage", file("a"), leaves="a", end=END + b"garbage" * 1000),
        bad("cut in a header", file("a"), header("b")[:300], end=b""),
        bad("cut in a file", header("a", size=5000), bytes(512), end=b""),
        bad("cut in a PAX header", pax({b"path": b"x" * 600})[:800], end=b""),
        fine("v7", header("a/", b"\0", magic=bytes(8)), file("a/x", magic=bytes(8)),
             leaves="a a/x"),
        fine("GNU prefix is no prefix", file("x", magic=b"ustar  \0", prefix=b"1234"),
             leaves="x"),
        fine("prefix", directory("p"), file("x", prefix=b"p"), leaves="p p/x"),
        fine("GNU long name", gnu_long(b"L", b"n" * 200), file("x")),
        fine("GNU long link", gnu_long(b"K", b"n" * 200), symlink("x", "y"), leaves="x"),
        fine("duplicates", file("x", b"first"), file("x", b"last"), leaves="x"),
        fine("unknown names of owners", file("x"), leaves="x"),
    ]  # fmt: skip


def _sizes() -> list[Case]:
    return [
        bad("size 2^63", file("x").replace(b"00000000004\0", base256(1 << 63, 12), 1)),
        bad("size by base 256", header("x", size=base256(1 << 63, 12))),
        bad("negative size", header("x", size=base256(-512, 12))),
        bad("size 2^63 by PAX", pax({b"size": b"%d" % (1 << 63)}), file("x")),
        bad("negative size by PAX", pax({b"size": b"-1"}), file("x")),
        fine("size by PAX", pax({b"size": b"4"}), header("x") + padded(b"evil"), file("y"),
             leaves="x y"),
    ]  # fmt: skip


def fingerprint(root: Path) -> str:
    """Return a digest of everything in a directory: names, kinds, modes, owners, content."""
    told = hashlib.sha256()
    for path in [root, *sorted(root.rglob("*"))]:
        about = path.lstat()
        told.update(f"{path} {about.st_mode:o} {about.st_uid} {about.st_mtime_ns}".encode())
        told.update(f"{about.st_nlink} {about.st_ino}".encode())
        if stat.S_ISREG(about.st_mode):
            told.update(path.read_bytes())
    return told.hexdigest()
