"""The system calls about mounts, each tried in a mount namespace of its own."""

import os
import sys
from pathlib import Path

import pytest

mounting = pytest.importorskip(
    "ocimagic.linux.mounting", reason="needs Linux", exc_type=ImportError
)
sys.path.insert(0, str(Path(__file__).parent.parent / "runtime"))

from mountbox import mountinfo, run  # noqa: E402


@pytest.fixture
def place(tmp_path):
    for name in ("a", "b", "a/below"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_tree_is_seen_only_when_it_is_attached(place):
    def job():
        tree = mounting.new_tree("tmpfs", "name", "size=8192,mode=0710", mounting.MOUNT_ATTR_NOEXEC)
        os.mkdir("inside", dir_fd=tree)
        before = len(mountinfo(place))
        target = os.open(place / "a", os.O_PATH)
        mounting.move_mount(tree, target)
        (found,) = mountinfo(place)
        return (
            before,
            found.flags,
            found.options,
            os.listdir(place / "a"),
            os.stat(place / "a").st_mode,
        )

    before, flags, options, names, mode = run(job)
    assert before == 0
    assert "noexec" in flags
    assert "size=8k" in options
    assert (names, mode & 0o777) == (["inside"], 0o710)


def test_a_copy_of_a_mount_with_and_without_what_is_below(place):
    def job():
        mounting.mount("tmpfs", str(place / "a/below"), "tmpfs")
        (place / "a/below/x").write_text("")
        found = []
        for recursive in (True, False):
            tree = mounting.open_tree(str(place / "a"), recursive=recursive)
            mounting.move_mount(tree, os.open(place / "b", os.O_PATH))
            found.append(os.listdir(place / "b/below"))
            mounting.umount(str(place / "b"), mounting.MNT_DETACH)
        same = mounting.open_tree("", dir_fd=os.open(place / "a", os.O_PATH))
        return found, os.listdir(os.open(".", os.O_RDONLY, dir_fd=same))

    assert run(job) == ([["x"], []], ["below"])


def test_attributes_of_one_mount_or_of_all(place):
    def job():
        mounting.mount("tmpfs", str(place / "a"), "tmpfs")
        (place / "a/below").mkdir()
        mounting.mount("tmpfs", str(place / "a/below"), "tmpfs")
        fd = os.open(place / "a", os.O_PATH)
        mounting.set_attributes(fd, mounting.MOUNT_ATTR_NOEXEC)
        mounting.set_attributes(fd, mounting.MOUNT_ATTR_RDONLY, recursive=True)
        mounting.set_attributes(fd, clear=mounting.MOUNT_ATTR_NOEXEC)
        mounting.set_attributes(fd, propagation=mounting.MS_SHARED, recursive=True)
        return [(each.flags & {"ro", "noexec"}, each.propagation[:7]) for each in mountinfo(place)]

    assert run(job) == [({"ro"}, "shared:")] * 2


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("tmpfs", "size=lots", "size"),
        ("tmpfs", "nosuchoption=1", "nosuchoption"),
        ("nosuchfs", "", "No such device"),
        ("tmpfs", "x=" + "y" * 300, "Invalid argument"),
    ],
)
def test_a_file_system_says_what_is_wrong(kind, options, words):
    def job():
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match=words):
            mounting.new_tree(kind, "name", options)
        return len(os.listdir("/proc/self/fd")) - before

    assert run(job) == 0, "no descriptor is left"


def test_errors_name_the_target():
    for call in (
        lambda: mounting.mount("none", "/nothing/there", "tmpfs"),
        lambda: mounting.umount("/nothing/there"),
    ):
        with pytest.raises(OSError, match="/nothing/there"):
            run(call)


def test_a_nul_never_cuts_a_path():
    for call in (
        lambda: mounting.mount("none", "/tmp\0/x", "tmpfs"),
        lambda: mounting.open_tree("/tmp\0/x"),
        lambda: mounting.umount("/tmp\0/x"),
        lambda: mounting.new_tree("tmpfs", "a\0b"),
    ):
        with pytest.raises(OSError, match="NUL"):
            run(call)
