"""Verbs on volumes, as the engine's callers see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.model.volume import VolumeOptions, VolumesPruned, VolumeSummary


class VolumesAPI(Protocol):
    """Verbs on volumes."""

    def create(self, options: VolumeOptions) -> VolumeSummary:
        """Make a volume; one that is there already stays as it is."""
        ...

    def all(self) -> tuple[VolumeSummary, ...]:
        """Return all volumes, by name."""
        ...

    def inspect(self, name: str) -> VolumeSummary:
        """Return one volume and who was made with it."""
        ...

    def remove(self, name: str) -> str:
        """Remove a volume with its files; return its name."""
        ...

    def prune(
        self,
        keep: Callable[[VolumeSummary], bool] = ...,
        *,
        all: bool = False,  # noqa: A002  docker's word
    ) -> VolumesPruned:
        """Remove volumes that no container was made with."""
        ...

    def export(self, name: str, out: Callable[[bytes], object]) -> int:
        """Give a volume's files as a tar; return its size in bytes."""
        ...

    def load(self, name: str, stream: int | bytes) -> int:
        """Unpack a tar into a volume; return its size in bytes."""
        ...
