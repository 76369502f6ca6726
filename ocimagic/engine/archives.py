"""Images as files: saved, loaded, and made of the tar of a root.

Source for names and words: Docker CLI reference, ``docker image save``, ``load``, ``import``.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, get_args

from ocimagic.engine.commit import parse_name, with_changes
from ocimagic.errors import Cancelled, InvalidOption, InvalidReference
from ocimagic.model.archive import ArchiveFormat, Imported, Loaded, LoadedImage, Saved
from ocimagic.model.event import OnEvent, ignore
from ocimagic.model.request import ImportOptions
from ocimagic.spec.config import ContainerConfig
from ocimagic.spec.platform import host_platform
from ocimagic.spec.reference import Reference
from ocimagic.transfer.archive import LAYOUT
from ocimagic.transfer.load import Loader, RootImage
from ocimagic.transfer.save import Chosen, save
from ocimagic.transfer.unpack import chunks_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform
    from ocimagic.store.store import Store
    from ocimagic.transfer.load import Kept
    from ocimagic.transfer.unpack import Unpacker

_CHUNK = 1 << 20
Source = str | os.PathLike[str] | int | bytes | BinaryIO


class Archives:
    """Verbs on archives of images; a source is a path, an open file or descriptor, or bytes."""

    _store: Store
    _unpacker: Unpacker

    def save(
        self,
        names: Sequence[str],
        write: Callable[[bytes], object],
        *,
        format: ArchiveFormat = "docker",  # noqa: A002  docker's word for such a choice
        cancelled: threading.Event | None = None,
    ) -> Saved:
        """Write images as one tar: equal images give equal bytes.

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
            chosen = self._chosen(names)
            size = save(
                self._store,
                chosen,
                write,
                archive_format=format,
                check=_checker("save", cancelled),
            )
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
            platform: chosen where an image has several; None is this machine's.
            on_event: hears how far the layers are.
            cancelled: set it to stop.

        Raises:
            ArchiveRefused, LayerRefused, InvalidDocument: malformed, incomplete or hostile.
            DigestMismatch, SizeMismatch: something in it is not what it is said to be.
        """
        loader = Loader(self._store, self._unpacker, on_event, _checker("load", cancelled))
        wanted = platform or host_platform()
        if isinstance(source, str | os.PathLike) and (Path(source) / LAYOUT).is_file():
            kept = loader.load_directory(Path(source), wanted)
        else:
            kept = loader.load(_pieces(source), wanted)
        return Loaded(images=tuple(_loaded(each) for each in kept))

    def import_(
        self,
        source: Source,
        options: ImportOptions | None = None,
        *,
        cancelled: threading.Event | None = None,
    ) -> Imported:
        """Make an image of one layer: the tar of a root, compressed or not.

        Raises:
            LayerRefused: it is no tar, or not one that can be unpacked safely.
            InvalidOption: a change that is none.
        """
        options = options or ImportOptions()
        platform = options.platform or host_platform()
        name = parse_name(options.reference)
        root = RootImage(
            name=name,
            config=with_changes(ContainerConfig(), platform, options.changes),
            platform=platform,
            comment=options.message or "Imported from -",
        )
        loader = Loader(self._store, self._unpacker, ignore, _checker("import", cancelled))
        kept = loader.load_root(_pieces(source), root)
        layer = self._store.images.layer(kept.image.config.diff_ids[0])
        return Imported(
            image_id=kept.image.image_id,
            reference=name.familiar if name else "",
            size_bytes=layer.unpacked_bytes if layer else 0,
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


def _loaded(kept: Kept) -> LoadedImage:
    return LoadedImage(
        image_id=kept.image.image_id,
        tags=tuple(name.familiar for name in kept.names),
        replaced=tuple((name.familiar, old) for name, old in kept.replaced),
    )


def _checker(verb: str, cancelled: threading.Event | None) -> Callable[[], None]:
    def check() -> None:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled(f"{verb} stopped", hint="nothing of it was kept")

    return check


def _pieces(source: Source) -> Iterator[bytes]:
    """Read a source a mebibyte at a time."""
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
