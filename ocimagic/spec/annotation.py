"""Keys of annotations that say where an image comes from.

Spec: image-spec annotations.md, "Pre-Defined Annotation Keys"; the last two keys are ours.
"""

from __future__ import annotations

CREATED = "org.opencontainers.image.created"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
BASE_LAYERS = "dev.ocimagic.base.layers"
CACHE = "dev.ocimagic.cache"
