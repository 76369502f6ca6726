"""All containers with what they use: the dashboard as a table, and as rows for its live view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.model.state import RULES, Status, Verb
from ocimagic.render.escape import visible
from ocimagic.render.html import table_html
from ocimagic.render.ports import through, words_markup
from ocimagic.render.table import Table, container_fields
from ocimagic.render.text import table_text
from ocimagic.render.units import binary_size, count

if TYPE_CHECKING:
    from ocimagic.model.overview import Overview
    from ocimagic.model.report import ContainerStats
    from ocimagic.model.result import ContainerSummary

_NUMBERS = ("CPU %", "MEMORY", "MEM %")
_VERBS = (Verb.START, Verb.STOP, Verb.RESTART, Verb.PAUSE, Verb.UNPAUSE, Verb.REMOVE)
_RUNNING = frozenset({Status.RUNNING, Status.PAUSED})


def overview_table(overview: Overview) -> Table:
    """Lay out what ``container ls`` and ``container stats`` show, in one."""
    rows = []
    for each in overview.containers:
        fields = container_fields(each, overview.taken)
        used = _used(overview.stats.get(each.container_id))
        rows.append(
            (
                fields["Names"],
                fields["Image"],
                fields["Status"],
                fields["Ports"],
                *used,
                each.container_id[:12],
            )
        )
    heads = ("NAME", "IMAGE", "STATUS", "PORTS", *_NUMBERS, "CONTAINER ID")
    return Table(overview_sentence(overview), heads, tuple(rows), frozenset(_NUMBERS))


def overview_sentence(overview: Overview) -> str:
    """Say how many run, what they use together, and when that was."""
    running = [each for each in overview.containers if each.status in _RUNNING]
    cpu = sum(each.cpu_percent for each in overview.stats.values())
    memory = sum(each.memory_bytes for each in overview.stats.values())
    left = len(overview.containers) - len(running)
    others = f", {left} not" if left else ""
    return (
        f"{count(len(running), 'container')} running{others}, {cpu:.0f}% CPU, "
        f"{binary_size(memory)}, at {overview.taken:%Y-%m-%d %H:%M:%S} UTC"
    )


def overview_text(overview: Overview) -> str:
    """Draw both as text."""
    return f"{table_text(overview_table(overview))}\n{visible(overview_sentence(overview))}"


def overview_html(overview: Overview) -> str:
    """Draw both as HTML."""
    return table_html(overview_table(overview))


def overview_rows(overview: Overview, way: str) -> list[dict[str, Any]]:
    """Write all containers as JSON: hidden characters visible, ``ports`` as ready HTML.

    Args:
        overview: of them.
        way: where links to ports lead, see ``ports.through``; "" for localhost.
    """
    return [_row(each, overview, way) for each in overview.containers]


def _row(each: ContainerSummary, overview: Overview, way: str) -> dict[str, Any]:
    fields = container_fields(each, overview.taken)
    ports = words_markup(fields["Ports"])
    stats = overview.stats.get(each.container_id)
    runs = stats is not None and each.status in _RUNNING
    return {
        "id": each.container_id,
        "name": visible(each.name),
        "image": visible(each.image),
        "status": each.status.value,
        "words": visible(fields["Status"]),
        "ports": through(ports, way) if way else ports,
        "verbs": [verb.value for verb in _VERBS if _is_for(verb, each.status)],
        "cpu": round(stats.cpu_percent, 2) if runs and stats else None,
        "memory": stats.memory_bytes if runs and stats else None,
        "limit": stats.memory_limit_bytes if runs and stats else None,
        "sampled": stats.taken.timestamp() if runs and stats else None,
    }


def _is_for(verb: Verb, status: Status) -> bool:
    """Say whether a button makes sense; the engine itself stops what is stopped, at once."""
    if verb is Verb.STOP:
        return status in _RUNNING or status is Status.RESTARTING
    return verb is Verb.REMOVE or status in RULES[verb].allowed


def _used(stats: ContainerStats | None) -> tuple[str, str, str]:
    if stats is None or stats.status not in _RUNNING:
        return "", "", ""
    return (
        f"{stats.cpu_percent:.2f}%",
        binary_size(stats.memory_bytes),
        f"{stats.memory_percent:.2f}%",
    )
