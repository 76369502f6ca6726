"""Device nodes: made by root, shown from the machine in a user namespace."""

import os
import stat

import pytest
from mountbox import DEV, IS_ROOT, bind, config, furnish, mount, open_place, run, seen, table

from ocimagic.errors import HostLacks, StartFailed
from ocimagic.runtime.devices import DEFAULT_DEVICES, LINKS
from ocimagic.spec.isolation import Device

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")
NULL = os.makedev(1, 3)


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    for name in ("proc", "dev", "etc", "mnt"):
        (directory / name).mkdir(parents=True)
    return directory


@pytest.fixture
def shared_root():
    with open_place() as (directory, _):
        yield directory


def facts(path):
    found = os.lstat(path)
    return stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_rdev


@pytest.mark.parametrize("user", [False, True] if IS_ROOT else [True], ids=lambda u: f"user={u}")
@pytest.mark.parametrize("forbid_devices", [True, False])
@pytest.mark.parametrize("entries", [(DEV,), ()], ids=["tmpfs", "image's"])
def test_default_devices(shared_root, entries, forbid_devices, user):
    root = shared_root

    def look(root):
        devices = {each.path: facts(root / each.path[1:]) for each in DEFAULT_DEVICES}
        links = {name: os.readlink(root / "dev" / name) for name in LINKS}
        with open(root / "dev/zero", "rb") as zero, open(root / "dev/null", "wb") as null:
            return devices, links, zero.read(3), null.write(b"gone")

    devices, links, zeros, written = seen(
        root, *entries, look=look, forbid_devices=forbid_devices, user=user
    )
    for each in DEFAULT_DEVICES:
        expected = (stat.S_IFCHR, 0o666, os.makedev(each.major, each.minor))
        assert devices[each.path] == expected, each.path
    assert links == LINKS
    assert (zeros, written) == (bytes(3), 4)
    # What was shown is shown again: a place left behind by the last time is in nobody's way.
    seen(root, *entries, forbid_devices=forbid_devices, user=user)


@needs_root
def test_only_the_given_devices_can_be_opened_where_no_cgroup_says_so(root, tmp_path):
    """Fails when ``DefaultDevices`` leaves out ``change(dev, _SHUT)``, or a mount its nodev."""
    entries = (DEV, mount("/mnt/t", "tmpfs"), bind(tmp_path, "/mnt/v"))
    places = ("dev", "mnt/t", "mnt/v", "etc")

    def look(root):
        opened = []
        for place in places:
            os.mknod(root / place / "disk", stat.S_IFCHR | 0o666, os.makedev(1, 5))
            try:
                os.close(os.open(root / place / "disk", os.O_RDONLY))
                opened.append(place)
            except PermissionError:
                pass
            os.unlink(root / place / "disk")
        return opened

    assert seen(root, *entries, look=look, forbid_devices=True) == []
    assert seen(root, *entries, look=look, forbid_devices=False) == list(places)


@needs_root
def test_a_device_that_is_mounted_by_itself_can_be_opened(root):
    found = seen(
        root, DEV, bind("/dev/zero", "/dev/mine"), bind("/dev/full", "/mnt/full"),
        look=lambda root: (root / "dev/mine").open("rb").read(2),
    )  # fmt: skip
    assert found == bytes(2)


@needs_root
@pytest.mark.parametrize("forbid_devices", [True, False])
def test_devices_of_the_config(root, forbid_devices):
    devices = (
        Device(path="/dev/mine", type="c", major=1, minor=5, file_mode=0o640, uid=7, gid=8),
        Device(path="/dev/deep/er/u", type="u", major=1, minor=3),
        Device(path="/mnt/../mnt/disk", type="b", major=7, minor=200, file_mode=0o600),
        Device(path="/dev/pipe", type="p", file_mode=0o622),
        Device(path="/dev/null", type="c", major=1, minor=3, file_mode=0o666),
    )

    def look(root):
        mine = os.stat(root / "dev/mine")
        with open(root / "dev/mine", "rb") as file:
            assert file.read(2) == bytes(2)
        names = ("dev/mine", "dev/deep/er/u", "mnt/disk", "dev/pipe")
        return [facts(root / name) for name in names], (mine.st_uid, mine.st_gid)

    found, owner = seen(root, DEV, look=look, devices=devices, forbid_devices=forbid_devices)
    assert found == [
        (stat.S_IFCHR, 0o640, os.makedev(1, 5)),
        (stat.S_IFCHR, 0o666, NULL),
        (stat.S_IFBLK, 0o600, os.makedev(7, 200)),
        (stat.S_IFIFO, 0o622, 0),
    ]
    assert owner == (7, 8)


def test_set_id_bits_and_umask_do_not_matter(root):
    """The mode is the config's, whatever the umask of who creates is."""
    pipe = Device(path="/dev/pipe", type="p", file_mode=0o666)

    def job():
        os.umask(0o077)
        furnish(root, config(DEV, devices=(pipe,)))
        return facts(root / "dev/pipe")

    assert run(job)[1] == 0o666


@pytest.mark.parametrize("kind", ["file", "other", "link", "directory"])
def test_something_else_at_a_devices_place_is_an_error(root, kind):
    """config-linux.md: "If a file already exists at path that does not match…"."""
    place = root / "mnt/disk"
    if kind == "file":
        place.write_text("image's")
    elif kind == "directory":
        place.mkdir()
    elif kind == "link":
        place.symlink_to("/dev/null")
    elif IS_ROOT:
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    else:
        os.mkfifo(place)
    device = Device(path="/mnt/disk", type="c", major=1, minor=3)
    with pytest.raises(StartFailed, match="/mnt/disk is not the device it should be"):
        seen(root, DEV, devices=(device,))


@needs_root
def test_an_empty_file_at_a_devices_place_is_an_error_for_root(root):
    (root / "mnt/disk").write_text("")
    device = Device(path="/mnt/disk", type="c", major=1, minor=3)
    with pytest.raises(StartFailed, match="not the device"):
        seen(root, DEV, devices=(device,))
    assert os.listdir(root / "mnt") == ["disk"]


def test_the_same_device_at_its_place_is_fine(root):
    device = Device(path="/dev/zero", type="c", major=1, minor=5)
    seen(root, DEV, devices=(device,))


@pytest.mark.skipif(IS_ROOT, reason="not root")
def test_a_device_that_the_machine_has_not_cannot_be_shown(root):
    device = Device(path="/dev/nothing", type="b", major=7, minor=200)
    with pytest.raises(HostLacks, match="/dev/nothing cannot be had"):
        seen(root, DEV, devices=(device,))


@pytest.mark.skipif(IS_ROOT, reason="not root")
def test_a_device_is_shown_under_another_name_if_the_machine_lists_it_by_number(root):
    if not os.path.exists("/dev/char/1:5"):
        pytest.skip("needs root: there is no /dev/char here, and making one does")
    device = Device(path="/dev/mine", type="c", major=1, minor=5)
    found = seen(root, DEV, devices=(device,), look=lambda root: facts(root / "dev/mine"))
    assert found[2] == os.makedev(1, 5)


def test_links_of_the_image_in_dev_are_replaced(root, tmp_path):
    (tmp_path / "canary").write_text("machine")
    for name in LINKS:
        (root / "dev" / name).symlink_to(tmp_path / "canary")
    found = seen(root, look=lambda root: {n: os.readlink(root / "dev" / n) for n in LINKS})
    assert found == LINKS
    assert (tmp_path / "canary").read_text() == "machine"


def test_a_directory_of_the_machine_as_dev_is_left_as_it_is(root, tmp_path):
    """``-v dir:/dev``: nothing is made in it, missing devices stay missing."""
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "mine").write_text("x")
    for forbid_devices in (True, False):
        look = seen(root, bind(shown, "/dev"), forbid_devices=forbid_devices,
                    look=lambda root: os.listdir(root / "dev"))  # fmt: skip
        assert look == ["mine"]
    (shown / "null").write_text("not a device")
    with pytest.raises(StartFailed, match="/dev/null is not the device"):
        seen(root, bind(shown, "/dev"))


@needs_root
def test_the_machines_dev_can_be_used(root):
    """``-v /dev:/dev``; without a cgroup only its harmless ones."""

    def look(root):
        with open(root / "dev/zero", "rb") as file:
            return file.read(1), "nodev" in table(root)["/dev"].flags

    before = sorted(os.listdir("/dev"))
    made = Device(path="/dev/ocimagic-made", type="c", major=1, minor=3)
    assert seen(root, bind("/dev", "/dev"), look=look, devices=(made,)) == (b"\0", True)
    assert seen(root, bind("/dev", "/dev"), look=look, forbid_devices=False) == (b"\0", False)
    assert sorted(os.listdir("/dev")) == before


def test_a_read_only_dev_is_read_only_when_it_is_furnished(root):
    def look(root):
        with pytest.raises(OSError, match="Read-only"):
            (root / "dev/new").write_text("")
        return table(root)["/dev"].flags, os.path.exists(root / "dev/null")

    entry = mount("/dev", "tmpfs", "ro", "mode=755")
    flags, there = seen(root, entry, mount("/dev/shm", "tmpfs", "mode=1777"), look=look)
    assert "ro" in flags
    assert there
