"""config-linux.md: namespaces, new and joined; user namespaces; clocks; names of the host."""

import contextlib
import os
import subprocess
import time

import pytest

FILES = {
    "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user",
    "cgroup": "cgroup", "time": "time",
}  # fmt: skip
MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def own(kind):
    return os.readlink(f"/proc/self/ns/{FILES[kind]}")


def inside(box, kind):
    return box.run(f"readlink /proc/self/ns/{FILES[kind]}").strip()


@pytest.fixture
def holder():
    """A process in namespaces of its own, for containers to join."""
    made = []

    def make(*flags):
        script = "echo ready; exec sleep 1000"
        after = ["--kill-child"] if "-f" in flags else []
        process = subprocess.Popen(
            ["unshare", *flags, *after, "/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        made.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    yield make
    for process in made:
        process.kill()
        process.wait()
        process.stdout.close()


def with_user_namespace(box):
    box.namespace("user")
    box.linux |= {"uidMappings": MAP, "gidMappings": MAP}
    for base, directories, files in os.walk(box.rootfs):
        for name in directories + files:
            with contextlib.suppress(PermissionError):
                if name != "busybox":  # a hard link to the machine's
                    os.chown(os.path.join(base, name), 100000, 100000, follow_symlinks=False)
    os.chown(box.rootfs, 100000, 100000)


# -- new, inherited, joined --------------------------------------------------------


@pytest.mark.parametrize("kind", ["pid", "network", "mount", "ipc", "uts", "cgroup", "time"])
def test_a_new_namespace(box, kind):
    """config-linux.md, "Namespaces": without path the runtime MUST create a new one."""
    box.namespace(kind)
    assert inside(box, kind) not in ("", own(kind))


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "user", "cgroup", "time"])
def test_an_inherited_namespace(box, kind):
    """config-linux.md, "Namespaces": a type not listed is the runtime's namespace."""
    box.without_namespace(kind)
    if kind == "network":
        box.config["mounts"] = [each for each in box.config["mounts"] if each["type"] != "sysfs"]
    assert inside(box, kind) == own(kind)


@pytest.mark.parametrize(
    ("kind", "flags"),
    [("network", ["-n"]), ("ipc", ["-i"]), ("uts", ["-u"]), ("cgroup", ["-C"]),
     ("time", ["-T", "-f"])],
)  # fmt: skip
def test_a_joined_namespace(box, holder, kind, flags):
    """config-linux.md, "Namespaces": the process MUST be placed in that of path."""
    pid = holder(*flags)
    if kind == "time":
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            pid = int(file.read().split()[0])
    box.namespace(kind, f"/proc/{pid}/ns/{FILES[kind]}")
    wanted = os.readlink(f"/proc/{pid}/ns/{FILES[kind]}")
    assert wanted != own(kind)
    assert inside(box, kind) == wanted


def test_a_joined_pid_namespace(box, make_box):
    """config-linux.md, "Namespaces": pid by path: the other container's processes are seen."""
    box.started()
    other = make_box()
    other.namespace("pid", f"/proc/{box.pid}/ns/pid")
    told = other.run("readlink /proc/self/ns/pid; cat /proc/1/cmdline; test $$ != 1 && echo 2nd")
    assert told == os.readlink(f"/proc/{box.pid}/ns/pid") + "\nsleep\x00100\x002nd\n"


def test_a_joined_mount_namespace(box, holder):
    """config-linux.md, "Namespaces": mount by path."""
    pid = holder("-m")
    box.namespace("mount", f"/proc/{pid}/ns/mnt")
    assert inside(box, "mount") == os.readlink(f"/proc/{pid}/ns/mnt")


def test_a_joined_user_namespace(box, make_box):
    """config-linux.md, "Namespaces": user by path, with what belongs to it."""
    with_user_namespace(box)
    box.started()
    other = make_box()
    with_user_namespace(other)
    del other.linux["uidMappings"], other.linux["gidMappings"]
    for kind in ("user", "network", "ipc", "uts"):
        other.namespace(kind, f"/proc/{box.pid}/ns/{FILES[kind]}")
    told = other.run("readlink /proc/self/ns/user; cat /proc/self/uid_map").split()
    assert told == [os.readlink(f"/proc/{box.pid}/ns/user"), "0", "100000", "65536"]


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "cgroup", "user"])
def test_a_path_of_another_type(box, kind):
    """config-linux.md, "Namespaces": MUST generate an error if path is not of that type."""
    wrong = "ipc" if kind != "ipc" else "uts"
    box.namespace(kind, f"/proc/self/ns/{wrong}")
    box.create_refused()
    assert box.left_behind() == []


@pytest.mark.parametrize("path", ["/dev/null", "/etc/passwd", "/", "/nonexistent"])
def test_a_path_of_no_namespace(box, path):
    """config-linux.md, "Namespaces": path is a namespace file."""
    box.namespace("network", path)
    box.create_refused()


def test_a_relative_path(box):
    """config-linux.md, "Namespaces": path MUST be an absolute path."""
    (box.bundle / "ns").symlink_to("/proc/self/ns/net")
    box.namespace("network", "ns")
    box.create_refused()


@pytest.mark.parametrize("kind", ["network", "pid"])
def test_one_type_twice(box, kind):
    """config-linux.md, "Namespaces": duplicate types MUST generate an error."""
    box.linux["namespaces"].append({"type": kind})
    box.create_refused()


def test_a_type_nobody_knows(box):
    """config-linux.md, "Namespaces": type is one of a list."""
    box.linux["namespaces"].append({"type": "dream"})
    box.create_refused()


def test_exec_is_in_all_of_them(box):
    """A process started by exec is in the container's namespaces, every one."""
    box.namespace("cgroup")
    box.started()
    kinds = ("pid", "net", "mnt", "ipc", "uts", "cgroup", "user")
    told = box.execute("for n in {}; do readlink /proc/self/ns/$n; done".format(" ".join(kinds)))
    assert told.split() == [os.readlink(f"/proc/{box.pid}/ns/{kind}") for kind in kinds]


# -- what they are for --------------------------------------------------------------


def test_pid_namespace(box):
    """config-linux.md, "Namespaces": only processes of the same container are seen."""
    first, *seen = box.run("echo $$; ls /proc | grep '^[0-9]'").split()
    assert first == "1"
    assert {int(pid) for pid in seen} < set(range(1, 50))


def test_network_namespace(box):
    """config-linux.md, "Namespaces": its own network stack."""
    told = box.run("cat /proc/net/dev")
    assert [line.split(":")[0].strip() for line in told.splitlines()[2:]] == ["lo"]


def test_loopback_is_up(box):
    """As runc and crun do: lo of a new network namespace can be used at once."""
    assert "1 packets transmitted, 1 packets received" in box.run("ping -c1 -w2 127.0.0.1")


def test_hostname(box):
    """config.md, "Hostname": as seen by processes inside."""
    before = os.uname().nodename
    box.config["hostname"] = "mrsdalloway.example"
    assert box.run("hostname; uname -n") == "mrsdalloway.example\n" * 2
    assert os.uname().nodename == before


def test_domainname(box):
    """config.md, "Domainname" (since 1.1): as seen by processes inside."""
    box.config["domainname"] = "foobarbaz.test"
    assert box.run("cat /proc/sys/kernel/domainname") == "foobarbaz.test\n"


@pytest.mark.parametrize("word", ["hostname", "domainname"])
def test_no_name_for_the_machine(box, word):
    """A name without a UTS namespace of one's own would be the machine's: an error."""
    box.without_namespace("uts")
    before = os.uname()
    box.config[word] = "ocimagic-was-here"
    box.create_refused()
    assert os.uname() == before


def test_ipc_namespace(box):
    """config-linux.md, "Namespaces": System V IPC of its own."""
    script = "cat /proc/sysvipc/shm | wc -l"
    assert box.run(script) == "1\n"


def test_cgroup_namespace(box):
    """config-linux.md, "Namespaces": an isolated view: the container's own cgroup is the root."""
    box.namespace("cgroup")
    told = box.run("cat /proc/self/cgroup")
    assert {line.split(":", 2)[2] for line in told.splitlines()} == {"/"}


def test_without_a_cgroup_namespace(box):
    """config-linux.md, "Cgroups Path": the same place in each hierarchy."""
    told = box.run("cat /proc/self/cgroup").splitlines()
    named = [line.split(":", 2) for line in told]
    assert {path for _, names, path in named if names and "=" not in names} == {
        box.linux["cgroupsPath"]
    }


def test_time_offsets(box):
    """config-linux.md, "Offset for Time Namespace": monotonic and boottime."""
    box.namespace("time")
    box.linux["timeOffsets"] = {
        "boottime": {"secs": 100000, "nanosecs": 5},
        "monotonic": {"secs": 7},
    }
    told = box.run("cat /proc/uptime /proc/self/timens_offsets")
    uptime, *_ = told.split()
    assert 100000 <= float(uptime) - time.clock_gettime(time.CLOCK_BOOTTIME) < 100060 or (
        abs(float(uptime) - time.clock_gettime(time.CLOCK_BOOTTIME) - 100000) < 60
    )
    offsets = {line.split()[0]: line.split()[1:] for line in told.splitlines()[1:]}
    assert offsets == {"monotonic": ["7", "0"], "boottime": ["100000", "5"]}


def test_time_offsets_for_the_machine(box):
    """config-linux.md, "Offset for Time Namespace": of a time namespace only."""
    box.linux["timeOffsets"] = {"boottime": {"secs": 1}}
    box.create_refused()


# -- user namespaces ------------------------------------------------------------------


def test_mappings(box):
    """config-linux.md, "User namespace mappings": uidMappings and gidMappings."""
    with_user_namespace(box)
    box.linux["gidMappings"] = [
        {"containerID": 0, "hostID": 100000, "size": 1000},
        {"containerID": 1000, "hostID": 300000, "size": 50},
    ]
    told = box.run("cat /proc/self/uid_map /proc/self/gid_map; id -u").split()
    assert told == ["0", "100000", "65536", "0", "100000", "1000", "1000", "300000", "50", "0"]


def test_root_of_a_user_namespace_is_nobody_outside(box):
    """config-linux.md, "User namespace mappings": the kernel sees the machine's ids."""
    with_user_namespace(box)
    box.started("touch /tmp/made; exec sleep 100")
    assert os.stat(f"/proc/{box.pid}").st_uid == 100000
    while not (box.rootfs / "tmp/made").exists():
        os.sched_yield()
    assert (box.rootfs / "tmp/made").stat().st_uid == 100000


def test_user_namespace_with_another_user(box):
    """config.md, "User": ids are in the container namespace."""
    with_user_namespace(box)
    box.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5]}
    box.process["capabilities"] = {}
    box.started("id -u; id -g; id -G; exec sleep 100")
    while box.output().count("\n") < 3:
        os.sched_yield()
    uid, gid, groups = box.output().splitlines()
    assert (uid, gid, set(groups.split())) == ("1000", "1001", {"1001", "5"})
    assert os.stat(f"/proc/{box.pid}").st_uid == 101000


def test_devices_in_a_user_namespace(box):
    """config-linux.md, "Default Devices": supplied some way, though mknod is forbidden."""
    with_user_namespace(box)
    told = box.run("for d in null zero full random urandom tty; do stat -c %t:%T /dev/$d; done")
    assert told.split() == ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0"]


def test_a_user_namespace_without_mappings(box):
    """user_namespaces(7): without maps nobody is root there: it cannot be set up."""
    box.namespace("user")
    box.create_refused()


def test_exec_in_a_user_namespace(box):
    """exec is root of the container's namespace, and nobody of the machine's."""
    with_user_namespace(box)
    box.started()
    assert box.execute("id -u; cat /proc/self/uid_map; cat /proc/self/setgroups").split() == [
        "0", "0", "100000", "65536", "allow",
    ]  # fmt: skip
