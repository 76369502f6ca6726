"""What is mounted where, and whose namespaces a container uses."""

import pytest

from ocimagic.bundle.joining import join
from ocimagic.bundle.mounts import mounts, tmpfs_options
from ocimagic.bundle.namespaces import joined_containers, namespaces
from ocimagic.bundle.place import Place
from ocimagic.errors import HostLacks, InvalidOption
from ocimagic.model.options import (
    BindRecursion,
    NetworkMode,
    RunOptions,
    SecurityOptions,
    TmpfsMount,
    VolumeMount,
)
from ocimagic.spec.runtime import Process, RuntimeConfig

FILES = (("/etc/hosts", "/c/hosts"), ("/etc/hostname", "/c/hostname"))
ROOT = Place(machine="x86_64", rootless=False, hostname="box", files=FILES)
USER = Place(machine="x86_64", rootless=True, hostname="box", files=FILES)
V2 = Place(machine="x86_64", rootless=False, hostname="box", cgroup_v2=True)
USER_V2 = Place(machine="x86_64", rootless=True, hostname="box", cgroup_v2=True)
OLD = Place(machine="x86_64", rootless=False, hostname="box", kernel=(5, 4))


def run(**fields):
    fields.setdefault("network", NetworkMode.NONE)
    return RunOptions(image="x", **fields)


def by_destination(options, place=ROOT):
    found = mounts(options, place, namespaces(options, place))
    return {each.destination: each for each in found}


def test_every_container_has_dockers_mounts():
    found = by_destination(run())
    assert list(found) == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/mqueue",
        "/dev/shm",
        "/etc/hosts",
        "/etc/hostname",
    ]
    assert "ro" in found["/sys"].options
    assert found["/sys/fs/cgroup"].type == "cgroup"
    assert found["/sys/fs/cgroup"].options == ("nosuid", "noexec", "nodev", "ro")
    assert "size=67108864" in found["/dev/shm"].options
    assert found["/etc/hosts"].source == "/c/hosts"


def test_privileged_may_write_to_the_kernels_files():
    found = by_destination(run(privileged=True))
    assert "ro" not in found["/sys"].options
    assert "ro" not in found["/sys/fs/cgroup"].options
    asked = run(security=SecurityOptions(writable_cgroups=True))
    assert "ro" not in by_destination(asked)["/sys/fs/cgroup"].options
    assert "ro" in by_destination(asked)["/sys"].options


def test_what_an_ordinary_user_cannot_mount_is_shown_from_the_machine():
    host = run(network=NetworkMode.HOST, pid="host", ipc="host")
    found = by_destination(host, USER)
    assert (found["/proc"].source, found["/proc"].options[:2]) == ("/proc", ("rbind", "rprivate"))
    assert found["/sys"].source == "/sys"
    assert {"ro", "rro"} <= set(found["/sys"].options), "CVE-2023-25809: what is below too"
    assert "/dev/mqueue" not in found
    own = by_destination(run(), USER)
    assert (own["/proc"].type, own["/sys"].type) == ("proc", "sysfs")
    assert "/sys/fs/cgroup" not in own, "version 1 cannot be mounted by an ordinary user"
    assert "/sys/fs/cgroup" in by_destination(run(), USER_V2)
    assert "/sys/fs/cgroup" not in by_destination(run(cgroupns="host"), USER_V2)


def test_shared_memory():
    assert "size=1048576" in by_destination(run(shm_size_bytes=1 << 20))["/dev/shm"].options
    assert "/dev/shm" not in by_destination(run(ipc="none"))
    host = by_destination(run(ipc="host"))["/dev/shm"]
    assert (host.type, host.source) == ("bind", "/dev/shm")
    place = Place(machine="x86_64", rootless=False, hostname="box", shm_path="/run/c/shm")
    shared = by_destination(run(ipc="shareable"), place)["/dev/shm"]
    assert (shared.type, shared.source) == ("bind", "/run/c/shm")


def test_volumes():
    asked = run(
        volumes=(
            VolumeMount(source="/h/inner", target="/a/b", read_only=True),
            VolumeMount(source="/h/outer", target="/a", propagation="rslave"),
            VolumeMount(source="/h/one", target="/one", recursion=BindRecursion.DISABLED),
            VolumeMount(
                source="/h/w", target="/w", read_only=True, recursion=BindRecursion.WRITABLE
            ),
        )
    )
    found = by_destination(asked)
    assert list(found)[-4:] == ["/a", "/one", "/w", "/a/b"], "outer before inner"
    assert found["/a/b"].options == ("rbind", "rprivate", "ro", "rro")
    assert found["/a"].options == ("rbind", "rslave", "rw")
    assert found["/one"].options == ("bind", "rprivate", "rw")
    assert found["/w"].options == ("rbind", "rprivate", "ro")


def test_read_only_with_all_below_needs_a_kernel():
    plain = VolumeMount(source="/h", target="/a", read_only=True)
    assert "rro" not in by_destination(run(volumes=(plain,)), OLD)["/a"].options
    insisting = VolumeMount(
        source="/h", target="/a", read_only=True, recursion=BindRecursion.READONLY
    )
    assert "rro" in by_destination(run(volumes=(insisting,)))["/a"].options
    with pytest.raises(HostLacks, match=r"5\.12"):
        by_destination(run(volumes=(insisting,)), OLD)


def test_what_is_asked_for_replaces_the_usual():
    asked = run(
        volumes=(VolumeMount(source="/h", target="/etc/hosts"),),
        tmpfs=(TmpfsMount(target="/dev/shm", options=("size=1m",)),),
    )
    found = mounts(asked, ROOT, namespaces(asked, ROOT))
    destinations = [each.destination for each in found]
    assert destinations.count("/etc/hosts") == destinations.count("/dev/shm") == 1
    whole = run(volumes=(VolumeMount(source="/dev", target="/dev"),))
    assert [each for each in by_destination(whole) if each.startswith("/dev")] == ["/dev"]


def test_two_mounts_at_one_place_are_refused():
    asked = run(volumes=(VolumeMount(source="/h", target="/a"),), tmpfs=(TmpfsMount(target="/a"),))
    with pytest.raises(InvalidOption, match="two mounts at /a"):
        by_destination(asked)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), ("noexec", "nosuid", "nodev")),
        (("exec",), ("nosuid", "nodev", "exec")),
        (("size=64m", "mode=1770"), ("noexec", "nosuid", "nodev", "size=64m", "mode=1770")),
        (("size=1m", "size=2m", "ro", "rw"), ("noexec", "nosuid", "nodev", "size=2m", "rw")),
        (("defaults", "uid=5", "nr_inodes=10"),
         ("noexec", "nosuid", "nodev", "uid=5", "nr_inodes=10")),
    ],
)  # fmt: skip
def test_tmpfs_options(asked, expected):
    assert tmpfs_options(asked) == expected


@pytest.mark.parametrize("word", ["siez=1m", "bind", "size", "size=", "mode=1\0", "", "rprivate"])
def test_tmpfs_options_that_are_none(word):
    with pytest.raises(InvalidOption):
        tmpfs_options((word,))


@pytest.mark.parametrize("target", ["/", "relative", "//"])
def test_a_tmpfs_needs_a_place(target):
    with pytest.raises(InvalidOption):
        by_destination(run(tmpfs=(TmpfsMount(target=target),)))


@pytest.mark.parametrize(
    "volume",
    [
        VolumeMount(source="relative", target="/a"),
        VolumeMount(source="/h", target="relative"),
        VolumeMount(source="/h", target="/"),
        VolumeMount(source="/h", target="/a", propagation="unbindable"),
    ],
)
def test_volumes_that_cannot_be(volume):
    with pytest.raises(InvalidOption):
        by_destination(run(volumes=(volume,)))


NEW = {"mount": "", "pid": "", "ipc": "", "uts": "", "network": ""}


@pytest.mark.parametrize(
    ("asked", "place", "expected"),
    [
        ({}, ROOT, NEW),
        ({}, V2, NEW | {"cgroup": ""}),
        ({"cgroupns": "host"}, V2, NEW),
        ({"cgroupns": "private"}, ROOT, NEW | {"cgroup": ""}),
        ({"network": NetworkMode.HOST}, ROOT, {"mount": "", "pid": "", "ipc": "", "uts": ""}),
        ({"network": NetworkMode.DEFAULT}, ROOT, {"mount": "", "pid": "", "ipc": "", "uts": ""}),
        ({"pid": "host", "ipc": "host", "uts": "host"}, ROOT, {"mount": "", "network": ""}),
        ({"ipc": "none"}, ROOT, NEW),
        ({"ipc": "shareable", "userns": "host"}, ROOT, NEW),
    ],
)
def test_namespaces(asked, place, expected):
    assert namespaces(run(**asked), place) == expected


def test_namespaces_of_another_container_are_filled_in_at_the_start():
    asked = run(
        pid="container:web",
        ipc="container:db",
        network=NetworkMode.CONTAINER,
        network_container="net",
    )
    assert joined_containers(asked) == {"pid": "web", "ipc": "db", "network": "net"}
    spaces = namespaces(asked, ROOT)
    assert spaces["pid"] == "/proc/0/ns/pid", "until then a process that cannot be"
    assert spaces["network"] == "/proc/0/ns/net"
    place = Place(machine="x86_64", rootless=False, hostname="box", shm_path="/run/db/shm")
    config = RuntimeConfig(
        process=Process(args=("sh",)), namespaces=spaces, mounts=mounts(asked, place, spaces)
    )
    joined = join(config, {"pid": "/proc/7/ns/pid", "user": "/proc/7/ns/user"}, "/run/new/shm")
    assert joined.namespaces["pid"] == "/proc/7/ns/pid"
    assert joined.namespaces["user"] == "/proc/7/ns/user"
    assert joined.namespaces["uts"] == ""
    assert [each.source for each in joined.mounts if each.destination == "/dev/shm"] == [
        "/run/new/shm"
    ]
    assert RuntimeConfig.parse(joined.encode()) == joined


@pytest.mark.parametrize(
    "asked", [{"pid": "hots"}, {"ipc": "container:"}, {"uts": "x"}, {"userns": "keep-id"}]
)
def test_namespaces_that_are_none(asked):
    with pytest.raises(InvalidOption):
        namespaces(run(**asked), ROOT)
