"""Volumes of docker's JSON documents: the inverse of ``volume``.

Spec: Docker Engine API v1.41, Volume.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.model.volume import ANONYMOUS, VolumeSummary

if TYPE_CHECKING:
    from ocimagic.spec.codec import Fields

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def volume_summary(document: Fields, users: tuple[str, ...] = ()) -> VolumeSummary:
    """Read the document of ``volume inspect``.

    Args:
        document: of one volume.
        users: IDs of the containers that were made with it, which the document does not say.

    Raises:
        InvalidDocument: it is none.
    """
    name, labels = document.text("Name"), document.text_map("Labels")
    return VolumeSummary(
        name=name,
        created=document.time("CreatedAt") or _EPOCH,
        mountpoint=document.text("Mountpoint", ""),
        driver=document.text("Driver", ""),
        labels=labels,
        # Before its label docker told such a volume by its name only.
        anonymous=ANONYMOUS in labels or (len(name) == 64 and _is_hex(name)),
        users=users,
        options=document.text_map("Options"),
    )


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef")
