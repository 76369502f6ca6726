"""The command that changes a container's limits: update."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument, InvalidOption
from ocimagic.runtime import container
from ocimagic.runtime.cli.words import Flag
from ocimagic.spec.codec import Fields, decode
from ocimagic.spec.resources import Resources

if TYPE_CHECKING:
    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SIZE = re.compile(r"(-1|\d+)(?:([kmgtp]?)(?:i?b)?)?", re.IGNORECASE)

# Flag, where it goes in linux.resources, and whether it may have a unit or is a text.
_LIMITS = (
    ("blkio-weight", "blockIO.weight", "N", "relative weight of block I/O, 10 to 1000"),
    ("cpu-period", "cpu.period", "US", "length of a CPU period"),
    ("cpu-quota", "cpu.quota", "US", "CPU time in a period"),
    ("cpu-burst", "cpu.burst", "US", "CPU time saved up beyond the quota"),
    ("cpu-share", "cpu.shares", "N", "relative weight of CPU time"),
    ("cpu-rt-period", "cpu.realtimePeriod", "US", "length of a real-time period"),
    ("cpu-rt-runtime", "cpu.realtimeRuntime", "US", "real-time CPU time in a period"),
    ("cpu-idle", "cpu.idle", "0|1", "run only when nobody else wants the CPU"),
    ("cpuset-cpus", "cpu.cpus", "LIST", "processors"),
    ("cpuset-mems", "cpu.mems", "LIST", "memory nodes"),
    ("kernel-memory", "memory.kernel", "BYTES", "kernel memory; no kernel limits it any more"),
    ("kernel-memory-tcp", "memory.kernelTCP", "BYTES", "memory for TCP buffers"),
    ("memory", "memory.limit", "BYTES", "memory"),
    ("memory-reservation", "memory.reservation", "BYTES", "memory when it gets scarce"),
    ("memory-swap", "memory.swap", "BYTES", "memory and swap together; -1 for no limit"),
    ("pids-limit", "pids.limit", "N", "processes and threads"),
)
UPDATE_FLAGS = (
    Flag("resources", "document with linux.resources, - for stdin; other flags are ignored",
         "PATH", "r"),
    *(Flag(name, told, unit) for name, _, unit, told in _LIMITS),
    Flag("l3-cache-schema", "not supported", "TEXT"),
    Flag("mem-bw-schema", "not supported", "TEXT"),
)  # fmt: skip


def update(session: Session, words: Words) -> int:
    """Change the limits of a container that runs."""
    state = session.load(words.only_argument())
    source = words.text("resources")
    resources = _read_resources(source) if source else _resources(words)
    container.update(state, resources, session.journal.warning)
    return 0


def _read_resources(source: str) -> Resources:
    try:
        if source == "-":
            raw = sys.stdin.buffer.read()
        else:
            with open(source, "rb") as file:
                raw = file.read()
    except OSError as err:
        raise InvalidDocument("the limits cannot be read", why=f"{source}: {err.strerror}") from err
    return Resources.parse(decode(raw, what="limits"))


def _resources(words: Words) -> Resources:
    for name in ("l3-cache-schema", "mem-bw-schema"):
        if words.text(name):
            raise InvalidOption(f"--{name}: Intel's resource director is not supported")
    parts: dict[str, dict[str, object]] = {}
    for name, place, unit, _ in _LIMITS:
        said = words.text(name)
        if said:
            part, _, key = place.partition(".")
            value = said if unit == "LIST" else _number(name, said, sized=unit == "BYTES")
            parts.setdefault(part, {})[key] = value
    return Resources.parse(Fields(parts, "limits"))


def _number(name: str, text: str, *, sized: bool) -> int:
    found = _SIZE.fullmatch(text)
    if not found or (found[2] and not sized):
        raise InvalidOption(f"--{name}: {text!r} is no number")
    return int(found[1]) * _UNITS[(found[2] or "").lower()]
