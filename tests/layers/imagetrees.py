"""Random trees that hypothesis thinks of, as images: what the kernel and fsck.erofs say of them.

Run as a program in a mount namespace of its own, by root.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenario import has_images

from ocimagic.layers.erofs.image import write_image
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarWriter
from ocimagic.linux import mounting

TYPES = {
    Kind.FILE: stat.S_IFREG, Kind.DIR: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK,
    Kind.CHAR: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO,
}  # fmt: skip
ids = st.sampled_from((0, 1, 1000, 65534, 1 << 20, (1 << 32) - 2))
moments = st.integers(-(10**18), 4 * 10**18)
sizes = st.one_of(st.integers(0, 9000), st.sampled_from((0, 2047, 2048, 2049, 4095, 4096, 4097)))
xattrs = st.dictionaries(
    st.integers(1, 200).map(lambda size: "user." + "k" * size),
    st.integers(0, 6000).map(lambda size: b"v" * size), max_size=3,
)  # fmt: skip
names = st.one_of(
    st.sampled_from(("a", "+", "..x", "-", "z" * 255)),
    st.binary(min_size=1, max_size=60).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in (b".", b"..") and not raw.startswith(b".wh."))
    .map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)  # fmt: skip
leaves = st.fixed_dictionaries({
    "kind": st.sampled_from((Kind.FILE, Kind.FILE, Kind.SYMLINK, Kind.CHAR, Kind.BLOCK, Kind.FIFO)),
    "size": sizes, "mode": st.integers(0, 0o7777), "uid": ids, "gid": ids, "mtime": moments,
    "xattrs": xattrs, "device": st.tuples(st.integers(1, 4095), st.integers(0, (1 << 20) - 1)),
})  # fmt: skip
directories = st.recursive(
    st.dictionaries(names, leaves, max_size=6),
    lambda inner: st.dictionaries(names, st.one_of(leaves, inner), max_size=6),
    max_leaves=30,
)


def entries(tree: dict, path: str, crowd: int):
    """Yield what makes a tree: a directory first, then what is in it."""
    for number in range(crowd):
        yield Entry(f"crowd{number:0200}", Kind.FILE, size=3, mtime_ns=5), b"abc"
    for name, node in tree.items():
        place = f"{path}{name}"
        if "kind" not in node or not isinstance(node["kind"], Kind):
            yield Entry(f"{place}/", Kind.DIR, 0o751, 3, 4, 10**18 + 7), b""
            yield from entries(node, f"{place}/", 0)
            continue
        kind = node["kind"]
        size = node["size"] if kind is Kind.FILE else 0
        device = node["device"] if kind in (Kind.CHAR, Kind.BLOCK) else (0, 0)
        link = "t" * (1 + node["size"] % 4095) if kind is Kind.SYMLINK else ""
        kept = node["xattrs"] if kind is Kind.FILE else {}
        mode = 0o777 if kind is Kind.SYMLINK else node["mode"]
        whole = node["mtime"] // 10**9 * 10**9  # our tars have whole seconds
        data = bytes(at * 7 % 251 for at in range(size))
        yield Entry(
            place, kind, mode, node["uid"], node["gid"], whole, size, link, *device, kept
        ), data  # fmt: skip
        if kind is Kind.FILE and node["uid"] == 1:
            yield Entry(f"{place[:-1]}\x01", Kind.HARDLINK, linkname=place), b""


def check(tree: dict, crowd: int, base: str) -> None:
    parts: list[bytes] = []
    writer = TarWriter(lambda piece: parts.append(bytes(piece)))
    expected: dict[str, tuple] = {}
    for entry, data in entries(tree, "", crowd):
        path = entry.name.rstrip("/")
        if path in expected:
            continue
        writer.add(entry, [data])
        if entry.kind is Kind.HARDLINK:
            expected[path] = expected[entry.linkname]
            continue
        device = os.makedev(entry.dev_major, entry.dev_minor)
        seconds = entry.mtime_ns // 10**9 * 10**9
        expected[path] = (
            TYPES[entry.kind] | entry.mode, entry.uid, entry.gid, seconds, device, entry.linkname,
            data, dict(entry.xattrs),
        )  # fmt: skip
    writer.finish()
    file = f"{base}/image"
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_image([b"".join(parts)], fd)
    finally:
        os.close(fd)
    if shutil.which("fsck.erofs"):
        subprocess.run(["fsck.erofs", "--extract", file], check=True, stdout=subprocess.DEVNULL)
    place = f"{base}/seen"
    mounting.mount(file, place, "erofs", mounting.MS_RDONLY)
    try:
        seen = dict(look(Path(place), ""))
    finally:
        mounting.umount(place)
    assert seen.keys() == expected.keys(), seen.keys() ^ expected.keys()
    for path, told in expected.items():
        assert seen[path] == told, path


def look(directory: Path, path: str):
    inside = [each for each in os.scandir(directory) if each.is_dir(follow_symlinks=False)]
    assert directory.lstat().st_nlink == 2 + len(inside)
    for name in os.listdir(directory):
        place = directory / name
        found = place.lstat()
        kind = stat.S_IFMT(found.st_mode)
        link = os.readlink(place) if kind == stat.S_IFLNK else ""
        data = place.read_bytes() if kind == stat.S_IFREG else b""
        kept = {}
        if kind in (stat.S_IFREG, stat.S_IFDIR):
            kept = {key: os.getxattr(place, key) for key in os.listxattr(place)}
        device = found.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
        raw = os.fsencode(f"{path}{name}").decode("utf-8", "surrogateescape")
        yield raw, (
            found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns, device, link, data, kept,
        )  # fmt: skip
        if kind == stat.S_IFDIR:
            yield from look(place, f"{path}{name}/")


def main(base: str, examples: int) -> None:
    mounting.mount("none", "/", None, mounting.MS_REC | mounting.MS_PRIVATE)
    if not has_images(base):
        print("no images here")
        return
    os.mkdir(f"{base}/seen")

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=examples < 100,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(directories, st.sampled_from((0, 0, 0, 40)))
    def run(tree, crowd):
        check(tree, crowd, base)

    run()
    print(examples)
