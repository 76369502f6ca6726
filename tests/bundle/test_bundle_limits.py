"""Limits, devices and capabilities: what is asked for becomes ``linux.resources`` and its like."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.bundle.capabilities import resolve_capabilities
from ocimagic.bundle.defaults import CAPABILITIES
from ocimagic.bundle.devices import (
    default_rules,
    device_mounts,
    device_nodes,
    device_rules,
)
from ocimagic.bundle.place import HostDevice, Place
from ocimagic.bundle.resources import linux_resources, resource_warnings
from ocimagic.errors import InvalidOption
from ocimagic.model.options import RunOptions
from ocimagic.model.resources import (
    DeviceMapping,
    ResourceOptions,
    ThrottleDevice,
    WeightDevice,
)
from ocimagic.spec.capability import CAPABILITY_NAMES

MIB = 1 << 20
DISK = HostDevice(path="/dev/sda", type="b", major=8, minor=0, mode=0o660, gid=6)
NULL = HostDevice(path="/dev/null", type="c", major=1, minor=3)
PLACE = Place(
    machine="x86_64",
    rootless=False,
    hostname="box",
    cpus=2,
    cpuset_cpus="0-1",
    cpuset_mems="0",
    devices={
        "/dev/sda": (DISK,),
        "/dev/null": (NULL,),
        "/dev/snd": (
            HostDevice(path="/dev/snd/seq", type="c", major=116, minor=1),
            HostDevice(path="/dev/snd/by-id/x", type="c", major=116, minor=2),
        ),
    },
    all_devices=(DISK, NULL),
)
V2 = Place(machine="x86_64", rootless=False, hostname="box", cgroup_v2=True)
NO_SWAP = Place(machine="x86_64", rootless=False, hostname="box", swap_limit=False)


def limits(**fields):
    return ResourceOptions(**fields)


def sda(rate):
    return (ThrottleDevice(path="/dev/sda", rate=rate),)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {}),
        ({"memory_bytes": 64 * MIB}, {"memory": {"limit": 64 * MIB, "swap": 128 * MIB}}),
        ({"memory_bytes": 64 * MIB, "memory_swap_bytes": -1},
         {"memory": {"limit": 64 * MIB, "swap": -1}}),
        ({"memory_bytes": 64 * MIB, "memory_swap_bytes": 64 * MIB},
         {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}),
        ({"memory_reservation_bytes": 8 * MIB}, {"memory": {"reservation": 8 * MIB}}),
        ({"memory_swappiness": 0}, {"memory": {"swappiness": 0}}),
        ({"oom_kill_disable": True}, {"memory": {"disableOOMKiller": True}}),
        ({"nano_cpus": 1_500_000_000}, {"cpu": {"quota": 150_000, "period": 100_000}}),
        ({"nano_cpus": 10_000_000}, {"cpu": {"quota": 1_000, "period": 100_000}}),
        ({"cpu_period_us": 50_000, "cpu_quota_us": 25_000},
         {"cpu": {"quota": 25_000, "period": 50_000}}),
        ({"cpu_quota_us": -1}, {"cpu": {"quota": -1}}),
        ({"cpu_shares": 512}, {"cpu": {"shares": 512}}),
        ({"cpu_shares": 1}, {"cpu": {"shares": 2}}),
        ({"cpu_shares": 1 << 30}, {"cpu": {"shares": 262_144}}),
        ({"cpu_realtime_period_us": 1000, "cpu_realtime_runtime_us": 500},
         {"cpu": {"realtimePeriod": 1000, "realtimeRuntime": 500}}),
        ({"cpuset_cpus": "1", "cpuset_mems": "0"}, {"cpu": {"cpus": "1", "mems": "0"}}),
        ({"pids_limit": 50}, {"pids": {"limit": 50}}),
        ({"pids_limit": -1}, {"pids": {"limit": -1}}),
        ({"pids_limit": -7}, {"pids": {"limit": -1}}),
        ({"pids_limit": 0}, {}),
        ({"blkio_weight": 300}, {"blockIO": {"weight": 300}}),
        ({"blkio_weight_devices": (WeightDevice(path="/dev/sda", weight=200),)},
         {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 200}]}}),
        ({"device_read_bps": sda(MIB)},
         {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": MIB}]}}),
        ({"device_write_bps": sda(1)},
         {"blockIO": {"throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}}),
        ({"device_read_iops": sda(2)},
         {"blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 2}]}}),
        ({"device_write_iops": sda(3)},
         {"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 3}]}}),
    ],
)  # fmt: skip
def test_limits(asked, expected):
    assert linux_resources(limits(**asked), PLACE).to_json() == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"memory_bytes": MIB}, "too small"),
        ({"memory_reservation_bytes": MIB}, "too small"),
        ({"memory_bytes": 8 * MIB, "memory_reservation_bytes": 9 * MIB}, "above the memory limit"),
        ({"memory_swap_bytes": 64 * MIB}, "needs a memory limit"),
        ({"memory_bytes": 64 * MIB, "memory_swap_bytes": 8 * MIB}, "both together"),
        ({"memory_swappiness": 101}, "between 0 and 100"),
        ({"memory_swappiness": -1}, "between 0 and 100"),
        ({"nano_cpus": -1}, "not to be had"),
        ({"nano_cpus": 3_000_000_000}, "this machine has 2"),
        ({"nano_cpus": 1, "cpu_period_us": 5000}, "contradict"),
        ({"nano_cpus": 1, "cpu_quota_us": 5000}, "contradict"),
        ({"cpu_period_us": 999}, "not possible"),
        ({"cpu_period_us": 1_000_001}, "not possible"),
        ({"cpu_quota_us": 999}, "not possible"),
        ({"cpu_shares": -1}, "negative"),
        ({"cpuset_cpus": "0-2"}, "this machine has 0-1"),
        ({"cpuset_cpus": "x"}, "invalid list"),
        ({"cpuset_cpus": "0,"}, "invalid list"),
        ({"cpuset_mems": "1"}, "not to be had"),
        ({"blkio_weight": 5}, "between 10 and 1000"),
        ({"blkio_weight": 1001}, "between 10 and 1000"),
    ],
)
def test_limits_that_make_no_sense(asked, said):
    with pytest.raises(InvalidOption) as caught:
        linux_resources(limits(**asked), PLACE)
    assert said in str(caught.value)


def test_what_the_kernel_cannot_keep_is_left_out_and_said():
    asked = limits(memory_bytes=64 * MIB, memory_swap_bytes=96 * MIB)
    assert linux_resources(asked, NO_SWAP).to_json() == {"memory": {"limit": 64 * MIB}}
    assert any("swap" in text for text in resource_warnings(asked, NO_SWAP))
    asked = limits(memory_swappiness=5, oom_kill_disable=True)
    assert linux_resources(asked, V2).to_json() == {}
    assert len(list(resource_warnings(asked, V2))) == 2
    assert any("run out" in text for text in resource_warnings(asked, PLACE))
    assert list(resource_warnings(limits(memory_bytes=64 * MIB), PLACE)) == []
    assert list(resource_warnings(limits(cpu_shares=1), PLACE)) != []


def test_swap_is_not_limited_where_the_kernel_does_not_count_it_and_nobody_asked():
    asked = limits(memory_bytes=64 * MIB)
    assert linux_resources(asked, NO_SWAP).to_json() == {"memory": {"limit": 64 * MIB}}
    assert list(resource_warnings(asked, NO_SWAP)) == []


def run(**fields):
    return RunOptions(image="x", **fields)


def rule(allow, text):
    kind, numbers, access = text.split()
    major, minor = (None if each == "*" else int(each) for each in numbers.split(":"))
    return (allow, kind, major, minor, access)


def as_tuples(rules):
    return [(each.allow, each.type, each.major, each.minor, each.access) for each in rules]


def test_devices_of_every_container():
    """docker's rules, then what runc always adds: making any node, opening the harmless ones."""
    opened = ["c 1:5", "c 1:3", "c 1:9", "c 1:8", "c 5:0", "c 5:1", "c 1:7", "c 5:2", "c 136:*"]
    assert as_tuples(default_rules()) == [
        (False, "a", None, None, "rwm"),
        rule(True, "c *:* m"),
        rule(True, "b *:* m"),
        *(rule(True, f"{text} rwm") for text in opened),
    ]
    assert device_rules(run(), PLACE) == default_rules()


def test_devices_that_were_asked_for():
    mapping = DeviceMapping(source="/dev/sda", target="/dev/disk", permissions="r")
    asked = run(
        devices=(mapping,),
        resources=limits(device_cgroup_rules=("c 42:* mr", "a *:* w")),
    )
    assert as_tuples(device_rules(asked, PLACE)[-3:]) == [
        rule(True, "b 8:0 r"),
        rule(True, "c 42:* rm"),
        rule(True, "a *:* w"),
    ]
    (node,) = device_nodes(asked, PLACE)
    assert (node.path, node.type, node.major, node.mode, node.gid) == (
        "/dev/disk",
        "b",
        8,
        0o660,
        6,
    )


def test_a_directory_of_devices_keeps_its_shape():
    asked = run(devices=(DeviceMapping(source="/dev/snd", target="/dev/sound"),))
    assert [each.path for each in device_nodes(asked, PLACE)] == [
        "/dev/sound/seq",
        "/dev/sound/by-id/x",
    ]


@pytest.mark.parametrize("text", ["c 1:3", "d 1:3 r", "c 1 r", "c 1:x r", "c 1:3 x", "c  1:3 r"])
def test_device_rules_that_are_none(text):
    with pytest.raises(InvalidOption):
        device_rules(run(resources=limits(device_cgroup_rules=(text,))), PLACE)


def test_privileged_has_every_device_and_may_open_it():
    mapped = DeviceMapping(source="/dev/sda", target="/dev/disk", permissions="r")
    same = DeviceMapping(source="/dev/null", target="/dev/null")
    asked = run(privileged=True, devices=(mapped, same))
    assert as_tuples(device_rules(asked, PLACE)) == [(True, "a", None, None, "rwm")]
    assert [each.path for each in device_nodes(asked, PLACE)] == [
        "/dev/sda",
        "/dev/null",
        "/dev/disk",
    ]


def test_an_ordinary_user_has_no_device_rules_and_is_shown_the_hosts_nodes():
    """The kernel would refuse them, and no device can be made in a user namespace anyway."""
    mine = replace(PLACE, rootless=True)
    asked = run(devices=(DeviceMapping(source="/dev/null", target="/dev/n", permissions="r"),))
    assert device_rules(asked, mine) == ()
    assert list(device_nodes(asked, mine)) == []
    (shown,) = device_mounts(asked, mine)
    assert (shown.destination, shown.source, shown.type) == ("/dev/n", "/dev/null", "bind")
    assert list(device_mounts(asked, PLACE)) == []


def test_capabilities():
    assert set(resolve_capabilities((), ())) == set(CAPABILITIES)
    assert resolve_capabilities((), ("ALL",)) == ()
    assert resolve_capabilities(("net_admin",), ("ALL",)) == ("CAP_NET_ADMIN",)
    assert resolve_capabilities(("ALL",), ()) == CAPABILITY_NAMES
    assert resolve_capabilities(("all",), ("ALL",)) == CAPABILITY_NAMES
    assert "CAP_CHOWN" not in resolve_capabilities(("ALL",), ("CHOWN",))
    assert "CAP_CHOWN" not in resolve_capabilities((), ("CAP_CHOWN",))
    assert "CAP_CHOWN" in resolve_capabilities(("CHOWN",), ("CHOWN",)), "as in docker"
    assert resolve_capabilities((), ("ALL",), privileged=True) == CAPABILITY_NAMES


def test_a_capability_that_is_none():
    with pytest.raises(InvalidOption, match="CAP_NET_ADMIN"):
        resolve_capabilities(("NET_ADMN",), ())


NAMES = st.lists(st.sampled_from([*CAPABILITY_NAMES, "ALL"]), max_size=4)


@given(add=NAMES, drop=NAMES)
def test_capabilities_are_always_known_and_in_order(add, drop):
    found = resolve_capabilities(add, drop)
    assert list(found) == sorted(found, key=CAPABILITY_NAMES.index)
    assert set(add) - {"ALL"} - set(drop) <= set(found)
