"""All that is known of how one container came to run: noted by whoever did it, read together."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ocimagic.engine.timeline import Note, parse_notes
from ocimagic.model.explanation import Step
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.engine.record import Document
    from ocimagic.model.result import ExitStatus
    from ocimagic.model.state import Status
    from ocimagic.store.containers import ContainerRecord

_SLACK_S = 0.05  # of the clock on the wall, which may be set
_FAR_S = 1.0  # between making and starting: further apart they are two commands
NAMESPACE_TYPES = {"mnt": "mount", "net": "network"}


@dataclass(slots=True)
class Story:
    """One container, as far as it is known.

    Attributes:
        config: its config.json; empty when that is gone.
        timeline: what its shim wrote; empty when there is none.
        state: what its shim says now; empty when there is none.
        ended: how it ended; None while it lives, or when nobody saw it.
        directory: where its files are.
        is_removed: it is gone, and only this engine remembers it.
        arrival: how its image came to be here, or empty.
        diff_ids: of its image's layers; empty if that is gone.
    """

    record: ContainerRecord
    document: Document
    config: Mapping[str, Any]
    timeline: Mapping[str, Any]
    state: Mapping[str, Any]
    status: Status
    ended: ExitStatus | None
    directory: str
    is_removed: bool
    arrival: Mapping[str, Any]
    diff_ids: tuple[str, ...]
    made: tuple[Note, ...] = field(init=False)
    engine: tuple[Note, ...] = field(init=False)
    shim: tuple[Note, ...] = field(init=False)
    init: tuple[Note, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.made = parse_notes(self.document.made)
        self.engine, self.shim, self.init = (
            parse_notes(str(self.timeline.get(part, ""))) for part in ("engine", "shim", "init")
        )

    # -- when --------------------------------------------------------------------

    @property
    def is_one(self) -> bool:
        """Say whether it was made and started by one command, and not started again since."""
        if not self.made or not self.engine or self.timeline.get("restarts"):
            return False
        gap_s = (self.engine[0].at_ns - self.made[-1].at_ns) / 1e9
        # Another boot has another clock, and the wall clock of the row says so; the row comes
        # last, perhaps long after a pull began.
        made_s = self.wall_ns(self.made[-1]) / 1e9
        return 0 <= gap_s < _FAR_S and abs(made_s - self.record.created) < _FAR_S

    @property
    def began_ns(self) -> int:
        """Return when the story begins, by CLOCK_MONOTONIC."""
        known = self.made if self.is_one else self.engine or self.shim or self.made
        if self.timeline.get("restarts"):  # the engine's notes are of the first start
            known = self.shim
        return known[0].at_ns if known else 0

    @property
    def began(self) -> str:
        """Return when that was by the clock on the wall, RFC 3339."""
        seconds = self.record.created
        if self.timeline:
            seconds = self.wall_ns(Note(self.began_ns, "")) / 1e9
        return datetime.fromtimestamp(seconds, UTC).isoformat()

    def wall_ns(self, note: Note) -> int:
        """Return a note's time since 1970; only with a timeline."""
        wall, monotonic = self.timeline["clock"]
        return int(wall) + note.at_ns - int(monotonic)

    def at_s(self, note: Note | None) -> float | None:
        """Return when something was noted: seconds since the beginning of its stretch."""
        if note is None:
            return None
        began = self.made[0].at_ns if note in self.made and not self.is_one else self.began_ns
        return (note.at_ns - began) / 1e9

    def since(self, note: Note | None, earlier: Note | None) -> float | None:
        """Return the seconds between two notes."""
        if note is None or earlier is None:
            return None
        return (note.at_ns - earlier.at_ns) / 1e9

    # -- what --------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Return the pid of its first process, 0 if it never was."""
        return int(self.timeline.get("pid") or self.state.get("pid") or 0)

    def kernel_said(self, name: str) -> str:
        """Return a field of /proc/PID/status as it was just after execve, "" for none."""
        for line in str(self.timeline.get("status", "")).splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
        return ""

    @property
    def is_pulled(self) -> bool:
        """Say whether its image was pulled by the command that made it."""
        start, end = first(self.made, "checked"), first(self.made, "image")
        if not (self.arrival.get("kind") == "pull" and start and end and self.timeline):
            return False
        low_s, high_s = (self.wall_ns(each) / 1e9 for each in (start, end))
        return low_s - _SLACK_S <= float(self.arrival["began"]) <= high_s

    @property
    def linux(self) -> Mapping[str, Any]:
        """Return ``linux`` of its config.json."""
        found: Mapping[str, Any] = self.config.get("linux", {})
        return found

    @property
    def runtime(self) -> str:
        """Return the path of another runtime than ours, or ""."""
        return str(self.timeline.get("runtime") or self.document.runtime)


def first(notes: tuple[Note, ...], name: str) -> Note | None:
    """Return the first note of a name."""
    return next((each for each in notes if each.name == name), None)


def before(notes: tuple[Note, ...], note: Note | None) -> Note | None:
    """Return what was noted just before."""
    if note is None or note not in notes:
        return None
    at = notes.index(note)
    return notes[at - 1] if at else None


def own_namespaces() -> dict[str, int]:
    """Return the inodes of the namespaces that this process is in."""
    found = {}
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"):
        try:
            found[kind] = os.stat(f"/proc/self/ns/{kind}").st_ino
        except OSError:
            continue
    return found


def parent_of(pid: int) -> int | None:
    """Return who is a process's parent now; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def as_now(timeline: Mapping[str, Any], start_ticks: object) -> Mapping[str, Any]:
    """Return what was told of another runtime's process, with what the kernel says of it now.

    Args:
        timeline: what its shim wrote, just when the runtime said that it had started it.
        start_ticks: of the process that is meant: its pid may be another's by now.
    """
    pid = timeline.get("pid")
    if not timeline.get("runtime") or not pid:
        return timeline
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            ticks = file.read().rpartition(")")[2].split()[19]
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            status = file.read()
    except (OSError, IndexError):
        return timeline
    is_same = ticks == str(start_ticks)
    return {**timeline, "status": status, "is_now": True} if is_same else timeline


def known(*facts: tuple[str, object]) -> tuple[tuple[str, str], ...]:
    """Return those facts that are known, as texts."""
    return tuple((name, str(value)) for name, value in facts if value not in (None, "", ()))


Steps = list[Step]
