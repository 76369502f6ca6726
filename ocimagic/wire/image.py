"""Images as docker's JSON documents.

Spec: Docker Engine API v1.50, ImageInspect, ImageSummary, HistoryResponseItem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.codec import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from ocimagic.model.result import HistoryLine, ImageDetails, ImageSummary
    from ocimagic.spec.config import ContainerConfig
    from ocimagic.spec.digest import Digest

NO_TIME = "0001-01-01T00:00:00Z"  # Go's zero time, which docker writes for "never"


def image_inspect(image: ImageDetails) -> dict[str, object]:
    """Return the document of ``image inspect``.

    ``Base`` is ours: docker has no field for what an image was built on.  That of another
    engine's image is as it came.
    """
    if image.document is not None:
        return dict(image.document)
    config = image.config
    history = config.history
    return {
        "Id": str(image.image_id),
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": str(image.parent or ""),
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
        "GraphDriver": {"Data": None, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": [str(each) for each in config.diff_ids]},
        "Metadata": {"LastTagTime": NO_TIME},
        "Descriptor": _descriptor(image),
        "Base": {
            "Name": image.base_name,
            "Digest": image.base_digest,
            "Layers": [str(layer.diff_id) for layer in image.layers if layer.from_base],
        },
    }


def made_of(image: ImageDetails) -> dict[str, object]:
    """Return what older versions of the API say of the container that an image was made of."""
    config = image.config.container_config
    if not image.config.container or config is None:
        return {}
    return {"Container": image.config.container, "ContainerConfig": dict(config)}


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


def image_summary(image: ImageSummary) -> dict[str, object]:
    """Return one entry of ``GET /images/json``, with one name of an image."""
    return image_entries([image])[0][1]


def image_entries(
    images: Iterable[ImageSummary],
) -> list[tuple[ImageSummary, dict[str, object]]]:
    """Return the entries of ``GET /images/json``, each image once with all its names."""
    together: dict[Digest, list[ImageSummary]] = {}
    for each in images:
        together.setdefault(each.image_id, []).append(each)
    return [(rows[0], _image_entry(rows)) for rows in together.values()]


def image_list(
    images: Iterable[ImageSummary],
    *,
    shared_size: bool = False,
    containers: Mapping[Digest, int] | None = None,
) -> list[dict[str, object]]:
    """Return the answer of ImageList.

    Args:
        images: as listed.
        shared_size: tell what images share; docker looks only if it is asked to.
        containers: how many were made from each image; None if nobody counted.
    """
    return [
        entry
        | {
            "SharedSize": summary.shared_bytes if shared_size else -1,
            "Containers": -1 if containers is None else containers.get(summary.image_id, 0),
        }
        for summary, entry in image_entries(images)
    ]


def _image_entry(rows: Sequence[ImageSummary]) -> dict[str, object]:
    first = rows[0]
    named = [each for each in rows if each.repository != "<none>"]
    return {
        "Id": str(first.image_id),
        "ParentId": "",
        "RepoTags": [each.name for each in named if each.tag != "<none>"],
        "RepoDigests": list(
            dict.fromkeys(f"{each.repository}@{each.digest}" for each in named if each.digest)
        ),
        "Created": _unix_time(first.created),
        "Size": first.size_bytes,
        "SharedSize": first.shared_bytes,
        "Labels": dict(first.labels),
        "Containers": -1,
    }


def history(lines: Iterable[HistoryLine], tags: Sequence[str] = ()) -> list[dict[str, object]]:
    """Return the list of ``GET /images/{name}/history``, newest first.

    Args:
        lines: newest first.
        tags: names of the image itself.
    """
    return [
        {
            "Id": str(line.image_id) if line.image_id else "<missing>",
            "Created": _unix_time(line.created),
            "CreatedBy": line.created_by,
            "Tags": (list(tags) or None) if number == 0 else None,
            "Size": line.size_bytes,
            "Comment": line.comment,
        }
        for number, line in enumerate(lines)
    ]


def timestamp(moment: datetime | None) -> str:
    """Write a time as docker does, or Go's zero time."""
    return rfc3339(moment) if moment else NO_TIME


def _unix_time(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0


def _descriptor(image: ImageDetails) -> dict[str, object] | None:
    if image.manifest is None:
        return None
    document = image.manifest.descriptor.to_json()
    return document | {"annotations": dict(image.manifest.annotations) or None}
