"""Volumes as docker's JSON documents.

Spec: Docker Engine API v1.41, Volume.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.volume import VolumeSummary


def volume_inspect(volume: VolumeSummary) -> dict[str, object]:
    """Return the document of ``volume inspect``."""
    return {
        "CreatedAt": f"{volume.created:%Y-%m-%dT%H:%M:%SZ}",
        "Driver": volume.driver,
        "Labels": dict(volume.labels) or None,
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": "local",
    }


def volume_list(
    volumes: Iterable[VolumeSummary], warnings: Sequence[str] = ()
) -> dict[str, object]:
    """Return the answer of VolumeList."""
    found = [volume_inspect(each) for each in volumes]
    return {"Volumes": found, "Warnings": list(warnings) or None}
