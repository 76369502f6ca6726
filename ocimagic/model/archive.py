"""What archives of images come to: the results of save, load, import and adopt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from datetime import datetime

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptableImage:
    """An image that another engine on this machine has.

    Attributes:
        image_id: as it is called there.
        tags: familiar references; none for some.
        size_bytes: of its files, as that engine counts.
        created: None when it does not say.
        is_here: it is in this store, too.
    """

    image_id: Digest
    tags: tuple[str, ...]
    size_bytes: int
    created: datetime | None
    is_here: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoptable:
    """What ``image adopt`` could bring.

    Attributes:
        source: which engine has it, and where that was asked.
        images: in its own order.
    """

    source: str
    images: tuple[AdoptableImage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What ``image adopt`` did.

    Attributes:
        source: which engine gave it, and where that was asked.
        loaded: images that came.
        known: images that were here already; they have the names now.
        received_bytes: of the archive that came; 0 when nothing had to.
    """

    source: str
    loaded: Loaded
    known: tuple[LoadedImage, ...]
    received_bytes: int
    seconds: float

    @property
    def images(self) -> tuple[LoadedImage, ...]:
        """Return all that were asked for."""
        return (*self.loaded.images, *self.known)
