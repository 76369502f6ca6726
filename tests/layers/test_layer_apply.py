from __future__ import annotations

import gzip
import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import evil
import pytest
from helpers import IDS, IS_ROOT, apply, needs_root, paths_in

from ocimagic.errors import DiskFull, HostLacks, LayerRefused, StorageError
from ocimagic.layers.apply import IdPolicy, NeedsParent, WhiteoutStyle, apply_layer
from ocimagic.layers.compress import decompressed
from ocimagic.layers.toc import toc_of

HERE = Path(__file__).parent
OVERLAY, MERGE = WhiteoutStyle.OVERLAY, WhiteoutStyle.MERGE
directory, file, symlink, hardlink = evil.directory, evil.file, evil.symlink, evil.hardlink


def layer(*parts: bytes) -> bytes:
    return b"".join(parts) + evil.END


def in_namespaces(*words: str, code: str | None = None) -> str:
    """Run Python as root of new mount namespaces, or skip where the machine forbids them."""
    unshare = ["unshare", *words]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"unshare {' '.join(words)} is not allowed here")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", code or ""], capture_output=True, text=True, check=False,
        cwd=HERE, env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def sample_tree(base: Path) -> None:
    """Make a tree with every kind of file an ordinary user can make."""
    dice = random.Random(7)
    for depth in range(60):
        place = base.joinpath(*[f"d{dice.randrange(4)}" for _ in range(depth % 5)])
        place.mkdir(parents=True, exist_ok=True)
        (place / f"file{depth}").write_bytes(dice.randbytes(dice.choice((0, 1, 511, 512, 70_000))))
        (place / f"file{depth}").chmod(dice.choice((0o644, 0o4755, 0o600, 0o444)))
        (place / f"link{depth}").symlink_to(dice.choice(("x" * 140, "/etc", "../file1")))
    os.link(base / "file0", base / "zz-hard")
    os.mkfifo(base / "fifo", 0o640)
    (base / ("ü" * 100)).write_text("long name")
    (base / os.fsdecode(b"\xff\xfe")).write_text("no UTF-8")
    (base / "big").write_bytes(bytes(5_000_000))
    os.setxattr(base / "big", "user.mine", b"yes")
    if IS_ROOT:
        os.mknod(base / "null", 0o020666, os.makedev(1, 3))
        os.chown(base / "d0", 1234, 5678)
    (base / "d1").chmod(0o1755)
    os.utime(base / "d1", (1, 1))


@pytest.mark.parametrize("style", ["gnu", "pax"])
def test_gnu_tar_finds_no_difference(tmp_path, style):
    source = tmp_path / "source"
    source.mkdir()
    sample_tree(source)
    tar = tmp_path / "layer.tar"
    words = ["tar", f"--format={style}", "--numeric-owner"]
    xattrs = ["--xattrs", "--xattrs-include=user.*"] if style == "pax" else []
    subprocess.run([*words, *xattrs, "-cf", tar, "-C", source, "."], check=True)
    for each in WhiteoutStyle:
        root = tmp_path / each.name
        root.mkdir()
        packed = gzip.compress(tar.read_bytes(), 1)
        pieces = (packed[at : at + 9999] for at in range(0, len(packed), 9999))
        fd = os.open(root, os.O_RDONLY)
        seen: list[int] = []
        done = apply_layer(decompressed(pieces), fd, style=each, ids=IDS, on_progress=seen.append)
        os.close(fd)
        assert (tar.stat().st_size, sorted(seen)) == (seen[-1], seen)
        assert paths_in(source) == paths_in(root)
        assert done.toc == toc_of([tar.read_bytes()])
        assert done.entries == len(done.toc)
        assert (done.needs_parent, done.skipped) == (False, ())
        options = xattrs if style == "pax" else []
        subprocess.run([*words, *options, "--compare", "-f", tar, "-C", root], check=True)
        assert (root / "file0").samefile(root / "zz-hard")
        if xattrs:
            assert os.getxattr(root / "big", "user.mine") == b"yes"


def test_digest_of_the_stream_is_complete(tmp_path):
    tar = layer(file("a")) + b"after the end"
    hasher = hashlib.sha256()

    def hashed():
        for chunk in (tar[:700], tar[700:]):
            hasher.update(chunk)
            yield chunk

    fd = os.open(tmp_path, os.O_RDONLY)
    apply_layer(hashed(), fd, style=OVERLAY, ids=IDS)
    os.close(fd)
    assert hashlib.sha256(tar).hexdigest() == hasher.hexdigest()


def test_no_descriptor_is_left_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    deep = [directory("/".join(["d"] * depth)) for depth in range(1, 200) if depth < 50]
    many = [directory(f"m{n}") + file(f"m{n}/f") for n in range(300)]
    apply(layer(*deep, *many), tmp_path, OVERLAY)
    with pytest.raises(LayerRefused):
        apply(layer(*many, hardlink("x", "nothing")), tmp_path, MERGE)
    assert before == len(os.listdir("/proc/self/fd"))


def test_umask_does_not_matter(tmp_path):
    before = os.umask(0o077)
    try:
        apply(layer(directory("d"), file("d/f", mode=0o666), file("i/f")), tmp_path, MERGE)
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o7777 for name in ("d", "d/f", "i")]
    assert modes == [0o755, 0o666, 0o755]


def test_merge_whiteouts_hit_lower_files_only(tmp_path):
    base = layer(directory("d"), file("d/a"), file("d/b"), directory("d/s"), file("d/s/x"))
    for number, parts in enumerate((
        (file("d/.wh.a"), file("d/c"), file("d/.wh.c"), file("d/.wh.s")),
        (file("d/c"), file("d/.wh.s"), file("d/.wh.c"), file("d/.wh.a")),
    )):  # fmt: skip
        root = tmp_path / str(number)
        root.mkdir()
        apply(base, root, MERGE)
        done = apply(layer(*parts), root, MERGE)
        assert {"d", "d/b", "d/c"} == paths_in(root)
        assert done.needs_parent
        apply(layer(file("d/n"), file("d/.wh..wh..opq")), root, MERGE)
        assert {"d", "d/n"} == paths_in(root)


def test_lower_directory_keeps_its_looks(tmp_path):
    apply(layer(directory("d", mode=0o711, mtime=5), file("d/a")), tmp_path, MERGE)
    apply(layer(file("d/b"), file("d/.wh.a")), tmp_path, MERGE)
    told = (tmp_path / "d").stat()
    assert (told.st_mode & 0o777, told.st_mtime) == (0o711, 5)


def test_directory_over_directory_replaces_attributes(tmp_path):
    first = evil.pax({b"SCHILY.xattr.user.old": b"1"}) + directory("d", mode=0o700) + file("d/a")
    apply(layer(first), tmp_path, MERGE)
    second = evil.pax({b"SCHILY.xattr.user.new": b"1"}) + directory("d", mode=0o755, mtime=9)
    apply(layer(second), tmp_path, MERGE)
    told = (tmp_path / "d").stat()
    assert (told.st_mode & 0o777, told.st_mtime) == (0o755, 9)
    assert [x for x in os.listxattr(tmp_path / "d") if x.startswith("user.")] == ["user.new"]
    assert (tmp_path / "d" / "a").exists()


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((file("d/a"),), "implied"),
        ((file("d/.wh.a"),), "implied"),
        ((hardlink("b", "a"),), "not there"),
        ((file(".wh..wh..opq"),), "opaque"),
        ((file(".wh.a"), hardlink("b", "a")), "deleted"),
        ((symlink("l", "d"), file("l/a")), "symlink to nothing"),
    ],
)
def test_layers_that_lean_on_lower_ones(tmp_path, parts, reason):
    with pytest.raises(NeedsParent, match=reason):
        apply(layer(*parts), tmp_path, OVERLAY)


def test_implied_directory_listed_later_is_no_reason_to_lean(tmp_path):
    apply(layer(file("d/a"), directory("d", mode=0o700)), tmp_path, OVERLAY)
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700


def test_hard_link_to_a_file_of_a_lower_layer(tmp_path):
    apply(layer(file("a", b"lower")), tmp_path, MERGE)
    done = apply(layer(hardlink("b", "./a")), tmp_path, MERGE)
    assert (tmp_path / "a").samefile(tmp_path / "b")
    assert done.needs_parent


def test_read_only_directories_in_single_mode(tmp_path):
    """Go's module cache is full of them, and users other than root must cope."""
    base = layer(directory("d", mode=0o555), directory("d/e", mode=0), file("d/e/f", mode=0o400))
    apply(base, tmp_path, MERGE, ids=IdPolicy.SINGLE)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("d",)]
    apply(layer(file("d/new")), tmp_path, MERGE, ids=IdPolicy.SINGLE)
    assert [0o555] == modes == [(tmp_path / "d").stat().st_mode & 0o777]
    assert (tmp_path / "d" / "new").exists()
    apply(layer(file(".wh.d")), tmp_path, MERGE, ids=IdPolicy.SINGLE)
    assert set() == paths_in(tmp_path)


def test_single_keeps_the_owner_in_the_table(tmp_path):
    done = apply(layer(file("a", uid=1234, gid=99)), tmp_path, OVERLAY, ids=IdPolicy.SINGLE)
    assert (done.toc[0].uid, done.toc[0].gid) == (1234, 99)
    assert os.geteuid() == (tmp_path / "a").stat().st_uid


@pytest.mark.skipif(IS_ROOT, reason="root may change owners")
def test_changing_owners_without_the_right(tmp_path):
    with pytest.raises(HostLacks, match="cannot be given"):
        apply(layer(file("a", uid=1234)), tmp_path, OVERLAY, ids=IdPolicy.REAL)


def test_ids_without_a_place_in_the_namespace(tmp_path):
    code = f"""
import evil, helpers, pathlib
from ocimagic.errors import LayerRefused
from ocimagic.layers.apply import *
try:
    helpers.apply(evil.file("a", uid=70000), pathlib.Path({str(tmp_path)!r}),
                  WhiteoutStyle.OVERLAY, ids=IdPolicy.REAL)
except LayerRefused as err:
    print(err.reason)
"""
    said = in_namespaces("-Ur", code=code)
    assert "70000:0 has no place" in said
    assert "maps 1 user and 1 group ids" in said


def test_whiteouts_for_overlayfs(tmp_path):
    apply(
        layer(file(".wh.gone"), directory("d"), file("d/.wh..wh..opq"), file(".wh.r"),
              directory("r"), directory("s"), file(".wh.s")),
        tmp_path, OVERLAY, userxattr=True,
    )  # fmt: skip
    gone = (tmp_path / "gone").stat()
    assert (gone.st_mode & 0o170000, gone.st_rdev) == (0o020000, 0)
    for name in "drs":
        assert os.getxattr(tmp_path / name, "user.overlay.opaque") == b"y"


@needs_root
def test_full_disk(tmp_path):
    code = f"""
import evil, helpers, pathlib
from ocimagic.errors import DiskFull
from ocimagic.linux import mounting
from ocimagic.layers.apply import *
mounting.mount("none", "/", None, mounting.MS_REC | mounting.MS_PRIVATE)
mounting.mount("tmpfs", {str(tmp_path)!r}, "tmpfs", 0, "size=1m")
try:
    helpers.apply(evil.file("big", bytes(2 << 20)), pathlib.Path({str(tmp_path)!r}),
                  WhiteoutStyle.OVERLAY)
except DiskFull as err:
    print(err.where, err.http_status)
"""
    assert f"big {DiskFull.http_status}\n" == in_namespaces("-m", code=code)


def play(words: tuple[str, ...], base: Path, first: int, last: int, mode: str) -> int:
    code = (
        f"import sys, scenario; sys.argv = ['x', {str(base)!r}, '{first}', '{last}', '{mode}'];"
        "scenario.main()"
    )
    return int(in_namespaces(*words, code=code))


@needs_root
@pytest.mark.slow
def test_three_ways_to_one_tree(tmp_path):
    assert play(("-m",), tmp_path, 0, 250, "root") > 100


@needs_root
@pytest.mark.parametrize("seed", [141, 168, 850, 1075, 1737, 6937, 18418])
def test_three_ways_to_one_tree_once_went_astray(tmp_path, seed):
    play(("-m",), tmp_path, seed, seed + 1, "root")


@pytest.mark.slow
def test_three_ways_to_one_tree_in_a_user_namespace(tmp_path):
    assert play(("-Urm",), tmp_path, 0, 120, "user") > 50


def test_a_tree_too_deep_to_remove_is_refused_politely(tmp_path):
    path = b"/".join([b"d"] * 1500)
    apply(evil.pax({b"path": path}) + layer(file("x")), tmp_path, MERGE)
    with pytest.raises((LayerRefused, StorageError)):
        apply(layer(file(".wh.d")), tmp_path, MERGE)
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)
