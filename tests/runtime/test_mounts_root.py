"""The root: made a mount, entered without a way back, seen by nobody outside; hidden paths."""

import errno
import os
import stat
from collections import Counter

import pytest
from mountbox import DEV, IS_ROOT, PROC, bind, config, furnish, mount, mountinfo, run, seen, table

from ocimagic.errors import StartFailed
from ocimagic.linux import mounting, syscalls
from ocimagic.model.rootfs import Rootfs
from ocimagic.runtime import mounts, rootfs

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    for name in ("proc", "dev", "etc", "mnt", "sys"):
        (directory / name).mkdir(parents=True)
    (directory / "etc/secret").write_text("secret")
    (directory / "etc/closed").mkdir()
    (directory / "etc/closed/file").write_text("secret")
    return directory


def as_a_machine(job, prepare=lambda: None):
    """Run a container's beginning in a namespace of its own on a machine that shares its mounts.

    Returns what the job said, and what the machine has mounted more than before.
    """

    def machine():
        prepare()
        mounting.mount(None, "/", None, mounting.MS_SHARED | mounting.MS_REC)
        before = Counter((line.place, line.root) for line in mountinfo(""))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                syscalls.unshare(syscalls.CLONE_NEWNS)
                told = repr(job())
            except BaseException as err:  # noqa: BLE001  all is told to the test
                told = repr(f"failed: {err!r}")
            os.write(writer, told.encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as file:
            told = file.read()
        os.waitpid(child, 0)
        after = Counter((line.place, line.root) for line in mountinfo(""))
        return told, list(after - before)

    told, new = run(machine)
    said = eval(told)
    assert not (isinstance(said, str) and said.startswith("failed")), said
    return said, new


@pytest.mark.parametrize(
    "propagation", ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"]
)
def test_the_machine_sees_no_mount_of_the_container(root, tmp_path, propagation):
    """config-linux.md, "Rootfs Mount Propagation"; also of a root that is shared in the end.

    Fails when ``prepare_namespace`` leaves out ``_make_parent_private``, or ``mount_root`` the
    propagation of the tree it attaches.
    """
    (tmp_path / "data").mkdir()

    def job():
        rootfs.prepare_namespace(propagation, str(root))
        fd = rootfs.mount_root(str(root))
        for op in mounts.plan_mounts(config(PROC, DEV, bind(tmp_path / "data", "/mnt"))):
            mounts.apply_mount(op, fd)
        rootfs.pivot(fd)
        rootfs.propagate_root(propagation)
        mounting.mount("tmpfs", "/etc", "tmpfs")
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            lines = [line.split() for line in file]
        return {line[4]: " ".join(line[6 : line.index("-")]) for line in lines}

    def mount_below_the_root():
        mounting.mount("tmpfs", str(root / "etc"), "tmpfs")

    found, new = as_a_machine(job, mount_below_the_root)
    assert new == []
    kind = propagation.removeprefix("r")
    if kind == "shared":
        assert "shared:" in found["/"]
    elif kind == "unbindable":
        assert found["/"] == "unbindable"
    elif kind == "private":
        assert found["/"] == ""
    else:
        assert found["/"].startswith("master:") or not IS_ROOT
        assert "shared" not in found["/"]
    assert ("shared:" in found["/mnt"]) is (propagation == "rshared")


def test_a_volume_is_shared_only_when_it_is_asked(root, tmp_path):
    """Guard: ``_Planner._bind`` makes a bind that says nothing a slave under a shared root."""
    (tmp_path / "data/below").mkdir(parents=True)

    def job():
        asked = config(PROC, bind(tmp_path / "data", "/mnt"), rootfs_propagation="rshared")
        rootfs.prepare_namespace("rshared", str(root))
        fd = rootfs.mount_root(str(root))
        for op in mounts.plan_mounts(asked):
            mounts.apply_mount(op, fd)
        rootfs.pivot(fd)
        rootfs.propagate_root("rshared")
        mounting.mount("tmpfs", "/mnt/below", "tmpfs")

    def on_a_mount_of_its_own():
        mounting.mount(str(tmp_path / "data"), str(tmp_path / "data"), None, mounting.MS_BIND)

    _, new = as_a_machine(job, on_a_mount_of_its_own)
    assert new == []


def test_a_shared_volume_goes_both_ways_and_a_slave_one_inwards(root, tmp_path):
    """What the machine mounts below a volume while the container runs, and the reverse."""
    for name in ("both", "inwards", "alone"):
        (tmp_path / name / "out").mkdir(parents=True)
        (tmp_path / name / "in").mkdir()

    def container(ready, go):
        entries = [
            bind(tmp_path / name, f"/mnt/{name}", "rbind", word)
            for name, word in (("both", "rshared"), ("inwards", "rslave"), ("alone", "rprivate"))
        ]
        asked = config(PROC, *entries, rootfs_propagation="rshared")
        plan = mounts.open_sources(mounts.plan_mounts(asked), asked)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        rootfs.prepare_namespace("rshared", str(root))
        fd = rootfs.mount_root(str(root))
        for op in plan:
            mounts.apply_mount(op, fd)
        rootfs.pivot(fd)
        for name in ("both", "inwards", "alone"):
            mounting.mount("tmpfs", f"/mnt/{name}/out", "tmpfs")
        os.write(ready, b"r")
        os.read(go, 1)
        return [name for name in ("both", "inwards", "alone") if os.path.ismount(f"/mnt/{name}/in")]

    def machine():
        mounting.mount(None, "/", None, mounting.MS_SHARED | mounting.MS_REC)
        ready, go, said = os.pipe(), os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            try:
                told = " ".join(container(ready[1], go[0]))
            except BaseException as err:  # noqa: BLE001  all is told to the test
                told = repr(err)
            os.write(said[1], told.encode() or b" ")
            os._exit(0)
        os.close(ready[1])
        os.read(ready[0], 1)
        seen_outside = [
            n for n in ("both", "inwards", "alone") if os.path.ismount(tmp_path / n / "out")
        ]
        for name in ("both", "inwards", "alone"):
            mounting.mount("tmpfs", str(tmp_path / name / "in"), "tmpfs")
        os.write(go[1], b"g")
        told = os.read(said[0], 4096).decode().split()
        os.waitpid(child, 0)
        return seen_outside, told

    outside, inside = run(machine)
    assert outside == ["both"]
    assert inside == ["both", "inwards"]


@pytest.mark.parametrize("enter", [rootfs.pivot, rootfs.move_root])
def test_there_is_no_way_back(root, enter):
    def job():
        fd = furnish(root, config(PROC, DEV))
        before = os.stat("/").st_ino
        enter(fd)
        os.chdir("/../../..")
        names = sorted(os.listdir("."))
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            places = [(line.split()[4], line.partition(" - ")[2].split()[0]) for line in file]
        return names, os.stat("/").st_ino == before, os.getcwd(), places

    names, same, cwd, places = run(job)
    assert names == ["dev", "etc", "mnt", "proc", "sys"]
    assert not same
    assert cwd == "/"
    if enter is rootfs.pivot:
        assert not any(place.startswith("/tmp") for place, _ in places)
        assert [place for place, kind in places if kind == "proc"] == ["/proc"]


def test_moving_the_root_leaves_no_procfs_of_the_machine(root):
    """Without pivot_root the machine's root is still below; its procfs would be a door.

    Guard: ``_cover_kernels_own``.
    """

    def job():
        machine = os.open("/", os.O_PATH)
        fd = furnish(root, config(PROC))
        rootfs.move_root(fd)
        os.fchdir(machine)  # as somebody who found a way down there
        return os.path.exists("proc/self/status"), os.path.exists("sys/kernel")

    assert run(job) == (False, False)


@needs_root
def test_a_container_without_a_mount_namespace_gets_a_chroot(root):
    def job():
        rootfs.change_root(os.open(root, os.O_PATH))
        return sorted(os.listdir("/")), os.getcwd()

    assert run(job) == (["dev", "etc", "mnt", "proc", "sys"], "/")


@needs_root
def test_what_such_a_container_mounted_is_unmounted(root, tmp_path):
    (tmp_path / "roots").mkdir()

    def job():
        fd = os.open(root, os.O_PATH)
        asked = config(PROC, DEV, mount("/dev/shm", "tmpfs"), mount("/mnt/a b", "tmpfs"))
        for op in mounts.plan_mounts(asked, forbid_devices=False):
            mounts.apply_mount(op, fd)
        mounting.mount("tmpfs", str(tmp_path / "roots"), "tmpfs")
        before = len(mountinfo(root))
        rootfs.unmount_below(str(root))
        return before, len(mountinfo(root)), os.path.ismount(tmp_path / "roots")

    assert run(job) == (4, 0, True)


def test_a_read_only_root_keeps_what_else_it_is(root):
    def job():
        fd = furnish(root, config(PROC))
        rootfs.pivot(fd)
        rootfs.make_root_readonly()
        with pytest.raises(OSError, match="Read-only"):
            open("/new", "w")  # noqa: SIM115
        return table("")["/"].flags

    assert run(job) >= {"ro", "nodev"}


@needs_root
def test_a_root_directory_allows_devices_only_where_a_cgroup_watches(root):
    for forbid_devices in (True, False):
        found = seen(root, forbid_devices=forbid_devices)
        assert ("nodev" in found["/"].flags) is forbid_devices


def test_a_root_that_is_not_there_is_said(tmp_path):
    with pytest.raises(StartFailed, match="root directory"):
        run(lambda: rootfs.mount_root(str(tmp_path / "nothing")))


def test_a_stack_that_did_not_wait_for_the_disk_can_be_mounted_again(tmp_path):
    """The kernel leaves a mark and refuses the next mount."""
    for name in ("lower", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    stack = Rootfs(
        base=str(tmp_path), lowers=("lower",), upper=str(tmp_path / "upper"),
        work=str(tmp_path / "work"), volatile=True, userxattr=not IS_ROOT,
    )  # fmt: skip

    def job():
        for _ in range(2):
            rootfs.mount_overlay(stack, str(tmp_path / "root"))
            (tmp_path / "root/file").write_text("x")
            mounting.umount(str(tmp_path / "root"))
        assert (tmp_path / "work/work/incompat/volatile").exists()
        rootfs.mount_overlay(stack, str(tmp_path / "root"), forbid_devices=False)
        return table(tmp_path)["/root"].flags

    flags = run(job)
    assert "nodev" not in flags or not IS_ROOT


# -- paths that are hidden or only read ---------------------------------------------


@pytest.mark.parametrize("old_kernel", [False, True])
def test_masked_and_read_only_paths(root, monkeypatch, old_kernel):
    def missing(*_args, **_options):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    if old_kernel:
        monkeypatch.setattr(mounting, "set_attributes", missing)
    (root / "etc/other").mkdir()
    (root / "etc/link").symlink_to("closed")
    masked = ("/etc/secret", "/etc/closed", "/etc/other", "/proc/keys", "/proc/timer_list",
              "/etc/missing", "/etc/secret/below", "/etc/../etc/link")  # fmt: skip
    asked = config(
        PROC, mount("/mnt/ro", "tmpfs"), mount("/mnt/ro/below", "tmpfs"),
        masked_paths=masked, readonly_paths=("/mnt/ro", "/proc/sys", "/mnt/missing"),
    )  # fmt: skip

    def job():
        furnish(root, asked, forbid_devices=False)
        hidden = {}
        for name in ("etc/secret", "proc/keys"):
            with open(root / name, "rb") as file:
                hidden[name] = file.read()
            with pytest.raises(OSError, match="Read-only"):
                os.chmod(root / name, 0o666)  # what it is: harmless if the mask fails
        for name in ("etc/closed", "etc/other", "etc/link"):
            hidden[name] = os.listdir(root / name)
            with pytest.raises(OSError, match="Read-only"):
                (root / name / "new").write_text("")
        for name in ("mnt/ro/new", "mnt/ro/below/new", "proc/sys/kernel/hostname"):
            with pytest.raises(OSError, match="Read-only"):
                (root / name).write_text("x")
        return hidden, table(root)

    hidden, found = run(job)
    assert hidden == {"etc/secret": b"", "proc/keys": b"", "etc/closed": [], "etc/other": [],
                      "etc/link": []}  # fmt: skip
    assert found["/proc/sys"].flags >= {"ro", "nosuid", "nodev", "noexec"}
    for name in ("/etc/closed", "/etc/other"):
        assert found[name].flags >= {"ro", "nosuid", "nodev", "noexec"}


def test_masks_share_one_file_system(root):
    """A tmpfs for each would be ten mounts' worth of superblocks in every container."""
    (root / "etc/other").mkdir()

    def look(root):
        return os.stat(root / "etc/closed").st_dev, os.stat(root / "etc/other").st_dev

    one, other = seen(root, masked_paths=("/etc/closed", "/etc/other"), look=look)
    assert one == other


def test_a_masked_directory_takes_no_space(root):
    masked = seen(
        root, masked_paths=("/etc/closed",), look=lambda root: os.statvfs(root / "etc/closed")
    )
    assert masked.f_blocks <= 1
    assert stat.S_ISDIR(os.stat(root / "etc/closed").st_mode)
