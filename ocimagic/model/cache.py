"""Where a build finds steps that were done elsewhere, and where it leaves its own for others."""

from __future__ import annotations

from typing import Literal

from ocimagic.spec.record import dataclass

CacheMode = Literal["min", "max"]
CacheCompression = Literal["gzip", "zstd", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFrom:
    """A cache to look steps up in: ``--cache-from``.

    Attributes:
        kind: of place.
        place: a reference, of a cache or of an image that has one in it; or a directory.
        tag: of the cache in a directory.
        digest: of its manifest there, in place of the tag; "" for none.
    """

    kind: Literal["registry", "local"]
    place: str
    tag: str = "latest"
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTo:
    """Where the steps of a build go: ``--cache-to``.

    Attributes:
        kind: of place; ``inline`` is the built image itself.
        place: a reference, or a directory; "" for ``inline``.
        tag: of the cache in a directory.
        mode: ``min`` keeps the layers of the result, ``max`` those of all stages.
        compression: of layers.
        ignores_errors: a cache that cannot be written does not fail the build.
    """

    kind: Literal["registry", "local", "inline"]
    place: str = ""
    tag: str = "latest"
    mode: CacheMode = "min"
    compression: CacheCompression = "gzip"
    ignores_errors: bool = False
