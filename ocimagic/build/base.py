"""FROM and ``COPY --from`` an image: what is here, or what the registry has.

Source: facts/build.md section 1.2 (FROM).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ocimagic.build.limits import frame
from ocimagic.build.state import HISTORY_COMMENT, Origin
from ocimagic.dockerfile.places import LAYOUT, LayoutImage
from ocimagic.errors import (
    Cancelled,
    ImageNotFound,
    InvalidReference,
    NotFound,
    OcimagicError,
    RegistryUnreachable,
    Unauthorized,
)
from ocimagic.model.event import Notice
from ocimagic.spec.config import HistoryEntry
from ocimagic.spec.nearest import nearest
from ocimagic.spec.platform import Platform, host_platform
from ocimagic.spec.reference import Reference
from ocimagic.store.images import looks_like_id
from ocimagic.transfer.load import Loader

if TYPE_CHECKING:
    from ocimagic.build.bench import Bench
    from ocimagic.dockerfile.resolve import ImageBase
    from ocimagic.dockerfile.source import SourceRange
    from ocimagic.model.event import OnEvent
    from ocimagic.spec.digest import Digest
    from ocimagic.store.images import StoredImage
    from ocimagic.transfer.pull import Pulled


class Pull(Protocol):
    """Brings an image here from its registry."""

    def __call__(
        self,
        reference: Reference,
        platform: Platform | None,
        on_event: OnEvent,
        cancelled: threading.Event | None = None,
        /,
    ) -> Pulled:
        """Pull; see ``transfer.pull``."""


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image to build on.

    Attributes:
        pulled: it was not here, or not up to date.
    """

    image: StoredImage
    origin: Origin
    pulled: bool


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the platforms of one build share: several stages may ask at once."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    found: dict[tuple[str, Platform | None], BaseImage] = field(default_factory=dict)


class Bases:
    """Finds the images that a Dockerfile names, each once for a platform.

    Args:
        bench: of one platform.
        pull: brings an image here.
        stages: names of stages, one of which may have been meant.
        shared: with other platforms of this build.
    """

    def __init__(
        self, bench: Bench, pull: Pull, stages: tuple[str, ...], shared: _Shared | None = None
    ) -> None:
        self._bench = bench
        self._pull = pull
        self._stages = stages
        self._shared = shared or _Shared()

    def beside(self, bench: Bench) -> Bases:
        """Return the same for another platform of this build."""
        return Bases(bench, self._pull, self._stages, self._shared)

    def image(self, base: ImageBase, source: SourceRange) -> BaseImage:
        """Return an image, pulled if it is not here.

        Raises:
            DockerfileError: its name or platform cannot be understood.
            OcimagicError: the registry's answer, with the line of the Dockerfile.
        """
        key = (base.reference, self._platform(base))
        with self._shared.lock:
            if key not in self._shared.found:
                self._shared.found[key] = self._obtain(base, source)
            return self._shared.found[key]

    def _obtain(self, base: ImageBase, source: SourceRange) -> BaseImage:
        platform = self._platform(base)
        try:
            if base.reference.startswith(LAYOUT):
                return self._of_layout(LayoutImage.parse(base.reference), platform)
            local = None if self._bench.options.pull else self._local(base, platform, source)
            return local or self._pulled(Reference.parse(base.reference), platform)
        except InvalidReference as err:
            raise source.error(
                f'failed to parse stage name "{base.reference}": {err.what}',
                at=base.reference,
                why=err.why,
                hint=err.hint,
            ) from None
        except Cancelled:
            raise
        except OcimagicError as err:
            err.where = "\n".join(filter(None, (frame(source, base.reference), err.where)))
            if isinstance(err, NotFound | RegistryUnreachable | Unauthorized):
                err.hint = self._near(base.reference) or err.hint
            raise

    def _of_layout(self, asked: LayoutImage, platform: Platform | None) -> BaseImage:
        bench = self._bench
        loader = Loader(bench.store, bench.unpacker, bench.on_event, bench.check_cancelled)
        wanted = platform or host_platform()
        image = loader.load_layout(Path(asked.directory), asked.tag, asked.digest, wanted)
        return BaseImage(image, _origin(image, "", image.manifest.digest), pulled=False)

    def _near(self, text: str) -> str | None:
        """Ask whether a stage or an image here was meant; docker.io says little of what is not."""
        stage = nearest(text, self._stages)
        known = [each.reference.familiar for each in self._bench.store.images.names()]
        image = nearest(text, known) or nearest(f"{text}:latest", known)
        if stage or image:
            return f"did you mean {f'the stage {stage}' if stage else image}?"
        return None

    def _platform(self, base: ImageBase) -> Platform | None:
        if base.platform is None:
            return self._bench.platform
        return Platform.parse(base.platform)  # the plan holds none that cannot be read

    def _local(
        self, base: ImageBase, platform: Platform | None, source: SourceRange
    ) -> BaseImage | None:
        images = self._bench.store.images
        try:
            found = images.of_platform(base.reference, platform or host_platform())
        except ImageNotFound:
            if looks_like_id(base.reference):
                raise
            return None
        if found is None and platform is not None:
            return None
        image = found or images.find(base.reference)
        if found is None:
            text = (
                f"InvalidBaseImagePlatform: Base image {base.reference} was pulled with platform "
                f'"{image.config.platform}", expected "{host_platform()}" for current build'
            )
            self._bench.on_event(Notice(text, source.start_line))
        name = images.name_of(image, base.reference)
        said = (str(name.reference), name.target) if name else ("", image.manifest.digest)
        return BaseImage(image, _origin(image, *said), pulled=False)

    def _pulled(self, reference: Reference, platform: Platform | None) -> BaseImage:
        bench = self._bench
        done = self._pull(reference, platform, bench.on_event, bench.cancelled)
        if platform is not None:
            self._keep_name(reference, done)
        origin = _origin(done.image, str(reference.tagged()), done.target)
        return BaseImage(done.image, origin, pulled=not done.up_to_date)

    def _keep_name(self, reference: Reference, done: Pulled) -> None:
        """Let a name stand for what this machine runs, where both are here of one index."""
        images = self._bench.store.images
        name = images.name(reference)
        own = images.of_platform(str(reference), host_platform())
        if name and own and own.manifest.digest not in (name.manifest, done.image.manifest.digest):
            images.prefer(name, own.manifest.digest)
            self._bench.store.layout.publish()


def _origin(image: StoredImage, name: str, digest: Digest) -> Origin:
    """Describe a base; a history that is too short gets a line for each nameless layer."""
    layers = len(image.config.diff_ids)
    history = image.config.history
    told = sum(not entry.empty_layer for entry in history)
    unknown = HistoryEntry(created_by="", comment=HISTORY_COMMENT)
    if told > layers:
        history, told = (), 0
    history = (*(replace(unknown) for _ in range(layers - told)), *history)
    return Origin(name=name, digest=digest, layers=layers, history=history)
