"""Images: names, manifests and what is known of their layers."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from ocimagic.errors import BlobNotFound, ImageNotFound, InvalidReference
from ocimagic.spec.codec import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.digest import Digest, chain_ids
from ocimagic.spec.manifest import Index, Manifest, parse_manifest
from ocimagic.spec.nearest import nearest
from ocimagic.spec.platform import candidates
from ocimagic.spec.record import dataclass
from ocimagic.spec.reference import Reference
from ocimagic.store.naming import Name, Naming, as_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ocimagic.home.database import Database
    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.platform import Platform
    from ocimagic.store.blobs import BlobStore
    from ocimagic.store.nameless import Part
    from ocimagic.store.results import StepResult, StepResults

_NO_NAME = re.compile(r"[0-9a-f]{64}|sha256:[0-9a-f]+")
_ID = re.compile(r"[0-9a-f]{12,64}|sha256:[0-9a-f]+")  # docker's short form, or a longer one


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What is known of one layer blob; sizes in bytes.

    Attributes:
        tar_bytes: of the uncompressed tar.
        unpacked_bytes: of the files in it.
    """

    diff_id: Digest
    digest: Digest
    blob_bytes: int
    tar_bytes: int
    unpacked_bytes: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image, its documents read.

    Attributes:
        names: that point at it, sorted.
        added: seconds since 1970.
    """

    manifest: Manifest
    config: ImageConfig
    names: tuple[Name, ...]
    added: float

    @property
    def image_id(self) -> Digest:
        """Return the digest of the config."""
        return self.manifest.config.digest

    @property
    def chain_ids(self) -> list[Digest]:
        """Return one chain_id per layer, bottom first."""
        return chain_ids(self.config.diff_ids)


class _View:
    """All images as they were in one state of the database."""

    def __init__(self, state: tuple[int, int], images: Sequence[StoredImage]) -> None:
        self.state = state
        self.images = images
        self.sizes: Mapping[str, int] | None = None

    @cached_property
    def places(self) -> Mapping[Digest, Sequence[int]]:
        """Return where in ``images`` those with a layer are, by its diff_id."""
        found: dict[Digest, list[int]] = {}
        for place, image in enumerate(self.images):
            for diff_id in set(image.config.diff_ids):
                found.setdefault(diff_id, []).append(place)
        return found


class Images(Naming):
    """The images of one data root."""

    def __init__(self, database: Database, blobs: BlobStore, results: StepResults) -> None:
        super().__init__(database)
        self._blobs = blobs
        self._results = results
        self._documents: dict[Digest, tuple[Manifest, ImageConfig]] = {}
        self._seen = _View((-1, -1), ())

    def find(self, text: str) -> StoredImage:
        """Return the image of a reference, or of an image ID, whole or its first digits.

        An image that a build step came to is known by its ID, at least seven digits of it,
        after all others; its documents are blobs then, which the next sweep takes away unless a
        container was made of it.

        Raises:
            InvalidReference: neither could be meant.
            ImageNotFound: nothing here has that name.
        """
        found = self._by_id(text)
        if found is None and not _NO_NAME.fullmatch(text):
            found = self._by_reference(Reference.parse(text))
        image = self._load_unless_gone(found) if found else None
        return image or self._of_step(text) or self._missing(text)

    def of_platform(self, text: str, wanted: Platform) -> StoredImage | None:
        """Return what ``find`` does, or of its siblings the one that runs best on a platform.

        Raises:
            InvalidReference, ImageNotFound: see ``find``.

        Returns:
            None if none of those that are here is for it.
        """
        image = self.find(text)
        name = self.name_of(image, text)
        known = {image.manifest.digest: image.config.platform}
        for part in self.parts(name.reference) if name else self.siblings(image):
            known[part.manifest] = part.platform or self.documents(part.manifest)[1].platform
        for platform in candidates(wanted):
            for manifest, own in known.items():
                if own.canonical == platform:
                    return image if manifest == image.manifest.digest else self.load(manifest)
        return None

    def siblings(self, image: StoredImage) -> Sequence[Part]:
        """Return the images of the index without a name that an image is a part of."""
        for each in self.nameless():
            if image.manifest.digest in (part.manifest for part in each.parts):
                return each.parts
        return ()

    def name_of(self, image: StoredImage, text: str) -> Name | None:
        """Return the name under which ``find`` found an image: of an ID, its first one."""
        try:
            said = None if _NO_NAME.fullmatch(text) else self.name(Reference.parse(text))
        except InvalidReference:
            said = None
        if said and image.manifest.digest in (said.manifest, *self._manifests(said.reference)):
            return said
        return next(iter(image.names), None)

    def whole_index(self, reference: Reference) -> Index | None:
        """Return the index that a name points at, if all that it names is here."""
        here, index = set(self._manifests(reference)), self._index(reference)
        if here and index and {each.digest for each in index.manifests} <= here:
            return index
        return None

    def missing(self, reference: Reference) -> list[Platform]:
        """Return the platforms of the index that a name points at whose manifests are not here.

        Of one that was compressed on its way to a registry, the image here has another manifest.
        """
        here, index = set(self._manifests(reference)), self._index(reference)
        return [
            each.platform
            for each in (index.manifests if index else ())
            if each.platform and not each.is_attestation and each.digest not in here
        ]

    def _index(self, reference: Reference) -> Index | None:
        """Return the index that a name points at, if it does and it was kept."""
        name = self.name(reference)
        if name is None or not self._blobs.has(name.target):
            return None
        index = parse_manifest(self._blobs.read(name.target, max_bytes=MAX_MANIFEST_BYTES))
        return index if isinstance(index, Index) else None

    def _manifests(self, reference: Reference) -> list[Digest]:
        return [each.manifest for each in self.parts(reference)]

    def _of_step(self, text: str) -> StoredImage | None:
        """Return what a build step came to, if all its layers are here."""
        found = self._results.find(text)
        if found is None or not all(map(self._blobs.has, _digests(found.manifest.layers))):
            return None
        self._blobs.put(found.config.raw)
        self._blobs.put(found.manifest.raw)
        return unnamed(found)

    def _missing(self, text: str) -> NoReturn:
        known = [each.reference.familiar for each in self.names()]
        near = nearest(text, known) or nearest(f"{text}:latest", known)
        hint = f"did you mean {near}?" if near else f"%image_pull {text}"
        if looks_like_id(text):
            hint = (
                "an ID that a build showed is gone when %builder_prune or %image_rm took its "
                "layers away: build again, and what is still known is not done anew"
            )
        raise ImageNotFound(f"no such image: {text}", why="it is not in the local store", hint=hint)

    def _by_id(self, text: str) -> Digest | None:
        digits = text.removeprefix("sha256:")
        if not re.fullmatch(r"[0-9a-f]{4,64}", digits):
            return None
        rows = self._database.rows(
            "SELECT manifest, image_id FROM images WHERE image_id LIKE 'sha256:' || ? || '%'",
            digits,
        )
        if len({row[1] for row in rows}) > 1:
            raise ImageNotFound(f"more than one image ID begins with {digits}")
        return Digest(str(rows[0][0])) if rows else None

    def _by_reference(self, reference: Reference) -> Digest | None:
        name = self.name(reference) if reference.tag else None
        if name and reference.digest in (None, name.target, name.manifest):
            return name.manifest
        if reference.digest is None:
            return None
        for each in self.names():
            same = each.reference.name == reference.name
            if same and reference.digest in (each.target, each.manifest):
                return each.manifest
            if same and reference.digest in self._manifests(each.reference):
                return reference.digest
        return None

    def load(self, manifest: Digest) -> StoredImage:
        """Read the documents of an image.

        Raises:
            BlobNotFound: one of them is missing.
            DigestMismatch: one was changed behind our back.
        """
        rows = self._database.rows("SELECT added FROM images WHERE manifest = ?", manifest)
        names = self._database.rows(
            "SELECT reference, target, manifest FROM names WHERE manifest = ? ORDER BY 1", manifest
        )
        document, config = self.documents(manifest)
        added = float(str(rows[0][0])) if rows else 0.0
        return StoredImage(document, config, tuple(as_name(row) for row in names), added)

    def documents(self, manifest: Digest) -> tuple[Manifest, ImageConfig]:
        """Return manifest and config, remembered since they never change."""
        if manifest not in self._documents:
            raw = self._blobs.read(manifest, max_bytes=MAX_MANIFEST_BYTES)
            document = parse_manifest(raw)
            assert isinstance(document, Manifest)
            content = self._blobs.read(document.config.digest, max_bytes=MAX_CONFIG_BYTES)
            self._documents[manifest] = document, ImageConfig.parse(content)
        return self._documents[manifest]

    def image_id(self, manifest: Digest) -> Digest | None:
        """Return the ID of an image that is here, without reading its documents."""
        rows = self._database.rows("SELECT image_id FROM images WHERE manifest = ?", manifest)
        return Digest(str(rows[0][0])) if rows else None

    def with_id(self, image_id: Digest) -> list[StoredImage]:
        """Return the images with this config: one, or several manifests of it."""
        rows = self._database.rows(
            "SELECT manifest FROM images WHERE image_id = ? ORDER BY 1", image_id
        )
        return [image for row in rows if (image := self._load_unless_gone(Digest(str(row[0]))))]

    def all(self) -> list[StoredImage]:
        """Return all images, the newest here first; read anew when the database has changed."""
        return list(self._view().images)

    def sharing(self, diff_ids: Iterable[Digest]) -> list[StoredImage]:
        """Return the images that have one of these layers, the newest here first."""
        view = self._view()
        places = {place for diff_id in diff_ids for place in view.places.get(diff_id, ())}
        return [view.images[place] for place in sorted(places)]

    def _view(self) -> _View:
        """Return what was read last, or read anew if the database has changed since."""
        view, state = self._seen, self._database.state()
        if state != view.state:
            view = self._seen = _View(state, self._read_all())
        return view

    def _read_all(self) -> list[StoredImage]:
        rows = self._database.rows("SELECT manifest, added FROM images ORDER BY added DESC")
        names: dict[Digest, list[Name]] = {}
        for each in self.names():
            names.setdefault(each.manifest, []).append(each)
        found = []
        for manifest, added in ((Digest(str(row[0])), float(str(row[1]))) for row in rows):
            if manifest in self._documents:
                named = tuple(names.get(manifest, ()))
                found.append(StoredImage(*self._documents[manifest], named, added))
            elif image := self._load_unless_gone(manifest):
                found.append(image)
        return found

    def _load_unless_gone(self, manifest: Digest) -> StoredImage | None:
        """Read an image that somebody may be removing at this moment."""
        try:
            return self.load(manifest)
        except BlobNotFound:
            known = "SELECT 1 FROM images WHERE manifest = ? UNION ALL "
            known += "SELECT 1 FROM names WHERE manifest = ?"
            if self._database.rows(known, manifest, manifest):
                raise
            return None

    def add_layer(self, layer: LayerRecord) -> None:
        """Remember what a layer blob holds."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?)",
                (
                    layer.diff_id,
                    layer.digest,
                    layer.blob_bytes,
                    layer.tar_bytes,
                    layer.unpacked_bytes,
                ),
            )

    def add_packed(self, diff_id: Digest, kind: str, digest: Digest, size: int) -> None:
        """Remember how a layer turned out when it was compressed, so that a registry can be asked.

        Args:
            diff_id: of the layer.
            kind: ``gzip`` or ``zstd``.
            digest: of the compressed blob, which is not kept.
            size: of it in bytes.
        """
        with self._database.transaction() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO packed VALUES (?, ?, ?, ?)", (diff_id, kind, digest, size)
            )

    def packed(self, diff_id: Digest, kind: str) -> tuple[Digest, int] | None:
        """Return digest and size of a layer compressed, None if that was never done here."""
        rows = self._database.rows(
            "SELECT digest, size FROM packed WHERE diff_id = ? AND kind = ?", diff_id, kind
        )
        return (Digest(str(rows[0][0])), int(str(rows[0][1]))) if rows else None

    def layer_sizes(self) -> Mapping[str, int]:
        """Return the bytes of the files in each layer that is known here, by diff_id."""
        view = self._view()
        if view.sizes is None:
            rows = self._database.rows("SELECT diff_id, unpacked_bytes FROM layers")
            view.sizes = {str(diff_id): int(str(size)) for diff_id, size in rows}
        return view.sizes

    def layer(self, diff_id: Digest) -> LayerRecord | None:
        """Return what is known of a layer, whichever blob it came in."""
        rows = self._database.rows("SELECT * FROM layers WHERE diff_id = ? LIMIT 1", diff_id)
        if not rows:
            return None
        diff, digest, blob_bytes, tar_bytes, unpacked = rows[0]
        sizes = [int(str(each)) for each in (blob_bytes, tar_bytes, unpacked)]
        return LayerRecord(Digest(str(diff)), Digest(str(digest)), sizes[0], sizes[1], sizes[2])


def looks_like_id(text: str) -> bool:
    """Say whether a text that names nothing here was meant as an ID: no registry is asked then."""
    return _ID.fullmatch(text) is not None


def unnamed(result: StepResult) -> StoredImage:
    """Return what a build step came to as an image."""
    return StoredImage(result.manifest, result.config, (), result.made)


def _digests(blobs: Iterable[Descriptor]) -> list[Digest]:
    return [each.digest for each in blobs]
