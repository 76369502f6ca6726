"""What it costs that something can be explained later: the same with and without notes.

    python bench/explain.py [--runs 300] [--scratch DIR]

The engine that takes no notes asks its shims for none either, so what is measured is all of it:
the notes, the message that carries them, /proc/PID/status, and the file.

Three kinds take turns, in an order that changes: with notes, without, and without once more.
The difference of the last two is nothing but noise: it says how small a cost could be seen, and
a cost counts as one only if its interval leaves out what that control's interval holds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from itertools import permutations
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


class Control(Silent):
    """The same again, for the noise."""


KINDS: tuple[type[Ticks], ...] = (Ticks, Silent, Control)
TURNS_PER_RUN = 20
QUIET_S, STEP_S, PATIENCE_S = 0.02, 0.005, 2.0
MOST_S = 200.0  # for one kind of command: a busy machine takes fewer turns, and says how many
OWN_S = 0.0003  # of a processor: more than a step of waiting takes itself


def main() -> int:
    """Measure and print: from the call to the end of ``true``, by the clock and by processor."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--runs", type=int, default=300, help="starts of each kind")
    options.add_argument("--scratch", default=None, help="a fresh directory on a real disk")
    asked = options.parse_args()
    scratch = Path(asked.scratch or tempfile.mkdtemp(prefix="ocimagic-bench-", dir="/var/tmp"))
    try:
        _, lines = explain_times(scratch, asked.runs)
    finally:
        peers.clear(scratch)
    print(*lines, sep="\n")
    return 0


def explain_times(scratch: Path, turns: int) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Measure starts and commands in a container, each with notes and without.

    Args:
        scratch: a fresh directory.
        turns: of all kinds.

    Returns:
        Medians in seconds by measurement and by who took them, and lines to print.
    """
    meter = Meter()
    lines = [f"explain: up to {turns} turns, load {os.getloadavg()[0]:.1f}"]
    results: dict[str, dict[str, float]] = {}
    try:
        with Engine(scratch / "explained", environment={}) as engine:
            image = engine.images.assemble().tags[0]
            for name, times in (
                ("explain run", measure_starts(engine, image, turns, meter)),
                ("explain exec", measure_execs(engine, image, turns, meter)),
            ):
                columns = (name, f"{name} processor") if meter.place else (name,)
                for column, what in enumerate(columns):
                    results[what], said = compared(what, times, column)
                    lines += said
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

    def settle(self) -> None:
        """Wait until nothing of it has run for a while: a shim clears up, the next is made.

        What one kind leaves for later must not be counted for the next.
        """
        before, quiet_s, waited_s = self.read_s(), 0.0, 0.0
        while quiet_s < QUIET_S and waited_s < PATIENCE_S:
            time.sleep(STEP_S)
            now = self.read_s()
            quiet_s = quiet_s + STEP_S if now - before < OWN_S else 0.0
            before, waited_s = now, waited_s + STEP_S

    def close(self) -> None:
        """Go back, and take the cgroup away."""
        if self.place:
            (self.place.parent / "cgroup.procs").write_text(str(os.getpid()))
            for each in Path("/sys/fs/cgroup").glob(f"*/{self.place.name}"):
                for one in (each / "engine", each):
                    with suppress(OSError):  # a holder that is just ending
                        one.rmdir()


Times = dict[type[Ticks], list[tuple[float, float]]]


def measure_starts(engine: Engine, image: str, turns: int, meter: Meter) -> Times:
    """Start containers of each kind in turns."""
    wishes = ResourceOptions(cgroup_parent=meter.parent)

    def start() -> None:
        engine.containers.run(image, ["true"], network="none", remove=True, resources=wishes)

    return measure(start, running, turns, meter)


def measure_execs(engine: Engine, image: str, turns: int, meter: Meter) -> Times:
    """Execute ``true`` in one container, likewise."""
    wishes = ResourceOptions(cgroup_parent=meter.parent)
    made = engine.containers.run(
        image, ["sleep", "100000"], network="none", detach=True, resources=wishes
    )

    def execute() -> None:
        engine.containers.exec(made.name, ExecOptions(command=("true",)))

    try:
        return measure(execute, processes, turns, meter)
    finally:
        engine.containers.remove(made.name, force=True)


def measure(once: Callable[[], None], where: ModuleType, turns: int, meter: Meter) -> Times:
    """Do one thing with notes, without, and without again; all orders come equally often.

    Args:
        once: does it.
        where: the module that takes notes of it with ``Ticks``.
        turns: how many are counted, if that takes no longer than ``MOST_S``.
        meter: of processor time.

    Returns:
        Of each kind: seconds by the clock, and of processor time with all that comes after.
    """
    times: Times = {kind: [] for kind in KINDS}
    orders: list[tuple[type[Ticks], ...]] = []
    meter.settle()
    until_s = time.monotonic() + MOST_S
    for turn in range(-5, turns):
        if time.monotonic() > until_s and turn > 0:
            break
        if not orders:
            orders = random.sample(list(permutations(KINDS)), 6)
        for kind in orders.pop():
            where.Ticks = kind  # type: ignore[attr-defined]
            before, began = meter.read_s(), time.perf_counter()
            once()
            took = time.perf_counter() - began
            meter.settle()
            if turn >= 0:
                times[kind].append((took, meter.read_s() - before))
    where.Ticks = Ticks  # type: ignore[attr-defined]
    return times


def compared(what: str, times: Times, column: int) -> tuple[dict[str, float], list[str]]:
    """Return medians, and lines with what the notes cost and what the control came to."""
    told, silent, again = ([each[column] for each in times[kind]] for kind in KINDS)
    medians = {"ocimagic": statistics.median(told), "without notes": statistics.median(silent)}
    cost, noise = difference(told, silent), difference(silent, again)
    share = cost[1] / medians["without notes"] * 100
    is_seen = not noise[0] <= cost[1] <= noise[2] and cost[0] * cost[2] > 0
    first = (
        f"{what}: {len(told)} turns, with notes {medians['ocimagic'] * 1e3:.2f} ms, without "
        f"{medians['without notes'] * 1e3:.2f} ms; notes cost {spread(cost)}, {share:+.2f} %"
    )
    word = "seen" if is_seen else "not told from noise"
    return medians, [first, f"{what}, control: {spread(noise)}; so the cost is {word}"]


def difference(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Return the median of the differences in seconds, between what two values 19 in 20 lie.

    The interval is that of a median by its order statistics, and supposes nothing of the spread.
    """
    costs = sorted(a - b for a, b in zip(first, second, strict=True))
    half = 0.98 * len(costs) ** 0.5
    low, high = (
        costs[min(max(round(len(costs) / 2 + each) - 1, 0), len(costs) - 1)]
        for each in (-half, half + 1)
    )
    return low, statistics.median(costs), high


def spread(found: tuple[float, float, float]) -> str:
    """Write a median and its interval."""
    low, middle, high = (each * 1e3 for each in found)
    return f"{middle:+.2f} ms, 95 % between {low:+.2f} and {high:+.2f} ms"


if __name__ == "__main__":
    raise SystemExit(main())
