"""Manifests as documents, and indexes made of images from here and from registries.

Source for names and words: Docker CLI reference, ``docker manifest``.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.errors import (
    ImageNotFound,
    InvalidDocument,
    InvalidOption,
    InvalidPlatform,
    InvalidReference,
    NameInUse,
    NotFound,
    RegistryError,
)
from ocimagic.model.distribution import (
    ListPushed,
    ManifestDetails,
    ManifestDocument,
    ManifestList,
)
from ocimagic.model.event import Notice, OnEvent, ignore
from ocimagic.spec.codec import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.manifest import Index, Manifest, parse_manifest
from ocimagic.spec.nearest import nearest
from ocimagic.spec.platform import Platform, is_platform_word
from ocimagic.spec.reference import Reference
from ocimagic.store.lists import ListEntry

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ocimagic.engine.images import Images
    from ocimagic.model.distribution import PlatformChange
    from ocimagic.spec.digest import Digest
    from ocimagic.store.store import Store


class Manifests:
    """Verbs on manifests and on lists of them; names are references."""

    def __init__(self, store: Store, images: Images) -> None:
        self._store = store
        self._images = images

    # -- looking -----------------------------------------------------------------

    def inspect(
        self, name: str, *, within: str | None = None, on_event: OnEvent = ignore
    ) -> ManifestDocument:
        """Return a manifest or an index as it is.

        A list that was made here comes first, then the registry, and only if that has or says
        nothing the image in the store.

        Args:
            name: a reference.
            within: a list that was made here, to show the entry as it is in there.
            on_event: is told when the registry does not help.

        Raises:
            NotFound, Unauthorized, RegistryError: nobody has it.
            InvalidDocument: it breaks the spec, or is a schema 1 manifest.
        """
        reference = Reference.parse(name)
        if within is not None:
            _, entry = self._entry(Reference.parse(within), reference)
            return _of_entry(entry)
        entries = self._store.lists.find(reference)
        if entries is not None:
            index = Index.build([each.shown[0] for each in entries])
            return _document(reference, index.digest, index, "list")
        try:
            return self._from_registry(reference)
        except (NotFound, RegistryError) as err:
            found = self._from_store(reference)
            if found is None:
                raise
            on_event(Notice(f"{err.what}: this is what is kept here"))
            return found

    def details(
        self, name: str, *, within: str | None = None, on_event: OnEvent = ignore
    ) -> ManifestDetails:
        """Return a manifest, or each one that an index names, with its platform.

        See ``inspect``.  What an index names beyond images is in it, too; an index of the store
        shows those of its manifests that are here.
        """
        found = self.inspect(name, within=within, on_event=on_event)
        if isinstance(found.content, Manifest):
            return ManifestDetails(document=found, manifests=(self._with_platform(found),))
        reference = Reference.parse(name)
        if found.place == "list":
            entries = tuple(_of_entry(each) for each in self._store.lists.get(reference))
            return ManifestDetails(document=found, manifests=entries)
        documents = []
        for described in found.content.manifests:
            pinned = reference.pinned(described.digest)
            each = self._of_index(pinned, described.digest, found.place)
            if each is not None:
                # As docker writes it: the tag stays.
                name = str(replace(reference, digest=described.digest))
                documents.append(replace(each, reference=name, platform=described.platform))
        return ManifestDetails(document=found, manifests=tuple(documents))

    def _of_index(self, pinned: Reference, digest: Digest, place: str) -> ManifestDocument | None:
        """Return one manifest of an index; None where the store keeps only some of them."""
        if place == "registry":
            return self._from_registry(pinned)
        if not self._store.blobs.has(digest):
            return None
        raw = self._store.blobs.read(digest, max_bytes=MAX_MANIFEST_BYTES)
        return _document(pinned, digest, parse_manifest(raw), place)

    def _from_registry(self, reference: Reference) -> ManifestDocument:
        client = self._images.registry_client()
        fetched = client.anywhere(reference, client.manifest)
        content = parse_manifest(fetched.raw, content_type=fetched.content_type)
        digest = reference.digest or content.digest
        return _document(reference, digest, content, "registry")

    def _from_store(self, reference: Reference) -> ManifestDocument | None:
        try:
            image = self._store.images.find(str(reference))
        except ImageNotFound:
            return None
        known = self._store.images.name(reference) if reference.tag else None
        digest = reference.digest or (known.target if known else image.manifest.digest)
        if not self._store.blobs.has(digest):
            digest = image.manifest.digest
        raw = self._store.blobs.read(digest, max_bytes=MAX_MANIFEST_BYTES)
        return _document(reference, digest, parse_manifest(raw), "store")

    def _with_platform(self, found: ManifestDocument) -> ManifestDocument:
        """Fill in an image's platform from its config."""
        content = found.content
        if found.platform or not isinstance(content, Manifest) or not content.is_image:
            return found
        config = self._config(Reference.parse(found.reference), content, found.place)
        return replace(found, platform=config.platform)

    def _config(self, reference: Reference, manifest: Manifest, place: str) -> ImageConfig:
        described = manifest.config
        if place == "store":
            raw = self._store.blobs.read(described.digest, max_bytes=MAX_CONFIG_BYTES)
            return ImageConfig.parse(raw)
        client = self._images.registry_client()
        raw = client.anywhere(reference, lambda place: client.small_blob(place, described))
        return ImageConfig.parse(raw)

    # -- making ------------------------------------------------------------------

    def create(self, name: str, images: Sequence[str], *, amend: bool = False) -> ManifestList:
        """Begin a list of images for several platforms, or add to one.

        Args:
            name: what it will be called in its registry.
            images: references; each is looked for in the store, then in its registry.
            amend: the list may be there already.

        Raises:
            NameInUse: it is, and ``amend`` was not said.
            InvalidReference: a list with a digest, or no image.
            InvalidDocument: one of them is a list itself, or no image.
            ImageNotFound, Unauthorized, RegistryError: one is in neither place.
        """
        reference = _list_name(name)
        added = [self._new_entry(Reference.parse(each)) for each in images]
        with self._store.lists.changing():
            known = self._store.lists.find(reference)
            if known is not None and not amend:
                raise NameInUse(
                    f"there is a manifest list {reference.familiar} here already",
                    hint="--amend adds to it; docker manifest rm takes it away",
                )
            entries = {each.reference: each for each in (*(known or ()), *added)}
            self._store.lists.put(reference, tuple(entries.values()))
        return _list(reference, tuple(entries.values()))

    def annotate(self, name: str, image: str, change: PlatformChange) -> ManifestList:
        """Say which platform an image of a list is for.

        Raises:
            NotFound: no such list, or no such image in it.
            InvalidPlatform: a word that is none.
        """
        reference = _list_name(name)
        with self._store.lists.changing():
            entries, found = self._entry(reference, Reference.parse(image))
            platform = _changed(found.described.platform or Platform("", ""), change)
            described = replace(found.described, platform=platform)
            after = tuple(
                replace(each, described=described) if each is found else each for each in entries
            )
            self._store.lists.put(reference, after)
        return _list(reference, after)

    def remove(self, *names: str) -> tuple[str, ...]:
        """Take lists away that were made here; returns their full names.

        Raises:
            NotFound: there is none of a name; then nothing is taken away.
        """
        wanted = [_list_name(each) for each in names]
        with self._store.lists.changing():
            for each in wanted:
                self._store.lists.get(each)
            for each in wanted:
                self._store.lists.remove(each)
        return tuple(map(str, wanted))

    def push(
        self,
        name: str,
        *,
        purge: bool = False,
        compression: str = "gzip",
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> ListPushed:
        """Bring the images of a list to its registry, then the list as an index.

        What is in another repository of that registry is taken over from there, what is in
        another registry is copied past the store.

        Args:
            name: of the list.
            purge: take it away here afterwards.
            compression: ``gzip`` or ``zstd``, for layers that were built here.
            on_event: is told how far each image is.
            cancelled: stops it when set.

        Raises:
            NotFound: no such list, or an image of it is gone.
            Unauthorized, RateLimited, RegistryError: what a registry said.
        """
        from ocimagic.transfer.assemble import push_list

        began = time.monotonic()
        reference = _list_name(name)
        entries = self._store.lists.get(reference)
        done = push_list(
            self._store,
            self._images.registry_client(),
            entries,
            reference,
            compression=compression,
            on_event=on_event,
            cancelled=cancelled,
        )
        with self._store.lists.changing():
            if purge:
                self._store.lists.remove(reference)
            elif self._store.lists.find(reference) == entries:
                self._store.lists.put(reference, done.entries)
        return ListPushed(
            reference=str(reference),
            digest=done.index.digest,
            size_bytes=len(done.index.raw),
            manifests=tuple(
                (each.digest, each.platform or Platform("", "")) for each in done.index.manifests
            ),
            sent_bytes=done.sent_bytes,
            seconds=time.monotonic() - began,
            purged=purge,
        )

    def _new_entry(self, reference: Reference) -> ListEntry:
        """Look for an image in the store, then in its registry."""
        try:
            image = self._store.images.find(str(reference))
        except ImageNotFound:
            found = self._from_registry(reference)
            is_here = False
        else:
            digest = image.manifest.digest
            found = _document(reference, digest, image.manifest, "store")
            is_here = True
        content = found.content
        if isinstance(content, Index):
            raise InvalidDocument(
                f"{reference.familiar} is a manifest list itself",
                why="it names images for several platforms",
                hint="name one of them by its digest: docker manifest inspect shows them",
            )
        content.require_image(reference.familiar)
        config = self._config(reference, content, found.place)
        described = replace(content.descriptor, digest=found.digest, platform=config.platform)
        return ListEntry(str(reference), described, content.raw, is_here)

    def _entry(self, name: Reference, image: Reference) -> tuple[tuple[ListEntry, ...], ListEntry]:
        """Return a list and the one of its entries that was added by a name."""
        entries = self._store.lists.get(name)
        for each in entries:
            if each.reference == str(image) or image.digest == each.shown[0].digest:
                return entries, each
        known = [Reference.parse(each.reference).familiar for each in entries]
        near = nearest(image.familiar, known)
        raise ImageNotFound(
            f"{image.familiar} is not in the manifest list {name.familiar}",
            hint=f"did you mean {near}?" if near else f"there are: {', '.join(known)}",
        )


def _list_name(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest:
        raise InvalidReference(
            "a manifest list has no digest before it is pushed", hint="leave out what follows @"
        )
    return reference


def _document(
    reference: Reference, digest: Digest, content: Manifest | Index, place: str
) -> ManifestDocument:
    return ManifestDocument(
        reference=str(reference), digest=digest, content=content, platform=None, place=place
    )


def _of_entry(entry: ListEntry) -> ManifestDocument:
    described, raw = entry.shown
    content = parse_manifest(raw, content_type=described.media_type)
    found = _document(Reference.parse(entry.reference), described.digest, content, "list")
    return replace(found, platform=described.platform)


def _list(reference: Reference, entries: Sequence[ListEntry]) -> ManifestList:
    return ManifestList(
        reference=str(reference),
        entries=tuple(
            (Reference.parse(each.reference).familiar, each.described.platform or Platform("", ""))
            for each in entries
        ),
    )


def _changed(platform: Platform, change: PlatformChange) -> Platform:
    """Put the words that were said in place of what is there."""
    words = {
        "os": (platform.os, change.os),
        "architecture": (platform.architecture, change.architecture),
        "variant": (platform.variant, change.variant),
        "os_version": (platform.os_version, change.os_version),
    }
    for key, (_, said) in words.items():
        may_be_empty = key in {"variant", "os_version"}
        if said is not None and not is_platform_word(said) and (said or not may_be_empty):
            raise InvalidPlatform(
                f"invalid {key}: {said!r}", hint="for example --os linux --arch arm --variant v7"
            )
    features = change.os_features
    if features is None and all(said is None for _, said in words.values()):
        raise InvalidOption("nothing to annotate", hint="say --os, --arch or --variant")
    os, architecture, variant, version = (
        was if said is None else said for was, said in words.values()
    )
    features = platform.os_features if features is None else features
    return Platform(os, architecture, variant, version, features)
