"""Random stacks of layers, applied four ways that must come to the same tree.

1. MERGE onto one plain directory;
2. OVERLAY, a directory a layer (MERGE over a mount of the lower ones where a layer needs its
   parent), looked at through an overlay mount;
3. the same with an EROFS image a layer, mounted, where root may do that;
4. MergedTree, from the tables of contents alone.

Besides, what ``diff_upper`` reads back from each overlay directory must, applied once more,
be that tree again.  Run as a program in namespaces of its own: it mounts.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import evil

from ocimagic.errors import LayerRefused
from ocimagic.layers.apply import IdPolicy, NeedsParent, WhiteoutStyle, apply_layer
from ocimagic.layers.diff import diff_upper
from ocimagic.layers.erofs.image import write_image
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.tarstream import TarWriter
from ocimagic.layers.toc import independent, toc_of
from ocimagic.linux import mounting
from ocimagic.shim import worker

NAMES = ("a", "b", "c")
KINDS = {
    stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIR, stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
}  # fmt: skip


class Stack:
    """The four ways of one stack, below a directory of its own.

    Args:
        images: a directory on a disk for images, None to make none.
    """

    def __init__(self, base: Path, *, userxattr: bool, images: Path | None = None) -> None:
        self.base = base
        self.userxattr = userxattr
        self.plain = base / "plain"
        self.plain.mkdir(parents=True)
        self.layers: list[Path] = []
        self.again: list[Path] = []
        self.tocs = []
        self.images = images
        self.mounted: list[Path] = []

    def add(self, tar: bytes) -> bool:
        """Apply a layer all ways; False if all refuse it."""
        toc = toc_of([tar])
        try:
            merged = apply(tar, self.plain, WhiteoutStyle.MERGE)
        except LayerRefused:
            for attempt in (lambda: self._overlay(tar, toc), lambda: MergedTree([*self.tocs, toc])):
                try:
                    attempt()
                except LayerRefused:
                    continue
                raise AssertionError("refused by MERGE only") from None
            return False
        assert merged.toc == toc
        self.layers.append(self._overlay(tar, toc))
        if self.layers[-1].name.startswith("merged"):
            clear = len({line.path for line in toc}) == len(toc) and not any(
                line.kind is Kind.SYMLINK for line in toc
            )
            assert not (clear and independent(toc))
        if self.images:
            self.mounted.append(self._image(tar, toc))
        self.tocs.append(toc)
        self.again.append(self._round_trip(self.layers[-1]))
        return True

    def _overlay(self, tar: bytes, toc) -> Path:
        upper = self.base / f"layer{len(self.layers)}"
        upper.mkdir()
        try:
            done = apply(tar, upper, WhiteoutStyle.OVERLAY, userxattr=self.userxattr)
        except NeedsParent:
            return self._merged(tar, self.layers, f"{len(self.layers)}")
        assert not done.needs_parent
        return upper

    def _image(self, tar: bytes, toc) -> Path:
        number = len(self.mounted)
        file = self.images / f"{number}.erofs"
        try:
            done = image(tar, file)
        except NeedsParent:
            assert self.layers[-1].name.startswith("merged")
            return self._merged(tar, self.mounted, f"-image{number}")
        assert (done.toc, done.needs_parent) == (toc, False)
        if shutil.which("fsck.erofs"):
            subprocess.run(["fsck.erofs", file], check=True, stdout=subprocess.DEVNULL)
        place = self.base / f"image{number}"
        place.mkdir()
        mounting.mount(str(file), str(place), "erofs", mounting.MS_RDONLY)
        return place

    def _merged(self, tar: bytes, below: list[Path], name: str) -> Path:
        upper, work = self.base / f"merged{name}", self.base / f"work{name}"
        upper.mkdir()
        work.mkdir()
        with Mounted(self, below, (upper, work)) as root:
            apply(tar, root, WhiteoutStyle.MERGE)
        return upper

    def _round_trip(self, upper: Path) -> Path:
        back = self.base / f"again{len(self.again)}"
        back.mkdir()
        tar, toc = diff(upper, userxattr=self.userxattr)
        assert toc == toc_of([tar])
        assert independent(toc)
        apply(tar, back, WhiteoutStyle.OVERLAY, userxattr=self.userxattr)
        return back

    def check(self) -> None:
        expected = picture(self.plain)
        for layers in filter(None, (self.layers, self.again, self.mounted)):
            with Mounted(self, layers) as root:
                seen = picture(root)
                if seen != expected:
                    raise AssertionError(difference(expected, seen))
        tree = MergedTree(self.tocs)
        told = {found.path: outline(found.entry) for found in tree.walk() if found.path}
        here = {path: (line[0], line[1], *line[4:6]) for path, line in expected.items()}
        assert here == told, difference(here, told)


class Mounted:
    """An overlay mount of layers, with an upper directory or read only."""

    def __init__(self, stack: Stack, layers: list[Path], upper=None) -> None:
        self.root = stack.base / "mnt"
        self.root.mkdir(exist_ok=True)
        empty = stack.base / "empty"
        empty.mkdir(exist_ok=True)
        lower = ":".join(map(str, [*reversed(layers), empty]))
        self.options = f"lowerdir={lower}" + (":" + str(empty) + "2" if not layers else "")
        Path(f"{empty}2").mkdir(exist_ok=True)
        if upper:
            self.options += f",upperdir={upper[0]},workdir={upper[1]},redirect_dir=off,metacopy=off"
        if stack.userxattr:
            self.options = self.options.replace(",redirect_dir=off,metacopy=off", "") + ",userxattr"

    def __enter__(self) -> Path:
        mounting.mount("overlay", str(self.root), "overlay", 0, self.options)
        return self.root

    def __exit__(self, *exc: object) -> None:
        mounting.umount(str(self.root))


def apply(tar: bytes, root: Path, style: WhiteoutStyle, ids=IdPolicy.REAL, **options):
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return apply_layer([tar], fd, style=style, ids=ids, **options)
    finally:
        os.close(fd)


def image(tar: bytes, file: Path):
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return write_image([tar], fd)
    finally:
        os.close(fd)


def diff(upper: Path, **options):
    pieces: list[bytes] = []
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY)
    try:
        toc = diff_upper(fd, writer=TarWriter(lambda p: pieces.append(bytes(p))), **options)
    finally:
        os.close(fd)
    return b"".join(pieces), toc


def picture(root: Path) -> dict[str, tuple]:
    """Return all that can be seen of a tree, without its root."""
    seen = {}
    for base, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(base, name)
            told = path.lstat()
            kind = KINDS[stat.S_IFMT(told.st_mode)]
            content = os.readlink(path) if kind is Kind.SYMLINK else ""
            xattrs = ()
            if kind in (Kind.FILE, Kind.DIR):
                xattrs = tuple(
                    (key, os.getxattr(path, key))
                    for key in sorted(os.listxattr(path)) if key.startswith("user.")
                    and "overlay" not in key
                )  # fmt: skip
            data = path.read_bytes() if kind is Kind.FILE else b""
            mode = 0o777 if kind is Kind.SYMLINK else stat.S_IMODE(told.st_mode)
            seen[os.path.relpath(path, root)] = (
                kind, mode, told.st_uid, told.st_mtime_ns, len(data), content, data, xattrs,
            )  # fmt: skip
    return seen


def outline(entry) -> tuple:
    mode = 0o777 if entry.kind is Kind.SYMLINK else entry.mode
    return (entry.kind, mode, entry.size, entry.linkname)


def difference(one: dict, two: dict) -> str:
    paths = sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path))
    return "\n".join(f"{path}:\n  {one.get(path)}\n  {two.get(path)}" for path in paths)


def random_layer(dice: random.Random, *, owners: bool, closed: bool = True) -> bytes:
    """Write a layer that may be anything but one thing; not all may enter closed directories.

    It never lists a directory after it put something in it: what that means when a lower
    layer has a symlink there is for nobody to say.
    """
    parts = []
    listed: set[str] = set()
    implied: set[str] = set()
    for _ in range(dice.randrange(1, 14)):
        path = "/".join(dice.choice(NAMES) for _ in range(dice.choice((1, 1, 2, 2, 3))))
        above = [path[:at] for at, char in enumerate(path) if char == "/"]
        if dice.random() < 0.85:
            for each in above:
                if each not in listed | implied:
                    parts.append(evil.directory(each, mode=dice.choice((0o755, 0o711))))
                    listed.add(each)
        implied |= set(above) - listed
        kind = dice.choice("ffffdddlhwwop")
        if kind == "d" and path in implied:
            kind = "f"
        mode = dice.choice((0o644, 0o600, 0o4755, 0o1777)) | (0 if closed else 0o700)
        fields = {"mode": mode, "mtime": dice.randrange(1 << 30)}
        if owners:
            fields["uid"] = dice.choice((0, 1000))
        records = {b"SCHILY.xattr.user.k": b"%d" % dice.randrange(9)}
        if kind in "fd" and dice.random() < 0.2:
            parts.append(evil.pax(records))
        if kind == "f":
            parts.append(evil.file(path, b"x" * dice.randrange(2000), **fields))
        elif kind == "d":
            parts.append(evil.directory(path, **fields))
            listed.add(path)
        elif kind == "p":
            parts.append(evil.header(path, b"6", **fields))
        elif kind == "l":
            target = dice.choice((*NAMES, "/a", "../b", "/b/c", "c/a", "."))
            parts.append(evil.symlink(path, target, **fields))
        elif kind == "h":
            target = "/".join(dice.choice(NAMES) for _ in range(dice.choice((1, 2))))
            parts.append(evil.hardlink(path, target))
        else:
            base, _, name = path.rpartition("/")
            mark = f".wh.{name}" if kind == "w" else ".wh..wh..opq"
            parts.append(evil.file(f"{base}/{mark}".lstrip("/"), b""))
    return b"".join(parts) + evil.END


def play(base: Path, seed: int, *, userxattr: bool, owners: bool, images=None) -> int:
    """Build and check one stack; return how many of its layers were not refused."""
    dice = random.Random(seed)
    stack = Stack(base, userxattr=userxattr, images=images)
    good = 0
    for _ in range(dice.randrange(2, 6)):
        tar = random_layer(dice, owners=owners)
        if not stack.add(tar):
            break  # what a refused layer leaves is to be thrown away
        good += 1
        stack.check()
    return good


def has_images(directory: str) -> bool:
    """Say whether this kernel mounts files of this directory, as the engine would find out."""
    return not worker._probe_images({"directory": directory}, [])["why"]


def main() -> None:
    base, first, last, mode = sys.argv[1:]
    mounting.mount("none", "/", None, mounting.MS_REC | mounting.MS_PRIVATE)
    images = Path(base, "images") if mode == "root" and has_images(base) else None
    if images:
        images.mkdir()
    base = f"{base}/stacks"
    os.mkdir(base)
    mounting.mount("tmpfs", base, "tmpfs")
    os.umask(0o077)  # must not matter
    good = 0
    for seed in range(int(first), int(last)):
        try:
            good += play(
                Path(base, str(seed)), seed, userxattr=mode == "user", owners=mode == "root",
                images=images,
            )  # fmt: skip
        except BaseException:
            print(f"seed {seed}", file=sys.stderr)
            raise
    print(good)


if __name__ == "__main__":
    main()
