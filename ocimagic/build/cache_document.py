"""What a cache says that others may use: steps by their keys, and the layers they made.

::

    {"version": 1,
     "layers": [{"diffId": "sha256:…", "tarBytes": 1024}],     one for each of the manifest's
     "absent": [{"diffId": "sha256:…", "tarBytes": 2048}],     made, and not kept
     "steps": [{"key": "sha256:…", "layer": "sha256:…", "created": "2026-01-01T00:00:00Z"},
               {"key": "sha256:…", "created": "…"}]}           made nothing, or an image's time

A COPY from another stage has two keys: ``content`` of the one is the other.

It is the config of a manifest of its own, or an annotation of a built image's.  Why it is not
in BuildKit's form is in docs/adr/0021-a-cache-for-others.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec import mediatype
from ocimagic.spec.codec import MAX_CONFIG_BYTES, decode, encode, rfc3339
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from ocimagic.build.cache import Made
    from ocimagic.spec.codec import Fields
    from ocimagic.spec.descriptor import Descriptor

CONFIG = "application/vnd.ocimagic.cache.config.v1+json"
_VERSION = 1
_MOST_STEPS = 50_000


@dataclass(frozen=True, slots=True)
class KnownLayer:
    """A layer that some step made.

    Attributes:
        tar_bytes: uncompressed, as it is said.
        blob: how it is kept; None when it is not.
    """

    diff_id: Digest
    tar_bytes: int
    blob: Descriptor | None


@dataclass(frozen=True, slots=True)
class KnownStep:
    """What a step made, and when; ``layer`` is None when it made none.

    Attributes:
        content: another key of the same step, see ``Made``.
    """

    layer: Digest | None
    created: datetime
    content: Digest | None = None


@dataclass(frozen=True, slots=True)
class CacheDocument:
    """Steps by key, layers by diff_id."""

    steps: Mapping[Digest, KnownStep]
    layers: Mapping[Digest, KnownLayer]

    @classmethod
    def parse(cls, raw: bytes, blobs: Sequence[Descriptor]) -> Self:
        """Read a document; the bytes of layers are another matter.

        Args:
            raw: its bytes.
            blobs: the layers of its manifest.

        Raises:
            InvalidDocument: not such a document, or it does not fit the manifest.
            InvalidDigest: a digest inside could not name a blob.
        """
        fields = decode(raw, what="build cache", max_bytes=MAX_CONFIG_BYTES)
        if fields.number("version") != _VERSION:
            raise _invalid("it is of a version that this ocimagic does not know")
        kept, entries = fields.children("layers"), fields.children("steps")
        if len(kept) != len(blobs) or len(entries) > _MOST_STEPS:
            raise _invalid(
                f"its manifest has {len(blobs)} layers, its config {len(kept)}"
                if len(kept) != len(blobs)
                else f"{len(entries)} steps, limit {_MOST_STEPS}"
            )
        layers: dict[Digest, KnownLayer] = {}
        for entry in fields.children("absent"):
            found = _layer(entry, None)
            layers[found.diff_id] = found
        for entry, blob in zip(kept, blobs, strict=True):
            found = _layer(entry, blob)
            layers[found.diff_id] = found
        steps = dict(_step(entry, layers) for entry in entries)
        if len(steps) != len(entries):
            raise _invalid("a key is given twice")
        return cls(steps, layers)


def document(steps: Mapping[Digest, Made], kept: Sequence[tuple[Digest, int]]) -> bytes:
    """Write a document; equal builds give equal bytes.

    Args:
        steps: what each made.
        kept: diff_id and bytes of each layer of the manifest, in its order.
    """
    there = {diff_id for diff_id, _ in kept}
    absent = {
        made.layer.diff_id: made.layer.tar_bytes
        for made in steps.values()
        if made.layer and made.layer.diff_id not in there
    }
    return encode(
        {
            "version": _VERSION,
            "layers": [_layer_json(*each) for each in kept],
            "absent": [_layer_json(*each) for each in sorted(absent.items())],
            "steps": [_step_json(key, made) for key, made in sorted(steps.items())],
        }
    )


def _layer_json(diff_id: Digest, tar_bytes: int) -> dict[str, object]:
    return {"diffId": str(diff_id), "tarBytes": tar_bytes}


def _step_json(key: Digest, made: Made) -> dict[str, object]:
    layer = {"layer": str(made.layer.diff_id)} if made.layer else {}
    content = {"content": str(made.content)} if made.content else {}
    return {"key": str(key), "created": rfc3339(made.created), **layer, **content}


def _layer(fields: Fields, blob: Descriptor | None) -> KnownLayer:
    diff_id = Digest.parse(fields.text("diffId"))
    if diff_id.algorithm != "sha256":
        raise _invalid(f"{diff_id} is no diff_id of ours")
    if blob is not None and (blob.is_foreign or not mediatype.is_layer(blob.media_type)):
        raise _invalid(f"it has a layer of type {blob.media_type}")
    return KnownLayer(diff_id, fields.integer("tarBytes"), blob)


def _step(fields: Fields, layers: Mapping[Digest, KnownLayer]) -> tuple[Digest, KnownStep]:
    key, created = Digest.parse(fields.text("key")), fields.time("created")
    layer = Digest.parse(fields.text("layer")) if "layer" in fields else None
    if created is None:
        raise _invalid("a step has no time")
    if layer is not None and layer not in layers:
        raise _invalid(f"a step made {layer.short}, of which it says no more")
    content = Digest.parse(fields.text("content")) if "content" in fields else None
    return key, KnownStep(layer, created, content)


def _invalid(why: str) -> InvalidDocument:
    return InvalidDocument("this build cache is not valid", why=why)
