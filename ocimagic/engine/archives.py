"""Images as files: saved, loaded, and made of the tar of a root.

Source for names and words: Docker CLI reference, ``docker image save``, ``load``, ``import``.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, get_args

from ocimagic.engine.exchange import Exchange
from ocimagic.errors import (
    Cancelled,
    DiskFull,
    InvalidOption,
    InvalidReference,
    RegistryUnreachable,
)
from ocimagic.model.archive import ArchiveFormat, Imported, Loaded, LoadedImage, Saved
from ocimagic.model.event import (
    LayerPhase,
    LayerProgress,
    OnEvent,
    TransferStarted,
    ignore,
)
from ocimagic.model.request import ImportOptions
from ocimagic.registry.origin import shown_url
from ocimagic.spec import mediatype
from ocimagic.spec.config import ContainerConfig
from ocimagic.spec.digest import Digest
from ocimagic.spec.platform import host_platform
from ocimagic.spec.reference import Reference
from ocimagic.transfer.archive import LAYOUT
from ocimagic.transfer.layer import chunks_of
from ocimagic.transfer.load import Loader, RootImage
from ocimagic.transfer.save import Chosen, ChosenIndex, save

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from ocimagic.spec.manifest import Index
    from ocimagic.spec.platform import Platform
    from ocimagic.transfer.load import Kept

_CHUNK = 1 << 20
_EVENT_GAP_S = 0.1
_SPARE_BYTES = 16 << 20  # left free where nobody says how much is to come
Source = str | os.PathLike[str] | int | bytes | BinaryIO


class Archives(Exchange):
    """Verbs on archives of images; a source is a path, an open file or descriptor, or bytes."""

    def save(
        self,
        names: Sequence[str],
        write: Callable[[bytes], object],
        *,
        format: ArchiveFormat = "docker",  # noqa: A002  docker's word for such a choice
        cancelled: threading.Event | None = None,
    ) -> Saved:
        """Write images as one tar: equal images give equal bytes.

        An OCI layout gets all platforms of a name whose index is here whole, docker's archive
        the one that runs here.

        Args:
            names: references or image IDs; a repository without a tag means all its tags.
            write: takes the tar, piece by piece.
            format: ``docker`` is docker's archive and an OCI layout in one, ``oci`` only that.
            cancelled: set it to stop.

        Raises:
            ImageNotFound: no such image; nothing was written.
            BlobNotFound, DigestMismatch: the store is damaged.
        """
        if format not in get_args(ArchiveFormat):
            known = " or ".join(get_args(ArchiveFormat))
            raise InvalidOption(f"an archive cannot be {format!r}", hint=f"write {known}")
        with self._store.in_use():
            chosen, indexes = self._wholes(self._chosen(names), format)
            size = save(
                self._store,
                chosen,
                write,
                archive_format=format,
                check=checker("save", cancelled),
                indexes=indexes,
            )
        chosen += [Chosen(image, each.names) for each in indexes for image in each.images]
        tags = tuple(name.familiar for each in chosen for name in each.names)
        ids = tuple(dict.fromkeys(each.image_id for each in chosen))
        return Saved(image_ids=ids, tags=tags, size_bytes=size)

    def load(
        self,
        source: Source,
        *,
        platform: Platform | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Loaded:
        """Load all images of an archive, or none: docker's or an OCI layout's, compressed or not.

        Args:
            source: read once, from beginning to end; or the directory of an OCI layout.
            platform: chosen where an image has several; None takes all that are there, and the
                name stands for this machine's.
            on_event: hears how far the layers are.
            cancelled: set it to stop.

        Raises:
            ArchiveRefused, LayerRefused, InvalidDocument: malformed, incomplete or hostile.
            DigestMismatch, SizeMismatch: something in it is not what it is said to be.
        """
        loader = Loader(self._store, self._unpacker, on_event, checker("load", cancelled))
        if isinstance(source, str | os.PathLike) and (Path(source) / LAYOUT).is_file():
            kept = loader.load_directory(Path(source), platform)
        else:
            kept = loader.load(pieces_of(source), platform)
        loaded = Loaded(images=tuple(loaded_image(each) for each in kept))
        for each in loaded.images:
            said = {"name": each.tags[0] if each.tags else str(each.image_id)}
            self._store.note("image", "load", str(each.image_id), said)
        return loaded

    def import_(
        self,
        source: Source,
        options: ImportOptions | None = None,
        *,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> Imported:
        """Make an image of one layer: the tar of a root, compressed or not.

        Args:
            source: may be an http or https URL, too.
            options: what the image is to be.
            on_event: hears how much of a URL has come.
            cancelled: set it to stop.

        Raises:
            LayerRefused: it is no tar, or not one that can be unpacked safely.
            InvalidOption: a change that is none.
            NotFound, RegistryError: what a web server said.
            DiskFull: it would not fit.
        """
        # Only here: changes are lines of a Dockerfile.
        from ocimagic.engine.commit import parse_name, with_changes

        options = options or ImportOptions()
        platform = options.platform or host_platform()
        name = parse_name(options.reference)
        is_url = isinstance(source, str) and source.startswith(("http://", "https://"))
        url = str(source) if is_url else ""
        root = RootImage(
            name=name,
            config=with_changes(ContainerConfig(), platform, options.changes),
            platform=platform,
            comment=options.message or f"Imported from {shown_url(url) if url else '-'}",
        )
        check = checker("import", cancelled)
        loader = Loader(self._store, self._unpacker, ignore, check)
        pieces = self._fetched(url, on_event, cancelled) if url else pieces_of(source)
        try:
            kept = loader.load_root(pieces, root)
        except RegistryUnreachable:
            check()
            raise
        layer = self._store.images.layer(kept.image.config.diff_ids[0])
        return Imported(
            image_id=kept.image.image_id,
            reference=name.familiar if name else "",
            size_bytes=layer.unpacked_bytes if layer else 0,
        )

    def _fetched(
        self, url: str, on_event: OnEvent, cancelled: threading.Event | None
    ) -> Iterator[bytes]:
        """Yield what is at a URL, as it comes."""
        from ocimagic.registry.download import Download

        name = shown_url(url)
        label = Digest.of(url.encode())  # its own is not known before its end
        told = 0.0
        with self.web() as transport:
            download = Download(transport, url, cancelled=cancelled)
            for piece in download.pieces():
                if not told:
                    sizes = ((label, download.total_bytes),)
                    on_event(TransferStarted(name, None, sizes, "importing"))
                if time.monotonic() - told > _EVENT_GAP_S:
                    told = time.monotonic()
                    done, total = download.done_bytes, download.total_bytes
                    self._refuse_too_large(name, total - done if total else _SPARE_BYTES)
                    on_event(LayerProgress(label, LayerPhase.DOWNLOADING, done, total, name="file"))
                yield piece
            done = download.done_bytes
            on_event(LayerProgress(label, LayerPhase.DONE, done, done, name="file"))

    def _refuse_too_large(self, name: str, left: int) -> None:
        """Refuse what cannot be kept before the disk is full: others need it too."""
        free = shutil.disk_usage(self._store.home.data).free
        if left > free:
            raise DiskFull(
                f"{name} does not fit",
                why=f"{left} bytes of it or more are to come, and {free} are free",
                where=str(self._store.home.data),
                hint="remove images you do not need (%image_rm), or set OCIMAGIC_ROOT elsewhere",
            )

    def _chosen(self, names: Sequence[str]) -> list[Chosen]:
        """Find the images to save, each once with all the names that were asked for."""
        found: dict[Digest, Chosen] = {}
        for name in names:
            for each in self._meant(name):
                known = found.get(each.manifest.digest, each)
                both = tuple(dict.fromkeys((*known.names, *each.names)))
                found[each.manifest.digest] = Chosen(known.image, both)
        return list(found.values())

    def _wholes(
        self, chosen: Sequence[Chosen], archive_format: ArchiveFormat
    ) -> tuple[list[Chosen], list[ChosenIndex]]:
        """Put indexes in the place of images that are chosen by the name of one."""
        single: list[Chosen] = []
        found: dict[Digest, ChosenIndex] = {}
        for each in chosen:
            alone = []
            for name in each.names:
                index = self._index(name) if archive_format == "oci" else None
                if index is None:
                    alone.append(name)
                    continue
                images = tuple(self._store.images.load(one.digest) for one in index.manifests)
                known = found.get(index.digest, ChosenIndex(index, images, ()))
                found[index.digest] = replace(known, names=(*known.names, name))
            if alone or not each.names:
                single.append(replace(each, names=tuple(alone)))
        return single, list(found.values())

    def _index(self, name: Reference) -> Index | None:
        """Return the index that a name points at, if all it names is here as it is written."""
        index = self._store.images.whole_index(name)
        is_oci = index and {each.media_type for each in index.manifests} == {mediatype.OCI_MANIFEST}
        return index if is_oci else None

    def _meant(self, text: str) -> list[Chosen]:
        """Return what one word means; only a tag takes its name along, as with docker."""
        images = self._store.images
        try:
            reference = Reference.parse(text)
        except InvalidReference:
            return [Chosen(images.find(text), ())]
        if reference.digest:
            return [Chosen(images.find(text), ())]
        is_tagged = ":" in text.rpartition("/")[2]
        same = [each for each in images.names() if each.reference.name == reference.name]
        tags = [each for each in same if not is_tagged or each.reference == reference]
        if not tags:
            return [Chosen(images.find(text), ())]
        return [
            Chosen(images.load(each.manifest), (each.reference,) if each.reference.tag else ())
            for each in tags
        ]


def loaded_image(kept: Kept) -> LoadedImage:
    """Say of an image that came what it is called now."""
    return LoadedImage(
        image_id=kept.image.image_id,
        tags=tuple(name.familiar for name in kept.names),
        replaced=tuple((name.familiar, old) for name, old in kept.replaced),
    )


def checker(verb: str, cancelled: threading.Event | None) -> Callable[[], None]:
    """Return what raises when the user stopped a verb."""

    def check() -> None:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled(f"{verb} stopped", hint="nothing of it was kept")

    return check


def pieces_of(source: Source) -> Iterator[bytes]:
    """Read a source a mebibyte at a time.

    Raises:
        InvalidOption: it cannot be read.
    """
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    if not isinstance(source, str | os.PathLike | int):
        yield from chunks_of(source)
        return
    try:
        with open(source, "rb", buffering=0, closefd=not isinstance(source, int)) as file:
            while piece := file.read(_CHUNK):
                yield piece
    except OSError as err:
        where = "standard input" if isinstance(source, int) else os.fspath(source)
        raise InvalidOption(f"cannot read {where}", why=err.strerror) from err
