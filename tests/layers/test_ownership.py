"""Owners that are recorded: what a layer says is said again, byte for byte, by one id alone."""

from __future__ import annotations

import os
import stat
from io import BytesIO

import evil
import pytest
from helpers import apply, paths_in

from ocimagic.layers.apply import IdPolicy, WhiteoutStyle
from ocimagic.layers.archive import write_tree
from ocimagic.layers.attributes import owner_inside
from ocimagic.layers.changes import changes
from ocimagic.layers.diff import diff_upper
from ocimagic.layers.ownership import (
    LEAVES_NAME,
    XATTR,
    Ownership,
    find_record,
    leaves_to_bytes,
    read_leaves,
    record,
)
from ocimagic.layers.tarstream import TarReader, TarWriter

OVERLAY, MERGE = WhiteoutStyle.OVERLAY, WhiteoutStyle.MERGE


def special(name, flag, **options):
    return evil.header(name, flag, **options)


LAYER = b"".join(
    (
        evil.directory("d", uid=1000, gid=1001, mode=0o2755),
        evil.file("d/f", b"content", uid=1000, gid=0, mode=0o4755),
        evil.header("d/h", b"1", link="d/f"),
        evil.header("d/link", b"2", link="f", uid=7, gid=8),
        evil.header("d/p", b"6", uid=9, gid=9, mode=0o600),
        evil.file("plain", b"", uid=0, gid=0),
        evil.header("roots", b"2", link="plain"),
        evil.END,
    )
)


def repacked(root, leaves=None):
    """Return the layer that a directory makes."""
    out = BytesIO()
    fd = os.open(root, os.O_RDONLY)
    toc = diff_upper(
        fd, userxattr=True, writer=TarWriter(out.write), owner=owner_inside, leaves=leaves or {}
    )
    os.close(fd)
    return out.getvalue(), toc


def owners(tar):
    reader = TarReader([tar])
    return {e.name: (str(e.kind), e.mode, e.uid, e.gid, dict(e.xattrs)) for e in reader}


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "root"
    place.mkdir()
    return place


@pytest.mark.parametrize("style", [OVERLAY, MERGE])
def test_a_layer_comes_out_as_it_went_in(root, style):
    done = apply(LAYER, root, style, ids=IdPolicy.RECORDED)
    assert done.leaves == {"d/link": Ownership(7, 8), "d/p": Ownership(9, 9)}
    assert (root / "d/f").stat().st_uid == os.geteuid()
    assert os.getxattr(root / "d/f", XATTR) == b"1000:0"
    assert os.listxattr(root / "plain") == []
    tar, toc = repacked(root, done.leaves)
    assert b"ocimagic" not in tar, "a record is no attribute of the layer"
    assert owners(tar) == {
        "d/": ("d", 0o2755, 1000, 1001, {}),
        "d/f": ("f", 0o4755, 1000, 0, {}),
        "d/h": ("h", 0o4755, 1000, 0, {}),
        "d/link": ("l", 0o777, 7, 8, {}),
        "d/p": ("p", 0o600, 9, 9, {}),
        "plain": ("f", 0o644, 0, 0, {}),
        "roots": ("l", 0o777, 0, 0, {}),
    }
    assert {line.path: (line.uid, line.gid) for line in toc}["d/f"] == (1000, 0)


def test_without_records_wanted_none_is_read_and_none_is_in_the_layer(root):
    (root / "f").write_bytes(b"")
    record(str(root / "f"), Ownership(5, 6))
    out = BytesIO()
    fd = os.open(root, os.O_RDONLY)
    diff_upper(fd, userxattr=True, writer=TarWriter(out.write), owner=owner_inside)
    os.close(fd)
    assert owners(out.getvalue()) == {"f": ("f", 0o644, 0, 0, {})}
    assert b"ocimagic" not in out.getvalue()


def test_a_later_entry_takes_the_record_of_an_earlier_one_away(root):
    tar = b"".join(
        (
            evil.directory("d", uid=5),
            evil.file("f", uid=5),
            evil.header("l", b"2", link="x", uid=5),
            evil.header("m", b"2", link="x", uid=5),
            evil.directory("d"),
            evil.file("f"),
            evil.header("l", b"2", link="y"),
            evil.file("m", uid=6),
            evil.END,
        )
    )
    done = apply(tar, root, OVERLAY, ids=IdPolicy.RECORDED)
    assert done.leaves == {}
    assert {name: find_record(str(root / name)) for name in ("d", "f", "m")} == {
        "d": None,
        "f": None,
        "m": Ownership(6, 0),
    }


def test_a_leaf_below_a_link_is_listed_where_it_really_is(root):
    tar = b"".join(
        (
            evil.directory("real"),
            evil.header("alias", b"2", link="real"),
            evil.header("alias/l", b"2", link="x", uid=5),
            evil.END,
        )
    )
    done = apply(tar, root, MERGE, ids=IdPolicy.RECORDED)
    assert done.leaves == {"real/l": Ownership(5, 0)}


@pytest.mark.skipif(os.geteuid() == 0, reason="root can make devices")
def test_a_device_is_an_empty_file_here_and_a_device_in_the_layer(root):
    tar = b"".join(
        (
            evil.header("null", b"3", mode=0o666, uid=0, gid=5, device=(1, 3)),
            evil.header("disk", b"4", mode=0o660, uid=0, gid=6, device=(8, 1)),
            evil.END,
        )
    )
    done = apply(tar, root, OVERLAY, ids=IdPolicy.RECORDED)
    assert done.skipped == ()
    assert stat.S_ISREG((root / "null").stat().st_mode)
    assert find_record(str(root / "disk")) == Ownership(0, 6, "b", 8, 1)
    entries = list(TarReader([repacked(root)[0]]))
    assert [(str(e.kind), e.mode, e.uid, e.gid, e.dev_major, e.dev_minor) for e in entries] == [
        ("b", 0o660, 0, 6, 8, 1),
        ("c", 0o666, 0, 5, 1, 3),
    ]


@pytest.mark.parametrize(
    "value", [b"", b"1", b"1:", b"a:b", b"-1:0", b"1:2:x:1:1", b"4294967295:0", b"1:2 ", b"1" * 99]
)
def test_what_nobody_here_wrote_is_no_record(root, value):
    (root / "f").write_bytes(b"")
    os.setxattr(root / "f", XATTR, value)
    assert find_record(str(root / "f")) is None
    assert owners(repacked(root)[0])["f"][2:4] == (0, 0)


def test_a_record_of_roots_is_none_and_can_be_taken_back_twice(root):
    (root / "f").write_bytes(b"")
    for _ in range(2):
        record(str(root / "f"), Ownership())
        assert os.listxattr(root / "f") == []
    record(str(root / "f"), Ownership(1, 2))
    record(str(root / "f"), Ownership())
    assert os.listxattr(root / "f") == []


def test_the_list_of_leaves(tmp_path):
    leaves = {"b": Ownership(1, 2), "a/ü": Ownership(3, 4)}
    assert read_leaves(str(tmp_path)) is None
    (tmp_path / LEAVES_NAME).write_bytes(leaves_to_bytes(leaves))
    assert read_leaves(str(tmp_path)) == leaves
    assert leaves_to_bytes(leaves) == leaves_to_bytes(dict(reversed(leaves.items())))
    raw = os.fsdecode(b"\xff")
    (tmp_path / LEAVES_NAME).write_bytes(leaves_to_bytes({raw: Ownership(1, 1)}))
    assert read_leaves(str(tmp_path)) == {raw: Ownership(1, 1)}


def test_another_owner_alone_is_a_change(tmp_path):
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for each in (lower, upper):
        each.mkdir()
        for name in ("same", "other"):
            (each / name).write_bytes(b"x")
            os.utime(each / name, (1, 1))
    record(str(upper / "other"), Ownership(5, 5))
    fds = [os.open(each, os.O_RDONLY) for each in (upper, lower)]
    assert changes(*fds, userxattr=True)[0] == [("C", "other")]
    for fd in fds:
        os.close(fd)


def test_an_exported_tree_has_the_recorded_owners(root):
    apply(LAYER, root, OVERLAY, ids=IdPolicy.RECORDED)
    found = {}
    for recorded in (True, False):
        out = BytesIO()
        fd = os.open(root, os.O_RDONLY)
        write_tree(fd, "/d", "d", TarWriter(out.write), owner=owner_inside, recorded=recorded)
        os.close(fd)
        found[recorded] = owners(out.getvalue())
        assert b"ocimagic" not in out.getvalue()
    assert found[True]["d/"] == ("d", 0o2755, 1000, 1001, {})
    assert found[True]["d/f"] == ("f", 0o4755, 1000, 0, {})
    assert found[False]["d/f"] == ("f", 0o4755, 0, 0, {})


def test_unpacking_lists_every_path_once(root):
    done = apply(LAYER, root, OVERLAY, ids=IdPolicy.RECORDED)
    assert paths_in(root) == {line.path for line in done.toc}
