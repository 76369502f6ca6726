"""What a container uses: from the kernel's accounts, into the figures that docker shows.

Source: docker/cli's stats_helpers for the arithmetic.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.model.usage import BlockUse, CpuUse, LinkUse, MemoryUse, ResourceUse
from ocimagic.spec.codec import Fields
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a container has used up to a moment.

    Attributes:
        at_ns: time.monotonic_ns().
        use: the kernel's figures.
        memory_bytes: without copies of files that nobody looked at lately.
    """

    at_ns: int
    use: ResourceUse
    memory_bytes: int = 0

    @property
    def cpu_ns(self) -> int:
        """Return what all its processes have used since it began."""
        return self.use.cpu.total_ns

    @property
    def read_bytes(self) -> int:
        """Return what came from block devices."""
        return self._block_bytes("read")

    @property
    def written_bytes(self) -> int:
        """Return what went to block devices."""
        return self._block_bytes("write")

    @property
    def received_bytes(self) -> int | None:
        """Return what came over its own network; None if it has none."""
        links = self.use.links
        return None if links is None else sum(each.received_bytes for each in links.values())

    @property
    def sent_bytes(self) -> int | None:
        """Return what it sent; see ``received_bytes``."""
        links = self.use.links
        return None if links is None else sum(each.sent_bytes for each in links.values())

    def cpu_percent(self, before: Sample) -> float:
        """Return how much of one processor it used since an earlier sample."""
        passed = self.at_ns - before.at_ns
        return 100.0 * max(self.cpu_ns - before.cpu_ns, 0) / passed if passed > 0 else 0.0

    def _block_bytes(self, operation: str) -> int:
        found = self.use.blocks.get("ioServiceBytesRecursive", ())
        return sum(each.value for each in found if each.operation.lower() == operation)


def from_cgroup(stats: Mapping[str, object]) -> Sample:
    """Read what a shim tells of its container's cgroup, in runc's form."""
    fields = Fields(stats, "stats")
    memory, pids = fields.child("memory"), fields.child("pids")
    details = {key: int(str(value)) for key, value in memory.child("raw").value.items()}
    usage = memory.child("usage")
    used = usage.number("usage", 0)
    # Copies of files that nobody looked at lately are dropped first: docker leaves them out.
    inactive = details.get("total_inactive_file", details.get("inactive_file", 0))
    limit, machine = usage.number("limit", 0), machine_memory()
    at_ns = time.monotonic_ns()
    use = ResourceUse(
        taken=datetime.now(UTC),
        # Version 1 alone counts a group with those below it.
        cgroup_version=1 if "total_inactive_file" in details else 2,
        cpu=_cpu_use(fields.child("cpu"), at_ns),
        memory=MemoryUse(
            used_bytes=used,
            peak_bytes=usage.number("max", 0),
            limit_bytes=min(limit, machine) if limit else machine,
            failures=usage.number("failcnt", 0),
            details=details,
        ),
        blocks=_blocks(fields.child("blkio")),
        processes=pids.number("current", 0),
        process_limit=pids.number("limit", 0),
    )
    return Sample(at_ns=at_ns, use=use, memory_bytes=max(used - inactive, 0))


def _cpu_use(cpu: Fields, at_ns: int) -> CpuUse:
    usage, throttling = cpu.child("usage"), cpu.child("throttling")
    return CpuUse(
        total_ns=usage.number("total", 0),
        user_ns=usage.number("user", 0),
        kernel_ns=usage.number("kernel", 0),
        per_cpu_ns=usage.integers("percpu"),
        periods=throttling.number("periods", 0),
        throttled_periods=throttling.number("throttledPeriods", 0),
        throttled_ns=throttling.number("throttledTime", 0),
        machine_ns=at_ns * _online(),
        online=_online(),
    )


def _online() -> int:
    return os.sysconf("SC_NPROCESSORS_ONLN")


def _blocks(blkio: Fields) -> dict[str, tuple[BlockUse, ...]]:
    return {
        name: tuple(
            BlockUse(
                major=each.number("major", 0),
                minor=each.number("minor", 0),
                operation=each.text("op", ""),
                value=each.number("value", 0),
            )
            for each in blkio.children(name)
        )
        for name, found in blkio.value.items()
        if isinstance(found, list)
    }


def memory_of(cgroup_paths: Mapping[str, str]) -> int | None:
    """Return the memory of a cgroup as docker counts it; None if nothing counts it.

    Args:
        cgroup_paths: directories by controller; version 2 has one, under "".
    """
    version1 = cgroup_paths.get("memory")
    directory = version1 or cgroup_paths.get("")
    if not directory:
        return None
    used_in = "memory.usage_in_bytes" if version1 else "memory.current"
    droppable = b"total_inactive_file " if version1 else b"inactive_file "
    try:
        with open(f"{directory}/{used_in}", "rb") as file:
            used = int(file.read())
        with open(f"{directory}/memory.stat", "rb") as file:
            found = [line for line in file if line.startswith(droppable)]
    except OSError:
        return None  # the controller is not there, or the container has just ended
    return max(used - sum(int(line.split()[1]) for line in found), 0)


def from_processes(pids: Iterable[int]) -> Sample:
    """Add up what the processes themselves have used: where there is no cgroup of their own.

    What ended processes used is known as far as their parents waited for them.
    """
    user = kernel = resident = threads = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has just ended
        user += int(fields[11]) + int(fields[13])
        kernel += int(fields[12]) + int(fields[14])
        threads += int(fields[17])
        resident += int(fields[21])
    at_ns, used = time.monotonic_ns(), resident * _PAGE
    tick = _SECOND_NS // _TICKS
    use = ResourceUse(
        taken=datetime.now(UTC),
        cpu=CpuUse(
            total_ns=(user + kernel) * tick,
            user_ns=user * tick,
            kernel_ns=kernel * tick,
            machine_ns=at_ns * _online(),
            online=_online(),
        ),
        memory=MemoryUse(used_bytes=used, limit_bytes=machine_memory()),
        processes=threads,
    )
    return Sample(at_ns=at_ns, use=use, memory_bytes=used)


def links(pid: int) -> dict[str, LinkUse]:
    """Return what each network link of a process has received and sent, its loopback left out.

    Source: proc(5), /proc/net/dev: bytes, packets, errors and drops come first on both sides.
    """
    found = {}
    with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
        for line in file.readlines()[2:]:
            name, _, numbers = line.partition(":")
            fields = [int(each) for each in numbers.split()]
            if name.strip() != "lo":
                found[name.strip()] = LinkUse(
                    received_bytes=fields[0],
                    received_packets=fields[1],
                    received_errors=fields[2],
                    received_dropped=fields[3],
                    sent_bytes=fields[8],
                    sent_packets=fields[9],
                    sent_errors=fields[10],
                    sent_dropped=fields[11],
                )
    return found


def machine_memory() -> int:
    """Return how much memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * _PAGE
