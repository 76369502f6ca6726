from __future__ import annotations

import os
import shutil
import stat
import subprocess

import evil
import pytest
from helpers import needs_root
from test_layer_apply import in_namespaces, layer

from ocimagic.errors import ContentError, DiskFull, LayerRefused
from ocimagic.layers.erofs.image import write_image
from ocimagic.layers.erofs.look import find_in_image
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarWriter
from ocimagic.layers.toc import toc_of
from ocimagic.layers.whiteout import NeedsParent

directory, file, symlink, hardlink = evil.directory, evil.file, evil.symlink, evil.hardlink
needs_fsck = pytest.mark.skipif(not shutil.which("fsck.erofs"), reason="erofs-utils is missing")


def image(tar: bytes, path, *, cut: int = 1 << 20, **options):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        pieces = (tar[at : at + cut] for at in range(0, len(tar), cut))
        return write_image(pieces, fd, **options)
    finally:
        os.close(fd)


def extracted(path, target):
    """Let another program than the kernel say what is in an image."""
    words = ["fsck.erofs", f"--extract={target}", "--no-preserve-owner", str(path)]
    subprocess.run(words, check=True, capture_output=True)
    return target


@needs_fsck
@pytest.mark.parametrize("cut", [1, 700, 1 << 20])
def test_fsck_extracts_what_was_written(tmp_path, cut):
    sizes = (0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 8192 + 2048, 8192 + 2049, 100_000)
    contents = {f"d/f{size}": bytes(at % 251 for at in range(size)) for size in sizes}
    names = {f"many/{number:04}-{'n' * (number % 80)}": b"" for number in range(600)}
    files = contents | names
    tar = layer(
        directory("d"), directory("many"), *(file(name, data) for name, data in files.items()),
        symlink("short", "d/f1"), symlink("long", "x" * 99), hardlink("other", "d/f4097"),
    )  # fmt: skip
    tar = tar if cut > 1 else layer(directory("d"), file("d/f4097", contents["d/f4097"]))
    done = image(tar, tmp_path / "image", cut=cut)
    assert done.toc == toc_of([tar])
    seen = extracted(tmp_path / "image", tmp_path / "seen")
    for line in done.toc:
        place = seen / line.path
        if line.kind is Kind.FILE:
            assert place.read_bytes() == files[line.path]
        elif line.kind is Kind.SYMLINK:
            assert os.readlink(place) == line.linkname
    if cut > 1:
        assert (seen / "other").read_bytes() == contents["d/f4097"]
        assert len(os.listdir(seen / "many")) == 600


@needs_fsck
def test_texts_and_attributes_too_long_for_an_inode(tmp_path):
    parts = []
    writer = TarWriter(lambda piece: parts.append(bytes(piece)))
    big = {"user.a": b"a" * 5000, "user.b": b"b" * 70, "user.c": b"c" * 0xFFFF}
    writer.add(Entry("l", Kind.SYMLINK, linkname="y" * 4090))
    writer.add(Entry("f", Kind.FILE, size=3, xattrs=big), [b"abc"])
    writer.add(Entry("d/", Kind.DIR, 0o750, xattrs={"user.d": b"d" * 4000}))
    writer.add(Entry("d/x", Kind.FILE, size=5000, xattrs={"user.e": b"e" * 3000}), [b"x" * 5000])
    writer.add(Entry("./", Kind.DIR, 0o711, xattrs={"user.r": b"r" * 1900, "user.s": b"s" * 200}))
    writer.finish()
    done = image(b"".join(parts), tmp_path / "image")
    assert [(each.path, each.what) for each in done.skipped] == [("", "xattr user.s")]
    seen = extracted(tmp_path / "image", tmp_path / "seen")
    assert os.readlink(seen / "l") == "y" * 4090
    assert (seen / "f").read_bytes() == b"abc"
    assert (seen / "d/x").read_bytes() == b"x" * 5000


def test_equal_layers_give_equal_images_named_by_their_digest(tmp_path):
    tar = layer(directory("d"), file("d/f", b"1" * 9000), symlink("l", "d"))
    for name, cut in (("a", 700), ("b", 1 << 20)):
        image(tar, tmp_path / name, cut=cut, uuid=lambda: b"0123456789abcdef")
    raw = (tmp_path / "a").read_bytes()
    assert raw == (tmp_path / "b").read_bytes()
    assert len(raw) % 4096 == 0
    assert raw[1024 + 48 : 1024 + 64] == b"0123456789abcdef"


def test_small_files_share_blocks(tmp_path):
    tar = layer(directory("d"), *(file(f"d/{n}", b"hello") for n in range(4000)))
    image(tar, tmp_path / "image")
    assert (tmp_path / "image").stat().st_size < 4000 * 150


def test_looking_without_a_mount(tmp_path):
    names = [f"n{number:05}{'x' * 80}" for number in range(300)]
    tar = layer(
        *(file(name) for name in names), directory("etc", mode=0o751, uid=7, gid=8),
        file(".wh.gone"),
    )  # fmt: skip
    image(tar, tmp_path / "image")
    path = str(tmp_path / "image")
    assert find_in_image(path, b"etc") == (stat.S_IFDIR | 0o751, 7, 8)
    assert all(find_in_image(path, name.encode()) for name in (names[0], names[150], names[-1]))
    assert stat.S_ISCHR(find_in_image(path, b"gone").mode)
    assert find_in_image(path, b"nothing") is None
    for damage in (b"", bytes(8192), b"\xff" * 8192):
        (tmp_path / "image").write_bytes(damage)
        with pytest.raises(ContentError):
            find_in_image(path, b"etc")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((file("a/f"),), "implied"),
        ((hardlink("l", "f"),), "which is not there"),
        ((file("f"), hardlink("f", "f")), "hard link to itself"),
        ((directory("d"), hardlink("l", "d")), "hard link to the directory"),
        ((file(".wh..wh..opq"),), "is opaque"),
        ((symlink("a", "nothing"), file("a/f")), "a symlink to nothing"),
        ((symlink("a", "a"), file("a/f")), "its parent is no directory"),
        ((file("a"), file("a/f")), "its parent is no directory"),
        ((file(".wh.a"), hardlink("l", "a")), "which was deleted"),
        ((directory("d"), file("d/f"), hardlink("d", "d/f")), "what it replaces"),
    ],
)
def test_a_layer_that_leans_on_others_is_no_image(tmp_path, parts, reason):
    with pytest.raises(NeedsParent, match=reason):
        image(layer(*parts), tmp_path / "image")


def test_what_no_file_system_holds_is_refused(tmp_path):
    device = evil.header("dev", b"3", device=(4096, 1))
    for tar in (layer(device), layer(file("a"))[:-1500], layer(evil.header("c", b"3"))):
        with pytest.raises(LayerRefused):
            image(tar, tmp_path / "image")


def test_a_full_disk_is_said():
    with open("/dev/full", "wb") as full, pytest.raises(DiskFull):
        write_image([layer(file("a", b"x" * 9000))], full.fileno())


def test_entries_replaced_in_the_layer_itself(tmp_path):
    tar = layer(
        directory("d"), file("d/f", b"1"), hardlink("h", "d/f"), file("d", b"2"),
        file("implied/f"), directory("implied"), file("x", b"3"), file("x", b"33"),
    )  # fmt: skip
    image(tar, tmp_path / "image")
    assert stat.S_ISREG(find_in_image(str(tmp_path / "image"), b"d").mode)
    assert stat.S_ISDIR(find_in_image(str(tmp_path / "image"), b"implied").mode)


@needs_root
def test_kernel_and_fsck_agree_on_random_trees(tmp_path):
    code = f"import imagetrees; imagetrees.main({str(tmp_path)!r}, 60)"
    assert in_namespaces("-m", code=code) in ("60\n", "no images here\n")
