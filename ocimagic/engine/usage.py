"""What a container uses: from the kernel's accounts, into the figures that docker shows.

Source: docker/cli's stats_helpers for the arithmetic.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.spec.codec import Fields

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
        cpu_ns: of all its processes since it began.
        memory_limit_bytes: 0 for none.
        received_bytes: None when it has no network of its own, as ``sent_bytes``.
    """

    at_ns: int
    cpu_ns: int
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    processes: int = 0
    received_bytes: int | None = None
    sent_bytes: int | None = None

    def cpu_percent(self, before: Sample) -> float:
        """Return how much of one processor it used since an earlier sample."""
        passed = self.at_ns - before.at_ns
        return 100.0 * max(self.cpu_ns - before.cpu_ns, 0) / passed if passed > 0 else 0.0


def from_cgroup(stats: Mapping[str, object]) -> Sample:
    """Read what a shim tells of its container's cgroup, in runc's form."""
    fields = Fields(stats, "stats")
    memory = fields.child("memory")
    usage = memory.child("usage")
    raw = memory.child("raw").value
    # Copies of files that nobody looked at lately are dropped first: docker leaves them out.
    inactive = raw.get("total_inactive_file", raw.get("inactive_file", 0))
    io = fields.child("blkio").children("ioServiceBytesRecursive")
    return Sample(
        at_ns=time.monotonic_ns(),
        cpu_ns=fields.child("cpu").child("usage").number("total", 0),
        memory_bytes=max(usage.number("usage", 0) - int(str(inactive)), 0),
        memory_limit_bytes=usage.number("limit", 0),
        read_bytes=_operation(io, "read"),
        written_bytes=_operation(io, "write"),
        processes=fields.child("pids").number("current", 0),
    )


def from_processes(pids: Iterable[int]) -> Sample:
    """Add up what the processes themselves have used: where there is no cgroup of their own.

    What ended processes used is known as far as their parents waited for them.
    """
    ticks = resident = threads = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has just ended
        ticks += sum(int(each) for each in fields[11:15])
        threads += int(fields[17])
        resident += int(fields[21])
    return Sample(
        at_ns=time.monotonic_ns(),
        cpu_ns=ticks * _SECOND_NS // _TICKS,
        memory_bytes=resident * _PAGE,
        processes=threads,
    )


def network_bytes(pid: int) -> tuple[int, int]:
    """Return what the network of a process has received and sent, its loopback left out."""
    received = sent = 0
    with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
        for line in file.readlines()[2:]:
            name, _, numbers = line.partition(":")
            fields = numbers.split()
            if name.strip() != "lo":
                received += int(fields[0])
                sent += int(fields[8])
    return received, sent


def _operation(io: Iterable[Fields], name: str) -> int:
    return sum(each.number("value", 0) for each in io if each.text("op", "").lower() == name)
