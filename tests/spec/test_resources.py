"""linux.resources: what is read, what is written back, what is refused."""

import json

import pytest

from ocimagic.errors import InvalidDocument
from ocimagic.spec.codec import Fields
from ocimagic.spec.resources import DeviceRule, Resources, WeightDevice

WHOLE = {
    "devices": [
        {"allow": False, "type": "a", "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 8, "access": "r"},
    ],
    "memory": {
        "limit": 536870912,
        "reservation": 268435456,
        "swap": -1,
        "kernel": -1,
        "kernelTCP": -1,
        "swappiness": 0,
        "disableOOMKiller": False,
        "useHierarchy": True,
        "checkBeforeUpdate": True,
    },
    "cpu": {
        "shares": 1024,
        "quota": -1,
        "period": 500000,
        "burst": 0,
        "realtimeRuntime": 950000,
        "realtimePeriod": 1000000,
        "cpus": "2-3",
        "mems": "0-7",
        "idle": 0,
    },
    "pids": {"limit": -1},
    "blockIO": {
        "weight": 10,
        "leafWeight": 1000,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 1, "rate": 0}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 2, "rate": 1}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 3, "rate": 18446744073709551615}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}],
    "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 0}},
    "unified": {"memory.high": "1073741824", "io.max": "8:0 rbps=1\n8:16 rbps=2"},
}


def parse(document):
    return Resources.parse(Fields(document, "runtime config"))


def test_every_field_of_the_spec_comes_back_as_it_was():
    assert parse(WHOLE).to_json() == WHOLE
    assert parse(json.loads(json.dumps(parse(WHOLE).to_json()))) == parse(WHOLE)


def test_what_docker_sends_is_read():
    """Docker 20.10 writes nulls and zeros for what was not asked."""
    resources = parse(
        {
            "devices": [{"allow": True, "type": "c", "major": -1, "minor": None, "access": "m"}],
            "memory": {"disableOOMKiller": False},
            "cpu": {"shares": 0, "quota": None},
            "pids": {},
            "blockIO": {"weight": 0, "weightDevice": None},
            "hugepageLimits": None,
        }
    )
    assert resources.devices == (DeviceRule(allow=True, type="c", access="m"),)
    assert (resources.cpu.shares, resources.cpu.quota, resources.pids_limit) == (0, None, None)
    assert resources.block_io.weight == 0


def test_nothing_asked_is_nothing_written():
    assert parse({}) == Resources()
    assert Resources().to_json() == {}


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"allow": True}, DeviceRule(allow=True, type="a", access="rwm")),
        ({"allow": True, "type": "u"}, DeviceRule(allow=True, type="c")),
        ({"type": "b", "access": "mr"}, DeviceRule(allow=False, type="b", access="rm")),
    ],
)
def test_a_device_rule_has_the_defaults_of_the_spec(said, read):
    assert parse({"devices": [said]}).devices == (read,)


def test_a_weight_of_a_device_may_be_left_out():
    document = {"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}
    assert parse(document).block_io.weight_device == (WeightDevice(major=8, minor=0),)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"memory": {"limit": "1g"}}, "'limit' must be a whole number"),
        ({"memory": {"limit": True}}, "'limit' must be a whole number"),
        ({"memory": {"limit": 1 << 63}}, "'limit' 9223372036854775808 is not between"),
        ({"memory": {"swappiness": 101}}, "'swappiness' 101 is not between 0 and 100"),
        ({"memory": []}, "'memory' must be an object"),
        ({"cpu": {"shares": -1}}, "'shares' -1 is not between"),
        ({"cpu": {"idle": 2}}, "'idle' 2 is not between 0 and 1"),
        ({"cpu": {"cpus": "0-1\n2"}}, "'cpus'"),
        ({"cpu": {"mems": "all"}}, "'mems' 'all' is not a list of numbers"),
        ({"pids": {"limit": 1.5}}, "'limit' must be a whole number"),
        ({"blockIO": {"weight": 9}}, "'weight' 9 is not between 10 and 1000"),
        ({"blockIO": {"weight": 1001}}, "'weight' 1001 is not between"),
        ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}}, "'rate' is missing"),
        ({"blockIO": {"weightDevice": [{"minor": 0}]}}, "'major' is missing"),
        ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, "'pageSize'"),
        ({"hugepageLimits": [{"pageSize": "2MB"}]}, "'limit' is missing"),
        ({"network": {"priorities": [{"name": "a b", "priority": 1}]}}, "'name'"),
        ({"network": {"classID": 1 << 32}}, "'classID'"),
        ({"rdma": {"x y": {"hcaHandles": 1}}}, "'x y' cannot be a device's name"),
        ({"rdma": {"x": {}}}, "'hcaHandles' is missing, and so is hcaObjects"),
        ({"devices": [{"allow": True, "type": "p"}]}, "'type' 'p' is not one of a, b, c"),
        ({"devices": [{"allow": True, "access": "rx"}]}, "'access' 'rx' has letters"),
        ({"devices": [{"allow": True, "major": -2}]}, "'major' -2 is not between"),
        ({"devices": [{"allow": 1}]}, "'allow' must be true or false"),
    ],
)
def test_what_breaks_the_spec_is_refused_by_name(document, why):
    with pytest.raises(InvalidDocument) as error:
        parse(document)
    assert why in error.value.why


@pytest.mark.parametrize(
    "name",
    ["../../kernel/core_pattern", "/etc/passwd", "a/b", "..", "memory..max", "memory", "", "x\0.y"],
)
def test_a_unified_name_cannot_leave_the_directory(name):
    """CVE row "cgroup annotation '..'"; fails when the check of names in _unified is removed."""
    with pytest.raises(InvalidDocument, match="not valid") as error:
        parse({"unified": {name: "1"}})
    assert "is not the name of a cgroup file" in error.value.why
