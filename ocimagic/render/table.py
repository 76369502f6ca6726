"""Tables as values: every list is laid out here once, then drawn as text and as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.state import Status
from ocimagic.render.escape import shorten
from ocimagic.render.ports import port_words
from ocimagic.render.units import (
    binary_size,
    count,
    human_age,
    human_duration,
    human_seconds,
    human_size,
)
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ocimagic.model.built import BuildResult
    from ocimagic.model.network import NetworkReport
    from ocimagic.model.report import ContainerSize
    from ocimagic.model.result import (
        ContainerSummary,
        HistoryLine,
        ImageSummary,
        LayerInfo,
        LayerReport,
        SystemInfo,
    )
    from ocimagic.spec.digest import Digest

COMMAND_WIDTH = 20
MOUNT_WIDTH = 15
CREATED_BY_WIDTH = 45
INSTRUCTION_WIDTH = 60

# Heads of the fields that a ``--format 'table …'`` can name.
IMAGE_HEADS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
CONTAINER_HEADS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "Status": "STATUS",
    "State": "STATE",
    "Names": "NAMES",
    "Networks": "NETWORKS",
    "Labels": "LABELS",
    "Ports": "PORTS",
    "Size": "SIZE",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
}
HISTORY_HEADS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
    "Base": "BASE",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Column heads and rows of plain text, not yet made visible.

    Attributes:
        caption: says what the table is; HTML shows it, text leaves it out.
        numbers: heads whose cells are aligned to the right in HTML.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str] = frozenset()


def image_table(
    images: Iterable[ImageSummary],
    now: datetime,
    *,
    digests: bool = False,
    no_trunc: bool = False,
) -> Table:
    """Lay out ``image ls`` as docker does."""
    rows = [image_fields(image, now, no_trunc=no_trunc) for image in images]
    columns = {"REPOSITORY": "Repository", "TAG": "Tag"}
    if digests:
        columns["DIGEST"] = "Digest"
    columns |= {"IMAGE ID": "ID", "CREATED": "CreatedSince", "SIZE": "Size"}
    return _table(f"{count(len(rows), 'image')}", columns, rows, numbers={"SIZE"})


def image_fields(image: ImageSummary, now: datetime, *, no_trunc: bool = False) -> dict[str, str]:
    """Return docker's ``image ls --format`` fields of one image."""
    return {
        "Repository": image.repository,
        "Tag": image.tag,
        "ID": digest_id(image.image_id, no_trunc=no_trunc),
        "Digest": str(image.digest or "<none>"),
        "CreatedSince": human_age(image.created, now),
        "CreatedAt": _moment(image.created),
        "Size": human_size(image.size_bytes),
        "SharedSize": human_size(image.shared_bytes),
        "UniqueSize": human_size(image.size_bytes - image.shared_bytes),
    }


def container_table(
    containers: Iterable[ContainerSummary],
    now: datetime,
    *,
    no_trunc: bool = False,
    size: bool = False,
    memory: bool = False,
) -> Table:
    """Lay out ``container ls`` as docker does; ``memory`` adds what is used where it is known."""
    containers = tuple(containers)
    rows = [container_fields(each, now, no_trunc=no_trunc) for each in containers]
    columns = {
        "CONTAINER ID": "ID",
        "IMAGE": "Image",
        "COMMAND": "Command",
        "CREATED": "RunningFor",
        "STATUS": "Status",
        "PORTS": "Ports",
        "NAMES": "Names",
    }
    if size:
        columns["SIZE"] = "Size"
    if memory and any(each.memory_bytes is not None for each in containers):
        columns["MEMORY"] = "Memory"
        for row, each in zip(rows, containers, strict=True):
            used = each.memory_bytes
            row["Memory"] = "" if used is None else binary_size(used)
    return _table(f"{count(len(rows), 'container')}", columns, rows, ["MEMORY"])


def container_fields(
    container: ContainerSummary, now: datetime, *, no_trunc: bool = False
) -> dict[str, str]:
    """Return docker's ``container ls --format`` fields of one container."""
    command = " ".join(container.command)
    return {
        "ID": container.container_id if no_trunc else container.container_id[:12],
        "Image": container.image,
        "Command": f'"{command if no_trunc else shorten(command, COMMAND_WIDTH)}"',
        "RunningFor": human_age(container.created, now),
        "CreatedAt": _moment(container.created),
        "Status": status_words(container, now),
        "State": container.status.value,
        "Names": container.name,
        "Networks": ",".join(container.networks) or container.network,
        "Labels": ",".join(f"{key}={value}" for key, value in container.labels.items()),
        "Ports": _ports(container),
        "Size": _sizes(container.size),
        "Mounts": ",".join(
            source if no_trunc else shorten(source, MOUNT_WIDTH) for source, _ in container.mounts
        ),
        "LocalVolumes": str(len(container.volumes)),
    }


def _ports(container: ContainerSummary) -> str:
    """Return docker's words about ports, of a container with networks of its own that runs."""
    return port_words(container.ports, container.exposed_ports) if container.places else ""


def _sizes(size: ContainerSize | None) -> str:
    if size is None:
        return "0B"
    return f"{human_size(size.changed_bytes)} (virtual {human_size(size.total_bytes)})"


def status_words(container: ContainerSummary, now: datetime) -> str:
    """Return docker's STATUS column: ``Up 2 minutes (healthy)``, ``Exited (0) 3 seconds ago``."""
    ended = container.exit
    match container.status:
        case Status.RUNNING | Status.PAUSED if container.started:
            up = f"Up {human_duration((now - container.started).total_seconds())}"
            return up + _condition(container)
        case Status.RESTARTING:
            after = f" ({ended.code}) {human_age(ended.finished, now)}" if ended else ""
            return f"Restarting{after}"
        case Status.REMOVING:
            return "Removal In Progress"
        case Status.EXITED if ended:
            return f"Exited ({ended.code}) {human_age(ended.finished, now)}"
    return str(container.status.value).capitalize()


def _condition(container: ContainerSummary) -> str:
    if container.status is Status.PAUSED:
        return " (Paused)"
    if container.health is None:
        return ""
    status = container.health.status
    return " (health: starting)" if status == "starting" else f" ({status})"


def history_table(
    history: Iterable[HistoryLine], now: datetime, *, no_trunc: bool = False, human: bool = True
) -> Table:
    """Lay out ``image history``, newest first."""
    rows = [history_fields(line, now, no_trunc=no_trunc, human=human) for line in history]
    columns = {
        "IMAGE": "ID",
        "CREATED" if human else "CREATED AT": "CreatedSince" if human else "CreatedAt",
        "CREATED BY": "CreatedBy",
        "SIZE": "Size",
        "COMMENT": "Comment",
        "BASE": "Base",
    }
    return _table(f"{count(len(rows), 'step')}, newest first", columns, rows, numbers={"SIZE"})


def history_fields(
    line: HistoryLine, now: datetime, *, no_trunc: bool = False, human: bool = True
) -> dict[str, str]:
    """Return docker's ``image history --format`` fields of one step, and our ``Base``."""
    return {
        "ID": digest_id(line.image_id, no_trunc=no_trunc) if line.image_id else "<missing>",
        "CreatedSince": human_age(line.created, now),
        "CreatedAt": _moment(line.created),
        "CreatedBy": line.created_by if no_trunc else shorten(line.created_by, CREATED_BY_WIDTH),
        "Size": human_size(line.size_bytes) if human else str(line.size_bytes),
        "Comment": line.comment,
        "Base": "yes" if line.from_base else "",
    }


def layer_table(name: str, layers: Sequence[LayerInfo]) -> Table:
    """Lay out the layers of one image, bottom first."""
    rows = tuple(
        (
            layer.digest.short,
            human_size(layer.size_bytes),
            shorten(instruction(layer.created_by), CREATED_BY_WIDTH),
            "yes" if layer.from_base else "",
            ", ".join(layer.shared_with),
        )
        for layer in layers
    )
    heads = ("DIGEST", "SIZE", "CREATED BY", "BASE", "SHARED WITH")
    caption = f"{name}: {count(len(rows), 'layer')}, bottom first"
    return Table(caption, heads, rows, frozenset({"SIZE"}))


def layer_tables(report: LayerReport) -> tuple[Table, ...]:
    """Lay out one table per image of a report."""
    return tuple(layer_table(name, layers) for name, layers in report.images)


def build_table(result: BuildResult) -> Table:
    """Lay out the steps of a build; of which stage each is, where there are several."""
    has_stages = len({step.stage for step in result.steps}) > 1
    rows = tuple(
        (
            str(step.number),
            *((step.stage,) if has_stages else ()),
            shorten(step.text, INSTRUCTION_WIDTH),
            "cached" if step.cached else step.why,
            human_seconds(step.seconds),
            human_size(step.size_bytes) if step.layer else "",
            step.image_id.short if step.image_id else "",
        )
        for step in result.steps
    )
    stage = ("STAGE",) if has_stages else ()
    heads = ("STEP", *stage, "INSTRUCTION", "CACHE", "TIME", "LAYER", "IMAGE")
    return Table(count(len(rows), "step"), heads, rows, frozenset({"STEP", "TIME", "LAYER"}))


def _told(size_bytes: int | None) -> str:
    return "not told by this API" if size_bytes is None else human_size(size_bytes)


def info_table(info: SystemInfo) -> Table:
    """Lay out ``system info`` as names and values."""
    rows = [
        ("Version", info.version),
        ("Isolation", info.isolation),
        ("Containers", f"{info.containers} ({info.running} running)"),
        ("Images", str(info.images)),
        ("Data root", info.data_root),
        ("Run root", info.run_root),
        ("Stored", _told(info.store_bytes)),
        ("Free", _told(info.free_bytes)),
        ("Snapshotter", info.snapshotter),
        ("Runtime", info.runtime),
        ("Kernel", info.kernel),
        ("Operating system", info.operating_system),
        ("Architecture", info.architecture),
        ("CPUs", str(info.cpus)),
        ("Memory", human_size(info.memory_bytes)),
    ]
    rows += _network_rows(info.networks)
    rows += [("This machine lacks", sentence) for sentence in info.lacks]
    rows += [("Not built yet", sentence) for sentence in info.not_yet]
    return Table("This engine and this machine", ("WHAT", "VALUE"), tuple(rows))


def _network_rows(found: NetworkReport) -> list[tuple[str, str]]:
    others = ", ".join(each for each in found.kinds if each != found.usual)
    rows = [("Networks", f"{found.usual} if none is said" + (f"; {others}" if others else ""))]
    rows += [("No other networks", found.why_not)] if found.why_not else []
    rows += [("Way out", found.way_out)] if found.way_out else []
    rows += [("Forwarding", found.forwarding)] if found.forwarding else []
    return rows + [("Packet rules", each) for each in found.firewall]


def instruction(created_by: str) -> str:
    """Return the Dockerfile line behind a history line, without what builders wrap it in."""
    text = created_by.removesuffix(" # buildkit").removesuffix(" # ocimagic")
    shell = "/bin/sh -c "
    if text.startswith(shell):
        text = text.removeprefix(shell)
        text = text.removeprefix("#(nop)") if text.startswith("#(nop)") else f"RUN {text}"
    return text.replace(f"RUN {shell}", "RUN ", 1).strip() or "(no command)"


def digest_id(digest: Digest, *, no_trunc: bool = False) -> str:
    """Return an ID as docker's tables show it."""
    return str(digest) if no_trunc else digest.short


def _table(
    caption: str,
    columns: dict[str, str],
    rows: Sequence[dict[str, str]],
    numbers: Iterable[str] = (),
) -> Table:
    cells = tuple(tuple(row[field] for field in columns.values()) for row in rows)
    return Table(caption, tuple(columns), cells, frozenset(numbers))


def _moment(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S %z UTC") if moment else "N/A"
