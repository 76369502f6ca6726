"""What a stage has come to, as an image: kept after each step so that it can be entered by its ID.

The first that is made of a kind decides when it was created, so that a later build of the same
has the same bytes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.build.cache import Made, cache_key, now
from ocimagic.errors import BuildFailed
from ocimagic.spec import mediatype
from ocimagic.spec.annotation import BASE_DIGEST, BASE_LAYERS, BASE_NAME
from ocimagic.spec.codec import MAX_CONFIG_BYTES
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.build.bench import Bench
    from ocimagic.build.state import StageState
    from ocimagic.spec.digest import Digest
    from ocimagic.store.results import StepResult


def with_image(bench: Bench, before: StageState, after: StageState) -> StageState:
    """Keep what a step came to, and return it with its history dated and its ID.

    Args:
        bench: of this build; its cache says whether an earlier image of the kind may do.
        before: what the step worked on.
        after: what it came to.
    """
    key, results = _key(bench, before, after), bench.store.results
    since = bench.began.timestamp() if bench.cache.is_anew else 0.0
    found = results.newest(key, since=since)
    if found is None:
        created = _created(bench, key)
        dated = _dated(bench, after, created)
        config = _encoded(dated, created)
        if len(config.raw) > MAX_CONFIG_BYTES:
            raise BuildFailed(
                f"the image's config is larger than {MAX_CONFIG_BYTES} bytes",
                why="no engine could read it again",
                hint="what is large goes into a file, and COPY takes it",
            )
        manifest = manifest_of(dated, config, {})
        # Another build may have been quicker: then its time counts.
        found = results.put(key, before.image_id, manifest, config, since=since)
    image_id, created = found
    bench.used.note(key, Made(None, created))
    return replace(_dated(bench, after, created), image_id=image_id)


def _created(bench: Bench, key: Digest) -> datetime:
    """Return when an image of a new kind was created: now, or when it was made elsewhere."""
    stamp = bench.options.timestamp
    if stamp is not None:
        return datetime.fromtimestamp(stamp, UTC)
    return bench.cache.created_elsewhere(key) or now()


def result_of(bench: Bench, state: StageState) -> StepResult:
    """Return the image that a stage has come to, that of its last step if nothing was added."""
    results = bench.store.results
    known = results.get(state.image_id) if state.image_id and state.made else None
    if known is not None and known.config.config.to_json() == state.config.to_json():
        return known
    image_id = with_image(bench, state, state).image_id
    assert image_id is not None
    kept = results.get(image_id)
    assert kept is not None
    return kept


def manifest_of(state: StageState, config: ImageConfig, annotations: Mapping[str, str]) -> Manifest:
    """Return the manifest of what a stage has come to.

    Args:
        state: has the layers and the base.
        config: encoded.
        annotations: besides those that tell of the base.
    """
    blob = Descriptor(mediatype.OCI_CONFIG, config.image_id, len(config.raw))
    layers = [layer.blob for layer in state.layers]
    return Manifest.build(blob, layers, dict(_of_base(state)) | dict(annotations))


def _key(bench: Bench, before: StageState, after: StageState) -> Digest:
    """Name an image by what it was made of: the ID of that stands for its history."""
    known = before.image_id is not None
    new = after.made[len(before.made) :] if known else after.made
    return cache_key(
        "image",
        below=before.image_id,
        base=None if known else [after.origin.name, after.origin.digest, after.origin.layers],
        layers=after.chain_id,
        config=after.config.to_json(),
        author=after.author,
        platform=str(after.platform),
        history=[[each.created_by, str(each.created)] for each in new],
        **bench.dated,
    )


def _dated(bench: Bench, state: StageState, created: datetime) -> StageState:
    """Give the history lines that have no time yet one, or all of them if times were asked for."""
    always = bench.options.timestamp is not None
    return replace(
        state,
        made=tuple(
            entry
            if entry.created and (not always or entry.created == created)
            else replace(entry, created=created)
            for entry in state.made
        ),
    )


def _encoded(state: StageState, created: datetime) -> ImageConfig:
    return ImageConfig(
        platform=state.platform,
        created=created,
        author=state.author,
        config=state.config,
        diff_ids=tuple(layer.diff_id for layer in state.layers),
        history=(*state.origin.history, *state.made),
    ).encoded()


def _of_base(state: StageState) -> Iterator[tuple[str, str]]:
    origin = state.origin
    yield BASE_LAYERS, str(origin.layers)
    if origin.name:
        yield BASE_NAME, origin.name
    if origin.digest:
        yield BASE_DIGEST, origin.digest
