"""Descriptors: what points at a blob.

Spec: image-spec descriptor.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocimagic.spec.codec import without_none
from ocimagic.spec.digest import Digest
from ocimagic.spec.mediatype import OCI_NONDISTRIBUTABLE, as_oci
from ocimagic.spec.platform import Platform
from ocimagic.spec.record import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.spec.codec import Fields

REFERENCE_TYPE = "vnd.docker.reference.type"
REFERENCE_DIGEST = "vnd.docker.reference.digest"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Media type, digest and size of a blob.

    Attributes:
        size: bytes of the blob as stored, compressed or not.
        platform: only in an index.
        artifact_type: of the manifest it points at, where whoever wrote it says so.
    """

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    artifact_type: str = ""

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read a descriptor out of a document.

        Raises:
            InvalidDocument: a field is missing or of the wrong type.
            InvalidDigest: the digest could not name a blob.
        """
        return cls(
            media_type=fields.text("mediaType"),
            digest=Digest.parse(fields.text("digest")),
            size=fields.number("size"),
            annotations=fields.text_map("annotations"),
            platform=_platform(fields.child("platform")) if "platform" in fields else None,
            urls=fields.texts("urls"),
            artifact_type=fields.text("artifactType", ""),
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, empty fields left out."""
        document: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        return document | without_none(
            {
                "annotations": dict(self.annotations),
                "platform": self.platform and self.platform.to_json(),
                "urls": list(self.urls),
                "artifactType": self.artifact_type,
            }
        )

    def as_oci(self) -> Descriptor:
        """Return the same blob under its OCI media type."""
        return replace(self, media_type=as_oci(self.media_type))

    @property
    def is_foreign(self) -> bool:
        """Say whether a layer may not be distributed: it stays where its maker has it."""
        return as_oci(self.media_type).startswith(OCI_NONDISTRIBUTABLE)

    @property
    def is_attestation(self) -> bool:
        """Say whether this entry of an index is a build attestation, not an image."""
        return REFERENCE_TYPE in self.annotations or (
            self.platform is not None and self.platform.is_attestation
        )


def _platform(fields: Fields) -> Platform:
    return Platform(
        os=fields.text("os", ""),
        architecture=fields.text("architecture", ""),
        variant=fields.text("variant", ""),
        os_version=fields.text("os.version", ""),
        os_features=fields.texts("os.features"),
    )
