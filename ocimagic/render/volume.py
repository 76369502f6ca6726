"""Volumes as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.escape import visible
from ocimagic.render.table import Table
from ocimagic.render.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ocimagic.model.volume import VolumesPruned, VolumeSummary

VOLUME_HEADS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Availability": "AVAILABILITY",
    "Group": "GROUP",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Mountpoint": "MOUNTPOINT",
    "Scope": "SCOPE",
    "Size": "SIZE",
    "Status": "STATUS",
}
_NONE = "N/A"  # docker's, of what only a cluster has or only ``system df`` looks for


def volume_fields(volume: VolumeSummary, _now: datetime) -> dict[str, str]:
    """Return docker's ``volume ls --format`` fields of one volume."""
    return {
        "Availability": _NONE,
        "Driver": volume.driver,
        "Group": _NONE,
        "Labels": ",".join(f"{key}={value}" for key, value in volume.labels.items()),
        "Links": _NONE,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": _NONE,
        "Status": _NONE,
    }


def volume_table(volumes: Iterable[VolumeSummary], now: datetime) -> Table:
    """Lay out docker's columns for volumes."""
    fields = ("Driver", "Name")
    rows = (volume_fields(each, now) for each in volumes)
    return Table(
        caption="Volumes",
        heads=tuple(VOLUME_HEADS[each] for each in fields),
        rows=tuple(tuple(row[each] for each in fields) for row in rows),
    )


def volumes_pruned_text(pruned: VolumesPruned) -> str:
    """Say what ``volume prune`` took away."""
    lines = ["Deleted Volumes:", *pruned.volumes, ""] if pruned.volumes else []
    said = f"Total reclaimed space: {human_size(pruned.freed_bytes)}"
    return visible("\n".join([*lines, said]), lines=True)
