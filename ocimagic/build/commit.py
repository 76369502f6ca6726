"""The end of a build: config and manifest become blobs, and then the image gets its names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocimagic.build.cache_document import document
from ocimagic.build.result import manifest_of, result_of
from ocimagic.errors import OcimagicError
from ocimagic.spec.annotation import CACHE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.build.state import StageState
    from ocimagic.spec.manifest import Manifest
    from ocimagic.spec.reference import Reference


@dataclass(frozen=True, slots=True)
class Committed:
    """A built image; ``size_bytes`` is that of all its layers unpacked."""

    manifest: Manifest
    size_bytes: int


def commit(
    bench: Bench, state: StageState, tags: Sequence[Reference], *, has_cache: bool = False
) -> Committed:
    """Write and publish an image; nothing happens if it is here under its names already.

    Args:
        bench: of the build.
        state: at its end.
        tags: names the image gets.
        has_cache: its manifest says how it was made, for builds elsewhere.

    Raises:
        CacheLost: a layer that was found elsewhere cannot be had.
    """
    store = bench.store
    bench.bring(state.layers)
    labels = {**state.config.labels, **bench.options.labels}
    state = replace(state, config=replace(state.config, labels=labels))
    config = result_of(bench, state).config
    cache = _cache(bench, state) if has_cache else {}
    manifest = manifest_of(state, config, cache | dict(bench.options.annotations))
    if not _is_published(bench, manifest, tags):
        store.blobs.put(config.raw)
        store.blobs.put(manifest.raw)
        store.syncing.blobs()
        store.images.add(manifest, [(tag, manifest.digest) for tag in tags])
        store.layout.publish()
        store.syncing.soon()
    records = [store.images.layer(layer.diff_id) for layer in state.layers]
    return Committed(manifest, sum(each.unpacked_bytes for each in records if each))


def _cache(bench: Bench, state: StageState) -> dict[str, str]:
    kept = []
    for layer in state.layers:
        # Of a base that somebody else put here nothing may be known, and nobody will ask.
        record = bench.store.images.layer(layer.diff_id)
        kept.append((layer.diff_id, record.tar_bytes if record else 0))
    return {CACHE: document(bench.used.all(), kept).decode()}


def _is_published(bench: Bench, manifest: Manifest, tags: Sequence[Reference]) -> bool:
    store = bench.store
    if not store.blobs.has(manifest.digest) or not store.blobs.has(manifest.config.digest):
        return False
    try:
        image = store.images.load(manifest.digest)
    except OcimagicError:
        return False
    names = {name.reference for name in image.names if name.target == manifest.digest}
    return image.added > 0 and names >= {tag.tagged() for tag in tags}
