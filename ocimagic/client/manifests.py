"""Manifests: files and registries, of which a Docker API knows nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.client.refusing import undone, untold
from ocimagic.model.event import OnEvent, ignore

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ocimagic.model.distribution import (
        ListPushed,
        ManifestDetails,
        ManifestDocument,
        ManifestList,
        PlatformChange,
    )


class NoManifests:
    """Refuses; docker's own client does these without its daemon."""

    def inspect(
        self, name: str, *, within: str | None = None, on_event: OnEvent = ignore
    ) -> ManifestDocument:
        """Refuse."""
        del within, on_event
        raise untold(f"the manifest of {name}")

    def details(
        self, name: str, *, within: str | None = None, on_event: OnEvent = ignore
    ) -> ManifestDetails:
        """Refuse."""
        del within, on_event
        raise untold(f"the manifest of {name}")

    def create(self, name: str, images: Sequence[str], *, amend: bool = False) -> ManifestList:
        """Refuse."""
        del images, amend
        raise undone(f"make the list {name}")

    def annotate(self, name: str, image: str, change: PlatformChange) -> ManifestList:
        """Refuse."""
        del image, change
        raise undone(f"annotate the list {name}")

    def push(
        self,
        name: str,
        *,
        purge: bool = False,
        compression: str = "gzip",
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> ListPushed:
        """Refuse."""
        del purge, compression, on_event, cancelled
        raise undone(f"push the list {name}")

    def remove(self, *names: str) -> tuple[str, ...]:
        """Refuse."""
        raise undone(f"remove the list {' '.join(names)}")
