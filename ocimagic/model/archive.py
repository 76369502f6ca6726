"""What archives of images come to: the results of save, load and import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ocimagic.spec.digest import Digest

ArchiveFormat = Literal["docker", "oci"]  # docker's is an OCI layout as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What ``image save`` wrote.

    Attributes:
        image_ids: each once.
        tags: familiar references that the archive gives them.
        size_bytes: of the tar.
    """

    image_ids: tuple[Digest, ...]
    tags: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedImage:
    """One image that ``image load`` brought.

    Attributes:
        tags: familiar references that the archive gave it; none for some.
        replaced: those of them that another image had before, each with that image's ID.
    """

    image_id: Digest
    tags: tuple[str, ...]
    replaced: tuple[tuple[str, Digest], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What ``image load`` did."""

    images: tuple[LoadedImage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The image that ``image import`` made.

    Attributes:
        reference: its name as docker shows it, "" for none.
        size_bytes: of its files.
    """

    image_id: Digest
    reference: str
    size_bytes: int
