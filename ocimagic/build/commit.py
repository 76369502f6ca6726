"""The end of a build: config and manifest become blobs, and then the image gets its names.

What was built for several platforms is one index under these names.

Spec: image-spec image-index.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocimagic.build.cache_document import document
from ocimagic.build.result import manifest_of, result_of
from ocimagic.build.squash import squashed
from ocimagic.errors import OcimagicError
from ocimagic.spec import mediatype
from ocimagic.spec.annotation import CACHE
from ocimagic.spec.manifest import Index, Manifest
from ocimagic.spec.platform import Platform, candidates, host_platform
from ocimagic.store.naming import Whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.build.ground import Ground
    from ocimagic.build.state import StageState
    from ocimagic.spec.reference import Reference
    from ocimagic.store.store import Store


@dataclass(frozen=True, slots=True)
class Built:
    """What was built for one platform, its documents in the store.

    Attributes:
        size_bytes: of all its layers unpacked.
    """

    platform: Platform
    state: StageState
    manifest: Manifest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A build's result.

    Attributes:
        images: one for each platform.
        run: the one that the names stand for on this machine.
        index: of all of them; None where only one was asked for.
    """

    images: tuple[Built, ...]
    run: Built
    index: Index | None


def commit(
    results: Sequence[tuple[Ground, StageState]],
    tags: Sequence[Reference],
    *,
    has_cache: bool = False,
) -> Committed:
    """Write and publish what was built; nothing happens if it is here under its names already.

    Args:
        results: of each platform, at the end of the build.
        tags: names the result gets.
        has_cache: manifests say how they were made, for builds elsewhere.

    Raises:
        CacheLost: a layer that was found elsewhere cannot be had.
    """
    images = tuple(_written(ground, state, has_cache=has_cache) for ground, state in results)
    store = results[0][0].bench.store
    if len(images) == 1:
        manifest = images[0].manifest
        if not _is_published(store, manifest, tags):
            store.syncing.blobs()
            store.images.add(manifest, [(tag, manifest.digest) for tag in tags])
            _tell(store)
        return Committed(images, images[0], None)
    described = [replace(each.manifest.descriptor, platform=each.platform) for each in images]
    index = Index.build(described, kind=mediatype.OCI_INDEX)
    made = Committed(images, _runnable(images), index)
    if not _is_whole(store, made, tags):
        store.blobs.put(index.raw)
        store.syncing.blobs()
        pairs = [(each.manifest, each.platform) for each in images]
        store.images.add_index(Whole(index.digest, pairs, made.run.manifest, tags))
        _tell(store)
    return made


def _written(ground: Ground, state: StageState, *, has_cache: bool) -> Built:
    bench = ground.bench
    store, options = bench.store, bench.options
    labels = {**state.config.labels, **options.labels}
    state = replace(state, config=replace(state.config, labels=labels))
    if options.squash:
        state = squashed(bench, state)
    bench.bring(state.layers)
    config = result_of(bench, state).config
    cache = _cache(bench, state) if has_cache else {}
    manifest = manifest_of(state, config, cache | dict(options.annotations))
    store.blobs.put(config.raw)
    store.blobs.put(manifest.raw)
    records = [store.images.layer(layer.diff_id) for layer in state.layers]
    size_bytes = sum(each.unpacked_bytes for each in records if each)
    return Built(ground.platform, state, manifest, size_bytes)


def _cache(bench: Bench, state: StageState) -> dict[str, str]:
    kept = []
    for layer in state.layers:
        # Of a base that somebody else put here nothing may be known, and nobody will ask.
        record = bench.store.images.layer(layer.diff_id)
        kept.append((layer.diff_id, record.tar_bytes if record else 0))
    return {CACHE: document(bench.used.all(), kept).decode()}


def _tell(store: Store) -> None:
    store.layout.publish()
    store.syncing.soon()


def _runnable(images: Sequence[Built]) -> Built:
    """Choose what runs best on this machine, or the first."""
    for platform in candidates(host_platform()):
        for each in images:
            if each.platform.canonical == platform:
                return each
    return images[0]


def _is_published(store: Store, manifest: Manifest, tags: Sequence[Reference]) -> bool:
    try:
        image = store.images.load(manifest.digest)
    except OcimagicError:
        return False
    names = {name.reference for name in image.names if name.target == manifest.digest}
    return image.added > 0 and names >= {tag.tagged() for tag in tags}


def _is_whole(store: Store, made: Committed, tags: Sequence[Reference]) -> bool:
    """Say whether names point at an index already, with all its parts."""
    assert made.index is not None
    if not tags or not store.blobs.has(made.index.digest):
        return False
    wanted = [each.manifest.digest for each in made.images]
    for tag in tags:
        name = store.images.name(tag)
        if name is None or name.target != made.index.digest:
            return False
        if [each.manifest for each in store.images.parts(tag)] != wanted:
            return False
    return True
