"""Every item of the layer tar corpus: refused, or made harmless, and the host untouched."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
from pathlib import Path

import evil
import pytest
from helpers import CAN_MKNOD, IDS, apply, needs_root, paths_in

from ocimagic.errors import LayerRefused, OcimagicError
from ocimagic.layers import tarheader
from ocimagic.layers.apply import NeedsParent, WhiteoutStyle, apply_layer
from ocimagic.layers.toc import toc_of

NAMES = [case.name for case in evil.cases("/canary")]


@pytest.fixture
def canary():
    # A short path, wherever TMPDIR is: links to it must fit into 100 bytes of a tar header.
    with tempfile.TemporaryDirectory(prefix="canary-", dir="/var/tmp") as name:
        place = Path(name)
        (place / "dir").mkdir()
        (place / "file").write_text("alive")
        before = evil.fingerprint(place)
        yield name
        assert before == evil.fingerprint(place)


@pytest.mark.parametrize("style", WhiteoutStyle)
@pytest.mark.parametrize("name", NAMES)
def test_corpus(tmp_path, canary, name, style):
    case = next(case for case in evil.cases(canary) if case.name == name)
    root = tmp_path / "root"
    root.mkdir()
    if case.refused:
        errors = (LayerRefused, NeedsParent) if style is WhiteoutStyle.OVERLAY else LayerRefused
        with pytest.raises(errors):
            apply(case.tar, root, style)
        return
    apply(case.tar, root, style)
    left = {path for path in paths_in(root) if path != "gone"}
    if case.leaves:
        assert set(case.leaves) == left


def test_no_two_cases_share_a_name():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("size", [1, 7, 511, 513])
@pytest.mark.parametrize("name", NAMES)
def test_corpus_is_read_alike_however_it_is_cut(name, size):
    tar = next(case.tar for case in evil.cases("/canary") if case.name == name)[: 1 << 14]
    assert read_or_refused([tar]) == read_or_refused(
        tar[at : at + size] for at in range(0, len(tar), size)
    )


def read_or_refused(chunks):
    try:
        return toc_of(chunks)
    except LayerRefused as err:
        return str(err)


def test_too_many_entries(monkeypatch):
    """The limit in small: as many are read, and not one more."""
    assert tarheader.MAX_ENTRIES <= 1 << 20
    monkeypatch.setattr(tarheader, "MAX_ENTRIES", 4096)
    block = evil.header("x") * 1024
    toc_of([*[block] * 4, evil.END])
    with pytest.raises(LayerRefused, match="more than 4096 entries"):
        toc_of([*[block] * 4, evil.header("x"), evil.END])
    with pytest.raises(LayerRefused, match="more than 4096 entries"):
        toc_of(itertools.repeat(block))


def test_extended_headers_without_end_are_bounded():
    def forever():
        for n in range(1 << 20):
            yield evil.pax({b"SCHILY.xattr.user.%d" % n: bytes(60_000)})

    with pytest.raises(LayerRefused, match="too many"):
        toc_of(forever())


def test_global_headers_without_end_are_bounded():
    def forever():
        for n in range(1 << 20):
            yield evil.pax({b"k%d" % n: bytes(60_000)}, b"g")

    with pytest.raises(LayerRefused, match="too many"):
        toc_of(forever())


def test_attributes_that_forge_are_dropped_and_told(tmp_path):
    records = {
        b"SCHILY.xattr.trusted.overlay.opaque": b"y",
        b"SCHILY.xattr.trusted.overlay.redirect": b"/other",
        b"SCHILY.xattr.user.overlay.redirect": b"/other",
        b"SCHILY.xattr.user.overlay.metacopy": b"",
        b"SCHILY.xattr.user.ocimagic.owner": b"0",
        b"SCHILY.xattr.security.selinux": b"x",
        b"SCHILY.xattr.user.kept": b"yes",
    }
    tar = evil.pax(records) + evil.directory("d") + evil.pax(records) + evil.file("d/f") + evil.END
    done = apply(tar, tmp_path, WhiteoutStyle.OVERLAY)
    for name in ("d", "d/f"):
        assert [x for x in os.listxattr(tmp_path / name) if "selinux" not in x] == ["user.kept"]
        dropped = {each.what for each in done.skipped if each.path == name}
        assert len(dropped) == 6
        assert "xattr user.overlay.redirect" in dropped


@needs_root
def test_capabilities_and_setuid_survive_the_owner(tmp_path):
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    tar = (
        evil.pax({b"SCHILY.xattr.security.capability": capability})
        + evil.file("ping", mode=0o6755, uid=1234)
        + evil.directory("d", mode=0o1777)
        + evil.END
    )
    apply(tar, tmp_path, WhiteoutStyle.OVERLAY)
    told = (tmp_path / "ping").stat()
    assert (told.st_mode & 0o7777, told.st_uid) == (0o6755, 1234)
    assert capability == os.getxattr(tmp_path / "ping", "security.capability")
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o1777


def test_devices_are_made_or_told(tmp_path):
    tar = evil.header("null", b"3", device=(1, 3)) + evil.header("sda", b"4", device=(8, 0))
    linked = tar + evil.hardlink("zero", "null") + evil.END
    done = apply(linked, tmp_path, WhiteoutStyle.MERGE)
    if CAN_MKNOD:
        assert (tmp_path / "null").stat().st_rdev == os.makedev(1, 3)
        assert {"null", "sda", "zero"} == paths_in(tmp_path)
    else:
        assert [each.path for each in done.skipped] == ["null", "sda", "zero"]
        assert set() == paths_in(tmp_path)


def test_times_are_exact(tmp_path):
    tar = (
        evil.pax({b"mtime": b"-1.5"}) + evil.file("past")
        + evil.pax({b"mtime": b"1.000000001"}) + evil.file("fine")
        + evil.directory("d", mtime=77) + evil.file("d/x") + evil.END
    )  # fmt: skip
    apply(tar, tmp_path, WhiteoutStyle.OVERLAY)
    times = [(tmp_path / name).stat().st_mtime_ns for name in ("past", "fine", "d")]
    assert times == [-1_500_000_000, 1_000_000_001, 77_000_000_000]


@pytest.mark.slow
def test_parents_swapped_while_unpacking(tmp_path, canary):
    """CVE-2025-47290: another thread turns directories into links to the canary."""
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    done = threading.Event()

    def swap():
        while not done.is_set():
            for act in (
                lambda: os.rename(root / "d", root / "kept"),
                lambda: os.symlink(canary, root / "d"),
                lambda: os.unlink(root / "d"),
                lambda: os.rename(root / "kept", root / "d"),
            ):
                with contextlib.suppress(OSError):
                    act()

    def entries():
        for n in range(1500):
            yield evil.directory("d") + evil.file("d/file", b"%d" % n) + evil.file(f"d/{n}", b"x")
        yield evil.END

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(5):
            fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # Refused, unwritable or done: as long as the canary lives.
                with contextlib.suppress(OcimagicError):
                    apply_layer(entries(), fd, style=WhiteoutStyle.MERGE, ids=IDS)
            finally:
                os.close(fd)
    finally:
        done.set()
        swapper.join()
