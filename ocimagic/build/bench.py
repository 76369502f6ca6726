"""What all steps of one build share: the store, the cache, and what was read already."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.build.cache import UsedSteps
from ocimagic.build.image_files import ImageFiles
from ocimagic.build.known import KnownTrees
from ocimagic.errors import Cancelled
from ocimagic.home.locks import locked_patiently
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.layers.toc import toc_from_bytes
from ocimagic.model.event import Notice
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from ocimagic.build.cache import StepCache
    from ocimagic.build.cache_import import OtherCaches
    from ocimagic.build.places import Places
    from ocimagic.layers.toc import TocEntry
    from ocimagic.model.event import OnEvent
    from ocimagic.model.options import BuildOptions
    from ocimagic.registry.transport import Transport
    from ocimagic.spec.platform import Platform
    from ocimagic.store.store import Store
    from ocimagic.transfer.layer import Layer
    from ocimagic.transfer.unpack import Unpacker


_PAUSE_S = 0.05


def check(cancelled: threading.Event | None) -> None:
    """Raise Cancelled if the event is set."""
    if cancelled is not None and cancelled.is_set():
        raise Cancelled(
            "the build was stopped by you",
            hint="finished steps are kept; the next build goes on from there",
        )


@dataclass(slots=True, kw_only=True)
class Bench:
    """The work bench of one build.

    Attributes:
        places: that the build reads from.
        began: when the build did; new files that have no time of their own get it.
        cancelled: looked at before each step and while a RUN runs.
        tocs: tables of contents by diff_id, as far as they were needed.
        known: trees of earlier builds.
        used: what each step made, for those who want it elsewhere.
        caches: where steps were done that are not here; None when nobody named any.
        web: gives connections without logins, for what ADD fetches.
        environment: PATH and proxies, for git.
        platform: of the result; None is this machine's, and any image may be its base.
        told_of_owners: the user knows that RUN cannot give files to others.
    """

    store: Store
    unpacker: Unpacker
    options: BuildOptions
    cache: StepCache
    places: Places
    began: datetime
    on_event: OnEvent
    cancelled: threading.Event | None
    tocs: dict[str, Sequence[TocEntry]] = field(default_factory=dict)
    trees: dict[str, ImageFiles] = field(default_factory=dict)
    known: KnownTrees = field(default_factory=KnownTrees)
    used: UsedSteps = field(default_factory=UsedSteps)
    caches: OtherCaches | None = None
    web: Callable[[], Transport] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    told_of_owners: bool = False

    @property
    def dated(self) -> dict[str, int]:
        """Return the part of a cache key that times in layers are: none if they are the clock's."""
        stamp = self.options.timestamp
        return {} if stamp is None else {"timestamp": stamp}

    def check_cancelled(self) -> None:
        """Raise if the user wants no more of it.

        Raises:
            Cancelled: the finished steps are kept in the cache.
        """
        check(self.cancelled)

    def wait(self, seconds: float) -> None:
        """Wait for somebody else, unless the user wants no more of it.

        Raises:
            Cancelled: see ``check_cancelled``.
        """
        (self.cancelled or threading.Event()).wait(seconds)
        self.check_cancelled()

    @contextlib.contextmanager
    def alone(self, key: Digest, line: int) -> Iterator[None]:
        """Keep other builds from doing a step at the same time; whoever asks later finds it done.

        A build that is to do everything anew waits for nobody.

        Args:
            key: the step's.
            line: where it stands, for telling that this waits.

        Raises:
            Cancelled: see ``check_cancelled``.
        """
        if self.cache.is_anew:
            yield
            return
        waiting = False

        def pause() -> None:
            nonlocal waiting
            if not waiting:
                waiting = True
                self.on_event(Notice("another build does this step just now: waiting for it", line))
            self.wait(_PAUSE_S)

        with locked_patiently(self.store.home.locks, f"step-{Digest(key).hex[:32]}", pause):
            yield

    def bring(self, layers: Sequence[Layer]) -> None:
        """Have layers here; those of a step that was found elsewhere may still be there.

        Raises:
            CacheLost: one is not what it was said to be, or gone.
        """
        if self.caches is not None:
            self.caches.bring(layers, self.cancelled or threading.Event())

    def files(self, layers: Sequence[Layer]) -> ImageFiles:
        """Return the tree that some layers make."""
        name = layers[-1].chain_id if layers else ""
        if name not in self.trees:
            self.trees[name] = ImageFiles(self.store, layers, self._merged(layers))
        return self.trees[name]

    def _merged(self, layers: Sequence[Layer]) -> MergedTree:
        """Merge what is not known yet of a stack: stages of one base have most in common."""
        self.bring(layers)
        count, merged = len(layers), None
        while count and (merged := self._known(layers[count - 1].chain_id)) is None:
            count -= 1
        merged = merged or MergedTree(())
        for layer in layers[count:]:
            toc = self._toc(layer)
            merged = merged.below(toc)
            self.known.keep(layer.chain_id, merged, len(toc))
        return merged

    def _known(self, chain_id: str) -> MergedTree | None:
        tree = self.trees.get(chain_id)
        return tree.merged if tree else self.known.find(chain_id)

    def _toc(self, layer: Layer) -> Sequence[TocEntry]:
        if layer.diff_id not in self.tocs:
            self.tocs[layer.diff_id] = toc_from_bytes(self.unpacker.toc(layer))
        return self.tocs[layer.diff_id]
