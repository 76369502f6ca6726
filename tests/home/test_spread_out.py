"""Where a disk puts directories: on a real ext4, and where there is no such wish."""

import os
import shutil
import subprocess

import pytest

from ocimagic.home.disk import spread_out
from ocimagic.home.location import Home

GROUP_INODES = 2048


@pytest.fixture
def ext4(tmp_path):
    if os.geteuid():
        pytest.skip("needs root to mount a file system")
    if not (mkfs := shutil.which("mkfs.ext4", path="/usr/sbin:/sbin")):
        pytest.skip("mkfs.ext4 (Debian's e2fsprogs) is not installed")
    image, place = tmp_path / "disk.img", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(1 << 30)
    # Eight block groups, each with few inodes, and none of them joined with others.
    options = ["-O", "^flex_bg", "-N", str(8 * GROUP_INODES), "-b", "4096"]
    subprocess.run([mkfs, "-q", *options, image], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def _groups(directory):
    for number in range(6):
        (directory / str(number)).mkdir()
    return {(directory / str(n)).stat().st_ino // GROUP_INODES for n in range(6)}


def test_unpacked_layers_are_spread_over_the_disk(ext4):
    """Where one was removed a moment ago, ext4 is slow to make the files of the next one."""
    beside = ext4 / "beside"
    beside.mkdir()
    assert len(_groups(beside)) == 1, "ext4 spreads by itself: there is nothing to ask for"
    home = Home(ext4 / "data", ext4 / "run")
    home.create()
    assert len(_groups(home.snapshots)) > 1
    home.create()  # and once more changes nothing
    assert home.snapshots.is_dir()


def test_a_file_system_that_knows_no_such_thing_is_left_alone(tmp_path):
    spread_out(tmp_path)
    spread_out(tmp_path / "absent")
    spread_out("/proc")
    assert list(tmp_path.iterdir()) == []
