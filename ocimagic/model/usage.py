"""What a container has used up to a moment, as the kernel counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUse:
    """Processor time in nanoseconds.

    Attributes:
        total_ns: of all processes since the container began.
        per_cpu_ns: the same by processor; none where the kernel does not keep it.
        machine_ns: what all processors together could have given since the machine began.
        online: how many processors there are.
        periods: in which a limit could have held it back.
    """

    total_ns: int = 0
    user_ns: int = 0
    kernel_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()
    machine_ns: int = 0
    online: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Memory in bytes.

    Attributes:
        used_bytes: with copies of files.
        peak_bytes: 0 where the kernel does not keep it.
        limit_bytes: the container's own, else the machine's memory.
        details: the whole of memory.stat; empty without a cgroup.
    """

    used_bytes: int = 0
    peak_bytes: int = 0
    limit_bytes: int = 0
    failures: int = 0
    details: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockUse:
    """One number about one block device; ``operation`` is the kernel's word, such as ``Read``."""

    major: int
    minor: int
    operation: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUse:
    """What one network link of a container has received and sent."""

    received_bytes: int = 0
    received_packets: int = 0
    received_errors: int = 0
    received_dropped: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    sent_errors: int = 0
    sent_dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """All of it.

    Attributes:
        taken: when.
        cgroup_version: 1 or 2; 0 where the processes themselves were asked.
        blocks: runc's name of a quantity, such as ``ioServiceBytesRecursive``, to its numbers.
        processes: threads counted.
        process_limit: 0 for none.
        links: by name; None where the network is not the container's own.
    """

    taken: datetime
    cgroup_version: int = 0
    cpu: CpuUse = field(default_factory=CpuUse)
    memory: MemoryUse = field(default_factory=MemoryUse)
    blocks: Mapping[str, tuple[BlockUse, ...]] = field(default_factory=dict, hash=False)
    processes: int = 0
    process_limit: int = 0
    links: Mapping[str, LinkUse] | None = field(default=None, hash=False)
