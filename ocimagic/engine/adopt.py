"""Images of another engine on this machine, brought here: from a dockerd, or from podman."""

from __future__ import annotations

import re
import time
from contextlib import closing
from typing import TYPE_CHECKING

from ocimagic.engine.archives import Archives, checker, loaded_image
from ocimagic.errors import ImageNotFound, InvalidOption, InvalidReference
from ocimagic.model.archive import Adoptable, AdoptableImage, Adopted, Loaded, LoadedImage
from ocimagic.model.event import LayerPhase, LayerProgress, OnEvent, TransferStarted, ignore
from ocimagic.spec.digest import Digest
from ocimagic.spec.nearest import nearest
from ocimagic.spec.platform import host_platform
from ocimagic.spec.reference import Reference
from ocimagic.transfer.load import Loader

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from ocimagic.store.images import StoredImage
    from ocimagic.transfer.load import Kept
    from ocimagic.transfer.neighbour import ImageThere, Neighbour

_EVENT_GAP_S = 0.1

Wanted = dict[Digest, tuple[Reference, ...]]


class Adoption(Archives):
    """Verbs on what docker or podman has."""

    def adoptable(
        self, source: str | None = None, *, cancelled: threading.Event | None = None
    ) -> Adoptable:
        """List the images that another engine has; nothing is changed.

        Args:
            source: ``docker``, ``podman``, ``unix:///PATH`` or ``tcp://HOST:PORT``; None is
                the first that is found.
            cancelled: set it to stop.

        Raises:
            InvalidOption: ``source`` is none.
            NeighbourUnreachable: no engine can be asked; says where and why.
            NeighbourError: it refuses, or answers nonsense.
        """
        from ocimagic.transfer.neighbourhood import ask_first  # with TLS, which takes long to load

        neighbour, there = ask_first(source, self._environment, checker("adopt", cancelled))
        return Adoptable(
            source=neighbour.shown,
            images=tuple(
                AdoptableImage(
                    image_id=each.image_id,
                    tags=tuple(name.familiar for name in each.names),
                    size_bytes=each.size_bytes,
                    created=each.created,
                    is_here=self._here(each.image_id) is not None,
                )
                for each in there
            ),
        )

    def adopt(
        self,
        names: Sequence[str] = (),
        *,
        source: str | None = None,
        all: bool = False,  # noqa: A002  docker's word
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Adopted:
        """Bring images of another engine here, all of them or none; they keep their IDs.

        What is here already does not come again, but gets its names.

        Args:
            names: references or image IDs, as they are there; by ID an image brings all names.
            source: as for ``adoptable``.
            all: every image that has a name.
            on_event: hears how much has come, and how far the layers are.
            cancelled: set it to stop.

        Raises:
            ImageNotFound: one is not there; nothing was brought.
            ArchiveRefused, LayerRefused, InvalidDocument, DigestMismatch, SizeMismatch: what
                came cannot be used; the store is as before.
            InvalidOption, NeighbourUnreachable, NeighbourError: as ``adoptable``.
        """
        asked = [names] if isinstance(names, str) else list(names)
        if all == bool(asked):
            raise InvalidOption(
                "which images?", hint="name some, or ask for all of them: one or the other"
            )
        from ocimagic.transfer.neighbourhood import ask_first

        began = time.monotonic()
        check = checker("adopt", cancelled)
        neighbour, there = ask_first(source, self._environment, check)
        wanted = _named(there) if all else _chosen(asked, there, neighbour.shown)
        loader = Loader(self._store, self._unpacker, on_event, check)
        with self._store.in_use():  # no sweep takes away what was found to be here
            known = {each: image for each in wanted if (image := self._here(each))}
            missing = {each: said for each, said in wanted.items() if each not in known}
            arriving = _Arriving(neighbour, missing, on_event)
            came: list[Kept] = []
            if missing:
                with closing(arriving.pieces()) as pieces:
                    came = loader.load(pieces, host_platform(), missing)
            named = self._name(loader, [(known[each], wanted[each]) for each in known])
        return Adopted(
            source=neighbour.shown,
            loaded=Loaded(images=tuple(loaded_image(each) for each in came)),
            known=named,
            received_bytes=arriving.done_bytes,
            seconds=time.monotonic() - began,
        )

    def _here(self, image_id: Digest) -> StoredImage | None:
        """Return an image that is here and whole, by its ID or its manifest's digest."""
        images, blobs = self._store.images, self._store.blobs
        found = images.with_id(image_id)
        if not found and images.image_id(image_id):
            found = [images.load(image_id)]
        whole = (
            each for each in found if all(blobs.has(layer.digest) for layer in each.manifest.layers)
        )
        return next(whole, None)

    def _name(
        self, loader: Loader, images: Sequence[tuple[StoredImage, Sequence[Reference]]]
    ) -> tuple[LoadedImage, ...]:
        """Give images that are here the names they lack, and say all that were asked for."""
        lacking = []
        for image, names in images:
            own = {each.reference for each in image.names}
            if new := [name for name in names if name not in own]:
                lacking.append((image, new))
        kept = loader.publish(lacking) if lacking else []
        replaced = {each.image.manifest.digest: loaded_image(each).replaced for each in kept}
        return tuple(
            LoadedImage(
                image_id=image.image_id,
                tags=tuple(name.familiar for name in names),
                replaced=replaced.get(image.manifest.digest, ()),
            )
            for image, names in images
        )


class _Arriving:
    """An archive on its way here.

    Attributes:
        done_bytes: how many have come.
    """

    def __init__(
        self,
        neighbour: Neighbour,
        wanted: Mapping[Digest, Sequence[Reference]],
        on_event: OnEvent,
    ) -> None:
        self._neighbour = neighbour
        self._wanted = wanted
        self._on_event = on_event
        self.done_bytes = 0

    def pieces(self) -> Generator[bytes]:
        """Yield it, and tell how much has come."""
        names = [name.familiar for said in self._wanted.values() for name in said]
        names += [each.short for each, said in self._wanted.items() if not said]
        label = Digest.of(" ".join(names).encode())  # its own is not known before its end
        title = f"{', '.join(names)} from {self._neighbour.shown}"
        self._on_event(TransferStarted(title, None, ((label, 0),), "adopting"))
        began = told = 0.0
        with closing(self._neighbour.archive(list(self._wanted))) as archive:
            for piece in archive:
                now = time.monotonic()
                began = began or now
                self.done_bytes += len(piece)
                if now - told > _EVENT_GAP_S:
                    told = now
                    self._tell(label, LayerPhase.DOWNLOADING, now - began)
                yield piece
        self._tell(label, LayerPhase.DONE, time.monotonic() - began)

    def _tell(self, label: Digest, phase: LayerPhase, seconds: float) -> None:
        done = self.done_bytes
        total = done if phase is LayerPhase.DONE else 0
        rate = done / seconds if seconds > _EVENT_GAP_S else 0.0
        self._on_event(LayerProgress(label, phase, done, total, rate, name="archive"))


def _named(there: Sequence[ImageThere]) -> Wanted:
    return {each.image_id: each.names for each in there if each.names}


def _chosen(asked: Sequence[str], there: Sequence[ImageThere], shown: str) -> Wanted:
    """Find what is meant, each image once with all the names that were asked for."""
    wanted: Wanted = {}
    for text in asked:
        image, names = _meant(text, there, shown)
        wanted[image] = tuple(dict.fromkeys((*wanted.get(image, ()), *names)))
    return wanted


def _meant(
    text: str, there: Sequence[ImageThere], shown: str
) -> tuple[Digest, tuple[Reference, ...]]:
    """Return the image that one word means, and the names it is to have here.

    Raises:
        ImageNotFound: none is meant, or several are.
    """
    known = {name: each for each in there for name in each.names}
    for name in _readings(text):
        if name in known:
            return known[name].image_id, (name,)
    digits = text.removeprefix("sha256:")
    if re.fullmatch(r"[0-9a-f]{4,64}", digits):
        found = [each for each in there if each.image_id.hex.startswith(digits)]
        if len(found) > 1:
            raise ImageNotFound(f"more than one image ID begins with {digits}", where=shown)
        if found:
            return found[0].image_id, found[0].names
    familiar = [name.familiar for name in known]
    near = nearest(text, familiar) or nearest(f"{text}:latest", familiar)
    if near is None:
        same = (each for each in known if text in {each.familiar_name, each.repository})
        near = next((each.familiar for each in same), None)
    raise ImageNotFound(
        f"no such image: {text}",
        where=shown,
        hint=f"did you mean {near}?" if near else "list what is there: %image_adopt",
    )


def _readings(text: str) -> Iterator[Reference]:
    """Yield what a name may mean: podman puts ``localhost/`` before what was built there."""
    for each in (text, f"localhost/{text}"):
        try:
            reference = Reference.parse(each)
        except InvalidReference:
            continue
        if reference.digest is None:
            yield reference
