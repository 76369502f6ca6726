"""What living containers tell of themselves, laid out as docker does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.report import ChangeKind
from ocimagic.model.state import Status
from ocimagic.render.escape import shorten, visible
from ocimagic.render.table import Table, instruction
from ocimagic.render.units import binary_size, count, human_age, human_seconds, human_size
from ocimagic.render.volume import volumes_pruned_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ocimagic.model.accounts import Accounts
    from ocimagic.model.archive import Imported, Loaded, Saved
    from ocimagic.model.report import (
        Bootstrapped,
        CachePruned,
        Committed,
        ContainerStats,
        Copied,
        DiskUsage,
        ExecResult,
        FileChange,
        ImagesPruned,
        ProcessTable,
        Pruned,
        SystemPruned,
        Verified,
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
USAGE_HEADS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_NAMED = 3  # images that a prune has left are told by name, so many
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
    return "\n".join([*lines, _reclaimed(pruned.freed_bytes)])


def images_pruned_text(pruned: ImagesPruned) -> str:
    """Say what ``image prune`` took away, as docker does, and what was kept, and why."""
    gone = [f"untagged: {each}" for each in pruned.untagged]
    gone += [f"deleted: {each}" for each in pruned.deleted]
    lines = ["Deleted Images:", *gone, ""] if gone else []
    stays = why_kept(pruned)
    lines += [f"Kept: {'; '.join(stays)}", ""] if stays else []
    return visible("\n".join([*lines, _reclaimed(pruned.freed_bytes)]), lines=True)


def why_kept(pruned: ImagesPruned) -> list[str]:
    """Say which name or container keeps what a prune has left: layers, then images."""
    layers: dict[str, list[int]] = {}
    for each in pruned.kept:
        layers.setdefault(each.used_by, []).append(each.size_bytes)
    said = []
    for name, sizes in layers.items():
        what = "a layer" if len(sizes) == 1 else f"{len(sizes)} layers"
        it = "it" if len(sizes) == 1 else "them"
        said.append(f"{what} of {human_size(sum(sizes))} kept because {name} uses {it}")
    made = [each for each in pruned.stay if each.container]
    said += [
        f"{each.name} kept because container {each.container} was made from it"
        for each in made[:_NAMED]
    ]
    if (more := len(made) - _NAMED) > 0:
        said.append(f"{count(more, 'more image')} kept because of containers")
    named = [each.name for each in pruned.stay if not each.container]
    if len(named) == 1:
        said.append(f"{named[0]} kept because it has a name: -a takes such, too")
    elif named:
        said.append(f"{len(named)} images kept because they have names: -a takes such, too")
    return said


def cache_pruned_text(pruned: CachePruned) -> str:
    """Say what ``builder prune`` took away."""
    lines = [f"Forgot {count(pruned.steps, 'build step')}", ""] if pruned.steps else []
    return "\n".join([*lines, _reclaimed(pruned.freed_bytes)])


def system_pruned_text(pruned: SystemPruned) -> str:
    """Say what ``system prune`` took away, part by part, and the sum."""
    parts = [
        pruned_text(pruned.containers),
        volumes_pruned_text(pruned.volumes),
        images_pruned_text(pruned.images),
        cache_pruned_text(pruned.cache),
    ]
    said = [each.rpartition("\n")[0] for each in parts]
    return "\n".join([*filter(None, said), _reclaimed(pruned.freed_bytes)])


def system_pruned_sentence(pruned: SystemPruned) -> str:
    """Say the same in a sentence, and what of it was kept, and why."""
    parts = (
        (len(pruned.containers.containers), "container"),
        (len(pruned.volumes.volumes), "volume"),
        (pruned.images.images, "image"),
        (pruned.cache.steps, "build step"),
    )
    gone = [count(number, word) for number, word in parts if number]
    said = [", ".join([*gone, f"{human_size(pruned.freed_bytes)} freed"]), *why_kept(pruned.images)]
    return visible("; ".join(said), lines=True)


def _reclaimed(size_bytes: int) -> str:
    return f"Total reclaimed space: {human_size(size_bytes)}"


def accounts_table(accounts: Accounts) -> Table:
    """Lay out what each layer of an image does, with the largest file it wastes."""
    heads = ("LAYER", "INSTRUCTION", "ADDS", "CHANGES", "DELETES", "BYTES", "WASTED", "MOSTLY")
    cells = tuple(
        (
            str(number),
            shorten(instruction(each.created_by), 40),
            str(len(each.added)),
            str(len(each.changed)),
            str(len(each.deleted)),
            human_size(each.shipped_bytes),
            human_size(each.wasted_bytes),
            f"/{each.wasted[0].path}, by layer {each.wasted[0].by}" if each.wasted else "",
        )
        for number, each in enumerate(accounts.layers)
    )
    shipped, wasted = human_size(accounts.shipped_bytes), human_size(accounts.wasted_bytes)
    whole = ("all", f"{accounts.efficiency:.1%} of it is shown", "", "", "", shipped, wasted, "")
    return Table(accounts.image, heads, (*cells, whole), frozenset(heads[2:7]))


def verified_text(verified: Verified) -> str:
    """Say what is wrong with which image, or that nothing is."""
    lines = [f"{each.image}: {each.digest}: {each.what}" for each in verified.faults]
    checked = f"{count(verified.images, 'image')}, {human_size(verified.checked_bytes)} of layers"
    if not lines:
        return f"{checked}: every digest fits"
    said = f"{checked}: {count(len(lines), 'fault')}; pull or build these images again"
    return visible("\n".join([*lines, said]), lines=True)


def usage_rows(usage: DiskUsage) -> list[dict[str, str]]:
    """Return docker's fields of ``system df``, a row per kind."""
    images, containers = usage.images, usage.containers
    idle = sum(each.size_bytes for each in containers if not each.active)
    used = sum(bool(each.containers) for each in images)
    active = sum(each.active for each in containers)
    written = sum(each.size_bytes for each in containers)
    volumes = usage.volumes
    kept = sum(each.size_bytes for each in volumes)
    spare = [each.size_bytes for each in volumes if not each.containers]
    rows = (
        ("Images", len(images), used, usage.images_bytes, usage.images_reclaimable_bytes),
        ("Containers", len(containers), active, written, idle),
        ("Local Volumes", len(volumes), len(volumes) - len(spare), kept, sum(spare)),
        ("Build Cache", usage.cache_steps, 0, usage.cache_bytes, usage.cache_bytes),
    )
    return [
        dict(
            zip(
                USAGE_HEADS,
                (kind, str(total), str(busy), human_size(size), _of(free, size)),
                strict=True,
            )
        )
        for kind, total, busy, size, free in rows
    ]


def usage_table(usage: DiskUsage) -> Table:
    """Lay out ``system df``."""
    rows = tuple(tuple(row.values()) for row in usage_rows(usage))
    return Table("Disk usage", tuple(USAGE_HEADS.values()), rows)


def _of(part: int, whole: int) -> str:
    share = f" ({100 * part // whole}%)" if whole else ""
    return f"{human_size(part)}{share}"


def usage_tables(usage: DiskUsage, now: datetime) -> tuple[Table, ...]:
    """Lay out ``system df -v``: each image, container and volume."""
    images = tuple(
        (
            each.name,
            each.image_id.short,
            human_age(each.created, now) if each.created else "",
            human_size(each.size_bytes),
            human_size(each.shared_bytes),
            human_size(each.unique_bytes),
            str(each.containers),
        )
        for each in usage.images
    )
    containers = tuple(
        (each.container_id[:12], each.image, human_size(each.size_bytes), each.name)
        for each in usage.containers
    )
    volumes = tuple(
        (each.name, str(each.containers), human_size(each.size_bytes)) for each in usage.volumes
    )
    return (
        Table(
            "Images space usage",
            ("IMAGE", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"),
            images,
        ),
        Table("Containers space usage", ("CONTAINER ID", "IMAGE", "SIZE", "NAMES"), containers),
        Table("Local Volumes space usage", ("VOLUME NAME", "LINKS", "SIZE"), volumes),
    )


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


def bootstrapped_sentence(made: Bootstrapped) -> str:
    """Say what ``image bootstrap`` made, and who vouches for it."""
    keys = ", ".join(each[-16:] for each in made.signed_by)
    signed = f"signed by {keys}" if keys else "signature not checked"
    cached = ", configured before" if made.cached else ""
    return visible(
        f"{' '.join(made.tags)}: image {made.image_id.short}, "
        f"{count(len(made.packages), 'package')}, {human_size(made.size_bytes)}, "
        f"{human_size(made.fetched_bytes)} fetched{cached}, {human_seconds(made.seconds)}\n"
        f"from {', '.join(made.mirrors)}; {signed}",
        lines=True,
    )
