"""What the machine contributes, found on this very machine; and the files written for it."""

import os
import platform

import pytest

from ocimagic.bundle.hostfiles import hosts_text, resolv_text, write_host_files
from ocimagic.bundle.machine import find_place
from ocimagic.errors import InvalidOption
from ocimagic.model.options import RunOptions
from ocimagic.model.resources import DeviceMapping, ResourceOptions, ThrottleDevice


def run(**fields):
    return RunOptions(image="x", **fields)


def place(**fields):
    return find_place(run(**fields), rootless=False, hostname="box", files=(), container_id="c")


def device(path):
    return DeviceMapping(source=path, target=path)


def test_this_machine():
    found = place(resources=ResourceOptions(nano_cpus=1, cpuset_cpus="0", cpuset_mems="0"))
    assert found.machine == platform.machine()
    assert ".".join(map(str, found.kernel)) == ".".join(os.uname().release.split(".")[:2])
    assert found.cpus == len(os.sched_getaffinity(0))
    assert found.cpuset_cpus.startswith("0")
    assert found.cpuset_mems.startswith("0")
    assert found.cgroup_v2 == os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    assert (found.devices, found.all_devices) == ({}, ())


def test_devices_are_looked_up():
    found = place(
        devices=(device("/dev/null"), device("/dev/./zero")),
        resources=ResourceOptions(device_read_bps=(ThrottleDevice(path="/dev/full", rate=1),)),
    )
    assert set(found.devices) == {"/dev/null", "/dev/./zero", "/dev/full"}
    (null,) = found.devices["/dev/null"]
    assert (null.type, null.major, null.minor, null.mode) == ("c", 1, 3, 0o666)


def test_a_link_is_followed_and_a_directory_looked_into(tmp_path):
    (tmp_path / "link").symlink_to("/dev/null")
    (found,) = place(devices=(device(str(tmp_path / "link")),)).devices[str(tmp_path / "link")]
    assert (found.major, found.minor) == (1, 3)
    with pytest.raises(InvalidOption, match="no device in"):
        place(devices=(device(str(tmp_path)),))


def test_privileged_sees_every_node_but_terminals_of_others():
    paths = {each.path for each in place(privileged=True).all_devices}
    assert {"/dev/null", "/dev/zero"} <= paths
    assert not any(path.startswith(("/dev/pts/", "/dev/shm/", "/dev/fd/")) for path in paths)
    assert not {"/dev/console", "/dev/ptmx"} & paths


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/dev/nosuch", "no device"),
        ("/etc/passwd", "not a device"),
        ("/dev/\0", "no device"),
    ],
)
def test_what_is_no_device(path, said):
    with pytest.raises(InvalidOption, match=said):
        place(devices=(device(path),))


def test_files_of_a_container_of_its_own_network(tmp_path):
    files = dict(write_host_files(tmp_path, "box", own_network=True))
    assert sorted(files) == ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]
    hosts = (tmp_path / "hosts").read_text()
    assert "127.0.0.1\tlocalhost\n" in hosts
    assert "127.0.0.1\tbox\n" in hosts
    assert (tmp_path / "hostname").read_text() == "box\n"
    assert (tmp_path / "resolv.conf").read_text() == ""
    assert (tmp_path / "hosts").stat().st_mode & 0o777 == 0o644


def test_more_hosts_and_other_servers(tmp_path):
    asked = run(
        domainname="example.com",
        extra_hosts=(("db", "192.0.2.1"), ("six", "2001:db8::1")),
        dns=("9.9.9.9",),
        dns_search=("example.com", "test"),
        dns_options=("ndots:2",),
    )
    write_host_files(tmp_path, "box", own_network=True, options=asked)
    hosts = (tmp_path / "hosts").read_text()
    assert hosts.endswith("127.0.0.1\tbox.example.com box\n192.0.2.1\tdb\n2001:db8::1\tsix\n")
    assert (tmp_path / "resolv.conf").read_text() == (
        "nameserver 9.9.9.9\nsearch example.com test\noptions ndots:2\n"
    )


def test_the_machine_is_where_localhost_is_or_nowhere(tmp_path):
    asked = run(extra_hosts=(("me", "host-gateway"),))
    write_host_files(tmp_path, "box", own_network=False, options=asked)
    assert "127.0.0.1\tme\n" in (tmp_path / "hosts").read_text()
    with pytest.raises(InvalidOption, match="leads nowhere"):
        write_host_files(tmp_path, "box", own_network=True, options=asked)


BASE = "# words\nnameserver 1.1.1.1\nnameserver 8.8.8.8\ndomain old.test\noptions edns0\n"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, BASE),
        ({"dns": ("9.9.9.9",)}, "nameserver 9.9.9.9\nsearch old.test\noptions edns0\n"),
        ({"dns_search": ("new.test",)},
         "nameserver 1.1.1.1\nnameserver 8.8.8.8\nsearch new.test\noptions edns0\n"),
        ({"dns_search": (".",)}, "nameserver 1.1.1.1\nnameserver 8.8.8.8\noptions edns0\n"),
        ({"dns_options": ("rotate",)},
         "nameserver 1.1.1.1\nnameserver 8.8.8.8\nsearch old.test\noptions rotate\n"),
    ],
)  # fmt: skip
def test_resolv_conf(asked, expected):
    assert resolv_text(BASE, run(**asked)) == expected


def test_a_name_that_is_there_is_not_added_again():
    assert hosts_text("127.0.0.1\tlocalhost box\n", "box") == "127.0.0.1\tlocalhost box\n"
