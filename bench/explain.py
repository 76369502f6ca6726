"""What it costs that something can be explained later: the same with and without notes.

    python bench/explain.py [--runs 60] [--scratch DIR]

The engine that takes no notes asks its shims for none either, so what is measured is all of it:
the notes, the message that carries them, /proc/PID/status, and the file.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import peers

from ocimagic import Engine
from ocimagic.engine import processes
from ocimagic.engine import run as running
from ocimagic.engine.timeline import Ticks
from ocimagic.model.request import ExecOptions
from ocimagic.model.resources import ResourceOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


class Silent(Ticks):
    """Notes that nobody takes."""

    def note(self, name: str, detail: object = None) -> None:
        """Take none."""

    def encode(self) -> str:
        """Return nothing, which shims understand as a wish."""
        return ""


PAIRS_PER_RUN = 10


def main() -> int:
    """Measure and print: from the call to the end of ``true``, by the clock and by processor."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--runs", type=int, default=60, help="starts of each kind")
    options.add_argument("--scratch", default=None, help="a fresh directory on a real disk")
    asked = options.parse_args()
    scratch = Path(asked.scratch or tempfile.mkdtemp(prefix="ocimagic-bench-", dir="/var/tmp"))
    try:
        _, lines = explain_times(scratch, asked.runs)
    finally:
        peers.clear(scratch)
    print(*lines, sep="\n")
    return 0


def explain_times(scratch: Path, pairs: int) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Measure starts and commands in a container, each with notes and without.

    Args:
        scratch: a fresh directory.
        pairs: of starts.

    Returns:
        Medians in seconds by measurement and by who took them, and lines to print.
    """
    meter = Meter()
    lines = [f"explain: {pairs} pairs, load {os.getloadavg()[0]:.1f}"]
    results: dict[str, dict[str, float]] = {}
    try:
        with Engine(scratch / "explained", environment={}) as engine:
            image = engine.images.assemble().tags[0]
            for name, times in (
                ("explain run", measure_starts(engine, image, pairs, meter)),
                ("explain exec", measure_execs(engine, image, pairs, meter)),
            ):
                columns = (name, f"{name} processor") if meter.place else (name,)
                for column, what in enumerate(columns):
                    results[what], line = compared(what, times, column)
                    lines.append(line)
    finally:
        meter.close()
    if not meter.place:
        lines.append("processor time: only root can measure it, with cgroups of version 1")
    return results, lines


class Meter:
    """Counts the processor time of an engine, its launcher, shims and containers together.

    A cgroup of version 1 of our own: what ends in it is still counted by it.
    """

    def __init__(self) -> None:
        place = Path(f"/sys/fs/cgroup/cpuacct/bench-explain-{os.getpid()}")
        self.place: Path | None = None
        if os.geteuid() == 0 and (place.parent / "cpuacct.usage").exists():
            (place / "engine").mkdir(parents=True)
            (place / "engine" / "cgroup.procs").write_text(str(os.getpid()))
            self.place = place

    @property
    def parent(self) -> str:
        """Return the cgroup that containers are to be in, "" for the usual one."""
        return f"/{self.place.name}" if self.place else ""

    def read_s(self) -> float:
        """Return the seconds so far."""
        return int((self.place / "cpuacct.usage").read_text()) / 1e9 if self.place else 0.0

    def close(self) -> None:
        """Go back, and take the cgroup away."""
        if self.place:
            (self.place.parent / "cgroup.procs").write_text(str(os.getpid()))
            for each in Path("/sys/fs/cgroup").glob(f"*/{self.place.name}"):
                for one in (each / "engine", each):
                    with suppress(OSError):  # a holder that is just ending
                        one.rmdir()


Times = dict[type[Ticks], list[tuple[float, float]]]


def measure_starts(engine: Engine, image: str, pairs: int, meter: Meter) -> Times:
    """Start containers in pairs, one with notes and one without, in an order that changes."""
    wishes = ResourceOptions(cgroup_parent=meter.parent)

    def start() -> None:
        engine.containers.run(image, ["true"], network="none", remove=True, resources=wishes)

    return measure(start, running, pairs, meter)


def measure_execs(engine: Engine, image: str, pairs: int, meter: Meter) -> Times:
    """Execute ``true`` in one container, likewise."""
    wishes = ResourceOptions(cgroup_parent=meter.parent)
    made = engine.containers.run(
        image, ["sleep", "100000"], network="none", detach=True, resources=wishes
    )

    def execute() -> None:
        engine.containers.exec(made.name, ExecOptions(command=("true",)))

    try:
        return measure(execute, processes, pairs, meter)
    finally:
        engine.containers.remove(made.name, force=True)


def measure(once: Callable[[], None], where: ModuleType, pairs: int, meter: Meter) -> Times:
    """Do one thing in pairs, with notes and without, in an order that changes.

    Args:
        once: does it.
        where: the module that takes notes of it with ``Ticks``.
        pairs: how many are counted.
        meter: of processor time.

    Returns:
        Of each kind: seconds by the clock, and of processor time with all that comes after.
    """
    times: Times = {Ticks: [], Silent: []}
    for turn in range(-5, pairs):
        for kind in random.sample([Ticks, Silent], 2):
            where.Ticks = kind  # type: ignore[attr-defined]
            before, began = meter.read_s(), time.perf_counter()
            once()
            took = time.perf_counter() - began
            time.sleep(0.04)  # the shim clears up, the launcher makes the next pair
            if turn >= 0:
                times[kind].append((took, meter.read_s() - before))
    where.Ticks = Ticks  # type: ignore[attr-defined]
    return times


def compared(what: str, times: Times, column: int) -> tuple[dict[str, float], str]:
    """Return medians, and a line with what the notes cost: between what two values, 19 in 20.

    The interval is that of a median by its order statistics, and supposes nothing of the spread.
    """
    told, silent = ([each[column] for each in times[kind]] for kind in (Ticks, Silent))
    medians = {"ocimagic": statistics.median(told), "without notes": statistics.median(silent)}
    costs = sorted((a - b) * 1e3 for a, b in zip(told, silent, strict=True))
    half = 0.98 * len(costs) ** 0.5
    low, high = (
        costs[min(max(round(len(costs) / 2 + each) - 1, 0), len(costs) - 1)]
        for each in (-half, half + 1)
    )
    share = (medians["ocimagic"] / medians["without notes"] - 1) * 100
    return medians, (
        f"{what}: with notes {medians['ocimagic'] * 1e3:.2f} ms, without "
        f"{medians['without notes'] * 1e3:.2f} ms ({share:+.2f} %); median of the differences "
        f"{statistics.median(costs):+.2f} ms, 95 % between {low:+.2f} and {high:+.2f} ms"
    )


if __name__ == "__main__":
    raise SystemExit(main())
