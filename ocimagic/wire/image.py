"""Images as docker's JSON documents.

Spec: Docker Engine API v1.50, ImageInspect, ImageSummary, HistoryResponseItem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.codec import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ocimagic.model.result import HistoryLine, ImageDetails, ImageSummary
    from ocimagic.spec.config import ContainerConfig

NO_TIME = "0001-01-01T00:00:00Z"  # Go's zero time, which docker writes for "never"


def image_inspect(image: ImageDetails) -> dict[str, object]:
    """Return the document of ``image inspect``.

    ``Base`` is ours: docker has no field for what an image was built on.
    """
    config = image.config
    history = config.history
    return {
        "Id": str(image.image_id),
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": "",
        "Comment": history[-1].comment if history else "",
        "Created": timestamp(config.created),
        "DockerVersion": "",
        "Author": config.author,
        "Config": container_config(config.config),
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "OsVersion": config.platform.os_version,
        "Size": image.size_bytes,
        "RootFS": {"Type": "layers", "Layers": [str(each) for each in config.diff_ids]},
        "Metadata": {"LastTagTime": NO_TIME},
        "Descriptor": _descriptor(image),
        "Base": {
            "Name": image.base_name,
            "Digest": image.base_digest,
            "Layers": [str(layer.diff_id) for layer in image.layers if layer.from_base],
        },
    }


def container_config(config: ContainerConfig) -> dict[str, object]:
    """Return docker's ``Config`` object, with null for what is unset."""
    return {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports} or None,
        "Env": list(config.env),
        "Cmd": list(config.cmd) if config.cmd else None,
        "Entrypoint": list(config.entrypoint) if config.entrypoint else None,
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Labels": dict(config.labels) or None,
        "StopSignal": config.stop_signal,
        "Healthcheck": dict(config.healthcheck) if config.healthcheck else None,
        "Shell": list(config.shell) or None,
        "OnBuild": list(config.on_build) or None,
    }


def image_summary(
    image: ImageSummary, *, labels: dict[str, str] | None = None
) -> dict[str, object]:
    """Return one entry of ``GET /images/json``.

    Args:
        image: one name of one image.
        labels: its labels, which a summary does not carry.
    """
    named = image.repository != "<none>"
    return {
        "Id": str(image.image_id),
        "ParentId": "",
        "RepoTags": [image.name] if named and image.tag != "<none>" else [],
        "RepoDigests": [f"{image.repository}@{image.digest}"] if named else [],
        "Created": _unix_time(image.created),
        "Size": image.size_bytes,
        "SharedSize": image.shared_bytes,
        "Labels": labels or {},
        "Containers": -1,
    }


def history(lines: Iterable[HistoryLine]) -> list[dict[str, object]]:
    """Return the list of ``GET /images/{name}/history``, newest first."""
    return [
        {
            "Id": str(line.image_id) if line.image_id else "<missing>",
            "Created": _unix_time(line.created),
            "CreatedBy": line.created_by,
            "Tags": None,
            "Size": line.size_bytes,
            "Comment": line.comment,
        }
        for line in lines
    ]


def timestamp(moment: datetime | None) -> str:
    """Write a time as docker does, or Go's zero time."""
    return rfc3339(moment) if moment else NO_TIME


def _unix_time(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0


def _descriptor(image: ImageDetails) -> dict[str, object]:
    document = image.manifest.descriptor.to_json()
    return document | {"annotations": dict(image.manifest.annotations) or None}
