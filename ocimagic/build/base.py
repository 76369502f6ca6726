"""FROM and ``COPY --from`` an image: what is here, or what the registry has.

Source: facts/build.md section 1.2 (FROM).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
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
    nearest,
)
from ocimagic.model.event import Notice
from ocimagic.spec.config import HistoryEntry
from ocimagic.spec.platform import Platform, candidates, host_platform
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


class Bases:
    """Finds the images that a Dockerfile names, each once."""

    def __init__(self, bench: Bench, pull: Pull, stages: tuple[str, ...]) -> None:
        self._bench = bench
        self._pull = pull
        self._stages = stages
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str | None], BaseImage] = {}

    def image(self, base: ImageBase, source: SourceRange) -> BaseImage:
        """Return an image, pulled if it is not here.

        Raises:
            DockerfileError: its name or platform cannot be understood.
            OcimagicError: the registry's answer, with the line of the Dockerfile.
        """
        key = (base.reference, base.platform)
        with self._lock:  # several stages may ask at once
            if key not in self._found:
                self._found[key] = self._obtain(base, source)
            return self._found[key]

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
            return self._bench.options.platform
        return Platform.parse(base.platform)  # the plan holds none that cannot be read

    def _local(
        self, base: ImageBase, platform: Platform | None, source: SourceRange
    ) -> BaseImage | None:
        try:
            image = self._bench.store.images.find(base.reference)
        except ImageNotFound:
            if looks_like_id(base.reference):
                raise
            return None
        fits = image.config.platform.canonical in candidates(platform or host_platform())
        if not fits and platform is not None:
            return None
        if not fits:
            text = (
                f"InvalidBaseImagePlatform: Base image {base.reference} was pulled with platform "
                f'"{image.config.platform}", expected "{host_platform()}" for current build'
            )
            self._bench.on_event(Notice(text, source.start_line))
        return BaseImage(image, _origin(image, *self._name(image, base.reference)), pulled=False)

    def _pulled(self, reference: Reference, platform: Platform | None) -> BaseImage:
        bench = self._bench
        done = self._pull(reference, platform, bench.on_event, bench.cancelled)
        origin = _origin(done.image, str(reference.tagged()), done.target)
        return BaseImage(done.image, origin, pulled=not done.up_to_date)

    def _name(self, image: StoredImage, text: str) -> tuple[str, Digest]:
        """Return the name and target under which an image here was meant."""
        try:
            said = str(Reference.parse(text).tagged())
        except InvalidReference:
            said = ""
        named = next((each for each in image.names if str(each.reference) == said), None)
        named = named or next(iter(image.names), None)
        return (str(named.reference), named.target) if named else ("", image.manifest.digest)


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
