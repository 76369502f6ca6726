"""The steps of a build for others: a manifest of its own, in a registry or in a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.build.cache import CacheLost
from ocimagic.build.cache_directory import CacheDirectory
from ocimagic.build.cache_document import CONFIG, document
from ocimagic.errors import Cancelled, InvalidOption, OcimagicError
from ocimagic.layers.compress import Compression, compressed
from ocimagic.model.event import LayerPhase, LayerProgress, Notice, TransferStarted
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest, chain_ids
from ocimagic.spec.manifest import MAX_LAYERS, Manifest
from ocimagic.spec.reference import Reference
from ocimagic.transfer.layer import Layer, chunks_of
from ocimagic.transfer.push import PACKED, push_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ocimagic.build.bench import Bench
    from ocimagic.build.state import StageState
    from ocimagic.model.cache import CacheTo
    from ocimagic.registry.client import RegistryClient

_INLINE_ARG = "BUILDKIT_INLINE_CACHE"


def is_inline(bench: Bench) -> bool:
    """Say whether the image itself is to tell how it was made."""
    options = bench.options
    asked = any(each.kind == "inline" for each in options.cache_to)
    return asked or options.build_args.get(_INLINE_ARG) == "1"


def export_cache(
    bench: Bench, states: Sequence[StageState], to: CacheTo, registry: Callable[[], RegistryClient]
) -> None:
    """Write what a finished build knows; an ``inline`` cache is in the image already.

    Raises:
        InvalidOption: it cannot be written there, or is too large.
        Unauthorized, RateLimited, RegistryError, ImageNotFound: what the registry said.
        Cancelled: the user wants no more of it.
    """
    try:
        if to.kind == "registry":
            _push(bench, states, to, registry())
        elif to.kind == "local":
            _write(bench, states, to)
    except Cancelled:
        raise
    except OcimagicError as err:
        if not to.ignores_errors:
            raise
        bench.on_event(Notice(f"the cache {to.place} was not written: {err.what}"))


def _push(bench: Bench, states: Sequence[StageState], to: CacheTo, client: RegistryClient) -> None:
    reference = Reference.parse(to.place)
    uploader = client.uploader(reference)
    layers, config = _chosen(bench, states, to, lambda blob: uploader.has(blob.digest))
    described = Descriptor(CONFIG, bench.store.blobs.put(config), len(config))
    push_manifest(
        bench.store,
        client,
        Manifest.build(described, layers),
        reference,
        compression=Compression(to.compression),
        on_event=bench.on_event,
        cancelled=bench.cancelled,
    )


def _write(bench: Bench, states: Sequence[StageState], to: CacheTo) -> None:
    directory = CacheDirectory(to.place, to.tag)
    with directory.held():
        layers, config = _chosen(
            bench, states, to, lambda blob: directory.has(blob.digest, blob.size)
        )
        sizes = tuple((each.digest, each.size) for each in layers)
        bench.on_event(TransferStarted(f"the cache {to.place}", None, sizes, "writing"))
        kept = [_put(bench, directory, each, Compression(to.compression)) for each in layers]
        described = Descriptor(CONFIG, Digest.of(config), len(config))
        directory.write(Manifest.build(described, kept), config)


def _put(
    bench: Bench, directory: CacheDirectory, layer: Descriptor, kind: Compression
) -> Descriptor:
    """Write a layer, unless it is there as it once turned out; return how it is there."""
    if layer.media_type != mediatype.OCI_LAYER:
        _done(bench, layer, LayerPhase.EXISTS)
        return layer
    images, media_type = bench.store.images, PACKED.get(kind, mediatype.OCI_LAYER)
    known = images.packed(layer.digest, kind.value)
    if kind is Compression.NONE:
        known = (layer.digest, layer.size)
    if known and directory.has(*known):
        _done(bench, layer, LayerPhase.EXISTS)
        return Descriptor(media_type, *known)
    digest, size = directory.put(compressed(_read(bench, layer), kind))
    if kind is not Compression.NONE:
        images.add_packed(layer.digest, kind.value, digest, size)
    _done(bench, layer, LayerPhase.DONE)
    return Descriptor(media_type, digest, size)


def _read(bench: Bench, layer: Descriptor) -> Iterator[bytes]:
    with bench.store.blobs.open(layer.digest) as file:
        for chunk in chunks_of(file):
            bench.check_cancelled()
            yield chunk


def _done(bench: Bench, layer: Descriptor, phase: LayerPhase) -> None:
    bench.on_event(LayerProgress(layer.digest, phase, layer.size, layer.size))


def _chosen(
    bench: Bench, states: Sequence[StageState], to: CacheTo, has: Callable[[Descriptor], bool]
) -> tuple[list[Descriptor], bytes]:
    """Return the layers to keep, and the document that names them in this order.

    Args:
        bench: of the build.
        states: of its target, one for each platform.
        to: says whether all stages' layers are kept.
        has: says whether a blob is there already.
    """
    steps = bench.used.all()
    made = {each.layer.diff_id: each.layer for each in steps.values() if each.layer}
    own = dict.fromkeys(
        each.diff_id for state in states for each in state.layers if each.diff_id in made
    )
    wanted = list(dict.fromkeys([*own, *(sorted(made) if to.mode == "max" else ())]))
    layers: dict[Digest, Descriptor] = {}
    for diff_id in wanted:
        found = _found(bench, diff_id, made[diff_id].tar_bytes, has)
        if found is not None:
            layers[diff_id] = found
    if len(layers) > MAX_LAYERS:
        raise InvalidOption(
            f"this build made {len(layers)} layers, more than a manifest may name",
            why=f"limit {MAX_LAYERS}",
            hint="keep those of the result alone: leave mode=max out",
        )
    return list(layers.values()), document(steps, [(each, made[each].tar_bytes) for each in layers])


def _found(
    bench: Bench, diff_id: Digest, tar_bytes: int, has: Callable[[Descriptor], bool]
) -> Descriptor | None:
    """Return a layer that is here, or where it goes; None if it is where it cannot be had from."""
    plain = Descriptor(mediatype.OCI_LAYER, diff_id, tar_bytes)
    if bench.store.blobs.has(diff_id):
        return plain
    blob = bench.caches.blob(diff_id) if bench.caches else None
    if blob is None:
        return None
    if has(blob):
        return blob
    try:
        bench.bring([Layer(plain, diff_id, chain_ids([diff_id])[0])])
    except CacheLost:
        return None
    return plain
