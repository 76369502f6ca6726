"""What is on disk and what was taken from it, as docker's JSON documents.

Spec: Docker Engine API v1.41, SystemDataUsage, ImageDelete and the five prune operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.wire.container import container_summary
from ocimagic.wire.image import image_entries
from ocimagic.wire.volume import volume_inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ocimagic.model.report import CachePruned, DiskUsage, ImagesPruned, Pruned
    from ocimagic.model.result import ContainerSummary, ImageSummary, Removed
    from ocimagic.model.volume import VolumesPruned, VolumeSummary

Document = dict[str, object]


def system_df(
    usage: DiskUsage,
    images: Sequence[ImageSummary],
    containers: Iterable[ContainerSummary],
    volumes: Iterable[VolumeSummary],
    status: Callable[[ContainerSummary], str],
) -> Document:
    """Return the answer of SystemDataUsage.

    Args:
        usage: what it all takes.
        images: as listed.
        containers: as listed with their sizes.
        volumes: as listed.
        status: docker's sentence about a container, such as ``Up 2 minutes``.
    """
    made = {each.image_id: each.containers for each in usage.images}
    sizes = {each.name: each for each in usage.volumes}
    entries = [
        entry | {"Containers": made.get(summary.image_id, 0), "SharedSize": summary.shared_bytes}
        for summary, entry in image_entries(images)
    ]
    return {
        "LayersSize": usage.images_bytes,
        "Images": entries or None,
        "Containers": [container_summary(each, status=status(each)) for each in containers],
        "Volumes": [
            volume_inspect(each)
            | {
                "UsageData": {
                    "RefCount": sizes[each.name].containers if each.name in sizes else 0,
                    "Size": sizes[each.name].size_bytes if each.name in sizes else -1,
                }
            }
            for each in volumes
        ],
        "BuildCache": _build_cache(usage),
    }


def _build_cache(usage: DiskUsage) -> list[Document] | None:
    """Return all that builds keep as one record; docker has one for each of its own."""
    if not usage.cache_bytes:
        return None
    return [
        {
            "ID": "build-cache",
            "Parent": "",
            "Type": "regular",
            "Description": f"{usage.cache_steps} build steps",
            "InUse": False,
            "Shared": False,
            "Size": usage.cache_bytes,
            "CreatedAt": None,
            "LastUsedAt": None,
            "UsageCount": usage.cache_steps,
        }
    ]


def image_deleted(removed: Removed) -> list[Document]:
    """Return the answer of ImageDelete."""
    untagged: list[Document] = [{"Untagged": name} for name in removed.untagged]
    return untagged + [{"Deleted": str(each)} for each in removed.deleted]


def images_pruned(pruned: ImagesPruned) -> Document:
    """Return the answer of ImagePrune; null for nothing, as in all of these."""
    gone: list[Document] = [{"Untagged": name} for name in pruned.untagged]
    gone += [{"Deleted": str(each)} for each in pruned.deleted]
    return {"ImagesDeleted": gone or None, "SpaceReclaimed": pruned.freed_bytes}


def containers_pruned(pruned: Pruned) -> Document:
    """Return the answer of ContainerPrune."""
    ids = list(pruned.containers) or None
    return {"ContainersDeleted": ids, "SpaceReclaimed": pruned.freed_bytes}


def volumes_pruned(pruned: VolumesPruned) -> Document:
    """Return the answer of VolumePrune, the only one with a list for nothing."""
    return {"VolumesDeleted": list(pruned.volumes), "SpaceReclaimed": pruned.freed_bytes}


def networks_pruned(names: Iterable[str]) -> Document:
    """Return the answer of NetworkPrune."""
    return {"NetworksDeleted": list(names) or None}


def cache_pruned(pruned: CachePruned) -> Document:
    """Return the answer of BuildPrune; our steps have no IDs to name."""
    return {"CachesDeleted": None, "SpaceReclaimed": pruned.freed_bytes}
