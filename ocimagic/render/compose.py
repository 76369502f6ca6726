"""The services of a compose project as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.state import ALIVE, Status
from ocimagic.render.html import table_html
from ocimagic.render.table import CONTAINER_HEADS, Table, container_fields
from ocimagic.render.units import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ocimagic.model.result import ContainerSummary

_SERVICE = "com.docker.compose.service"
_PROJECT = "com.docker.compose.project"
SERVICE_HEADS = {
    **CONTAINER_HEADS,
    "Name": "NAME",
    "Image": "IMAGE",
    "Service": "SERVICE",
    "Project": "PROJECT",
    "Health": "HEALTH",
    "ExitCode": "EXIT CODE",
}


def service_fields(
    container: ContainerSummary, now: datetime, *, no_trunc: bool = False
) -> dict[str, str]:
    """Return docker compose's ``ps --format`` fields of one container."""
    return {
        **container_fields(container, now, no_trunc=no_trunc),
        "Name": container.name,
        "Service": container.labels.get(_SERVICE, ""),
        "Project": container.labels.get(_PROJECT, ""),
        "Health": container.health.status if container.health else "",
        "ExitCode": str(container.exit.code if container.exit else 0),
    }


def service_document(container: ContainerSummary, now: datetime) -> dict[str, object]:
    """Return one container as ``ps --format json`` has it."""
    publishers = []
    for each in container.ports:
        port, _, protocol = each.container_port.partition("/")
        publishers.append(
            {
                "URL": each.host_ip,
                "TargetPort": int(port),
                "PublishedPort": each.host_port,
                "Protocol": protocol,
            }
        )
    fields: dict[str, object] = {**service_fields(container, now)}
    return {
        **dict(sorted(fields.items())),
        "ExitCode": container.exit.code if container.exit else 0,
        "Publishers": publishers,
    }


def services_table(
    containers: Iterable[ContainerSummary], now: datetime, *, no_trunc: bool = False
) -> Table:
    """Lay out ``compose ps`` as docker compose does."""
    columns = {
        "NAME": "Name",
        "IMAGE": "Image",
        "COMMAND": "Command",
        "SERVICE": "Service",
        "CREATED": "RunningFor",
        "STATUS": "Status",
        "PORTS": "Ports",
    }
    rows = [service_fields(each, now, no_trunc=no_trunc) for each in containers]
    return Table(
        caption=count(len(rows), "container"),
        heads=tuple(columns),
        rows=tuple(tuple(row[field] for field in columns.values()) for row in rows),
    )


def services_html(containers: Sequence[ContainerSummary], now: datetime) -> str:
    """Draw the services: whose container, how it is, and where it is reached."""
    rows = [service_fields(each, now) for each in containers]
    running = sum(each.status in ALIVE for each in containers)
    project = next((row["Project"] for row in rows if row["Project"]), "")
    caption = f"{project}: {running} of {count(len(rows), 'container')} running" if rows else ""
    table = Table(
        caption=caption or "no containers",
        heads=("SERVICE", "CONTAINER", "IMAGE", "STATE", "HEALTH", "PORTS"),
        rows=tuple(
            (row["Service"], row["Name"], row["Image"], _state(each, row), row["Health"],
             row["Ports"])
            for each, row in zip(containers, rows, strict=True)
        ),
    )  # fmt: skip
    return table_html(table)


def _state(container: ContainerSummary, row: dict[str, str]) -> str:
    if container.status is Status.EXITED:
        return f"exited ({row['ExitCode']})"
    return str(container.status.value)
