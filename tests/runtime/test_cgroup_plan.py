"""Limits as a list of writes, for both versions: values, files and order, without a kernel."""

import pytest

from ocimagic.errors import HostLacks, InvalidOption, InvalidState
from ocimagic.runtime import cgroup_v1, cgroup_v2
from ocimagic.runtime.cgroup_files import Plan
from ocimagic.runtime.cgroup_v2 import swap_alone, weight_from_blkio, weight_from_shares
from ocimagic.spec.resources import (
    BlockIO,
    Cpu,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    RdmaLimits,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

GIB = 1 << 30


def plan(module, resources, **now):
    """Plan all sections; ``now`` are files and their values, with _ for dots."""
    files = {name.replace("__", "."): str(value) + "\n" for name, value in now.items()}
    made = Plan(lambda _, file: files.get(file))
    for section in module.SECTIONS.values():
        section(resources, made)
    return made


def writes(module, resources, **now):
    return [(each.file, each.value) for each in plan(module, resources, **now).writes]


def device(rate):
    return (ThrottleDevice(major=8, minor=16, rate=rate),)


EVERYTHING = Resources(
    memory=Memory(limit=GIB, reservation=GIB // 2, swap=3 * GIB),
    cpu=Cpu(shares=1024, quota=50000, period=100000, burst=1000, cpus="0-1", mems="0", idle=0),
    pids_limit=100,
    block_io=BlockIO(
        weight=500,
        weight_device=(WeightDevice(major=8, minor=0, weight=10),),
        throttle_read_bps_device=device(1),
        throttle_write_bps_device=device(2),
        throttle_read_iops_device=device(3),
        throttle_write_iops_device=device(0),
    ),
    hugepage_limits=(HugepageLimit(page_size="2MB", limit=4),),
    rdma={"mlx5_0": RdmaLimits(hca_handles=2, hca_objects=0), "rxe": RdmaLimits(hca_objects=7)},
)


def test_everything_in_the_words_of_version_2():
    assert writes(cgroup_v2, EVERYTHING) == [
        ("memory.swap.max", str(2 * GIB)),
        ("memory.max", str(GIB)),
        ("memory.low", str(GIB // 2)),
        ("cpu.idle", "0"),
        ("cpu.weight", "100"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "1000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "100"),
        ("io.weight", "default 4950"),
        ("io.weight", "8:0 1"),
        ("io.max", "8:16 rbps=1"),
        ("io.max", "8:16 wbps=2"),
        ("io.max", "8:16 riops=3"),
        ("io.max", "8:16 wiops=max"),
        ("hugetlb.2MB.max", "4"),
        ("rdma.max", "mlx5_0 hca_handle=2 hca_object=0"),
        ("rdma.max", "rxe hca_object=7"),
    ]


def test_everything_in_the_words_of_version_1():
    network = Network(class_id=0x100001, priorities=(InterfacePriority(name="eth0", priority=5),))
    resources = Resources(
        memory=EVERYTHING.memory, cpu=Cpu(realtime_period=9, realtime_runtime=8),
        block_io=EVERYTHING.block_io, hugepage_limits=EVERYTHING.hugepage_limits,
        network=network, rdma=EVERYTHING.rdma,
    )  # fmt: skip
    assert writes(cgroup_v1, resources, hugetlb__2MB__rsvd__limit_in_bytes=0) == [
        ("memory.memsw.limit_in_bytes", str(3 * GIB)),
        ("memory.limit_in_bytes", str(GIB)),
        ("memory.soft_limit_in_bytes", str(GIB // 2)),
        ("cpu.rt_period_us", "9"),
        ("cpu.rt_runtime_us", "8"),
        ("blkio.weight", "500"),
        ("blkio.weight_device", "8:0 10"),
        ("blkio.throttle.read_bps_device", "8:16 1"),
        ("blkio.throttle.write_bps_device", "8:16 2"),
        ("blkio.throttle.read_iops_device", "8:16 3"),
        ("blkio.throttle.write_iops_device", "8:16 0"),
        ("hugetlb.2MB.limit_in_bytes", "4"),
        ("hugetlb.2MB.rsvd.limit_in_bytes", "4"),
        ("net_cls.classid", str(0x100001)),
        ("net_prio.ifpriomap", "eth0 5"),
        ("rdma.max", "mlx5_0 hca_handle=2 hca_object=0"),
        ("rdma.max", "rxe hca_object=7"),
    ]


def test_bfq_has_its_own_files_and_takes_the_weight_as_it_is():
    asked = Resources(
        block_io=BlockIO(weight=500, weight_device=(WeightDevice(major=8, minor=0, weight=10),))
    )
    assert writes(cgroup_v2, asked, io__bfq__weight="default 100") == [
        ("io.bfq.weight", "default 500"),
        ("io.bfq.weight", "8:0 10"),
    ]
    assert writes(cgroup_v1, asked, blkio__bfq__weight=100) == [
        ("blkio.bfq.weight", "500"),
        ("blkio.bfq.weight_device", "8:0 10"),
    ]


@pytest.mark.parametrize("module", [cgroup_v1, cgroup_v2])
@pytest.mark.parametrize(
    "nothing",
    [
        Resources(),
        Resources(
            memory=Memory(limit=0, swap=0, reservation=0, disable_oom_killer=False),
            cpu=Cpu(shares=0, quota=0, period=0),
            pids_limit=0,
            block_io=BlockIO(weight=0),
            network=Network(class_id=0),
        ),
    ],
)
def test_zeros_where_zero_is_no_limit_write_nothing(module, nothing):
    assert writes(module, nothing) == []


@pytest.mark.parametrize("module", [cgroup_v1, cgroup_v2])
def test_taking_limits_away_needs_no_controller(module):
    asked = Resources(
        memory=Memory(limit=-1, swap=-1, reservation=-1), cpu=Cpu(quota=-1, idle=0), pids_limit=-1
    )
    made = plan(module, asked)
    assert made.writes
    assert all(each.relaxes for each in made.writes)


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(2, 1), (1, 1), (1024, 100), (2000, 170), (262144, 10000), (999999, 10000), (512, 59)],
)
def test_shares_become_a_weight_as_runc_does(shares, weight):
    """2000 is 170 in runc's issue 4896; the old straight line gave 77."""
    assert weight_from_shares(shares) == weight


@pytest.mark.parametrize(("weight", "converted"), [(10, 1), (500, 4950), (1000, 10000)])
def test_a_block_weight_is_stretched(weight, converted):
    assert weight_from_blkio(weight) == converted


@pytest.mark.parametrize(
    ("limit", "swap", "alone"),
    [
        (None, None, None),
        (GIB, None, None),
        (GIB, GIB, 0),
        (GIB, 3 * GIB, 2 * GIB),
        (GIB, -1, -1),
        (None, -1, -1),
        (-1, None, -1),
        (-1, -1, -1),
        (0, 0, None),
    ],
)
def test_swap_alone(limit, swap, alone):
    assert swap_alone(limit, swap) == alone


@pytest.mark.parametrize(("limit", "swap"), [(GIB, GIB - 1), (None, GIB), (-1, GIB)])
def test_a_limit_on_swap_that_makes_no_sense(limit, swap):
    with pytest.raises(InvalidOption):
        swap_alone(limit, swap)


def test_swap_alone_may_be_updated_where_memory_is_known():
    asked = Resources(memory=Memory(swap=3 * GIB))
    assert writes(cgroup_v2, asked, memory__max=GIB) == [("memory.swap.max", str(2 * GIB))]
    with pytest.raises(InvalidOption, match="needs one on memory"):
        writes(cgroup_v2, asked, memory__max="max")


def test_a_limit_below_what_is_used_is_refused_if_asked_to():
    checked = Resources(memory=Memory(limit=GIB, check_before_update=True))
    assert writes(cgroup_v2, checked, memory__current=GIB - 1) == [("memory.max", str(GIB))]
    with pytest.raises(InvalidState, match="not above what is in use"):
        writes(cgroup_v2, checked, memory__current=GIB)
    unchecked = Resources(memory=Memory(limit=GIB))
    assert writes(cgroup_v2, unchecked, memory__current=2 * GIB) == [("memory.max", str(GIB))]


@pytest.mark.parametrize(
    ("asked", "now", "value"),
    [
        (Cpu(quota=50000), "max 100000", "50000 100000"),
        (Cpu(quota=-1), "50000 20000", "max 20000"),
        (Cpu(period=20000), "50000 100000", "50000 20000"),
        (Cpu(period=20000), "max 100000", "max 20000"),
    ],
)
def test_half_of_cpu_max_keeps_the_other_half(asked, now, value):
    assert writes(cgroup_v2, Resources(cpu=asked), cpu__max=now) == [("cpu.max", value)]


@pytest.mark.parametrize(
    ("burst", "now", "files"),
    [
        (5000, 0, ["cpu.max", "cpu.max.burst"]),
        (0, 5000, ["cpu.max.burst", "cpu.max"]),
        (1000, 5000, ["cpu.max.burst", "cpu.max"]),
    ],
)
def test_a_burst_never_exceeds_the_quota_in_between(burst, now, files):
    asked = Resources(cpu=Cpu(quota=6000, burst=burst))
    assert [file for file, _ in writes(cgroup_v2, asked, cpu__max__burst=now)] == files


def test_what_version_2_has_not_is_said():
    asked = Memory(kernel=1, kernel_tcp=1, swappiness=0, disable_oom_killer=True)
    resources = Resources(memory=asked, block_io=BlockIO(leaf_weight=10))
    made = plan(cgroup_v2, resources)
    assert made.writes == []
    said = ("kernel", "kernelTCP", "swappiness", "disableOOMKiller", "leafWeight")
    for name, warning in zip(said, made.warnings, strict=True):
        assert f"{name} is ignored" in warning


@pytest.mark.parametrize(
    "asked",
    [
        Resources(cpu=Cpu(realtime_runtime=1)),
        Resources(network=Network(class_id=1)),
        Resources(network=Network(priorities=(InterfacePriority(name="eth0", priority=1),))),
    ],
)
def test_what_version_2_cannot_keep_is_an_error(asked):
    with pytest.raises(HostLacks, match="cannot be kept here"):
        writes(cgroup_v2, asked)


def test_swap_without_swap_accounting_is_a_warning():
    for module in (cgroup_v1, cgroup_v2):
        made = plan(module, Resources(memory=Memory(limit=GIB, swap=2 * GIB)))
        [swap] = [each for each in made.writes if each.asked == "memory.swap"]
        assert "does not count swap" in swap.without


def test_unified_files_are_written_line_by_line():
    made = Plan(lambda *_: None)
    asked = {"io.max": "8:0 rbps=1\n8:16 rbps=2", "memory.high": "1", "cgroup.max.depth": "3"}
    cgroup_v2.unified(Resources(unified=asked), made)
    assert [(each.controller, each.file, each.value) for each in made.writes] == [
        ("io", "io.max", "8:0 rbps=1"),
        ("io", "io.max", "8:16 rbps=2"),
        ("memory", "memory.high", "1"),
        ("", "cgroup.max.depth", "3"),
    ]
