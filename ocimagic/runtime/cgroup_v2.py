"""Limits in the words of cgroup version 2: which value goes to which file, in which order.

The spec's numbers are those of version 1; the weights are converted as runc does.  Nothing is
written here: each function plans one controller's part of ``linux.resources``.

Spec: runtime-spec config-linux.md; kernel Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ocimagic import errors
from ocimagic.runtime import cgroup_v1
from ocimagic.spec.resources import BlockIO

if TYPE_CHECKING:
    from ocimagic.runtime.cgroup_files import Plan
    from ocimagic.runtime.cgroup_v1 import Section
    from ocimagic.spec.resources import Resources

_NO_SWAP_LIMIT = "this kernel does not count swap: the limit on swap is not kept"


def weight_from_shares(shares: int) -> int:
    """Convert cpu.shares (2 to 262144) to cpu.weight (1 to 10000).

    The curve of runc since 1.3.2 goes through both ends and through 1024 shares, weight 100.
    Until then a straight line was used, ``1 + (shares - 2) * 9999 // 262142``, which gave a
    container with the default shares less than half the weight of a process outside.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    doublings = math.log2(shares)
    exponent = (doublings * doublings + 125 * doublings) / 612 - 7 / 34
    return math.ceil(10**exponent)


def weight_from_blkio(weight: int) -> int:
    """Convert blkio.weight (10 to 1000) to io.weight (1 to 10000)."""
    return 1 + (weight - 10) * 9999 // 990


def swap_alone(limit: int | None, swap: int | None) -> int | None:
    """Return the limit on swap alone: -1 for none, None to leave it.

    Args:
        limit: on memory; -1 for none, None or 0 when it is not known.
        swap: on memory and swap together, as the spec has it.

    Raises:
        InvalidOption: less than memory alone, or memory alone is not known.
    """
    if limit == -1 and not swap:
        return -1  # as version 1: no limit on memory takes that on swap with it
    if not swap or swap < 0:
        return -1 if swap else None
    if not limit or limit < 0:
        raise errors.InvalidOption(
            "a limit on swap needs one on memory",
            why=f"memory.swap is {swap}: memory and swap together, and memory has no limit",
        )
    if swap < limit:
        raise errors.InvalidOption(
            f"memory.swap = {swap} is less than memory.limit = {limit}",
            why="it limits memory and swap together",
        )
    return swap - limit


def memory(resources: Resources, plan: Plan) -> None:
    """Plan the memory controller."""
    asked = resources.memory
    if asked.check_before_update:
        _check_usage(resources, plan)
    known = asked.limit
    if asked.swap and not known:
        now = (plan.read("memory", "memory.max") or "").strip()
        known = int(now) if now.isdigit() else None
    swap = swap_alone(known, asked.swap)
    if swap is not None:
        plan.add("memory", "memory.swap.max", _maximum(swap), "memory.swap", relaxes=swap < 0,
                 without=_NO_SWAP_LIMIT)  # fmt: skip
    if asked.limit:
        value = _maximum(asked.limit)
        plan.add("memory", "memory.max", value, "memory.limit", relaxes=asked.limit < 0)
    if asked.reservation:
        value = _maximum(asked.reservation)
        plan.add("memory", "memory.low", value, "memory.reservation",
                 relaxes=asked.reservation < 0)  # fmt: skip
    for name, value_asked in (
        ("kernel", asked.kernel),
        ("kernelTCP", asked.kernel_tcp),
        ("swappiness", asked.swappiness),
        ("disableOOMKiller", asked.disable_oom_killer or None),
    ):
        if value_asked is not None:
            plan.warnings.append(
                f"memory.{name} is ignored: version 2 of cgroups has no such limit"
            )


def _check_usage(resources: Resources, plan: Plan) -> None:
    """Refuse a limit that the container is above of now: version 2 would kill in it."""
    used = int(plan.read("memory", "memory.current") or 0)
    asked = resources.memory
    for name, value in (("limit", asked.limit), ("swap", asked.swap)):
        if value and 0 < value <= used:
            raise errors.InvalidState(
                f"memory.{name} = {value} is not above what is in use",
                why=f"{used} bytes are, and memory.checkBeforeUpdate is set",
            )


def _maximum(value: int) -> str:
    return "max" if value < 0 else str(value)


def cpu(resources: Resources, plan: Plan) -> None:
    """Plan the cpu controller."""
    asked = resources.cpu
    # An idle group takes no weight: first out of it, or last into it.
    if asked.idle == 0:
        plan.add("cpu", "cpu.idle", 0, "cpu.idle", relaxes=True)
    if asked.shares:
        plan.add("cpu", "cpu.weight", weight_from_shares(asked.shares), "cpu.shares")
    if asked.idle == 1:
        plan.add("cpu", "cpu.idle", 1, "cpu.idle")
    # A burst may never exceed the quota: lowered before it, raised after it.
    burst_now = int(plan.read("cpu", "cpu.max.burst") or 0) if asked.burst is not None else 0
    if asked.burst is not None and asked.burst <= burst_now:
        plan.add("cpu", "cpu.max.burst", asked.burst, "cpu.burst", relaxes=not asked.burst)
    if asked.quota or asked.period:
        _cpu_max(resources, plan)
    if asked.burst is not None and asked.burst > burst_now:
        plan.add("cpu", "cpu.max.burst", asked.burst, "cpu.burst")
    if asked.realtime_runtime or asked.realtime_period:
        raise errors.HostLacks(
            "cpu.realtimeRuntime and cpu.realtimePeriod cannot be kept here",
            why="version 2 of cgroups has no limits for real-time scheduling",
        )


def _cpu_max(resources: Resources, plan: Plan) -> None:
    quota, period = resources.cpu.quota, resources.cpu.period
    now = (plan.read("cpu", "cpu.max") or "max 100000").split()
    first = _maximum(quota) if quota else now[0]
    field = "cpu.quota" if quota else "cpu.period"
    plan.add("cpu", "cpu.max", f"{first} {period or now[1]}", field, relaxes=first == "max")


def io(resources: Resources, plan: Plan) -> None:
    """Plan the io controller, called blkio in version 1."""
    asked = resources.block_io
    if asked == BlockIO():
        return
    bfq = plan.read("io", "io.bfq.weight") is not None
    file = "io.bfq.weight" if bfq else "io.weight"
    if asked.weight:
        weight = asked.weight if bfq else weight_from_blkio(asked.weight)
        plan.add("io", file, f"default {weight}", "blockIO.weight")
    for each in asked.weight_device:
        if each.weight:
            weight = each.weight if bfq else weight_from_blkio(each.weight)
            plan.add("io", file, f"{each.major}:{each.minor} {weight}", "blockIO.weightDevice")
    if asked.leaf_weight or any(each.leaf_weight for each in asked.weight_device):
        plan.warnings.append(
            "blockIO.leafWeight is ignored: version 2 of cgroups has no such weight"
        )
    for key, field, devices in (
        ("rbps", "throttleReadBpsDevice", asked.throttle_read_bps_device),
        ("wbps", "throttleWriteBpsDevice", asked.throttle_write_bps_device),
        ("riops", "throttleReadIOPSDevice", asked.throttle_read_iops_device),
        ("wiops", "throttleWriteIOPSDevice", asked.throttle_write_iops_device),
    ):
        for limit in devices:
            value = f"{limit.major}:{limit.minor} {key}={limit.rate or 'max'}"
            plan.add("io", "io.max", value, f"blockIO.{field}", relaxes=not limit.rate)


def hugetlb(resources: Resources, plan: Plan) -> None:
    """Plan the hugetlb controller; reservations too, lest a page is had by a SIGBUS only."""
    for each in resources.hugepage_limits:
        for kind in ("", "rsvd."):
            file = f"hugetlb.{each.page_size}.{kind}max"
            if not kind or plan.read("hugetlb", file) is not None:
                plan.add("hugetlb", file, each.limit, f"hugepageLimits.{each.page_size}")


def network(resources: Resources, _plan: Plan) -> None:
    """Refuse the marks of net_cls and net_prio, which only version 1 has."""
    if resources.network.class_id or resources.network.priorities:
        raise errors.HostLacks(
            "network.classID and network.priorities cannot be kept here",
            why="version 2 of cgroups has no net_cls and no net_prio",
            hint="mark packets by cgroup path with nftables instead",
        )


def unified(resources: Resources, plan: Plan) -> None:
    """Plan the files named by the configuration itself; a value of several lines is several."""
    for name, text in resources.unified.items():
        controller = name.partition(".")[0]
        for line in text.splitlines() or [""]:
            plan.add("" if controller == "cgroup" else controller, name, line, f"unified {name}")


# By the names that version 1 has for the controllers.
SECTIONS: dict[str, Section] = {
    "memory": memory,
    "cpu": cpu,
    "cpuset": cgroup_v1.cpuset,
    "pids": cgroup_v1.pids,
    "blkio": io,
    "hugetlb": hugetlb,
    "rdma": cgroup_v1.rdma,
    "net_cls": network,
    "net_prio": network,
}
