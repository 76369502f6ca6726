from __future__ import annotations

import os
import random
import socket
import subprocess
import tarfile
from io import BytesIO

import evil
import pytest
from helpers import IDS, IS_ROOT, apply, needs_root
from scenario import diff

from ocimagic.errors import LayerRefused, StorageError
from ocimagic.layers.apply import WhiteoutStyle
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.toc import toc_of


def members(tar: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=BytesIO(tar), errors="surrogateescape") as opened:
        return opened.getmembers()


def names(tar: bytes) -> list[str]:
    return [member.name for member in members(tar)]


@pytest.fixture
def upper(tmp_path):
    place = tmp_path / "upper"
    place.mkdir()
    return place


def whiteout(path):
    os.mknod(path, 0o020000, 0)


def test_order_and_marks(upper):
    for name in ("b", "b/d", "a"):
        (upper / name).mkdir()
    for name in ("b/z", "b/d/f", "b.c", "Z"):
        (upper / name).write_text(name)
    for name in ("b/y", "b/c", "zz"):
        whiteout(upper / name)
    os.setxattr(upper / "b", "user.overlay.opaque", b"y")
    os.setxattr(upper / "a", "user.overlay.opaque", b"x")  # not what makes it opaque
    tar, toc = diff(upper, userxattr=True)
    assert names(tar) == [
        ".wh.zz", "Z", "a", "b", "b/.wh..wh..opq", "b/.wh.c", "b/.wh.y", "b/d", "b/d/f", "b/z",
        "b.c",
    ]  # fmt: skip
    assert toc == toc_of([tar])
    assert "".join(line.kind for line in toc) == "wfddowwdfff"


def test_links_sockets_and_attributes(upper):
    (upper / "z").write_bytes(b"content")
    os.link(upper / "z", upper / "a")
    (upper / "s").symlink_to("z" * 200)
    os.mkfifo(upper / "p", 0o600)
    with socket.socket(socket.AF_UNIX) as one:
        where = os.getcwd()
        os.chdir(upper)
        try:
            one.bind("sock")
        finally:
            os.chdir(where)
    for name, value in (("user.k", b"1"), ("user.overlay.origin", b""), ("user.a=b", b"")):
        os.setxattr(upper / "z", name, value)
    tar, toc = diff(upper, userxattr=True)
    assert names(tar) == ["a", "p", "s", "z"]
    by_path = {line.path: line for line in toc}
    assert (by_path["a"].kind, by_path["a"].size) == (Kind.FILE, 7)
    assert (by_path["z"].kind, by_path["z"].linkname) == (Kind.HARDLINK, "a")
    assert by_path["s"].linkname == "z" * 200
    member = members(tar)[0]
    assert dict(member.pax_headers) == {"SCHILY.xattr.user.k": "1"}


def test_same_tree_same_bytes(tmp_path):
    made = []
    for seed in (1, 2):
        place = tmp_path / f"place{seed}"
        place.mkdir()
        dice = random.Random(seed)
        files = [f"d{n % 3}/f{n}" for n in range(60)]
        dice.shuffle(files)
        for name in files:
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(name)
        for each in [*place.rglob("*"), place]:
            os.utime(each, ns=(0, 5_000_000_000 + dice.randrange(1_000_000_000)))
        made.append(diff(place, userxattr=True)[0])
    assert made[0] == made[1]


def test_times_are_clamped(upper):
    for name, when in (("old", 5), ("new", 500)):
        (upper / name).write_text("x")
        os.utime(upper / name, (when, when))
    _, toc = diff(upper, userxattr=True, clamp_mtime=100)
    assert [line.mtime_ns // 10**9 for line in toc] == [100, 5]


def test_names_that_would_delete(upper):
    (upper / ".wh.x").write_text("")
    with pytest.raises(LayerRefused, match="delete"):
        diff(upper, userxattr=True)


@pytest.mark.parametrize("word", ["redirect", "metacopy"])
def test_directories_that_only_overlayfs_understands(upper, word):
    (upper / "d").mkdir()
    os.setxattr(upper / "d", f"user.overlay.{word}", b"/x")
    with pytest.raises(StorageError, match="without its lower layers"):
        diff(upper, userxattr=True)


@pytest.mark.skipif(IS_ROOT, reason="root can read everything")
def test_unreadable_file(upper):
    (upper / "secret").write_text("x")
    (upper / "secret").chmod(0)
    with pytest.raises(StorageError, match="cannot be read"):
        diff(upper, userxattr=True)


def test_deep_trees_need_no_recursion(upper):
    where = os.getcwd()
    try:
        os.chdir(upper)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(where)
    _, toc = diff(upper, userxattr=True)
    assert len(toc) == 1500
    subprocess.run(["rm", "-rf", upper / "d"], check=True)


def test_an_applied_layer_reads_back_the_same(tmp_path):
    """Bytes in normal form survive a round trip over a directory."""
    parts = [
        evil.directory("d", mode=0o1777), evil.file("d/.wh..wh..opq", b""),
        evil.file("d/.wh.x", b""), evil.file("d/f", b"x" * 3000, mode=0o4711),
        evil.hardlink("d/g", "d/f"), evil.symlink("l", "/d"), evil.header("p", b"6"),
    ]  # fmt: skip
    tar = b"".join(parts) + evil.END
    trees = []
    for number in range(2):
        root = tmp_path / str(number)
        root.mkdir()
        apply(tar, root, WhiteoutStyle.OVERLAY, userxattr=True, ids=IDS)
        tar, _ = diff(root, userxattr=True)
        trees.append(tar)
    assert trees[0] == trees[1]


@needs_root
def test_devices_and_capabilities(upper):
    os.mknod(upper / "null", 0o020666, os.makedev(1, 3))
    (upper / "ping").write_text("x")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(upper / "ping", "security.capability", capability)
    os.setxattr(upper / "ping", "trusted.overlay.origin", b"")
    tar, _ = diff(upper, userxattr=False)
    null, ping = members(tar)
    assert (null.devmajor, null.devminor) == (1, 3)
    assert list(ping.pax_headers) == ["SCHILY.xattr.security.capability"]
