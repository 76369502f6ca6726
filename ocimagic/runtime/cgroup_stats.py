"""What a container uses, read from either version of cgroups.

``Stats.to_runc_json`` has the form that runc's ``events --stats`` prints under "data", which
containerd and dockerd read; numbers that are 0 or not known are left out where runc does so.

Spec: kernel Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{cpuacct,memory,blkio-controller,
hugetlb,cpusets}.rst.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ocimagic.runtime import cgroup_pressure
from ocimagic.spec.codec import without_none
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.runtime.cgroup_files import Directory
    from ocimagic.runtime.cgroup_pressure import Pressure

UNLIMITED = (1 << 64) - 1  # what runc prints for version 2's "max"
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_HUGE_PAGES = "/sys/kernel/mm/hugepages"

# Version 1 file names, without prefix and "_recursive"; and the key in runc's JSON.
_BLKIO = {
    "io_service_bytes": "ioServiceBytesRecursive",
    "io_serviced": "ioServicedRecursive",
    "io_queued": "ioQueueRecursive",
    "io_service_time": "ioServiceTimeRecursive",
    "io_wait_time": "ioWaitTimeRecursive",
    "io_merged": "ioMergedRecursive",
    "time": "ioTimeRecursive",
    "sectors": "sectorsRecursive",
}
# Version 2: the key in io.stat, the same quantity of version 1, and its operation.
_IO_STAT = {
    "rbytes": ("io_service_bytes", "Read"),
    "wbytes": ("io_service_bytes", "Write"),
    "dbytes": ("io_service_bytes", "Discard"),
    "rios": ("io_serviced", "Read"),
    "wios": ("io_serviced", "Write"),
    "dios": ("io_serviced", "Discard"),
}
_CPUSET_FLAGS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuStats:
    """Processor time in nanoseconds; what is per processor is known in version 1 only."""

    usage_ns: int = 0
    user_ns: int = 0
    kernel_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()
    per_cpu_user_ns: tuple[int, ...] = ()
    per_cpu_kernel_ns: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        usage = {
            "total": self.usage_ns or None,
            "percpu": list(self.per_cpu_ns),
            "percpu_kernel": list(self.per_cpu_kernel_ns),
            "percpu_user": list(self.per_cpu_user_ns),
            "kernel": self.kernel_ns,
            "user": self.user_ns,
        }
        throttling = {
            "periods": self.periods or None,
            "throttledPeriods": self.throttled_periods or None,
            "throttledTime": self.throttled_ns or None,
        }
        return {"usage": without_none(usage), "throttling": without_none(throttling)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One counted thing: bytes, and how often the limit stood in the way.

    Attributes:
        limit: ``UNLIMITED``, or version 1's largest number, for none.
        peak: the most that was used at once; 0 where the kernel does not keep it.
    """

    used: int = 0
    limit: int = 0
    peak: int = 0
    failures: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        always = {"limit": self.limit, "failcnt": self.failures}
        return always | without_none({"usage": self.used or None, "max": self.peak or None})


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStats:
    """Memory in bytes.

    Attributes:
        swap: memory and swap together, as version 1 counts.
        details: the whole of memory.stat.
    """

    usage: Usage = field(default_factory=Usage)
    swap: Usage = field(default_factory=Usage)
    kernel: Usage = field(default_factory=Usage)
    kernel_tcp: Usage = field(default_factory=Usage)
    details: Mapping[str, int] = field(default_factory=dict)

    @property
    def cache(self) -> int:
        """Return how much of it is copies of files."""
        return self.details.get("cache", self.details.get("file", 0))

    @property
    def working_set(self) -> int:
        """Return what is used without file copies not looked at lately: docker's MEM USAGE."""
        inactive = self.details.get("total_inactive_file", self.details.get("inactive_file", 0))
        return max(self.usage.used - inactive, 0)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return without_none({"cache": self.cache or None, "raw": dict(self.details)}) | {
            "usage": self.usage.to_json(),
            "swap": self.swap.to_json(),
            "kernel": self.kernel.to_json(),
            "kernelTCP": self.kernel_tcp.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStats:
    """One number about one block device.

    Attributes:
        operation: "Read", "Write", "Sync", "Async", "Discard", "Total", or "".
    """

    major: int
    minor: int
    operation: str
    value: int

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        fields = {"major": self.major, "minor": self.minor, "value": self.value}
        return {key: number for key, number in fields.items() if number} | without_none(
            {"op": self.operation}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a container uses now.

    Attributes:
        memory: None without the memory controller.
        pids_current: None without the pids controller.
        pids_limit: None for none.
        block_io: "io_service_bytes", "io_serviced" and so on, see ``_BLKIO``.
        huge_pages: by page size, "2MB".
        pressure: "cpu", "memory", "io": how long processes waited for it.
    """

    cpu: CpuStats = field(default_factory=CpuStats)
    cpuset: Mapping[str, object] = field(default_factory=dict)
    memory: MemoryStats | None = None
    pids_current: int | None = None
    pids_limit: int | None = None
    block_io: Mapping[str, tuple[BlockStats, ...]] = field(default_factory=dict)
    huge_pages: Mapping[str, Usage] = field(default_factory=dict)
    pressure: Mapping[str, Pressure] = field(default_factory=dict)

    def total_bytes(self, operation: str) -> int:
        """Return how many bytes all devices did of "Read" or "Write"."""
        found = self.block_io.get("io_service_bytes", ())
        return sum(each.value for each in found if each.operation == operation)

    def to_runc_json(self) -> dict[str, object]:
        """Return what ``runc events --stats`` prints under "data"."""
        pressure = {name: {"psi": each.to_json()} for name, each in self.pressure.items()}
        blocks = {
            _BLKIO[name]: [each.to_json() for each in found]
            for name, found in self.block_io.items()
            if found
        }
        pids = {"current": self.pids_current or None, "limit": self.pids_limit}
        return {
            "cpu": self.cpu.to_json() | pressure.get("cpu", {}),
            "cpuset": dict.fromkeys(_CPUSET_FLAGS, 0) | dict(self.cpuset),
            "memory": (self.memory or MemoryStats()).to_json() | pressure.get("memory", {}),
            "pids": without_none(pids),
            "blkio": blocks | pressure.get("io", {}),
            "hugetlb": {name: each.to_json() for name, each in self.huge_pages.items()},
            "intel_rdt": {},
            "network_interfaces": None,
        }


def read_stats(version1: Mapping[str, Directory], version2: Directory | None) -> Stats:
    """Read all there is, each part where its controller is."""
    memory, pids = version1.get("memory", version2), version1.get("pids", version2)
    limit = pids.find("pids.max") if pids else None
    return Stats(
        cpu=_cpu(version1, version2),
        cpuset=_cpuset(version1.get("cpuset", version2)),
        memory=_memory(memory, is_version1="memory" in version1),
        pids_current=_number(pids, "pids.current"),
        pids_limit=int(limit) if limit and limit.strip().isdigit() else None,
        block_io=_blkio(version1["blkio"]) if "blkio" in version1 else _io(version2),
        huge_pages=_huge_pages(version1.get("hugetlb"), version2),
        pressure=cgroup_pressure.read_pressure(version2),
    )


def _cpu(version1: Mapping[str, Directory], version2: Directory | None) -> CpuStats:
    throttling = version1["cpu"].table("cpu.stat") if "cpu" in version1 else {}
    if "cpuacct" in version1:
        return _cpuacct(version1["cpuacct"], throttling)
    table = version2.table("cpu.stat") if version2 else {}
    return CpuStats(
        usage_ns=table.get("usage_usec", 0) * 1000,
        user_ns=table.get("user_usec", 0) * 1000,
        kernel_ns=table.get("system_usec", 0) * 1000,
        periods=(throttling or table).get("nr_periods", 0),
        throttled_periods=(throttling or table).get("nr_throttled", 0),
        throttled_ns=throttling.get("throttled_time", table.get("throttled_usec", 0) * 1000),
    )


def _cpuacct(directory: Directory, throttling: Mapping[str, int]) -> CpuStats:
    ticks = directory.table("cpuacct.stat")
    # "cpu user system", then a line per processor
    lines = (directory.find("cpuacct.usage_all") or "").splitlines()[1:]
    rows = [[int(word) for word in line.split()] for line in lines]
    return CpuStats(
        usage_ns=_number(directory, "cpuacct.usage") or 0,
        user_ns=ticks.get("user", 0) * _TICK_NS,
        kernel_ns=ticks.get("system", 0) * _TICK_NS,
        per_cpu_ns=tuple(map(int, (directory.find("cpuacct.usage_percpu") or "").split())),
        per_cpu_user_ns=tuple(row[1] for row in rows),
        per_cpu_kernel_ns=tuple(row[2] for row in rows),
        periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled_ns=throttling.get("throttled_time", 0),
    )


def _cpuset(directory: Directory | None) -> dict[str, object]:
    if directory is None:
        return {}
    found: dict[str, object] = {}
    for key, name in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        text = directory.find(name) or ""
        if numbers := parse_list(text.strip() or directory.find(f"{name}.effective") or ""):
            found[key] = numbers
    flags = {name: _number(directory, f"cpuset.{name}") for name in _CPUSET_FLAGS}
    return found | {name: value for name, value in flags.items() if value is not None}


def parse_list(text: str) -> list[int]:
    """Return the numbers of a list such as "0-2,7"."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            numbers += range(int(first), int(last or first) + 1)
    return numbers


def _memory(directory: Directory | None, *, is_version1: bool) -> MemoryStats | None:
    if directory is None:
        return None
    details = directory.table("memory.stat")
    if is_version1:
        return MemoryStats(
            usage=_usage_version1(directory, "memory"),
            swap=_usage_version1(directory, "memory.memsw"),
            kernel=_usage_version1(directory, "memory.kmem"),
            kernel_tcp=_usage_version1(directory, "memory.kmem.tcp"),
            details=details,
        )
    if _number(directory, "memory.current") is None:
        return None
    usage = _usage_version2(directory, "memory")
    swap = _usage_version2(directory, "memory.swap")
    unlimited = UNLIMITED in (usage.limit, swap.limit)
    both = Usage(
        used=usage.used + swap.used,
        limit=UNLIMITED if unlimited else usage.limit + swap.limit,
        peak=swap.peak and usage.peak + swap.peak,
        failures=swap.failures,
    )
    return MemoryStats(usage=usage, swap=both, details=details)


def _usage_version1(directory: Directory, name: str) -> Usage:
    return Usage(
        used=_number(directory, f"{name}.usage_in_bytes") or 0,
        limit=_number(directory, f"{name}.limit_in_bytes") or 0,
        peak=_number(directory, f"{name}.max_usage_in_bytes") or 0,
        failures=_number(directory, f"{name}.failcnt") or 0,
    )


def _usage_version2(directory: Directory, name: str) -> Usage:
    return Usage(
        used=_number(directory, f"{name}.current") or 0,
        limit=_number(directory, f"{name}.max") or 0,
        peak=_number(directory, f"{name}.peak") or 0,
        failures=directory.table(f"{name}.events").get("max", 0),
    )


def _blkio(directory: Directory) -> dict[str, tuple[BlockStats, ...]]:
    """Read version 1, from the scheduler that counts: BFQ, the old CFQ, or the throttler."""
    found = {}
    for quantity in _BLKIO:
        files = [f"blkio.bfq.{quantity}_recursive", f"blkio.{quantity}_recursive"]
        if quantity in ("io_service_bytes", "io_serviced"):
            files += [f"blkio.throttle.{quantity}_recursive", f"blkio.throttle.{quantity}"]
        for file in files:
            if entries := _block_lines(directory.find(file) or ""):
                found[quantity] = entries
                break
    return found


def _block_lines(text: str) -> tuple[BlockStats, ...]:
    """Read lines of "8:0 Read 4096" or "8:0 4096"; the total of all devices is left out."""
    found = re.findall(r"^(\d+):(\d+) (?:(\w+) )?(\d+)$", text, re.MULTILINE)
    return tuple(
        BlockStats(major=int(major), minor=int(minor), operation=operation, value=int(value))
        for major, minor, operation, value in found
    )


def _io(directory: Directory | None) -> dict[str, tuple[BlockStats, ...]]:
    found: dict[str, tuple[BlockStats, ...]] = {}
    text = (directory.find("io.stat") if directory else None) or ""
    for line in text.splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        for key, _, value in (pair.partition("=") for pair in pairs):
            if key in _IO_STAT and minor:
                quantity, operation = _IO_STAT[key]
                entry = BlockStats(
                    major=int(major), minor=int(minor), operation=operation, value=int(value)
                )
                found[quantity] = (*found.get(quantity, ()), entry)
    return found


def _huge_pages(version1: Directory | None, version2: Directory | None) -> dict[str, Usage]:
    found = {}
    for size in huge_page_sizes():
        if version1:
            found[size] = _usage_version1(version1, f"hugetlb.{size}")
        elif version2 and _number(version2, f"hugetlb.{size}.current") is not None:
            found[size] = _usage_version2(version2, f"hugetlb.{size}")
    return found


def huge_page_sizes() -> list[str]:
    """Return the sizes of huge pages that this machine has, in the kernel's words: "2MB"."""
    try:
        names = os.listdir(_HUGE_PAGES)  # hugepages-2048kB
    except OSError:
        return []
    sizes = sorted(int(name.removeprefix("hugepages-").removesuffix("kB")) for name in names)
    return [_size_name(size) for size in sizes]


def _size_name(size_kib: int) -> str:
    for shift, unit in ((20, "GB"), (10, "MB")):
        if size_kib >> shift:
            return f"{size_kib >> shift}{unit}"
    return f"{size_kib}KB"


def _number(directory: Directory | None, name: str) -> int | None:
    """Return a file's number, ``UNLIMITED`` for "max", None without the file."""
    text = directory.find(name) if directory else None
    if text is None:
        return None
    return UNLIMITED if text.strip() == "max" else int(text)
