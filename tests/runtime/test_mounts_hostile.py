"""Roots and volumes that try to lead the runtime's mounts astray: the tricks of known CVEs.

Each test names the guard that it holds in place: with it taken out the test was seen to fail.
Whole images with these tricks are in ``test_hostile_images``.
"""

import contextlib
import os
import stat

import pytest
from mountbox import DEV, PROC, bind, config, mount, mountinfo, run, seen, table

from ocimagic.errors import OcimagicError, StartFailed
from ocimagic.linux import mounting, syscalls
from ocimagic.linux.paths import make_directories, make_file
from ocimagic.runtime import mounts, rootfs
from ocimagic.runtime.mount_target import COVERABLE

ROUNDS = 2000


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    for name in ("proc", "sys", "dev", "etc", "mnt"):
        (directory / name).mkdir(parents=True)
    return directory


@pytest.fixture
def canary(tmp_path):
    """A directory of the machine that nothing may be done to."""
    directory = tmp_path / "canary"
    (directory / "d").mkdir(parents=True)
    for name in ("ptmx", "null", "stdin", "file"):
        (directory / name).write_text("machine")
    before = _listing(directory)
    yield directory
    assert _listing(directory) == before


def _listing(directory):
    return [
        (base, sorted(directories), sorted((name, os.lstat(os.path.join(base, name)).st_mode)
         for name in files)) for base, directories, files in os.walk(directory)
    ]  # fmt: skip


# -- procfs ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["../mnt", "/mnt", "{canary}", "../../canary"])
def test_kernel_file_systems_never_go_through_a_link(root, canary, name, target):
    """CVE-2019-19921, CVE-2019-16884.

    Guard: ``links=False`` for the kinds in ``filesystem_mount._NO_LINKS``.
    """
    (root / name).rmdir()
    (root / name).symlink_to(target.format(canary=canary))
    kind = {"proc": "proc", "sys": "sysfs"}[name]
    with pytest.raises(StartFailed, match=f"cannot mount {kind}"):
        seen(root, mount(f"/{name}", kind))
    (root / "deep").symlink_to("/mnt")
    with pytest.raises(StartFailed, match=f"cannot mount {kind}"):
        seen(root, mount(f"/deep/{name}", kind))


@pytest.mark.parametrize(
    "destination", ["/proc", "/proc/sys", "/proc/self/attr", "/link", "/up", "/proc/../proc/sys"]
)
@pytest.mark.parametrize("first", [True, False], ids=["after procfs", "before procfs"])
def test_nothing_covers_procfs(root, canary, destination, first):
    """CVE-2019-16884, CVE-2023-27561, CVE-2023-28642.

    Guards: ``keep_off_proc`` by the file system's magic, and ``by_name`` where no procfs is
    mounted yet: one that came later would lie under the volume.
    """
    (root / "link").symlink_to("/proc/sys")
    (root / "up").symlink_to("mnt/../proc")
    for kind in ("bind", "tmpfs"):
        entry = bind(canary, destination) if kind == "bind" else mount(destination, "tmpfs")
        with pytest.raises(StartFailed, match="cannot mount on"):
            seen(root, *((PROC, entry) if first else (entry, PROC)))


def test_what_lxcfs_replaces_may_be_replaced(root, tmp_path):
    """Files that say how much there is of something, and only they, and only files."""
    fake = tmp_path / "fake"
    fake.write_text("fake\n")
    # The kernel looks /proc/net up anew each time, and with that drops what was mounted there.
    there = [path for path in sorted(COVERABLE - {"/proc/net/dev"}) if os.path.exists(path)]
    assert len(there) > 5

    def look(root):
        return [(root / path.lstrip("/")).read_text() for path in there]

    entries = [bind(fake, path) for path in (*there, "/proc/net/dev")]
    assert seen(root, PROC, *entries, look=look) == ["fake\n"] * len(there)
    for refused in ("/proc/version", "/proc/sys/kernel/core_pattern", "/proc/net/tcp",
                    "/proc/self/status", "/proc/filesystems", "/proc/1/net/dev"):  # fmt: skip
        with pytest.raises(StartFailed, match="cannot mount on"):
            seen(root, PROC, bind(fake, refused))


def test_a_link_into_procfs_is_not_what_lxcfs_replaces(root, tmp_path):
    """Guard: ``_is_coverable`` wants config and kernel to agree on the name."""
    fake = tmp_path / "fake"
    fake.write_text("fake\n")
    (root / "etc/data").symlink_to("/proc/uptime")
    with pytest.raises(StartFailed, match="cannot mount on"):
        seen(root, PROC, bind(fake, "/etc/data"))


def test_a_whole_procfs_may_stand_for_another(root):
    """Podman and nested containers show the outer one."""
    found = seen(root, bind("/proc", "/proc"), look=lambda root: os.path.exists(root / "proc/stat"))
    assert found
    assert seen(root, PROC, PROC, bind("/proc", "/proc"))["/proc"].kind == "proc"
    with pytest.raises(StartFailed, match="cannot mount on"):
        seen(root, bind("/proc/sys", "/proc"))
    with pytest.raises(StartFailed, match="cannot mount on"):
        seen(root, PROC, mount("/proc/sys", "proc"))


# -- races -------------------------------------------------------------------------


@contextlib.contextmanager
def swapped(directory, one, other):
    """Exchange two names without a pause, in another process."""
    fd = os.open(directory, os.O_PATH)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.set_blocking(reader, False)
        while True:
            for _ in range(50):
                syscalls.renameat2(fd, one, fd, other, syscalls.RENAME_EXCHANGE)
            with contextlib.suppress(BlockingIOError):
                if not os.read(reader, 1):
                    os._exit(0)
    os.close(reader)
    os.close(fd)
    try:
        yield
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def test_a_destination_swapped_for_a_link(root, canary, tmp_path):
    """CVE-2021-30465: a directory of a shared volume becomes a link to ``/`` and back.

    Guard: ``make_directories`` resolves with RESOLVE_IN_ROOT and the mount goes on that
    descriptor.  With a joined path, mounts appear on the canary within a few rounds.
    """
    volume, source = tmp_path / "volume", tmp_path / "source"
    (volume / "dir").mkdir(parents=True)
    (volume / "link").symlink_to(canary)
    (volume / "dir/d").mkdir()
    source.mkdir()

    def job():
        fd = rootfs.mount_root(str(root))
        plan = mounts.plan_mounts(
            config(bind(volume, "/v"), bind(source, "/v/dir/d", "bind", "ro"))
        )
        first, second = plan[0], plan[1]
        mounts.apply_mount(first, fd)
        outcomes = {"mounted": 0, "refused": 0}
        for _ in range(ROUNDS):
            try:
                mounts.apply_mount(second, fd)
            except OcimagicError:
                outcomes["refused"] += 1
                continue
            outcomes["mounted"] += 1
            (new,) = _others(str(root))
            assert new.place.startswith(str(root)), new
            assert "ro" in new.flags
            while found := _others(str(root)):
                with contextlib.suppress(OSError):  # its name is another one by now
                    mounting.umount(found[0].place, mounting.MNT_DETACH)
        return outcomes

    with swapped(volume, "dir", "link"):
        outcomes = run(job)
    assert sum(outcomes.values()) == ROUNDS
    assert outcomes["mounted"] > 10


def _others(root):
    lines = mountinfo("")
    start = next(n for n, line in enumerate(lines) if line.place == f"{root}/v")
    return lines[start + 1 :]


@pytest.mark.parametrize("make", [make_directories, make_file])
def test_a_missing_destination_swapped_for_a_link(root, canary, tmp_path, make):
    """CVE-2024-45310: nothing is made on the machine, not even an empty file.

    Guard: each part is made below the descriptor of the part before it, which was opened with
    RESOLVE_BENEATH; with ``os.makedirs`` on a joined path the canary fills.
    """
    volume = root / "v"
    (volume / "dir").mkdir(parents=True)
    (volume / "link").symlink_to(canary)
    fd = os.open(root, os.O_PATH)
    made = 0
    with swapped(volume, "dir", "link"):
        for number in range(ROUNDS):
            with contextlib.suppress(OSError):
                os.close(make(fd, f"/v/dir/new{number}/deep"))
                made += 1
    os.close(fd)
    assert made > 10


# -- devices -----------------------------------------------------------------------


@pytest.mark.parametrize("target", ["{canary}", "../../../../../../..{canary}", "mnt", "etc/file"])
def test_dev_is_never_followed(root, canary, target):
    """CVE-2026-41579, CVE-2026-47766: the canary keeps its ptmx, and gets no links.

    Guard: ``links=False`` in ``DefaultDevices.apply``.
    """
    (root / "etc/file").write_text("")
    (root / "dev").rmdir()
    (root / "dev").symlink_to(target.format(canary=canary))
    with pytest.raises(StartFailed, match="not a directory"):
        seen(root)
    assert os.listdir(root / "mnt") == []


def test_dev_mounted_through_a_link_stays_inside(root, canary):
    """A tmpfs follows links inside the root; the devices then are not made elsewhere."""
    (root / "dev").rmdir()
    (root / "dev").symlink_to(canary)
    with pytest.raises(StartFailed, match="not a directory"):
        seen(root, DEV)


@pytest.mark.parametrize("kind", ["link to a file of procfs", "regular file", "another device"])
def test_the_machines_null_is_looked_at_before_it_masks(root, tmp_path, kind):
    """CVE-2025-31133: what hides a file is the null device and nothing else.

    Guard: the check of type and number in ``protection.open_null``.
    """
    fake = tmp_path / "fake"
    fake.write_text("")

    def job():
        if kind == "another device":
            mounting.mount("/dev/zero", "/dev/null", None, mounting.MS_BIND)
        elif kind == "regular file":
            mounting.mount(str(fake), "/dev/null", None, mounting.MS_BIND)
        else:
            os.chdir("/")
            mounting.mount("tmpfs", "/dev", "tmpfs")
            os.symlink("/proc/sys/kernel/core_pattern", "/dev/null")
        fd = rootfs.mount_root(str(root))
        for op in mounts.plan_protection(config(masked_paths=("/etc/secret",))):
            mounts.apply_mount(op, fd)

    (root / "etc/secret").write_text("secret")
    with pytest.raises(StartFailed, match="not the null device"):
        run(job)


def test_the_containers_null_masks_nothing(root, tmp_path):
    """CVE-2025-31133: a shared volume may have anything at /dev/null."""
    (root / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    (root / "etc/secret").write_text("secret")

    def job():
        fd = rootfs.mount_root(str(root))
        for op in mounts.plan_protection(config(masked_paths=("/etc/secret",))):
            mounts.apply_mount(op, fd)
        hidden = os.stat(root / "etc/secret")
        return stat.S_ISCHR(hidden.st_mode), hidden.st_rdev, table(root)["/etc/secret"].flags

    is_device, number, flags = run(job)
    assert (is_device, number) == (True, os.makedev(1, 3))
    assert flags >= {"ro", "nosuid", "noexec"}
