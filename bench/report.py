"""What the bench says and writes down: figures, ratios, and whether targets are met."""

from __future__ import annotations

import csv
import json
import os
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import peers

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
FASTER = "the faster of docker and podman"
# Ours over theirs, at most.
TARGETS = {
    "run: docker": 1 / 15,
    "run: podman": 0.2,
    "run: runc": 0.5,
    "run: C": 3.0,
    "exec: docker": 0.1,
    "hundred: docker": 0.2,
    "pull: docker": 0.6,
    "pull: podman": 0.6,
    "build 5 RUN: docker": 1 / 8,
    "build 5 RUN: podman": 1 / 8,
    "build mixed: buildkit": 1 / 2,
    "build mixed: podman": 1 / 4,
    "build cached: docker": 1 / 10,
    "build cached: buildkit": 1 / 10,
    "build cached: podman": 1 / 30,
    "build COPY 10000: docker": 0.5,
    "build COPY 10000: buildkit": 0.5,
    "build 30 stages: docker": 1.0,
    "build 30 stages: buildkit": 1.0,
    "run with a bridge and a port: docker": 1 / 8,
    "TCP to a container: docker": 1.0,
    "TCP by a port: docker": 1.0,
    "1000 lookups: docker": 1.0,
    "rootless TCP by a port: slirp4netns": 1.0,
    "rootless TCP out: slirp4netns": 1.0,
    "push: docker": 0.7,
    "save: docker": 0.7,
    "load: docker": 0.7,
    "serve: docker-registry": 1.0,
    "serve hashed: docker-registry": 1.0,
    "pull shown: no progress": 1.03,
    "explain run processor: without notes": 1.03,
    "explain exec processor: without notes": 1.03,
    "api run: docker": 1 / 4,
    "api stats: docker": 1 / 10,
    "api stats, asked without a client: docker": 1 / 10,
}
for _what in ("version", "ps", "ps of 100", "exec", "logs of 100 MB"):
    TARGETS[f"api {_what}: docker"] = 1.0
TARGETS["api save of 1024 MiB: docker"] = TARGETS["api load of 1024 MiB: docker"] = 1.0
for _what in ("pull", "pull 20 layers", "pull 1 GB"):
    for _clock in ("ready", "on disk"):
        TARGETS[f"{_what} overlay {_clock}: {FASTER}"] = 0.4
        TARGETS[f"{_what} erofs {_clock}: {FASTER}"] = 0.2
TARGETS["pull overlay ready: limit"] = TARGETS["pull overlay on disk: limit"] = 1.1
# Seconds, at most.
SECONDS = {
    "pull again": 0.02,
    "look: list": 0.05,
    "look: inspect": 0.001,
    "notebook load_ext": 0.15,
    "notebook graph": 0.3,
    "notebook first picture": 0.3,
}
RISE_BYTES = 80e6

Results = dict[str, dict[str, float]]


def ratios_of(results: Results) -> dict[str, float]:
    """Return ours over theirs, by measurement and peer."""
    ratios: dict[str, float] = {}
    for what, times in results.items():
        ours = times.get("ocimagic")
        if ours is None:
            continue
        ratios |= {f"{what}: {who}": ours / s for who, s in times.items() if who != "ocimagic"}
        peers_of = [times[who] for who in ("docker", "podman") if who in times]
        if f"{what}: {FASTER}" in TARGETS and peers_of:
            ratios[f"{what}: {FASTER}"] = ours / min(peers_of)
    return ratios


def seconds_of(results: Results) -> dict[str, float]:
    """Return our own times that have a target."""
    look = {f"look: {what}": s for what, s in results.get("look", {}).items()}
    own = {what: each["ocimagic"] for what, each in results.items() if what in SECONDS}
    return look | own


@dataclass
class Figures:
    """What one run has measured.

    Attributes:
        results: seconds, by measurement and by who took them.
        memory: bytes beside one container, by who keeps it.
        rises: bytes that a pull of 1 GB took above its start, by process.
        copies: bytes that a COPY of 2 GB took above its start, by the number of files.
        notes: lines to be printed and kept.
        whole: the run came to its end.
        part: what alone was measured; "" for everything.
    """

    results: Results = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    rises: dict[str, float] = field(default_factory=dict)
    copies: dict[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    whole: bool = False
    part: str = ""


def report(figures: Figures) -> None:
    """Print a table, write ``latest.json`` and add to ``history.csv``."""
    results, memory, notes = figures.results, figures.memory, figures.notes
    rises = {f"pull memory: {who}": each for who, each in figures.rises.items()}
    rises |= {f"COPY memory: 2 GB, {name}": each for name, each in figures.copies.items()}
    if not figures.whole:
        print("this run was broken off: what follows is what it had measured")
    ratios, seconds = ratios_of(results), seconds_of(results)
    width = max(map(len, results), default=0)
    for what, times in results.items():
        shown = "   ".join(f"{who} {s * 1000:.1f} ms" for who, s in times.items())
        print(f"{what:{width}}  {shown}")
    shown = "   ".join(f"{who} {size / 1e6:.1f} MB" for who, size in memory.items())
    if memory:
        print(f"memory beside one container: {shown}")
    print(*notes, sep="\n")
    for name, ratio in ratios.items():
        print(f"{name:58} {ratio:6.3f}  {_verdict(ratio, TARGETS.get(name))}")
    for name, each in seconds.items():
        print(f"{name:58} {each * 1000:6.2f} ms  {_verdict(each * 1000, SECONDS[name] * 1000)}")
    for name, each in rises.items():
        print(f"{name:58} {each / 1e6:6.1f} MB  {_verdict(each / 1e6, RISE_BYTES / 1e6)}")
    if left := peers.missing():
        print("left out, because not installed: " + ", ".join(left))
    latest = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}",
        "whole": figures.whole,
        "seconds": results,
        "ratios": ratios,
        "memory_bytes": memory,
        "pull_memory_bytes": figures.rises,
        "copy_memory_bytes": figures.copies,
        "notes": list(notes),
        "targets": TARGETS,
        "targets_seconds": SECONDS,
        "target_pull_memory_bytes": RISE_BYTES,
        "target_copy_memory_bytes": RISE_BYTES,
    }
    name = f"latest-{figures.part}.json" if figures.part else "latest.json"
    (HERE / name).write_text(json.dumps(latest, indent=2) + "\n")
    with (HERE / "history.csv").open("a", newline="") as file:
        writer = csv.writer(file)
        for name, ratio in ratios.items():
            writer.writerow([latest["when"], name, f"{ratio:.4f}", TARGETS.get(name, "")])
        for name, each in seconds.items():
            writer.writerow([latest["when"], f"{name}: seconds", f"{each:.6f}", SECONDS[name]])
        for name, each in rises.items():
            writer.writerow([latest["when"], name, f"{each:.0f}", RISE_BYTES])


def _verdict(value: float, target: float | None) -> str:
    if target is None:
        return ""
    return f"target {target:.3g}: {'met' if value <= target else 'MISSED'}"
