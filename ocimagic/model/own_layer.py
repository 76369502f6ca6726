"""A container's own read-write layer over the read-only ones of its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.model.report import ChangeKind
    from ocimagic.model.result import LayerInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnChange:
    """One thing that a container changed.

    Attributes:
        path: absolute, in the container; undecodable bytes are surrogates.
        is_directory: something in it changed, or it is new.
        size_bytes: of the file in the read-write layer; 0 for what is no file.
        below: number of the image's layer, the lowest being 0, that has what was changed or
            deleted; None for what is new.
        copied_bytes: of the file below that were copied up before it could be changed; 0 where
            nothing was: a new file, or one that took the place of the old.
    """

    kind: ChangeKind
    path: str
    is_directory: bool = False
    size_bytes: int = 0
    below: int | None = None
    copied_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLayers:
    """What ``container layers`` shows.

    Attributes:
        image: as the container calls it.
        layers: of the image, lowest first; none if the image is gone.
        changes: by path, as ``container diff`` has them.
        is_copy: nothing is stacked here: the container began with a copy of all files.
    """

    container_id: str
    name: str
    image: str
    layers: tuple[LayerInfo, ...]
    changes: tuple[OwnChange, ...]
    is_copy: bool = False

    @property
    def size_bytes(self) -> int:
        """Return what the files in the read-write layer that changed take."""
        return sum(each.size_bytes for each in self.changes)

    @property
    def copied_bytes(self) -> int:
        """Return what was copied up."""
        return sum(each.copied_bytes for each in self.changes)
