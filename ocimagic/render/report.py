"""What living containers tell of themselves, laid out as docker does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.report import ChangeKind
from ocimagic.model.state import Status
from ocimagic.render.escape import visible
from ocimagic.render.table import Table
from ocimagic.render.units import binary_size, count, human_seconds, human_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.model.archive import Imported, Loaded, Saved
    from ocimagic.model.report import (
        Committed,
        ContainerStats,
        Copied,
        ExecResult,
        FileChange,
        ProcessTable,
        Pruned,
    )

STATS_HEADS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_WORDS = {
    ChangeKind.ADDED: "added",
    ChangeKind.CHANGED: "changed",
    ChangeKind.DELETED: "deleted",
}


def stats_table(rows: Iterable[ContainerStats], *, no_trunc: bool = False) -> Table:
    """Lay out ``container stats``."""
    drawn = [stats_fields(each, no_trunc=no_trunc) for each in rows]
    shown = [field for field in STATS_HEADS if field != "Container"]
    cells = tuple(tuple(row[field] for field in shown) for row in drawn)
    heads = tuple(STATS_HEADS[field] for field in shown)
    return Table(count(len(cells), "container"), heads, cells, frozenset(heads[2:]))


def stats_fields(stats: ContainerStats, *, no_trunc: bool = False) -> dict[str, str]:
    """Return docker's ``stats --format`` fields of one container."""
    short = stats.container_id if no_trunc else stats.container_id[:12]
    received, sent = stats.received_bytes or 0, stats.sent_bytes or 0
    limit = stats.memory_limit_bytes
    return {
        "Container": stats.name,
        "Name": stats.name,
        "ID": short,
        "CPUPerc": f"{stats.cpu_percent:.2f}%",
        "MemUsage": f"{binary_size(stats.memory_bytes)} / {binary_size(limit)}",
        "MemPerc": f"{stats.memory_percent:.2f}%",
        "NetIO": f"{human_size(received)} / {human_size(sent)}",
        "BlockIO": f"{human_size(stats.read_bytes)} / {human_size(stats.written_bytes)}",
        "PIDs": str(stats.processes),
    }


def stats_sentence(rows: Iterable[ContainerStats]) -> str:
    """Say in words what a stats table shows, for whoever cannot see it change."""
    alive = [each for each in rows if each.status is Status.RUNNING]
    cpu = sum(each.cpu_percent for each in alive)
    memory = sum(each.memory_bytes for each in alive)
    return f"{count(len(alive), 'container')} running, {cpu:.0f}% CPU, {binary_size(memory)}"


def process_table(processes: ProcessTable) -> Table:
    """Lay out ``container top``."""
    return Table(count(len(processes.rows), "process"), processes.titles, processes.rows)


def change_lines(changes: Iterable[FileChange]) -> list[str]:
    """Return the lines of ``container diff``."""
    return [f"{each.kind.value} {visible(each.path)}" for each in changes]


def change_table(changes: Iterable[FileChange]) -> Table:
    """Lay out ``container diff`` with words for docker's letters."""
    rows = tuple((each.kind.value, _WORDS[each.kind], each.path) for each in changes)
    return Table(count(len(rows), "change"), ("KIND", "MEANING", "PATH"), rows)


def pruned_text(pruned: Pruned) -> str:
    """Say what ``container prune`` took away, as docker does."""
    lines = ["Deleted Containers:", *pruned.containers, ""] if pruned.containers else []
    return "\n".join([*lines, f"Total reclaimed space: {human_size(pruned.freed_bytes)}"])


def copied_text(copied: Copied) -> str:
    """Say what ``container cp`` did, as docker does."""
    size = human_size(copied.size_bytes)
    return visible(f"Successfully copied {size} to {copied.target}")


def committed_text(committed: Committed) -> str:
    """Return the ID of the new image, as docker does."""
    return str(committed.image_id)


def committed_sentence(committed: Committed) -> str:
    """Say what ``container commit`` made."""
    name = f"{committed.reference}: " if committed.reference else ""
    size = human_size(committed.size_bytes)
    return visible(f"{name}image {committed.image_id.short}, a layer of {size} more")


def exec_sentence(result: ExecResult) -> str:
    """Say how a command in a container ended; its output is ``stdout`` and ``stderr``."""
    took = human_seconds(result.duration_s)
    return visible(f"exit {result.exit_code}, {took}, in container {result.name}")


def saved_text(saved: Saved) -> str:
    """Say what ``image save`` wrote."""
    said = f"{count(len(saved.image_ids), 'image')}, {human_size(saved.size_bytes)}"
    return visible(f"saved {said}: {', '.join(saved.tags)}" if saved.tags else f"saved {said}")


def loaded_lines(loaded: Loaded) -> list[str]:
    """Say what ``image load`` brought, as docker does."""
    lines = []
    for image in loaded.images:
        for tag, old in image.replaced:
            lines.append(
                f"The image {visible(tag)} already exists, renaming the old one with ID {old} "
                "to empty string"
            )
        lines += [f"Loaded image: {visible(tag)}" for tag in image.tags]
        if not image.tags:
            lines.append(f"Loaded image ID: {image.image_id}")
    return lines


def imported_sentence(imported: Imported) -> str:
    """Say what ``image import`` made."""
    name = f"{imported.reference}: " if imported.reference else ""
    return visible(f"{name}image {imported.image_id.short}, {human_size(imported.size_bytes)}")
