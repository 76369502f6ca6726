"""config.md, "Mounts": order, types, every option, and what must stay on this side."""

import os
import subprocess

import pytest


def mounts_of(text):
    """Parse mountinfo: mount point -> (options, optional fields, type, source, super options)."""
    found = {}
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split()
        kind, source, super_options = tail.split(" ", 2)
        options = set(fields[5].split(","))
        found[fields[4]] = (options, fields[6:], kind, source, set(super_options.split(",")))
    return found


def seen(box, point):
    """Run a container and return what it sees mounted at a point."""
    return mounts_of(box.run("cat /proc/self/mountinfo"))[point]


@pytest.fixture
def volume(tmp_path):
    """A directory of the machine with a file in it."""
    directory = tmp_path / "volume"
    directory.mkdir()
    (directory / "file").write_text("content\n")
    return directory


@pytest.fixture
def nested(volume):
    """The same with another mount below it."""
    (volume / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "sub", volume / "sub"], check=True)
    (volume / "sub/inner").write_text("inner\n")
    yield volume
    subprocess.run(["umount", "-l", volume / "sub"], check=True)


# -- order, kinds --------------------------------------------------------------


def test_in_the_listed_order(box, volume):
    """config.md, "Mounts": the runtime MUST mount entries in the listed order."""
    box.mount("/home", "tmpfs", "under", "mode=700")
    box.mount("/home", "bind", volume, "bind")
    box.mount("/home/over", "tmpfs", "last")
    told = box.run("cat /home/file; grep ' /home' /proc/self/mountinfo | sed 's/.*- //'")
    lines = told.splitlines()
    assert lines[0] == "content"
    assert [line.split()[1] for line in lines[1::2]] == ["under", "last"]


@pytest.mark.parametrize(
    ("kind", "point"),
    [("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/dev"), ("devpts", "/dev/pts"),
     ("tmpfs", "/dev/shm")],
)  # fmt: skip
def test_default_filesystems(box, kind, point):
    """config-linux.md, "Default Filesystems"."""
    assert seen(box, point)[2] == kind


def test_mqueue(box):
    """config.md, "Mounts": type is any the kernel lists, as mqueue."""
    box.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    options, _, kind, _, _ = seen(box, "/dev/mqueue")
    assert kind == "mqueue"
    assert {"nosuid", "noexec", "nodev"} <= options


def test_ramfs(box):
    """config.md, "Mounts": type is any the kernel lists, as ramfs."""
    box.mount("/home", "ramfs", "ramfs", "mode=711")
    assert box.run("stat -fc %T /home; stat -c %a /home") == "ramfs\n711\n"


def test_options_of_the_filesystem(box):
    """config.md, "Mounts": what is no mount flag is data for the file system."""
    box.mount("/home", "tmpfs", "t", "size=3m", "mode=1751", "nr_inodes=77", "uid=5", "gid=6")
    told = box.run("stat -c '%a %u %g' /home; df -k /home | tail -1; df -i /home | tail -1")
    first, blocks, _ = told.splitlines()
    assert first == "1751 5 6"
    assert blocks.split()[1] == "3072"
    assert "nr_inodes=77" in seen(box, "/home")[4]


@pytest.mark.parametrize(
    ("option", "in_options", "in_super"),
    [
        ("ro", "ro", None), ("nosuid", "nosuid", None), ("nodev", "nodev", None),
        ("noexec", "noexec", None), ("noatime", "noatime", None),
        ("nodiratime", "nodiratime", None), ("relatime", "relatime", None),
        ("sync", None, "sync"), ("dirsync", None, "dirsync"), ("lazytime", None, "lazytime"),
        ("nosymfollow", "nosymfollow", None),
    ],
)  # fmt: skip
def test_an_option_sets_its_flag(box, option, in_options, in_super):
    """config.md, "Linux mount options": each sets the flag mount(8) names."""
    box.mount("/home", "tmpfs", "t", option)
    options, _, _, _, super_options = seen(box, "/home")
    assert in_options is None or in_options in options
    assert in_super is None or in_super in super_options


@pytest.mark.parametrize(
    ("first", "second", "flag"),
    [("ro", "rw", "ro"), ("nosuid", "suid", "nosuid"), ("nodev", "dev", "nodev"),
     ("noexec", "exec", "noexec"), ("noatime", "atime", "noatime"),
     ("nodiratime", "diratime", "nodiratime"), ("noatime", "strictatime", "noatime")],
)  # fmt: skip
def test_an_option_takes_its_flag_back(box, first, second, flag):
    """config.md, "Linux mount options": the later of two opposite options counts."""
    box.mount("/home", "tmpfs", "t", first, second)
    assert flag not in seen(box, "/home")[0]


_OPTIONS = """
async atime defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime
noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow relatime ro rw
silent strictatime suid symfollow sync
"""


@pytest.mark.parametrize("option", _OPTIONS.split())
def test_every_option_of_the_list_is_known(box, option):
    """config.md, "Linux mount options": none of the table may reach the file system as data."""
    box.mount("/home", "tmpfs", "t", option)
    assert seen(box, "/home")[2] == "tmpfs"


@pytest.mark.parametrize("options", [["nonsense"], ["size=x"], ["mode=999"]])
def test_an_option_nobody_knows(box, options):
    """config.md, "Mounts": an option the file system refuses cannot be had: an error."""
    box.mount("/home", "tmpfs", "t", *options)
    box.create_refused()
    assert box.left_behind() == []


def test_a_type_nobody_knows(box):
    """config.md, "Mounts": a type the kernel does not know cannot be had: an error."""
    box.mount("/home", "nonsensefs", "t")
    box.create_refused()


# -- destinations ----------------------------------------------------------------


def test_destinations_are_made(box, volume):
    """runc makes missing destinations: a directory, or a file for a file."""
    box.mount("/a/b/c", "tmpfs", "t")
    box.mount("/d/e", "bind", volume, "bind")
    box.mount("/f/g", "bind", volume / "file", "bind")
    assert box.run("stat -c %F /a/b/c /d/e /f/g") == "directory\ndirectory\nregular file\n"


def test_destinations_through_links_stay_inside(box, volume):
    """config.md, "Mounts": destination is a path inside of the container."""
    (box.rootfs / "out").symlink_to("../../../../../..")
    (box.rootfs / "abs").symlink_to("/home")
    (box.rootfs / "home/x").mkdir()
    box.mount("/out/home/x", "tmpfs", "first")
    box.mount("/abs/../abs/y", "bind", volume, "bind")
    told = mounts_of(box.run("cat /proc/self/mountinfo"))
    assert {"/home/x", "/home/y"} <= set(told)


def test_a_relative_destination_is_from_the_root(box):
    """config.md, "Mounts": relative ones are deprecated, and taken relative to /."""
    box.mount("home", "tmpfs", "t", "mode=711")
    assert box.run("stat -c %a /home") == "711\n"


def test_a_destination_below_a_file(box):
    """A mount that cannot be made is an error, and leaves nothing."""
    box.mount("/etc/passwd/x", "tmpfs", "t")
    box.create_refused()
    assert box.left_behind() == []


# -- bind ------------------------------------------------------------------------


def test_bind_of_a_directory_and_a_file(box, volume):
    """config.md, "Mounts": with bind or rbind among the options, type is of no account."""
    box.mount("/home", "none", volume, "bind")
    box.mount("/tmp", "bind", volume, "rbind")
    box.mount("/etc/passwd", "", volume / "file", "bind")
    assert box.run("cat /home/file /etc/passwd; echo new >/tmp/made") == "content\ncontent\n"
    assert (volume / "made").read_text() == "new\n"


def test_bind_of_a_relative_source(box):
    """config.md, "Mounts": a relative source is relative to the bundle."""
    (box.bundle / "data").mkdir()
    (box.bundle / "data/x").write_text("here\n")
    box.mount("/home", "bind", "data", "bind")
    assert box.run("cat /home/x") == "here\n"


def test_bind_of_what_is_not_there(box):
    """A source that does not exist is an error."""
    box.mount("/home", "bind", "/nonexistent", "bind")
    assert "nonexistent" in box.create_refused()


def test_bind_and_rbind(box, nested):
    """config.md, "Linux mount options": bind shows one mount, rbind those below it too."""
    box.mount("/home", "bind", nested, "bind")
    box.mount("/tmp", "bind", nested, "rbind")
    told = box.run("cat /home/sub/inner 2>/dev/null || echo none; cat /tmp/sub/inner")
    assert told == "none\ninner\n"


def test_bind_read_only(box, volume):
    """config.md, "Linux mount options": ro of a bind needs a second step, and is kept."""
    box.mount("/home", "bind", volume, "bind", "ro", "nosuid", "nodev", "noexec")
    assert {"ro", "nosuid", "nodev", "noexec"} <= seen(box, "/home")[0]
    assert "no" in box.run("echo x >/home/x || echo no")
    assert not (volume / "x").exists()


def test_bind_read_only_is_not_recursive(box, nested):
    """config.md, "Linux mount options": ro goes for the one mount; rro for all below it."""
    box.mount("/home", "bind", nested, "rbind", "ro")
    told = mounts_of(box.run("cat /proc/self/mountinfo"))
    assert "ro" in told["/home"][0]
    assert "rw" in told["/home/sub"][0]


@pytest.mark.parametrize(
    ("option", "flag"),
    [("rro", "ro"), ("rnosuid", "nosuid"), ("rnodev", "nodev"), ("rnoexec", "noexec"),
     ("rnoatime", "noatime"), ("rnodiratime", "nodiratime"), ("rnosymfollow", "nosymfollow")],
)  # fmt: skip
def test_recursive_options(box, nested, option, flag):
    """config.md, "Linux mount options": rro and so on go for mounts below too."""
    box.mount("/home", "bind", nested, "rbind", option)
    told = mounts_of(box.run("cat /proc/self/mountinfo"))
    assert flag in told["/home"][0]
    assert flag in told["/home/sub"][0]


def test_recursive_options_taken_back(box, nested):
    """config.md, "Linux mount options": rrw and so on clear the flag, below too."""
    subprocess.run(["mount", "-o", "remount,bind,ro", nested / "sub"], check=True)
    box.mount("/home", "bind", nested, "rbind", "rrw")
    assert "rw" in mounts_of(box.run("cat /proc/self/mountinfo"))["/home/sub"][0]


def test_the_machines_own_mount_is_not_changed(box, nested):
    """Making a bind read-only in the container must not do so on the machine."""
    box.mount("/home", "bind", nested, "rbind", "rro")
    box.run("true")
    (nested / "still").write_text("writable")
    (nested / "sub/still").write_text("writable")


def test_tmpcopyup(box):
    """config.md, "Linux mount options": tmpcopyup fills a tmpfs with what it covers."""
    covered = box.rootfs / "home"
    (covered / "sub").mkdir(mode=0o710)
    (covered / "sub/file").write_text("x\n")
    (covered / "link").symlink_to("sub/file")
    os.chown(covered / "sub/file", 1000, 1001)
    box.mount("/home", "tmpfs", "t", "tmpcopyup", "nosuid")
    script = "cat /home/link; stat -c '%a %u:%g' /home/sub /home/sub/file; rm -r /home/sub"
    assert box.run(script) == "x\n710 0:0\n644 1000:1001\n"
    assert (covered / "sub/file").exists()


# -- propagation -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "wanted"),
    [("private", ""), ("slave", "master"), ("shared", "shared"), ("unbindable", "unbindable"),
     ("rprivate", ""), ("rslave", "master"), ("rshared", "shared"),
     ("runbindable", "unbindable")],
)  # fmt: skip
def test_propagation(box, nested, option, wanted):
    """config.md, "Linux mount options": private, shared, slave, unbindable, and r... of each."""
    subprocess.run(["mount", "--bind", nested, nested], check=True)
    subprocess.run(["mount", "--make-shared", nested], check=True)
    try:
        box.mount("/home", "bind", nested, "rbind", option)
        optional = seen(box, "/home")[1]
    finally:
        subprocess.run(["umount", "-l", nested], check=True)
    kinds = {word.partition(":")[0] for word in optional}
    assert kinds == ({wanted} if wanted else set()) or (wanted == "shared" and wanted in kinds)


def test_mounts_are_private_by_default(box, volume):
    """A mount made in the container is not seen by the machine, nor the other way round."""
    box.process["capabilities"]["effective"].append("CAP_SYS_ADMIN")
    box.process["capabilities"]["permitted"].append("CAP_SYS_ADMIN")
    box.process["capabilities"]["bounding"].append("CAP_SYS_ADMIN")
    box.mount("/home", "bind", volume, "bind")
    box.ready("mount -t tmpfs inside /home; echo mounted; exec sleep 100")
    while "mounted" not in box.output():
        os.sched_yield()
    assert (volume / "file").exists()
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        assert "inside" not in mounts.read()


# -- idmap -------------------------------------------------------------------------


def test_mappings_of_a_mount(box, volume):
    """config.md, "POSIX-platform Mounts": uidMappings and gidMappings change a mount's ids."""
    os.chown(volume / "file", 1000, 2000)
    maps = {
        "uidMappings": [{"containerID": 1000, "hostID": 5000, "size": 10}],
        "gidMappings": [{"containerID": 2000, "hostID": 6000, "size": 10}],
    }
    box.mount("/home", "bind", volume, "bind", "idmap")
    box.config["mounts"][-1] |= maps
    assert box.run("stat -c %u:%g /home/file") == "5000:6000\n"


def test_mappings_of_one_kind_only(box, volume):
    """config.md, "POSIX-platform Mounts": uidMappings and gidMappings come together."""
    box.mount("/home", "bind", volume, "bind", "idmap")
    box.config["mounts"][-1]["uidMappings"] = [{"containerID": 0, "hostID": 5000, "size": 10}]
    box.create_refused()


# -- cgroup ------------------------------------------------------------------------


def test_cgroup_mount(box):
    """config.md, "Mounts": type cgroup shows the container's own part of each hierarchy."""
    box.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    script = """
        echo $(cat /sys/fs/cgroup/pids/cgroup.procs | grep -c .)
        cat /sys/fs/cgroup/memory/memory.limit_in_bytes
        mkdir /sys/fs/cgroup/pids/x 2>/dev/null || echo read-only
        ls -d /sys/fs/cgroup/pids/../pids
    """
    box.linux["resources"] = {"memory": {"limit": 1 << 26}}
    told = box.run(script).splitlines()
    assert int(told[0]) in range(1, 8)
    assert told[1:] == [str(1 << 26), "read-only", "/sys/fs/cgroup/pids/../pids"]


def test_cgroup_mount_has_every_hierarchy(box):
    """The container finds its place in each hierarchy that /proc/self/cgroup lists."""
    box.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    script = """
        while IFS=: read -r number names path; do
            test -n "$names" || continue
            for name in $(echo "${names#name=}" | tr , ' '); do
                grep -qx $$ /sys/fs/cgroup/$name/cgroup.procs && echo ok || echo bad $name
            done
        done </proc/self/cgroup
    """
    assert set(box.run(script).split("\n")) == {"ok", ""}
