"""Manifests as docker's JSON documents.

Source: docker/cli's ``cli/manifest/types``: what ``docker manifest inspect --verbose`` prints.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from ocimagic.spec import mediatype

if TYPE_CHECKING:
    from ocimagic.model.distribution import ManifestDocument


def manifest_details(found: ManifestDocument) -> dict[str, object]:
    """Return one manifest with its descriptor and its bytes."""
    content = found.content
    described = {
        "mediaType": content.media_type,
        "digest": str(found.digest),
        "size": len(content.raw),
    }
    if found.platform is not None:
        described["platform"] = found.platform.to_json()
    kind = "OCIManifest"
    if content.media_type == mediatype.DOCKER_MANIFEST:
        kind = "SchemaV2Manifest"
    return {
        "Ref": found.reference,
        "Descriptor": described,
        "Raw": base64.b64encode(content.raw).decode(),
        kind: json.loads(content.raw),
    }
