"""Events as docker writes them, and as a table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.render.escape import visible
from ocimagic.render.table import Table
from ocimagic.render.units import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.model.system_event import SystemEvent


def event_line(event: SystemEvent) -> str:
    """Write an event on a line, as ``docker events`` does."""
    said = _attributes(event)
    line = f"{_moment(event)} {event.kind} {event.action} {event.actor}"
    return visible(f"{line} ({said})" if said else line)


def events_text(events: Sequence[SystemEvent]) -> str:
    """Write events, a line each."""
    return "\n".join(map(event_line, events))


def events_table(events: Sequence[SystemEvent]) -> Table:
    """Lay events out."""
    return Table(
        count(len(events), "event"),
        ("TIME", "KIND", "EVENT", "NAME", "MORE"),
        tuple(
            (
                _time(event).strftime("%H:%M:%S.%f")[:-3],
                event.kind,
                event.action,
                event.attributes.get("name") or event.actor[:19].removeprefix("sha256:"),
                _attributes(event, without="name"),
            )
            for event in events
        ),
    )


def _attributes(event: SystemEvent, without: str = "") -> str:
    pairs = sorted(event.attributes.items())
    return ", ".join(f"{name}={value}" for name, value in pairs if name != without)


def _time(event: SystemEvent) -> datetime:
    return datetime.fromtimestamp(event.time_ns // 1_000_000_000, UTC).astimezone()


def _moment(event: SystemEvent) -> str:
    """Return the time in the machine's zone, to the nanosecond."""
    when = _time(event)
    zone = when.strftime("%z")
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return f"{when:%Y-%m-%dT%H:%M:%S}.{event.time_ns % 1_000_000_000:09}{zone}"
