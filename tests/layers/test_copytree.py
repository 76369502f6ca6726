"""A copy of a tree is what the tree is, and what was changed in it since makes a layer."""

import os
import random
import socket

import pytest
from helpers import IDS, IS_ROOT
from scenario import apply, difference, picture, random_layer

from ocimagic.errors import LayerRefused
from ocimagic.layers.apply import WhiteoutStyle
from ocimagic.layers.changes import DELETED, changes
from ocimagic.layers.copytree import copy_tree
from ocimagic.layers.diff import diff_upper
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.tarstream import TarWriter


def pack(upper, lower, stubs=()):
    """Return what changed, and the layer that says it."""
    up, low = (os.open(each, os.O_RDONLY | os.O_DIRECTORY) for each in (upper, lower))
    pieces = []
    try:
        found, same = changes(up, low, userxattr=not IS_ROOT, stubs=stubs, copied=True)
        diff_upper(
            up,
            userxattr=not IS_ROOT,
            writer=TarWriter(lambda piece: pieces.append(bytes(piece))),
            hidden=same,
            deleted=[path for kind, path in found if kind == DELETED],
        )
    finally:
        os.close(up)
        os.close(low)
    return found, b"".join(pieces)


@pytest.mark.parametrize("seed", range(40))
def test_a_copy_and_a_layer_of_its_changes(tmp_path, seed):
    dice = random.Random(seed)
    base = tmp_path / "0"
    base.mkdir()
    for number in range(1, 5):
        changed = tmp_path / f"{number}"
        again = tmp_path / f"{number}-again"
        for target in (changed, again):
            target.mkdir()
            copy_tree(str(base), str(target))
            assert not difference(picture(base), picture(target))
        assert pack(changed, base)[0] == []
        try:
            layer = random_layer(dice, owners=IS_ROOT, closed=IS_ROOT)
            apply(layer, changed, WhiteoutStyle.MERGE, IDS)
        except LayerRefused:
            continue
        _, tar = pack(changed, base)
        apply(tar, again, WhiteoutStyle.MERGE, IDS)
        assert not difference(timeless(changed), timeless(again))
        base = changed


def timeless(root):
    """Return a picture without times of directories: they say only that names came and went."""
    return {
        path: (*look[:3], 0 if look[0] is Kind.DIR else look[3], *look[4:])
        for path, look in picture(root).items()
    }


def test_what_the_engine_put_there_is_no_change(tmp_path):
    base, changed = tmp_path / "base", tmp_path / "changed"
    for each in (base, changed):
        (each / "etc").mkdir(parents=True)
        (each / "etc/hosts").write_text("before")
    (base / "etc/resolv.conf").symlink_to("elsewhere")
    os.utime(base / "etc/hosts", ns=(1, 1))
    os.utime(changed / "etc/hosts", ns=(1, 1))
    (changed / "etc/hosts").write_text("the engine's")
    (changed / "dev").mkdir()
    (changed / "dev/null").write_text("")
    found, _ = pack(changed, base, ("dev", "etc/hosts", "etc/resolv.conf"))
    assert found == []
    (changed / "etc/new").write_text("x")
    found, _ = pack(changed, base, ("dev", "etc/hosts", "etc/resolv.conf"))
    assert found == [("C", "etc"), ("A", "etc/new")]


def test_same_size_and_time_do_not_hide_a_change(tmp_path):
    base, changed = tmp_path / "base", tmp_path / "changed"
    base.mkdir()
    changed.mkdir()
    (base / "file").write_text("one")
    copy_tree(str(base), str(changed))
    told = (base / "file").stat()
    (changed / "file").write_text("two")
    os.utime(changed / "file", ns=(told.st_atime_ns, told.st_mtime_ns))
    assert pack(changed, base)[0] == [("C", "file")]


def test_links_stay_links_and_sockets_stay_behind(tmp_path):
    base, copy = tmp_path / "base", tmp_path / "copy"
    (base / "below").mkdir(parents=True)
    copy.mkdir()
    (base / "one").write_text("x")
    os.link(base / "one", base / "below/two")
    (base / "out").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(base / "socket"))
    copy_tree(str(base), str(copy))
    assert os.path.samefile(copy / "one", copy / "below/two")
    assert not os.path.samefile(copy / "one", base / "one")
    assert os.readlink(copy / "out") == "/etc/passwd"
    assert sorted(os.listdir(copy)) == ["below", "one", "out"]
