"""Limits in the words of cgroup version 1: which value goes to which file, in which order.

Nothing is written here.  Each function plans one controller's part of ``linux.resources``;
where the kernel cares about the order it asks for the values of now.

Spec: runtime-spec config-linux.md; kernel Documentation/admin-guide/cgroup-v1/*.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.resources import BlockIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocimagic.runtime.cgroup_files import Plan
    from ocimagic.spec.resources import Resources, ThrottleDevice

    Section = Callable[[Resources, Plan], None]

_LIMIT = "memory.limit_in_bytes"
_MEMSW = "memory.memsw.limit_in_bytes"
_NO_SWAP_ACCOUNT = "this kernel does not count swap: the limit on swap is not kept"


def memory(resources: Resources, plan: Plan) -> None:
    """Plan the memory controller."""
    asked = resources.memory
    _memory_and_swap(resources, plan)
    if asked.reservation:
        plan.add("memory", "memory.soft_limit_in_bytes", asked.reservation, "memory.reservation",
                 relaxes=asked.reservation < 0)  # fmt: skip
    if asked.kernel:
        plan.warnings.append("memory.kernel is ignored: Linux no longer limits it by itself")
    if asked.kernel_tcp:
        plan.add("memory", "memory.kmem.tcp.limit_in_bytes", asked.kernel_tcp, "memory.kernelTCP",
                 relaxes=asked.kernel_tcp < 0)  # fmt: skip
    if asked.swappiness is not None:
        plan.add("memory", "memory.swappiness", asked.swappiness, "memory.swappiness")
    if asked.disable_oom_killer:
        plan.add("memory", "memory.oom_control", 1, "memory.disableOOMKiller")
    if asked.use_hierarchy is False:
        plan.warnings.append("memory.useHierarchy false is ignored: Linux counts all below")


def _memory_and_swap(resources: Resources, plan: Plan) -> None:
    """Plan the two limits so that memory alone never exceeds memory and swap in between."""
    limit, swap = resources.memory.limit, resources.memory.swap
    if limit == -1 and not swap and plan.read("memory", _MEMSW) is not None:
        swap = -1  # no limit on memory cannot stay below one on memory and swap
    swap_now = int(plan.read("memory", _MEMSW) or 0) if swap else 0
    if swap and (swap < 0 or swap >= swap_now):
        _swap(swap, plan)
    if limit:
        plan.add("memory", _LIMIT, limit, "memory.limit", relaxes=limit < 0)
    if swap and 0 <= swap < swap_now:
        _swap(swap, plan)


def _swap(swap: int, plan: Plan) -> None:
    plan.add("memory", _MEMSW, swap, "memory.swap", relaxes=swap < 0, without=_NO_SWAP_ACCOUNT)


def cpu(resources: Resources, plan: Plan) -> None:
    """Plan the cpu controller."""
    asked = resources.cpu
    # An idle group takes no shares: first out of it, or last into it.
    if asked.idle == 0:
        plan.add("cpu", "cpu.idle", 0, "cpu.idle", relaxes=True)
    if asked.shares:
        plan.add("cpu", "cpu.shares", asked.shares, "cpu.shares")
    if asked.idle == 1:
        plan.add("cpu", "cpu.idle", 1, "cpu.idle")
    burst_now = int(plan.read("cpu", "cpu.cfs_burst_us") or 0) if asked.burst is not None else 0
    if asked.burst is not None and asked.burst <= burst_now:
        plan.add("cpu", "cpu.cfs_burst_us", asked.burst, "cpu.burst", relaxes=not asked.burst)
    _period_and_quota("cfs", asked.period, asked.quota, plan)
    if asked.burst is not None and asked.burst > burst_now:
        plan.add("cpu", "cpu.cfs_burst_us", asked.burst, "cpu.burst")
    _period_and_quota("rt", asked.realtime_period, asked.realtime_runtime, plan)


def _period_and_quota(kind: str, period: int | None, quota: int | None, plan: Plan) -> None:
    """Plan both so that their ratio is never above the larger of old and new.

    The kernel refuses a ratio above the parent's, even for the moment between two writes.
    """
    names = {
        "cfs": ("cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.period", "cpu.quota"),
        "rt": ("cpu.rt_period_us", "cpu.rt_runtime_us", "cpu.realtimePeriod",
               "cpu.realtimeRuntime"),
    }  # fmt: skip
    period_file, quota_file, period_field, quota_field = names[kind]
    writes = []
    if period:
        writes.append((period_file, period, period_field))
    if quota:
        longer = (period or 0) >= int(plan.read("cpu", period_file) or 0)
        writes.insert(len(writes) if longer else 0, (quota_file, quota, quota_field))
    for file, value, field in writes:
        plan.add("cpu", file, value, field, relaxes=value < 0)


def cpuset(resources: Resources, plan: Plan) -> None:
    """Plan the cpuset controller."""
    if resources.cpu.cpus:
        plan.add("cpuset", "cpuset.cpus", resources.cpu.cpus, "cpu.cpus")
    if resources.cpu.mems:
        plan.add("cpuset", "cpuset.mems", resources.cpu.mems, "cpu.mems")


def pids(resources: Resources, plan: Plan) -> None:
    """Plan the pids controller, which is the same in both versions."""
    limit = resources.pids_limit
    if limit:
        value = "max" if limit < 0 else limit
        plan.add("pids", "pids.max", value, "pids.limit", relaxes=limit < 0)


def blkio(resources: Resources, plan: Plan) -> None:
    """Plan the blkio controller; weights are the BFQ scheduler's since Linux 5.0."""
    asked = resources.block_io
    if asked == BlockIO():
        return
    bfq = "bfq." if plan.read("blkio", "blkio.bfq.weight") is not None else ""
    if asked.weight:
        plan.add("blkio", f"blkio.{bfq}weight", asked.weight, "blockIO.weight")
    if asked.leaf_weight:
        plan.add("blkio", "blkio.leaf_weight", asked.leaf_weight, "blockIO.leafWeight")
    for each in asked.weight_device:
        device = f"{each.major}:{each.minor}"
        if each.weight:
            plan.add("blkio", f"blkio.{bfq}weight_device", f"{device} {each.weight}",
                     "blockIO.weightDevice")  # fmt: skip
        if each.leaf_weight:
            plan.add("blkio", "blkio.leaf_weight_device", f"{device} {each.leaf_weight}",
                     "blockIO.weightDevice")  # fmt: skip
    for file, field, devices in _throttles(resources):
        for limit in devices:
            plan.add("blkio", f"blkio.throttle.{file}", f"{limit.major}:{limit.minor} {limit.rate}",
                     f"blockIO.{field}", relaxes=not limit.rate)  # fmt: skip


def _throttles(resources: Resources) -> Iterable[tuple[str, str, tuple[ThrottleDevice, ...]]]:
    asked = resources.block_io
    return (
        ("read_bps_device", "throttleReadBpsDevice", asked.throttle_read_bps_device),
        ("write_bps_device", "throttleWriteBpsDevice", asked.throttle_write_bps_device),
        ("read_iops_device", "throttleReadIOPSDevice", asked.throttle_read_iops_device),
        ("write_iops_device", "throttleWriteIOPSDevice", asked.throttle_write_iops_device),
    )


def hugetlb(resources: Resources, plan: Plan) -> None:
    """Plan the hugetlb controller; reservations too, lest a page is had by a SIGBUS only."""
    for each in resources.hugepage_limits:
        for kind in ("", "rsvd."):
            file = f"hugetlb.{each.page_size}.{kind}limit_in_bytes"
            if not kind or plan.read("hugetlb", file) is not None:
                plan.add("hugetlb", file, each.limit, f"hugepageLimits.{each.page_size}")


def net_cls(resources: Resources, plan: Plan) -> None:
    """Plan the net_cls controller."""
    if resources.network.class_id:
        plan.add("net_cls", "net_cls.classid", resources.network.class_id, "network.classID")


def net_prio(resources: Resources, plan: Plan) -> None:
    """Plan the net_prio controller."""
    for each in resources.network.priorities:
        value = f"{each.name} {each.priority}"
        plan.add("net_prio", "net_prio.ifpriomap", value, "network.priorities")


def rdma(resources: Resources, plan: Plan) -> None:
    """Plan the rdma controller, which is the same in both versions."""
    for name, limits in resources.rdma.items():
        said = {"hca_handle": limits.hca_handles, "hca_object": limits.hca_objects}
        words = [f"{key}={value}" for key, value in said.items() if value is not None]
        plan.add("rdma", "rdma.max", " ".join([name, *words]), f"rdma.{name}")


SECTIONS: dict[str, Section] = {
    "memory": memory,
    "cpu": cpu,
    "cpuset": cpuset,
    "pids": pids,
    "blkio": blkio,
    "hugetlb": hugetlb,
    "net_cls": net_cls,
    "net_prio": net_prio,
    "rdma": rdma,
}
