"""What a manifest that is pushed names: the blobs and manifests that must be there with it.

Spec: image-spec manifest.md and image-index.md; distribution-spec "Pushing Manifests".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec import mediatype
from ocimagic.spec.manifest import Manifest, parse_manifest
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.digest import Digest


@dataclass(frozen=True, slots=True)
class Contents:
    """A manifest or index, read for a registry.

    Attributes:
        blobs: config and layers that must be in the repository.
        manifests: of an index: the manifests that must be there.
        subject: the manifest that this one says something about.
        artifact_type: what the list of referrers calls it.
    """

    media_type: str
    blobs: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    subject: Digest | None
    artifact_type: str
    annotations: Mapping[str, str]

    @classmethod
    def parse(cls, raw: bytes, content_type: str) -> Self:
        """Read what a client pushes.

        Raises:
            InvalidDocument: breaks the spec, or is not what its Content-Type says.
            InvalidDigest: a digest inside could not name a blob.
        """
        said = content_type.partition(";")[0].strip().lower()
        if said and said not in (*mediatype.MANIFESTS, *mediatype.INDEXES):
            raise InvalidDocument(
                "this registry keeps manifests and indexes only", why=f"Content-Type is {said[:80]}"
            )
        document = parse_manifest(raw, content_type=said)
        subject = document.subject.digest if document.subject else None
        kind = document.artifact_type
        blobs: tuple[Descriptor, ...] = ()
        manifests: tuple[Descriptor, ...] = ()
        if isinstance(document, Manifest):
            layers = (each for each in document.layers if not _is_elsewhere(each))
            blobs = (document.config, *layers)
            kind = kind or document.config.media_type  # as the spec has it, of an image too
        else:
            manifests = document.manifests
        return cls(document.media_type, blobs, manifests, subject, kind, document.annotations)


def _is_elsewhere(layer: Descriptor) -> bool:
    """Say whether a layer may not be pushed: its owner wants it fetched from another place."""
    oci = mediatype.as_oci(layer.media_type)
    return bool(layer.urls) or oci.startswith(mediatype.OCI_NONDISTRIBUTABLE)
