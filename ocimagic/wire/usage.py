"""What a container uses, as docker's JSON document.

Spec: Docker Engine API v1.41, ContainerStats; dockerd's daemon/stats_unix.go for what version 1
and version 2 of cgroups leave out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.wire.image import NO_TIME, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.model.report import ContainerStats
    from ocimagic.model.usage import BlockUse, CpuUse, LinkUse, MemoryUse, ResourceUse

# docker's names of the quantities of block devices, and runc's.
BLOCKS = {
    "io_service_bytes_recursive": "ioServiceBytesRecursive",
    "io_serviced_recursive": "ioServicedRecursive",
    "io_queue_recursive": "ioQueueRecursive",
    "io_service_time_recursive": "ioServiceTimeRecursive",
    "io_wait_time_recursive": "ioWaitTimeRecursive",
    "io_merged_recursive": "ioMergedRecursive",
    "io_time_recursive": "ioTimeRecursive",
    "sectors_recursive": "sectorsRecursive",
}
_V2_BLOCKS = ("io_service_bytes_recursive",)


def container_stats(stats: ContainerStats, *, one_shot: bool = False) -> dict[str, object]:
    """Return one document of ``GET /containers/{id}/stats``.

    Args:
        stats: of one moment, and of the one before it.
        one_shot: the moment before is not wanted: ``precpu_stats`` is all zero.
    """
    now, before = stats.now, None if one_shot else stats.before
    document: dict[str, object] = {
        "read": timestamp(now.taken) if now else NO_TIME,
        "preread": timestamp(before.taken) if before else NO_TIME,
        "pids_stats": _pids(now),
        "blkio_stats": _block_stats(now),
        "num_procs": 0,  # Windows's
        "storage_stats": {},  # Windows's
        "cpu_stats": _cpu(now.cpu if now else None),
        "precpu_stats": _cpu(before.cpu if before else None),
        "memory_stats": _memory(now.memory, now.cgroup_version) if now else {},
        "name": f"/{stats.name}",
        "id": stats.container_id,
    }
    if now and now.links is not None:
        document["networks"] = {name: _link(link) for name, link in now.links.items()}
    return document


def _pids(use: ResourceUse | None) -> dict[str, object]:
    if use is None:
        return {}
    found: dict[str, object] = {"current": use.processes}
    return found | ({"limit": use.process_limit} if use.process_limit else {})


def _cpu(cpu: CpuUse | None) -> dict[str, object]:
    """Return what docker's client makes a percentage of: container's over machine's time."""
    usage: dict[str, object] = {"total_usage": cpu.total_ns if cpu else 0}
    if cpu and cpu.per_cpu_ns:
        usage["percpu_usage"] = list(cpu.per_cpu_ns)
    usage["usage_in_kernelmode"] = cpu.kernel_ns if cpu else 0
    usage["usage_in_usermode"] = cpu.user_ns if cpu else 0
    found: dict[str, object] = {"cpu_usage": usage}
    if cpu:
        found |= {"system_cpu_usage": cpu.machine_ns, "online_cpus": cpu.online}
    throttling = {
        "periods": cpu.periods if cpu else 0,
        "throttled_periods": cpu.throttled_periods if cpu else 0,
        "throttled_time": cpu.throttled_ns if cpu else 0,
    }
    return found | {"throttling_data": throttling}


def _memory(memory: MemoryUse, version: int) -> dict[str, object]:
    found: dict[str, object] = {"usage": memory.used_bytes}
    if version == 1:
        found["max_usage"] = memory.peak_bytes
    found["stats"] = dict(sorted(memory.details.items()))
    if memory.failures:
        found["failcnt"] = memory.failures
    return found | {"limit": memory.limit_bytes}


def _block_stats(use: ResourceUse | None) -> dict[str, object]:
    if use is None or use.cgroup_version == 0:
        return dict.fromkeys(BLOCKS)
    shown = BLOCKS if use.cgroup_version == 1 else _V2_BLOCKS
    lower = use.cgroup_version == 2
    return {
        name: _blocks(use.blocks.get(runc, ()), lower=lower) if name in shown else None
        for name, runc in BLOCKS.items()
    }


def _blocks(blocks: Iterable[BlockUse], *, lower: bool) -> list[dict[str, object]]:
    return [
        {
            "major": each.major,
            "minor": each.minor,
            "op": each.operation.lower() if lower else each.operation,
            "value": each.value,
        }
        for each in blocks
    ]


def _link(link: LinkUse) -> dict[str, object]:
    return {
        "rx_bytes": link.received_bytes,
        "rx_packets": link.received_packets,
        "rx_errors": link.received_errors,
        "rx_dropped": link.received_dropped,
        "tx_bytes": link.sent_bytes,
        "tx_packets": link.sent_packets,
        "tx_errors": link.sent_errors,
        "tx_dropped": link.sent_dropped,
    }
