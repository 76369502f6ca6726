"""Mounts of a container, made for real in namespaces of their own and read in mountinfo."""

import errno
import os
import stat
from pathlib import Path

import pytest
from mountbox import (
    DEV,
    IS_ROOT,
    NEW,
    OTHERS,
    PROC,
    bind,
    config,
    furnish,
    mount,
    mountinfo,
    open_place,
    run,
    seen,
    table,
)

from ocimagic.errors import HostLacks, InvalidDocument, StartFailed
from ocimagic.linux import mounting, syscalls
from ocimagic.runtime import mounts, rootfs
from ocimagic.spec.isolation import IdMapping

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")


@pytest.fixture
def root(tmp_path):
    """A root directory to mount below."""
    directory = tmp_path / "root"
    for name in ("proc", "sys", "dev", "etc", "mnt"):
        (directory / name).mkdir(parents=True)
    return directory


@pytest.fixture
def shared_place():
    with open_place() as made:
        yield made


@pytest.fixture
def data(tmp_path):
    """A directory of the machine with a file in it."""
    directory = tmp_path / "data"
    (directory / "below").mkdir(parents=True)
    (directory / "file").write_text("machine")
    return directory


# -- options -----------------------------------------------------------------------


def test_attributes_of_new_file_systems(root):
    words = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"]
    entries = [mount(f"/mnt/{word}", "tmpfs", word) for word in words]
    entries.append(mount("/mnt/strict", "tmpfs", "strictatime", "nosuid", "suid"))
    found = seen(root, *entries, forbid_devices=False)
    for word in words:
        assert found[f"/mnt/{word}"].flags >= {word}
        assert not found[f"/mnt/{word}"].flags & {*words} - {word} - _forced_in_user_namespaces()
    assert not found["/mnt/strict"].flags & {"relatime", "noatime", "nosuid"}


def _forced_in_user_namespaces():
    return set() if IS_ROOT else {"nodev", "nosuid", "noexec"} & {"nodev"}


@needs_root
def test_options_of_the_file_system_itself(root):
    found = seen(
        root,
        mount("/mnt/a", "tmpfs", "sync", "dirsync", "lazytime", "size=4096", "mode=0711"),
        mount("/mnt/b", "tmpfs", "sync", "async"),
        look=lambda root: (
            table(root), stat.S_IMODE(os.stat(root / "mnt/a").st_mode),
            os.statvfs(root / "mnt/a").f_blocks,
        ),
    )  # fmt: skip
    assert found[0]["/mnt/a"].options >= {"sync", "dirsync", "lazytime", "size=4k"}
    assert "sync" not in found[0]["/mnt/b"].options
    assert found[1:] == (0o711, 1)


@pytest.mark.parametrize(
    ("words", "marks"),
    [
        (["rshared"], "shared:"),
        (["shared"], "shared:"),
        (["private"], ""),
        (["rslave"], ""),
        (["shared", "slave"], ""),  # of nobody
        (["rprivate", "shared"], "shared:"),
        (["unbindable"], "unbindable"),
        (["runbindable"], "unbindable"),
    ],
)
def test_propagation(root, data, words, marks):
    """Of each mount, new or not, and seen before anything can be mounted in it."""
    found = seen(root, bind(data, "/mnt/a", "rbind", *words), mount("/mnt/b", "tmpfs", *words))
    for place in ("/mnt/a", "/mnt/b"):
        marked = " ".join(word.rstrip("0123456789") for word in found[place].propagation.split())
        assert marked == marks, place


def test_a_bind_keeps_what_it_is_not_told_to_change(root, data):
    """mount(2) would lose nosuid when it makes the mount read-only."""

    def job():
        mounting.mount("tmpfs", str(data), "tmpfs", mounting.MS_NOSUID | mounting.MS_NOATIME)
        furnish(root, config(bind(data, "/mnt/a", "bind", "ro"), bind(data, "/mnt/b", "bind")))
        return table(root)

    found = run(job)
    assert found["/mnt/a"].flags >= {"ro", "nosuid", "noatime"}
    assert found["/mnt/b"].flags >= {"rw", "nosuid", "noatime"}


def test_a_bind_takes_back_what_it_is_told_to(root, data):
    def job():
        flags = mounting.MS_NOSUID | mounting.MS_NOEXEC | mounting.MS_RDONLY | mounting.MS_NOATIME
        mounting.mount("tmpfs", str(data), "tmpfs", flags & ~mounting.MS_RDONLY)
        mounting.mount(None, str(data), None, flags | mounting.MS_REMOUNT | mounting.MS_BIND)
        furnish(root, config(bind(data, "/mnt/a", "bind", "rw", "suid", "exec", "atime")))
        return table(root)

    assert not run(job)["/mnt/a"].flags & {"ro", "nosuid", "noexec", "noatime"}


def _with_mounts_below(data):
    """Make mounts below a directory: one in another, and two at one place."""
    for name in ("below", "below/deep", "below/with space"):
        (data / name).mkdir(exist_ok=True)
        mounting.mount("tmpfs", str(data / name), "tmpfs")
    mounting.mount("tmpfs", str(data / "below/deep"), "tmpfs")


@pytest.mark.parametrize("old_kernel", [False, True])
def test_plain_words_are_for_the_top_and_recursive_ones_for_all(
    root, data, monkeypatch, old_kernel
):
    """Linux before 5.12 has no mount_setattr: each mount is then mounted again by itself."""
    if old_kernel:
        _forget_mount_setattr(monkeypatch)

    def job():
        _with_mounts_below(data)
        asked = config(
            bind(data, "/mnt/plain", "rbind", "ro", "nosuid"),
            bind(data, "/mnt/all", "rbind", "rro", "rnosuid", "rnosymfollow"),
            bind(data, "/mnt/mixed", "rbind", "rw", "rro", "rshared"),
            bind(data, "/mnt/alone", "bind", "rro"),
        )
        furnish(root, asked)
        return mountinfo(root)

    found = run(job)
    if old_kernel:  # what lies under another mount cannot be reached, by nobody
        found = {each.place: each for each in found}.values()
    for each in found:
        below = each.place.count("/") > 2
        name = each.place.split("/")[2] if each.place.startswith("/mnt/") else ""
        if name == "plain":
            assert ({"ro", "nosuid"} <= each.flags) is not below, each
        elif name == "all":
            assert each.flags >= {"ro", "nosuid", "nosymfollow"}, each
        elif name == "mixed":
            assert "ro" in each.flags, each
            assert each.propagation.startswith("shared:")
    places = [each.place for each in found]
    assert "/mnt/all/below/deep" in places
    assert "/mnt/all/below/with space" in places
    assert not any(place.startswith("/mnt/alone/") for place in places)


def _forget_mount_setattr(monkeypatch):
    def missing(*_args, **_options):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(mounting, "set_attributes", missing)


def test_an_old_kernel_keeps_and_takes_back_what_is_said(root, data, monkeypatch):
    _forget_mount_setattr(monkeypatch)

    def job():
        flags = mounting.MS_NOSUID | mounting.MS_NOEXEC | mounting.MS_NODIRATIME
        mounting.mount("tmpfs", str(data), "tmpfs", flags)
        furnish(root, config(bind(data, "/mnt/a", "bind", "ro", "exec", "strictatime"),
                             bind(data, "/mnt/b", "bind", "noatime", "nodev")))  # fmt: skip
        return table(root)

    found = run(job)
    assert found["/mnt/a"].flags >= {"ro", "nosuid", "nodiratime"}
    assert not found["/mnt/a"].flags & {"noexec", "relatime", "noatime"}
    assert found["/mnt/b"].flags >= {"rw", "nosuid", "noexec", "noatime", "nodev"}


def test_remount(root, data):
    found = seen(
        root,
        mount("/mnt/a", "tmpfs", "size=4096"),
        mount("/mnt/a", "tmpfs", "remount", "size=8192", "nosuid"),
        bind(data, "/mnt/b"),
        mount("/mnt/b", "none", "bind", "remount", "ro"),
        look=lambda root: (table(root), os.statvfs(root / "mnt/a").f_blocks),
    )
    assert found[0]["/mnt/a"].flags >= {"nosuid"}
    assert found[0]["/mnt/b"].flags >= {"ro"}
    assert found[1] == 2


# -- tmpfs -------------------------------------------------------------------------


def test_a_tmpfs_has_the_mode_of_what_it_covers(root):
    (root / "mnt/sticky").mkdir()
    (root / "mnt/sticky").chmod(0o1751)
    found = seen(
        root,
        mount("/mnt/sticky", "tmpfs"),
        mount("/mnt/new", "tmpfs"),
        mount("/mnt/said", "tmpfs", "mode=0700"),
        look=lambda root: [
            stat.S_IMODE(os.stat(root / "mnt" / name).st_mode) for name in ("sticky", "new", "said")
        ],
    )
    assert found == [0o1751, 0o1777, 0o700]


def test_a_read_only_tmpfs_is_filled_first(root, data):
    """What is mounted in it needs a place there."""
    found = seen(root, mount("/mnt/t", "tmpfs", "ro"), bind(data, "/mnt/t/deep/in/it"))
    assert "ro" in found["/mnt/t"].flags
    assert "ro" not in found["/mnt/t/deep/in/it"].flags


def test_copy_up(root, data):
    covered = root / "mnt/full"
    (covered / "deep/er").mkdir(parents=True)
    (covered / "deep/er/file").write_bytes(os.urandom(3_000_000))
    (covered / "deep").chmod(0o2751)
    (covered / "program").write_text("x")
    (covered / "program").chmod(0o4755)
    (covered / "link").symlink_to("/etc/passwd")
    os.mkfifo(covered / "pipe", 0o640)
    covered.chmod(0o711)
    os.setxattr(covered / "program", "user.mark", b"kept")
    if IS_ROOT:
        os.chown(covered / "program", 7, 8)
        os.chmod(covered / "program", 0o4755)

    def look(root):
        top = root / "mnt/full"
        (top / "deep/er/file").write_bytes(b"changed")
        return {
            "top": stat.S_IMODE(top.stat().st_mode),
            "deep": stat.S_IMODE((top / "deep").stat().st_mode),
            "program": os.stat(top / "program")[0:1] + os.stat(top / "program")[4:6],
            "times": ((top / "program").stat().st_atime, (top / "program").stat().st_mtime),
            "link": os.readlink(top / "link"),
            "pipe": stat.S_ISFIFO((top / "pipe").stat().st_mode),
            "names": sorted(os.listdir(top)),
            "mark": _mark(top / "program"),
            "flags": table(root)["/mnt/full"].flags >= {"ro", "nosuid"},
        }

    entry = mount("/mnt/full", "tmpfs", "tmpcopyup", "nosuid", "ro")
    with pytest.raises(OSError, match="Read-only"):
        seen(root, entry, look=look)
    entry = mount("/mnt/full", "tmpfs", "tmpcopyup", "nosuid")
    before = (covered / "deep/er/file").read_bytes()
    os.utime(covered / "program", (1, 2))
    found = seen(root, entry, look=look)
    assert (found["top"], found["deep"]) == (0o711, 0o2751)
    assert found["program"] == (0o104755, *((7, 8) if IS_ROOT else (0, 0)))
    assert found["times"] == (1, 2)
    assert found["link"] == "/etc/passwd"
    assert found["pipe"]
    assert found["names"] == ["deep", "link", "pipe", "program"]
    assert found["mark"] in (b"kept", None)
    assert (covered / "deep/er/file").read_bytes() == before, "the covered directory was written"


def _mark(path):
    try:
        return os.getxattr(path, "user.mark")
    except OSError:
        return None  # before Linux 6.6 a tmpfs takes none


def test_copy_up_that_does_not_fit_is_said(root):
    (root / "mnt/full").mkdir()
    (root / "mnt/full/file").write_bytes(bytes(100_000))
    with pytest.raises(StartFailed, match="mount tmpfs on /mnt/full") as caught:
        seen(root, mount("/mnt/full", "tmpfs", "tmpcopyup", "size=8192"))
    assert "No space" in caught.value.why


def test_copy_up_follows_no_link_and_enters_no_mount(root, data):
    (root / "mnt/full/other").mkdir(parents=True)
    (root / "mnt/full/out").symlink_to(data)
    found = seen(
        root,
        bind(data, "/mnt/full/other"),
        mount("/mnt/full", "tmpfs", "tmpcopyup"),
        look=lambda root: (os.path.islink(root / "mnt/full/out"),
                           os.listdir(root / "mnt/full/other")),
    )  # fmt: skip
    assert found == (True, [])


# -- binds -------------------------------------------------------------------------


def test_binds_of_directories_and_files_make_their_places(root, data):
    found = seen(
        root,
        bind(data, "/a/b/c"),
        bind(data / "file", "/x/y/file"),
        mount("/rel", "bind", "bind", source="data"),
        look=lambda root: (
            os.listdir(root / "a/b/c"), (root / "x/y/file").read_text(), os.listdir(root / "rel")
        ),
        bundle_path=str(data.parent),
    )  # fmt: skip
    assert sorted(found[0]) == sorted(found[2]) == ["below", "file"]
    assert found[1] == "machine"
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755


def test_the_type_bind_is_enough(root, data):
    assert "/mnt/a" in seen(root, mount("/mnt/a", "bind", source=str(data)))


def test_a_plain_bind_leaves_out_what_is_mounted_below(root, data):
    def job():
        _with_mounts_below(data)
        furnish(root, config(bind(data, "/mnt/plain", "bind"), bind(data, "/mnt/all", "rbind")))
        return table(root)

    found = run(job)
    assert "/mnt/all/below/deep" in found
    assert "/mnt/plain/below" not in found


def test_a_source_that_is_not_there_is_said(root, tmp_path):
    with pytest.raises(StartFailed, match="cannot mount") as caught:
        seen(root, bind(tmp_path / "nothing", "/mnt/a"))
    assert "nothing: No such file" in caught.value.why
    assert not (root / "mnt/a").exists()


@pytest.mark.parametrize("destination", ["/etc/file/below", "/mnt"])
def test_a_place_of_another_kind_is_said(root, data, destination):
    (root / "etc/file").write_text("")
    with pytest.raises(StartFailed, match="cannot mount"):
        seen(root, bind(data / "file", destination))


def test_links_to_nothing_yet_lead_inside(root, data, tmp_path):
    """Images of machines with systemd have /var/run -> /run, and no /run."""
    (root / "var").mkdir()
    (root / "var/run").symlink_to("../run")
    (root / "loop").symlink_to("/loop/x")
    (root / "out").symlink_to(tmp_path / "made")
    found = seen(root, bind(data, "/var/run/secrets"), mount("/out/t", "tmpfs"))
    assert {"/run/secrets", f"{tmp_path}/made/t"} <= set(found)
    assert not (tmp_path / "made").exists()
    with pytest.raises(StartFailed, match="symbolic links"):
        seen(root, bind(data, "/loop/a"))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (mount("/../.", "tmpfs"), "cannot cover the root"),
        (mount("/mnt", "bind", "bind"), "needs a source"),  # or it would be the bundle
        (mount("/mnt", "", "rbind"), "needs a source"),
    ],
)
def test_mounts_that_cannot_be(entry, why):
    with pytest.raises(InvalidDocument) as caught:
        mounts.plan_mounts(config(entry), bundle_path="/bundle")
    assert why in caught.value.why


@needs_root
def test_locked_restrictions_are_kept_and_their_loss_refused(shared_place):
    """In a user namespace the kernel locks what the machine restricted."""
    root, data = shared_place

    def restrict():
        syscalls.unshare(syscalls.CLONE_NEWNS)
        rootfs.make_private()
        flags = mounting.MS_NOSUID | mounting.MS_NODEV | mounting.MS_RDONLY
        mounting.mount("tmpfs", str(data), "tmpfs", flags)

    def keep(_given):
        furnish(root, config(bind(data, "/mnt/a", "bind", "noexec")))
        return table(root)

    def lose(_given):
        furnish(root, config(bind(data, "/mnt/a", "bind", "rw")))

    found = run(keep, user=True, before=restrict)
    assert found["/mnt/a"].flags >= {"ro", "nosuid", "nodev", "noexec"}
    with pytest.raises(HostLacks, match="with the options"):
        run(lose, user=True, before=restrict)


# -- user namespaces ---------------------------------------------------------------


@needs_root
def test_sources_and_root_out_of_reach_are_opened_by_the_parent(shared_place):
    """Whoever makes the container may go there, the container's root user may not."""
    root, data = shared_place
    closed = root.parent / "closed"
    closed.mkdir(mode=0o700)
    data.rename(closed / "data")
    root.rename(closed / "root")
    asked = config(
        PROC,
        bind(closed / "data", "/mnt/a", "rbind", "rro"),
        bind(closed / "data/file", "/mnt/file"),
        namespaces={"mount": "", "user": "", "pid": ""},
    )
    plan = mounts.plan_mounts(asked)

    def before():
        return mounts.open_sources(plan, asked), rootfs.open_root(str(closed / "root"))

    def without(_given):
        rootfs.open_root(str(closed / "root"))

    def with_them(given):
        opened, tree = given
        fd = rootfs.mount_root(str(closed / "root"), tree=tree)
        for op in opened:
            mounts.apply_mount(op, fd)
        rootfs.pivot(fd)
        return sorted(os.listdir("/mnt/a")), Path("/mnt/file").read_text(), table("")["/mnt/a"]

    with pytest.raises(HostLacks, match="root directory"):
        run(without, user=True, before=before)
    names, text, found = run(with_them, user=True, before=before)
    assert (names, text) == (["below", "file"], "machine")
    assert "ro" in found.flags
    assert "shared" not in found.propagation
    before_fds = len(os.listdir("/proc/self/fd"))
    opened = mounts.open_sources(plan, asked)
    assert len(os.listdir("/proc/self/fd")) == before_fds + 2
    mounts.close_sources(opened)
    assert len(os.listdir("/proc/self/fd")) == before_fds


@needs_root
def test_an_opened_source_is_no_peer_of_the_machines(shared_place):
    """Else what the container mounts below it would be mounted on the machine, too."""
    root, data = shared_place

    def before():
        syscalls.unshare(syscalls.CLONE_NEWNS)
        rootfs.make_private()
        mounting.mount("tmpfs", str(data), "tmpfs")
        mounting.mount(None, str(data), None, mounting.MS_SHARED)
        (data / "below").mkdir()
        asked = config(bind(data, "/mnt/a", "rbind"), namespaces={"user": ""})
        return mounts.open_sources(mounts.plan_mounts(asked), asked)

    def job(plan):
        fd = rootfs.mount_root(str(root))
        for op in plan:
            mounts.apply_mount(op, fd)
        return table(root)["/mnt/a"].propagation

    assert "shared" not in run(job, user=True, before=before)


@needs_root
def test_owners_are_mapped(shared_place):
    root, data = shared_place
    for path in (data, data / "file"):
        os.chown(path, 5, 6)
    mapping = (IdMapping(0, 1000, 10),)
    asked = config(
        DEV,
        bind(
            data, "/mnt/said", "rbind", uid_mappings=mapping, gid_mappings=(IdMapping(0, 2000, 10),)
        ),
        bind(data, "/mnt/own", "rbind", "ridmap"),
        bind(data, "/mnt/plain", "rbind"),
        namespaces={"mount": "", "user": "", "pid": ""},
        uid_mappings=(IdMapping(0, OTHERS, 65536),),
        gid_mappings=(IdMapping(0, OTHERS, 65536),),
    )

    def before():
        return mounts.open_sources(mounts.plan_mounts(asked), asked)

    def owners(plan):
        fd = rootfs.mount_root(str(root))
        for op in plan:
            mounts.apply_mount(op, fd)
        return {name: os.stat(root / f"mnt/{name}/file")[4:6] for name in ("said", "own", "plain")}

    inside = run(owners, user=True, before=before)
    assert inside["own"] == (5, 6), "mapped to what the namespace maps back"
    assert inside["plain"] == (65534, 65534), "nobody's in there"
    outside = run(owners, user=False, before=before)
    assert outside["said"] == (1005, 2006)
    assert outside["own"] == (OTHERS + 5, OTHERS + 6)
    assert outside["plain"] == (5, 6)


@needs_root
def test_a_file_system_that_cannot_map_owners_is_said(root, tmp_path):
    mapping = (IdMapping(0, 1000, 10),)
    asked = config(bind("/proc/sys", "/mnt/a", uid_mappings=mapping, gid_mappings=mapping))
    with pytest.raises(HostLacks, match="other owners") as caught:
        mounts.open_sources(mounts.plan_mounts(asked), asked)
    assert "file system" in caught.value.why


def test_a_mapping_needs_to_come_from_somewhere(data):
    with pytest.raises(InvalidDocument, match="not valid"):
        mounts.plan_mounts(config(bind(data, "/mnt/a", "rbind", "idmap")))
    mapping = (IdMapping(0, 0, 1),)
    with pytest.raises(InvalidDocument, match="not valid"):
        mounts.plan_mounts(
            config(mount("/mnt/a", "tmpfs", uid_mappings=mapping, gid_mappings=mapping))
        )


def test_sysfs_and_queues_of_the_machine_where_a_user_may_not_mount_them(root):
    """CVE-2023-25809: the machine's /sys is read-only with everything below it, cgroups too.

    Fails when ``_show_machines`` restricts the topmost mount only.
    """
    new = NEW & ~syscalls.CLONE_NEWNET & ~syscalls.CLONE_NEWIPC
    quiet = ("nosuid", "noexec", "nodev")
    found = seen(root, mount("/sys", "sysfs", *quiet), look=mountinfo, new=new)
    queues = mount("/dev/mqueue", "mqueue", *quiet)
    if IS_ROOT:
        assert {each.place: each for each in found}["/sys"].kind == "sysfs"
        assert seen(root, queues, new=new)["/dev/mqueue"].kind == "mqueue"
        return
    recursive = seen(root, mount("/sys", "sysfs", *quiet, "rro"), look=mountinfo, new=new)
    assert all("ro" in each.flags for each in recursive if each.place.startswith("/sys"))
    if os.path.ismount("/dev/mqueue"):
        assert seen(root, queues, new=new)["/dev/mqueue"].flags >= {"ro", *quiet}
    else:
        with pytest.raises(StartFailed, match="cannot mount mqueue"):
            seen(root, queues, new=new)
    below = [each for each in found if each.place == "/sys" or each.place.startswith("/sys/")]
    assert len(below) > 1
    for each in below:
        assert each.flags >= {"ro", *quiet}, each


def test_terminals_without_their_group(root):
    """A user namespace with one id has no group 5."""
    words = ("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    found = seen(root, mount("/dev/pts", "devpts", *words), mount("/mnt/p", "devpts", *words[:3]))
    assert found["/dev/pts"].options >= {"mode=620", "ptmxmode=666"}
    assert ("gid=5" in found["/dev/pts"].options) is IS_ROOT
    assert found["/mnt/p"].kind == "devpts"


# -- what a file system says --------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (mount("/mnt/a", "tmpfs", "size=much"), "size"),
        (mount("/mnt/a", "nosuchfs"), "No such device"),
        (mount("/mnt/a", "tmpfs", "fancy=1"), "fancy"),
        (mount("/mnt/a", "tmpfs", "x" * 5000), "one page"),
        (mount("/mnt/a", ""), "No such device"),
    ],
)
def test_what_is_wrong_is_said_in_the_kernels_words(root, entry, words):
    with pytest.raises(StartFailed, match="cannot mount") as caught:
        seen(root, entry)
    assert words in caught.value.why


@needs_root
def test_procfs_with_options(root):
    found = seen(root, mount("/proc", "proc", "hidepid=2", "subset=pid", "nosuid", source="proc"))
    assert found["/proc"].options >= {"hidepid=invisible", "subset=pid"} or found[
        "/proc"
    ].options >= {"hidepid=2"}
