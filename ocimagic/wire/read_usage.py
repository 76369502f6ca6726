"""What a container uses, of docker's JSON document: the inverse of ``usage``.

Spec: Docker Engine API v1.41, ContainerStats; docker/cli's stats_helpers for the arithmetic.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.model.report import ContainerStats
from ocimagic.model.state import ALIVE, Status
from ocimagic.model.usage import BlockUse, CpuUse, LinkUse, MemoryUse, ResourceUse
from ocimagic.wire.read_container import moment
from ocimagic.wire.usage import BLOCKS

if TYPE_CHECKING:
    from ocimagic.spec.codec import Fields


def container_stats(document: Fields, status: Status) -> ContainerStats:
    """Read one document of ``GET /containers/{id}/stats``.

    Args:
        document: of a moment, and of the one before it.
        status: of the container, which the document does not say.
    """
    container_id = document.text("id", "") or document.text("Id", "")  # podman's
    name = document.text("name", "").removeprefix("/")
    now = _use(document, "read", "cpu_stats", whole=True)
    if status not in ALIVE or now is None:
        return ContainerStats(
            container_id=container_id, name=name, status=status, taken=datetime.now(UTC)
        )
    before = _use(document, "preread", "precpu_stats", whole=False)
    memory, links = now.memory, now.links
    inactive = memory.details.get("total_inactive_file", memory.details.get("inactive_file", 0))
    return ContainerStats(
        container_id=container_id,
        name=name,
        status=status,
        taken=now.taken,
        cpu_percent=_percent(now, before),
        memory_bytes=max(memory.used_bytes - inactive, 0),
        memory_limit_bytes=memory.limit_bytes,
        received_bytes=None if links is None else sum(x.received_bytes for x in links.values()),
        sent_bytes=None if links is None else sum(x.sent_bytes for x in links.values()),
        read_bytes=_blocks_of(now, "read"),
        written_bytes=_blocks_of(now, "write"),
        processes=now.processes,
        now=now,
        before=before,
    )


def _percent(now: ResourceUse, before: ResourceUse | None) -> float:
    """Return what of one processor was used between two moments."""
    if before is None:
        return 0.0
    passed = now.cpu.machine_ns - before.cpu.machine_ns
    used = max(now.cpu.total_ns - before.cpu.total_ns, 0)
    return 100.0 * used * (now.cpu.online or 1) / passed if passed > 0 else 0.0


def _blocks_of(use: ResourceUse, operation: str) -> int:
    found = use.blocks.get("ioServiceBytesRecursive", ())
    return sum(each.value for each in found if each.operation.lower() == operation)


def _use(document: Fields, when: str, cpu: str, *, whole: bool) -> ResourceUse | None:
    """Return the figures of a moment; of the one before, docker keeps the processors' only."""
    taken = moment(document, when)
    if taken is None:
        return None
    if not whole:
        return ResourceUse(taken=taken, cpu=_cpu(document.child(cpu)))
    memory, pids = document.child("memory_stats"), document.child("pids_stats")
    details = _numbers(memory.child("stats"))
    blocks = document.child("blkio_stats")
    return ResourceUse(
        taken=taken,
        cgroup_version=1 if "max_usage" in memory else 2 if details else 0,
        cpu=_cpu(document.child(cpu)),
        memory=MemoryUse(
            used_bytes=memory.number("usage", 0),
            peak_bytes=memory.number("max_usage", 0),
            limit_bytes=_number(memory, "limit"),
            failures=memory.number("failcnt", 0),
            details=details,
        ),
        blocks={
            runc: tuple(_block(each) for each in blocks.children(name))
            for name, runc in BLOCKS.items()
            if name in blocks
        },
        processes=_number(pids, "current"),
        process_limit=_number(pids, "limit"),
        links=_links(document),
    )


def _number(fields: Fields, key: str) -> int:
    """Return a number; no limit is Go's greatest one, which is none of 63 bits."""
    found = fields.value.get(key)
    return found if isinstance(found, int) and 0 <= found < 1 << 63 else 0


def _numbers(fields: Fields) -> dict[str, int]:
    return {key: value for key, value in fields.value.items() if isinstance(value, int)}


def _cpu(cpu: Fields) -> CpuUse:
    usage, throttling = cpu.child("cpu_usage"), cpu.child("throttling_data")
    return CpuUse(
        total_ns=usage.number("total_usage", 0),
        user_ns=usage.number("usage_in_usermode", 0),
        kernel_ns=usage.number("usage_in_kernelmode", 0),
        per_cpu_ns=usage.integers("percpu_usage"),
        machine_ns=cpu.number("system_cpu_usage", 0),
        online=cpu.number("online_cpus", 0),
        periods=throttling.number("periods", 0),
        throttled_periods=throttling.number("throttled_periods", 0),
        throttled_ns=throttling.number("throttled_time", 0),
    )


def _block(each: Fields) -> BlockUse:
    return BlockUse(
        major=each.number("major", 0),
        minor=each.number("minor", 0),
        operation=each.text("op", ""),
        value=each.number("value", 0),
    )


def _links(document: Fields) -> dict[str, LinkUse] | None:
    if "networks" not in document:
        return None
    networks = document.child("networks")
    return {name: _link(networks.child(name)) for name in networks.value}


def _link(link: Fields) -> LinkUse:
    return LinkUse(
        received_bytes=link.number("rx_bytes", 0),
        received_packets=link.number("rx_packets", 0),
        received_errors=link.number("rx_errors", 0),
        received_dropped=link.number("rx_dropped", 0),
        sent_bytes=link.number("tx_bytes", 0),
        sent_packets=link.number("tx_packets", 0),
        sent_errors=link.number("tx_errors", 0),
        sent_dropped=link.number("tx_dropped", 0),
    )
