"""What an engine does for a container, noted on the way; and what a shim has written of the rest.

The engine's notes of the making are in the container's row, those of the start go with the
request to the launcher and come back in the shim's file, see ``shim.timeline``.
"""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic_ns
from typing import TYPE_CHECKING

from ocimagic.spec.notes import line, parse_line
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from ocimagic.model.result import ExitStatus
    from ocimagic.shim.client import Connection
    from ocimagic.store.containers import ContainerRecord

_REMEMBERED = 16


class Ticks:
    """Notes of one verb, in the form of ``linux.notes``; any number may be under way."""

    def __init__(self) -> None:
        self._notes: list[str] = []

    def note(self, name: str, detail: object = None) -> None:
        """Note that something was done just now; ``detail`` is what JSON has."""
        self._notes.append(line(monotonic_ns(), name, detail))

    def encode(self) -> str:
        """Return all of it, a line each."""
        return "\n".join(self._notes)


@dataclass(frozen=True, slots=True)
class Note:
    """One of them: when, in nanoseconds of CLOCK_MONOTONIC, and what."""

    at_ns: int
    name: str
    detail: object = None


def parse_notes(text: str) -> tuple[Note, ...]:
    """Read notes that an engine, a shim or a first process took; of nothing there are none."""
    # Not splitlines: a path may hold what other alphabets break lines with.
    return tuple(Note(*parse_line(each)) for each in text.split("\n") if each)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A container that is removed at its end, as long as somebody may ask what it was.

    Attributes:
        config: its config.json as it was.
        connection: of who started it: its shim tells it of the start.
        ended: how it ended, where this engine saw it.
    """

    record: ContainerRecord
    config: bytes
    connection: Connection | None = None
    ended: ExitStatus | None = None

    @property
    def timeline(self) -> str:
        """Return what its shim told of the start, as JSON; "" until it has."""
        return self.connection.timeline if self.connection else ""


class Recent:
    """The last containers with ``--rm`` that this engine started, by ID."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Remembered] = OrderedDict()

    def put(self, one: Remembered) -> None:
        """Remember one, and forget the oldest if there are too many."""
        self._known[one.record.container_id] = one
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def started(self, container_id: str, connection: Connection) -> None:
        """Note who will be told how one began."""
        if one := self._known.get(container_id):
            self._known[container_id] = replace(one, connection=connection)

    def ended(self, container_id: str, ended: ExitStatus) -> None:
        """Note how one ended."""
        if one := self._known.get(container_id):
            self._known[container_id] = replace(one, ended=ended)

    def newest(self) -> Remembered | None:
        """Return the one that was started last; None for none."""
        return next(reversed(self._known.values()), None)

    def find(self, name: str) -> Remembered | None:
        """Return the newest of that name, or whose ID begins so."""
        for one in reversed(self._known.values()):
            if one.record.name == name or (name and one.record.container_id.startswith(name)):
                return one
        return None
