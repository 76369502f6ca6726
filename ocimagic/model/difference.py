"""What two images have not in common, down to the file and its attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.model.result import LayerReport
    from ocimagic.spec.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs.

    Attributes:
        what: an attribute of a file (``content``, ``mode``, ``owner``, ``time``, ``kind``,
            ``link``, ``size``), or ``only``; of the config, the name of the field.
        old: in the first image, in words; "" where there is none.
        new: in the second.
    """

    what: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDifference:
    """A file that differs.

    Attributes:
        path: absolute.
        differences: at least one.
    """

    path: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDiff:
    """What ``image diff`` found.

    Attributes:
        names: what the two are called.
        image_ids: of both; equal ones are one image.
        config: fields of the config that differ, the history among them.
        layers: diff_ids of both where they are not the same, bottom first; None where one image
            has no such layer.
        files: by path.
        stacks: the layers of both, to see where they part; None if that is not known.
    """

    names: tuple[str, str]
    image_ids: tuple[Digest, Digest]
    config: tuple[Difference, ...]
    layers: tuple[tuple[int, Digest | None, Digest | None], ...]
    files: tuple[FileDifference, ...]
    stacks: LayerReport | None = None

    @property
    def same(self) -> bool:
        """Say whether they are one image."""
        return self.image_ids[0] == self.image_ids[1]

    @property
    def exit_code(self) -> int:
        """Return 1 if they differ, as diff(1) does."""
        return int(not self.same)
