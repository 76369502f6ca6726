"""The end of a build: config and manifest become blobs, and then the image gets its names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.build.cache import Made, cache_key, now
from ocimagic.errors import OcimagicError
from ocimagic.spec import mediatype
from ocimagic.spec.annotation import BASE_DIGEST, BASE_LAYERS, BASE_NAME
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.build.state import StageState
    from ocimagic.spec.config import HistoryEntry
    from ocimagic.spec.reference import Reference


@dataclass(frozen=True, slots=True)
class Committed:
    """A built image; ``size_bytes`` is that of all its layers unpacked."""

    manifest: Manifest
    size_bytes: int


def commit(bench: Bench, state: StageState, tags: Sequence[Reference]) -> Committed:
    """Write and publish an image; nothing happens if it is here under its names already.

    The first build of an image decides when it was created, so a later build of the same
    image has the same bytes.
    """
    labels = {**state.config.labels, **bench.options.labels}
    state = replace(state, config=replace(state.config, labels=labels))
    stamp = bench.options.timestamp
    created = _created(bench, state) if stamp is None else datetime.fromtimestamp(stamp, UTC)
    lines = _dated(state.made, created, all_of_them=stamp is not None)
    config = ImageConfig(
        platform=state.platform,
        created=created,
        author=state.author,
        config=state.config,
        diff_ids=tuple(layer.diff_id for layer in state.layers),
        history=(*state.origin.history, *lines),
    ).encoded()
    blob = Descriptor(mediatype.OCI_CONFIG, config.image_id, len(config.raw))
    layers = [layer.blob for layer in state.layers]
    manifest = Manifest.build(blob, layers, _annotations(state) | dict(bench.options.annotations))
    if not _is_published(bench, manifest, tags):
        store = bench.store
        store.blobs.put(config.raw)
        store.blobs.put(manifest.raw)
        store.syncing.blobs()
        store.images.add(manifest, [(tag, manifest.digest) for tag in tags])
        store.layout.publish()
        store.syncing.soon()
    records = [bench.store.images.layer(layer.diff_id) for layer in state.layers]
    return Committed(manifest, sum(each.unpacked_bytes for each in records if each))


def _created(bench: Bench, state: StageState) -> datetime:
    """Return when an image of exactly this kind was first made: now, if never."""
    key = cache_key(
        "image",
        layers=state.chain_id,
        config=state.config.to_json(),
        author=state.author,
        platform=str(state.platform),
        history=[[each.created_by, str(each.created)] for each in state.made],
        base=[state.origin.name, state.origin.digest, state.origin.layers],
    )
    found = bench.cache.find(key)
    if found:
        return found.created
    needs = [layer.diff_id for layer in state.layers]
    created = now()
    bench.cache.remember(key, Made(None, created), needs)
    return created


def _dated(
    made: Sequence[HistoryEntry], created: datetime, *, all_of_them: bool
) -> list[HistoryEntry]:
    return [
        entry if entry.created and not all_of_them else replace(entry, created=created)
        for entry in made
    ]


def _annotations(state: StageState) -> dict[str, str]:
    origin = state.origin
    said = {BASE_LAYERS: str(origin.layers)}
    if origin.name:
        said[BASE_NAME] = origin.name
    if origin.digest:
        said[BASE_DIGEST] = origin.digest
    return said


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
