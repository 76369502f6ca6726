"""What registries hold and were asked: copies, lists, searches, and indexes made here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ocimagic.spec.digest import Digest
    from ocimagic.spec.manifest import Index, Manifest
    from ocimagic.spec.platform import Platform


SEARCH_LIMIT = 25
SEARCH_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """What ``image copy`` did.

    Attributes:
        source: full name of what was copied.
        reference: full name with the tag it has now.
        digest: of the manifest or index under that tag: the source's own.
        manifests: how many manifests and indexes that is.
        blobs: how many configs and layers they name.
        there: how many of those the target had already.
        mounted: how many it took over from another of its repositories.
        sent_bytes: of the others.
    """

    source: str
    reference: str
    digest: Digest
    manifests: int
    blobs: int
    there: int
    mounted: int
    sent_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryListing:
    """What ``registry ls`` shows: the repositories of a registry, or the tags of one.

    Attributes:
        place: what was asked, as docker writes it.
        kind: ``repository`` or ``tag``.
        names: sorted, for registries have orders of their own.
    """

    place: str
    kind: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """A manifest that says something about another one.

    Attributes:
        artifact_type: what it is: a signature, a bill of materials, or "" if it does not say.
        created: from its annotations.
    """

    digest: Digest
    media_type: str
    artifact_type: str
    size_bytes: int
    created: datetime | None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrerReport:
    """What ``image referrers`` shows.

    Attributes:
        reference: full name of what was asked about.
        subject: its manifest or index.
        is_listed: the registry keeps such lists; else this one was found under a tag.
    """

    reference: str
    subject: Digest
    referrers: tuple[Referrer, ...]
    is_listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """One row of ``search``."""

    name: str
    description: str
    stars: int
    is_official: bool
    is_automated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestDocument:
    """A manifest or index as it is, and where it was found.

    Attributes:
        reference: full name as it was asked for; what is in an index, by its digest.
        content: the document, read; ``raw`` are its bytes.
        platform: of an image, from its config or from the list it is in.
        place: ``list``, ``registry`` or ``store``.
    """

    reference: str
    digest: Digest
    content: Manifest | Index
    platform: Platform | None
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestDetails:
    """A manifest or index with each manifest it stands for.

    Attributes:
        document: what was asked for.
        manifests: what it names, or itself; each with its platform.
    """

    document: ManifestDocument
    manifests: tuple[ManifestDocument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformChange:
    """What ``manifest annotate`` says of an image's platform; None leaves a part as it is."""

    os: str | None = None
    architecture: str | None = None
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestList:
    """An index that was made here and can be pushed.

    Attributes:
        reference: full name it will get.
        entries: name as typed with platform, in the order they were added.
    """

    reference: str
    entries: tuple[tuple[str, Platform], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPushed:
    """What ``manifest push`` did.

    Attributes:
        reference: full name with tag.
        digest: of the index in the registry.
        size_bytes: of the index.
        manifests: each with its platform.
        sent_bytes: over the network.
        purged: the list is gone here.
    """

    reference: str
    digest: Digest
    size_bytes: int
    manifests: tuple[tuple[Digest, Platform], ...]
    sent_bytes: int
    seconds: float
    purged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TreePart:
    """One entry of an image's index, or the image itself where it has none.

    Attributes:
        digest: of its manifest.
        platform: None where the index does not say.
        is_here: it can be run from the store.
        size_bytes: of its files unpacked, 0 if it is not here.
        content_bytes: of its blobs as they are stored or announced; of what is not here, its
            manifest alone.
        describes: of an attestation, the manifest it is about; None for an image.
        artifact_type: of an artifact, else "".
    """

    digest: Digest
    platform: Platform | None
    is_here: bool
    size_bytes: int
    content_bytes: int
    describes: Digest | None = None
    is_attestation: bool = False
    artifact_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTree:
    """An image with all that its index names: what ``image ls --tree`` draws.

    Attributes:
        names: that point at it, as docker shows them.
        digest: what they point at.
        image_id: of the part that is here.
        in_use: a container was made from it.
        is_index: the names point at an index; else ``parts`` has the image alone.
    """

    names: tuple[str, ...]
    digest: Digest
    image_id: Digest
    created: datetime | None
    in_use: bool
    is_index: bool
    parts: tuple[TreePart, ...]
