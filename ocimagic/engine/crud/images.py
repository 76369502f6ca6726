"""Images as containerd means them: names that point at content.

In ``default`` the engine's names are among them, and what a client names there is the engine's
image from then on, if all of it is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ocimagic.engine.crud.room import DEFAULT, Part, check_labels
from ocimagic.errors import BadInput, BlobNotFound, Mismatch, OcimagicError
from ocimagic.spec.codec import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Index, Manifest, parse_manifest
from ocimagic.spec.platform import candidates, host_platform
from ocimagic.spec.reference import Reference
from ocimagic.store import gc, objects
from ocimagic.store.naming import Whole
from ocimagic.store.objects import ObjectExists, missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.spec.platform import Platform
    from ocimagic.store.naming import Name

_TARGET = ("media_type", "digest", "size", "annotations")


@dataclass(frozen=True, slots=True)
class Target:
    """What a name points at: a descriptor."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NamedImage:
    """A name and what it points at; times in seconds since 1970."""

    name: str
    target: Target
    labels: Mapping[str, str]
    created: float
    updated: float


class Images(Part):
    """The images of all namespaces."""

    def list(self, namespace: str) -> list[NamedImage]:
        """Return all images, by name."""
        kept = {each.name: each for each in self._objects.list(namespace, objects.IMAGE)}
        found = {}
        if namespace == DEFAULT:
            self._store.layout.refresh()
            for each in self._store.images.names():
                name = str(each.reference)
                found[name] = self._of_engine(each, kept.get(name))
        for name, one in kept.items():
            if name not in found and not one.document.get("published"):
                found[name] = _image(one)
        return [found[name] for name in sorted(found)]

    def get(self, namespace: str, name: str) -> NamedImage:
        """Return the image of a name, exactly as it is listed.

        Raises:
            ObjectNotFound: there is none.
        """
        kept = self._objects.find(namespace, objects.IMAGE, name)
        if namespace == DEFAULT and (known := self._known(name)):
            return self._of_engine(known, kept)
        if kept is None or kept.document.get("published"):  # the engine has removed it
            raise missing("image", name)
        return _image(kept)

    def create(
        self, namespace: str, name: str, target: Target, labels: Mapping[str, str]
    ) -> NamedImage:
        """Let a name point at content.

        Raises:
            ObjectExists: it points somewhere already.
            BadInput: no name, or no descriptor.
        """
        _check(name, target)
        if namespace == DEFAULT and self._known(name):
            raise ObjectExists(f"image {name!r}: already exists")
        document = self._document(namespace, name, target, labels)
        if namespace == DEFAULT:  # what the engine has removed may be here still
            self._objects.put(namespace, objects.IMAGE, name, document)
        else:
            self._objects.add(namespace, objects.IMAGE, name, document)
        if not document["published"]:  # else the engine tells
            self.tell(namespace, "/images/create", name=name)
        return self.get(namespace, name)

    def update(
        self,
        namespace: str,
        name: str,
        target: Target,
        labels: Mapping[str, str],
        paths: Sequence[str],
    ) -> NamedImage:
        """Let a name point elsewhere, or change its labels, as a field mask says."""
        before = self.get(namespace, name)
        points = not paths or any(path.partition(".")[0] == "target" for path in paths)
        said = [path for path in paths if path.partition(".")[0] != "target"]
        document = {**_plain(before.target), "labels": dict(before.labels)}
        kept = objects.Object(namespace, objects.IMAGE, name, 0.0, 0.0, document)
        new = dict(before.labels)
        if said or not paths:
            relabelled = self.relabel(kept, labels, said)["labels"]
            assert isinstance(relabelled, dict)
            new = relabelled
        goal = target if points else before.target
        _check(name, goal)
        self._objects.put(
            namespace, objects.IMAGE, name, self._document(namespace, name, goal, new)
        )
        self.tell(namespace, "/images/update", name=name)
        return self.get(namespace, name)

    def delete(self, namespace: str, name: str) -> None:
        """Take a name away, and what only it led to.

        Raises:
            ObjectNotFound: there is none of that name.
            ImageInUse: a container of the engine was made of it.
        """
        self.get(namespace, name)
        if namespace == DEFAULT and self._known(name):
            self._engine_images.remove(name)
        else:
            self.tell(namespace, "/images/delete", name=name)
        if self._objects.find(namespace, objects.IMAGE, name):
            self._objects.remove(namespace, objects.IMAGE, name)
        with self._store.alone() as held:
            if held:
                gc.sweep(self._store, self._unpacker.remove_trees)

    # -- the engine's ------------------------------------------------------------

    def _known(self, name: str) -> Name | None:
        try:
            reference = Reference.parse(name)
        except BadInput:
            return None
        return self._store.images.name(reference) if str(reference.tagged()) == name else None

    def _of_engine(self, name: Name, kept: objects.Object | None) -> NamedImage:
        blobs = self._store.blobs
        digest = name.target if blobs.has(name.target) else name.manifest
        raw = blobs.read(digest, max_bytes=MAX_MANIFEST_BYTES)
        target = Target(parse_manifest(raw).media_type, digest, len(raw), {})
        rows = self._store.database.rows(
            "SELECT updated FROM names WHERE reference = ?", str(name.reference)
        )
        updated = float(str(rows[0][0])) if rows else 0.0
        created = kept.created if kept else updated
        return NamedImage(
            str(name.reference), target, kept.labels if kept else {}, created, updated
        )

    def _document(
        self, namespace: str, name: str, target: Target, labels: Mapping[str, str]
    ) -> dict[str, object]:
        published = namespace == DEFAULT and self._publish(name, target)
        return {**_plain(target), "labels": check_labels(labels), "published": published}

    def _publish(self, name: str, target: Target) -> bool:
        """Make it an image of the engine's; False if it is none, or not all of it is here."""
        try:
            reference = Reference.parse(name)
            if str(reference.tagged()) != name:
                return False
            digest = Digest.parse(target.digest)
            raw = self._store.blobs.read(digest, max_bytes=MAX_MANIFEST_BYTES)
            found = parse_manifest(raw)
        except (BadInput, BlobNotFound, Mismatch):
            return False
        with self._store.in_use():
            parts = self._whole_parts(found)
            if not parts:
                return False
            self._store.syncing.blobs()
            if isinstance(found, Manifest):
                self._store.images.add(found, [(reference, digest)])
            else:
                run = _best(parts)
                self._store.images.add_index(Whole(digest, parts, run, [reference]))
            self._store.layout.publish()
        self._store.syncing.soon()
        image = self._store.images.find(name)
        self._store.note("image", "pull", name, {"name": reference.familiar})
        self._store.note("image", "tag", str(image.image_id), {"name": reference.familiar})
        return True

    def _whole_parts(self, found: Manifest | Index) -> Sequence[tuple[Manifest, Platform | None]]:
        if isinstance(found, Manifest):
            config = self._config_of(found)
            return [(found, config.platform)] if config else []
        parts = []
        for each in found.manifests:
            if each.is_attestation or not self._store.blobs.has(each.digest):
                continue
            raw = self._store.blobs.read(each.digest, max_bytes=MAX_MANIFEST_BYTES)
            manifest = parse_manifest(raw)
            if isinstance(manifest, Manifest) and (config := self._config_of(manifest)):
                parts.append((manifest, each.platform or config.platform))
        return parts

    def _config_of(self, manifest: Manifest) -> ImageConfig | None:
        """Return the config of an image of which all is here, None for anything else."""
        try:
            raw = self._store.blobs.read(manifest.config.digest, max_bytes=MAX_CONFIG_BYTES)
            config = ImageConfig.parse(raw)
        except OcimagicError:
            return None
        is_whole = all(self._store.blobs.has(layer.digest) for layer in manifest.layers)
        is_image = manifest.is_image and len(config.diff_ids) == len(manifest.layers)
        return config if is_whole and is_image else None


def _best(parts: Sequence[tuple[Manifest, Platform | None]]) -> Manifest:
    for wanted in candidates(host_platform()):
        for manifest, platform in parts:
            if platform and platform.canonical == wanted:
                return manifest
    return parts[0][0]


def _check(name: str, target: Target) -> None:
    if not name:
        raise BadInput("an image must have a name")
    Digest.parse(target.digest)
    if target.size <= 0 or not target.media_type:
        raise BadInput(f"the target of image {name!r} must have a media type and a size")


def _plain(target: Target) -> dict[str, Any]:
    plain = {name: getattr(target, name) for name in _TARGET}
    return {"target": plain | {"annotations": dict(target.annotations)}}


def _image(kept: objects.Object) -> NamedImage:
    target = Target(**kept.document["target"])
    return NamedImage(kept.name, target, kept.labels, kept.created, kept.updated)
