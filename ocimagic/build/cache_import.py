"""Steps that were done elsewhere: looked up by their keys, their layers fetched when needed.

A cache is believed as to what a step made: whoever names it with ``--cache-from`` says that it
may be (CVE-2024-24557 is what comes of believing one that nobody named).  It is not believed as
to its bytes: digests, diff_ids, sizes and tars are checked.  What is not as it was said, or not
there any more, is forgotten with the rest of its cache, and the build begins again without.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.build.bench import check
from ocimagic.build.cache import CacheLost, Made
from ocimagic.build.cache_directory import CacheDirectory
from ocimagic.build.cache_document import CONFIG, CacheDocument
from ocimagic.build.cache_fetch import fetch_layer
from ocimagic.build.cache_places import RegistryPlace
from ocimagic.errors import (
    BadInput,
    ContentError,
    InvalidDocument,
    NotFound,
    OcimagicError,
    RegistryError,
)
from ocimagic.model.event import Notice, TransferStarted
from ocimagic.spec.annotation import CACHE
from ocimagic.spec.manifest import Index
from ocimagic.spec.platform import host_platform
from ocimagic.spec.reference import Reference
from ocimagic.store.images import LayerRecord
from ocimagic.transfer.together import together

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.build.cache_document import KnownLayer
    from ocimagic.build.cache_places import CachePlace
    from ocimagic.model.cache import CacheFrom
    from ocimagic.model.event import OnEvent
    from ocimagic.model.options import BuildOptions
    from ocimagic.registry.client import RegistryClient
    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.manifest import Manifest
    from ocimagic.spec.platform import Platform
    from ocimagic.store.store import Store
    from ocimagic.transfer.layer import Layer

_BUILDKIT = "application/vnd.buildkit.cacheconfig.v0"
_MAX_DEPTH = 2
# What is the cache's fault, not ours: the build can do without.
_FAULTS = (RegistryError, ContentError, NotFound, BadInput)


@dataclass(frozen=True, slots=True)
class OtherCache:
    """A cache that was read, and where its layers are."""

    place: CachePlace
    document: CacheDocument


def read_cache(place: CachePlace, platform: Platform) -> OtherCache:
    """Read what a cache says; its layers stay where they are.

    Raises:
        InvalidDocument: it is no cache of ours.
        OcimagicError: there is none, or it cannot be reached.
    """
    found = place.top()
    for _ in range(_MAX_DEPTH):
        if not isinstance(found, Index):
            return OtherCache(place, _document(place, found))
        if any(each.media_type == _BUILDKIT for each in found.manifests):
            raise _buildkits()
        found = place.manifest(found.choose(platform).digest)
    raise InvalidDocument("this is no build cache", why="indexes within indexes")


def _document(place: CachePlace, manifest: Manifest) -> CacheDocument:
    if manifest.config.media_type == CONFIG:
        return CacheDocument.parse(place.config(manifest.config), manifest.layers)
    if manifest.config.media_type == _BUILDKIT:
        raise _buildkits()
    if CACHE in manifest.annotations:
        return CacheDocument.parse(manifest.annotations[CACHE].encode(), manifest.layers)
    raise InvalidDocument(
        "there is no cache in this image" if manifest.is_image else "this is no build cache",
        hint="ocimagic build --cache-to type=inline puts one in, type=registry makes one",
    )


def _buildkits() -> InvalidDocument:
    return InvalidDocument(
        "this cache is BuildKit's",
        why="it names steps by BuildKit's own graph of them, which is not ours",
        hint="make one with ocimagic build --cache-to",
    )


class OtherCaches:
    """The caches that a build was told of, the first one first; for all of its threads.

    Args:
        store: gets the layers.
        caches: in the order they are asked.
        on_event: hears of layers on their way.
    """

    def __init__(self, store: Store, caches: Sequence[OtherCache], on_event: OnEvent) -> None:
        self._store = store
        self._caches = list(caches)
        self._on_event = on_event
        self._lock = threading.Lock()
        self._wanted: dict[Digest, tuple[OtherCache, KnownLayer]] = {}
        self._held: dict[Digest, threading.Lock] = {}

    def find(self, key: Digest) -> Made | None:
        """Return what a step made elsewhere; its layer need not be here."""
        with self._lock:
            for cache in self._caches:
                if step := cache.document.steps.get(key):
                    return Made(self._record(step.layer), step.created, step.content)
        return None

    def _record(self, diff_id: Digest | None) -> LayerRecord | None:
        if diff_id is None:
            return None
        if diff_id not in self._wanted:
            # From the first that has kept it, whoever says what made it.
            having = [
                (each, each.document.layers[diff_id])
                for each in self._caches
                if diff_id in each.document.layers
            ]
            kept = (each for each in having if each[1].blob is not None)
            self._wanted[diff_id] = next(kept, having[0])
        layer = self._wanted[diff_id][1]
        return LayerRecord(diff_id, diff_id, layer.tar_bytes, layer.tar_bytes, 0)

    def blob(self, diff_id: Digest) -> Descriptor | None:
        """Return how a layer is kept elsewhere; None when it is not, or nobody asked for it."""
        with self._lock:
            found = self._wanted.get(diff_id)
        return found[1].blob if found else None

    def left_out(self) -> list[Digest]:
        """Return the layers that were found and not needed, so that they are not here."""
        with self._lock:
            return [each for each in self._wanted if not self._store.blobs.has(each)]

    def bring(self, layers: Sequence[Layer], stop: threading.Event) -> None:
        """Bring layers here that were found elsewhere, as far as they are not here already.

        Raises:
            CacheLost: one is not there, or not what it is said to be; its cache is forgotten.
            Cancelled: the user wants no more of it.
        """
        with self._lock:
            wanted = {
                each.diff_id: self._wanted[each.diff_id]
                for each in layers
                if each.diff_id in self._wanted and each.blob.digest == each.diff_id
            }
        missing = [each for each in wanted if not self._store.blobs.has(each)]
        if missing:
            self._bring_all(missing, wanted, stop)
        for each in layers:
            # It may have come by another way than that of who told its size.
            if each.diff_id in wanted and self._store.blobs.size(each.diff_id) != each.blob.size:
                cache = wanted[each.diff_id][0]
                self._forget(cache)
                raise CacheLost(f"{cache.place.shown} is wrong about layer {each.diff_id.short}")

    def _bring_all(
        self,
        missing: Sequence[Digest],
        wanted: dict[Digest, tuple[OtherCache, KnownLayer]],
        stop: threading.Event,
    ) -> None:
        for diff_id in missing:
            cache, layer = wanted[diff_id]
            if layer.blob is None:
                self._forget_absent()
                raise CacheLost(
                    f"{cache.place.shown} has not kept layer {diff_id.short}, which is needed now"
                )
        self._tell(missing, wanted)
        together(
            lambda diff_id: self._bring(diff_id, *wanted[diff_id], partial(check, stop)),
            missing,
            failed=threading.Event(),
            stop=stop,
            name="ocimagic-cache",
        )

    def _tell(
        self, missing: Sequence[Digest], wanted: dict[Digest, tuple[OtherCache, KnownLayer]]
    ) -> None:
        shown = ", ".join(dict.fromkeys(wanted[each][0].place.shown for each in missing))
        blobs = [wanted[each][1].blob for each in missing]
        sizes = tuple((each.digest, each.size) for each in blobs if each)
        self._on_event(TransferStarted(f"the cache {shown}", None, sizes, "fetching"))

    def _bring(
        self, diff_id: Digest, cache: OtherCache, layer: KnownLayer, go_on: Callable[[], None]
    ) -> None:
        with self._lock:
            held = self._held.setdefault(diff_id, threading.Lock())
        with held:
            if self._store.blobs.has(diff_id):
                return  # another stage needed it too
            try:
                fetch_layer(self._store, cache.place, layer, self._on_event, go_on)
            except _FAULTS as err:
                go_on()
                self._forget(cache)
                text = f"the cache {cache.place.shown} is not used any more: {_words(err)}"
                self._on_event(Notice(text))
                raise CacheLost(f"layer {diff_id.short} cannot be had") from err

    def _forget(self, cache: OtherCache) -> None:
        with self._lock:
            self._caches = [each for each in self._caches if each.place is not cache.place]
            self._wanted.clear()

    def _forget_absent(self) -> None:
        """Leave of all caches what has its layers: the others' steps have to be done again."""
        with self._lock:
            self._caches = [_with_layers(each) for each in self._caches]
            self._wanted.clear()


def _with_layers(cache: OtherCache) -> OtherCache:
    layers = cache.document.layers
    steps = {
        key: step
        for key, step in cache.document.steps.items()
        if step.layer is None or layers[step.layer].blob is not None
    }
    return OtherCache(cache.place, CacheDocument(steps, layers))


def other_caches(
    store: Store,
    registry: Callable[[], RegistryClient],
    options: BuildOptions,
    on_event: OnEvent,
    cancelled: threading.Event | None,
) -> OtherCaches | None:
    """Read the caches that a build was told of; one that cannot be used is told, and left out.

    Args:
        store: gets their layers.
        registry: gives the way to registries.
        options: of the build.
        on_event: hears of what cannot be used, and of layers on their way.
        cancelled: set it to stop.

    Returns:
        None when there are none to be asked: nothing is looked up where all is done anew.

    Raises:
        InvalidReference: one has no name that could be; nothing was built yet.
        Cancelled: ``cancelled`` was set.
    """
    for each in options.cache_to:
        if each.kind == "registry":
            Reference.parse(each.place)
    stop = cancelled or threading.Event()
    places = [_place(each, registry, stop) for each in options.cache_from]
    if options.no_cache or not places:
        return None
    caches = []
    for place in places:
        for platform in options.platforms or (host_platform(),):
            try:
                caches.append(read_cache(place, platform))
            except _FAULTS as err:
                check(stop)
                on_event(Notice(f"the cache {place.shown} is not used: {_words(err)}"))
    return OtherCaches(store, caches, on_event)


def _place(
    said: CacheFrom, registry: Callable[[], RegistryClient], stop: threading.Event
) -> CachePlace:
    if said.kind == "registry":
        reference = Reference.parse(said.place)
        return RegistryPlace(registry().until(stop), reference)
    return CacheDirectory(said.place, said.tag, said.digest)


def _words(err: OcimagicError) -> str:
    return "; ".join(part for part in (err.what, err.why, err.hint) if part)
