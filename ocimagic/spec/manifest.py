"""Manifests and indexes, each kept with the bytes it came in.

Spec: image-spec manifest.md, image-index.md; Docker schema 2 and manifest lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument, NotAnImage, PlatformNotFound
from ocimagic.spec import mediatype
from ocimagic.spec.codec import MAX_MANIFEST_BYTES, decode, encode, without_none
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.platform import Platform, candidates
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.spec.codec import Fields

MAX_LAYERS = 512
MAX_INDEX_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform: a config and layers, bottom first; or an artifact.

    Attributes:
        raw: the bytes; the digest is theirs.
        artifact_type: what an artifact is; its config's media type where it does not say so
            itself, "" for an image.
        subject: the manifest that this one says something about.
    """

    raw: bytes = field(repr=False)
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str = ""
    subject: Descriptor | None = None

    @classmethod
    def build(
        cls,
        config: Descriptor,
        layers: Sequence[Descriptor],
        annotations: Mapping[str, str] | None = None,
    ) -> Self:
        """Make an OCI manifest of OCI-typed parts."""
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": mediatype.OCI_MANIFEST,
            "config": config.as_oci().to_json(),
            "layers": [layer.as_oci().to_json() for layer in layers],
        }
        raw = encode(document | without_none({"annotations": dict(annotations or {})}))
        return cls(raw, mediatype.OCI_MANIFEST, config.as_oci(), tuple(layers), annotations or {})

    @property
    def digest(self) -> Digest:
        """Name the raw bytes."""
        return Digest.of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        """Describe this manifest as a blob."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    def require_image(self, name: str) -> None:
        """Refuse a manifest of something else that registries and archives may hold.

        Args:
            name: what the user knows it by.

        Raises:
            NotAnImage: config or layers are not those of a container image.
        """
        if not self.is_image:
            kind = self.artifact_type
            raise NotAnImage(
                f"{name} is not a container image",
                why=f"it is an artifact of type {kind}"
                if kind != self.config.media_type
                else f"its config is of type {kind}",
                hint="charts, signatures and the like are kept in registries as well;\n"
                f"to see what it is: %manifest_inspect {name}",
            )
        for layer in self.layers:
            if not mediatype.is_layer(layer.media_type):
                raise NotAnImage(
                    f"{name} is not a container image",
                    why=f"it has a layer of type {layer.media_type}",
                    hint=f"to see what it is: %manifest_inspect {name}",
                )

    @property
    def is_image(self) -> bool:
        """Say whether the config is that of a container image."""
        return mediatype.as_oci(self.config.media_type) == mediatype.OCI_CONFIG

    def as_oci(self) -> Manifest:
        """Return the OCI twin: the same config and layers under OCI media types."""
        if self.media_type == mediatype.OCI_MANIFEST:
            return self
        layers = [layer.as_oci() for layer in self.layers]
        return Manifest.build(self.config, layers, self.annotations)


@dataclass(frozen=True, slots=True)
class Index:
    """One image for several platforms.

    Attributes:
        raw: the bytes; the digest is theirs.
        artifact_type: of an index that is an artifact, else "".
        subject: the manifest that this index says something about.
    """

    raw: bytes = field(repr=False)
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str = ""
    subject: Descriptor | None = None

    @classmethod
    def build(cls, manifests: Sequence[Descriptor], *, kind: str = "") -> Self:
        """Make an index: without a ``kind`` docker's own where all that it names is docker's."""
        docker = {each.media_type for each in manifests} == {mediatype.DOCKER_MANIFEST}
        kind = kind or (mediatype.DOCKER_INDEX if docker else mediatype.OCI_INDEX)
        raw = encode(
            {
                "schemaVersion": 2,
                "mediaType": kind,
                "manifests": [each.to_json() for each in manifests],
            }
        )
        return cls(raw, kind, tuple(manifests), {})

    @property
    def digest(self) -> Digest:
        """Name the raw bytes."""
        return Digest.of(self.raw)

    def platforms(self) -> list[Platform]:
        """List what this index says it has, attestations left out."""
        return [
            entry.platform
            for entry in self.manifests
            if entry.platform and not entry.is_attestation
        ]

    def choose(self, wanted: Platform) -> Descriptor:
        """Pick the entry that runs best on ``wanted``.

        An entry without a platform is taken when it is the only image there.

        Raises:
            PlatformNotFound: lists the platforms there are.
        """
        images = [entry for entry in self.manifests if not entry.is_attestation]
        for platform in candidates(wanted):
            for entry in images:
                if entry.platform and entry.platform.canonical == platform:
                    return entry
        if len(images) == 1 and images[0].platform is None:
            return images[0]
        known = ", ".join(str(platform) for platform in self.platforms()) or "none"
        raise PlatformNotFound(
            f"no matching manifest for {wanted} in the manifest list entries",
            why=f"this image is made for: {known}",
            hint="ask for one of them with --platform",
        )


def parse_manifest(raw: bytes, *, content_type: str = "") -> Manifest | Index:
    """Read a manifest or an index.

    Args:
        raw: the bytes as the registry or the store gave them.
        content_type: what the registry called them; "" when it said nothing.

    Raises:
        InvalidDocument: breaks the spec, is schema 1, mixes manifest and index, or
            calls itself something other than ``content_type``.
        InvalidDigest: a digest inside could not name a blob.
    """
    fields = decode(raw, what="manifest", max_bytes=MAX_MANIFEST_BYTES)
    said = content_type.partition(";")[0].strip().lower()
    media_type = fields.text("mediaType", "") or (said if said.startswith(_KNOWN) else "")
    _refuse_confusion(fields, media_type, said)
    if "manifests" in fields:
        entries = fields.children("manifests")
        _refuse_many(entries, MAX_INDEX_ENTRIES, "manifests")
        manifests = tuple(Descriptor.from_fields(entry) for entry in entries)
        return Index(
            raw,
            media_type or mediatype.OCI_INDEX,
            manifests,
            fields.text_map("annotations"),
            fields.text("artifactType", ""),
            _subject(fields),
        )
    config = Descriptor.from_fields(fields.child("config", required=True))
    entries = fields.children("layers")
    _refuse_many(entries, MAX_LAYERS, "layers")
    layers = tuple(Descriptor.from_fields(entry) for entry in entries)
    is_image = mediatype.as_oci(config.media_type) == mediatype.OCI_CONFIG
    return Manifest(
        raw,
        media_type or mediatype.OCI_MANIFEST,
        config,
        layers,
        fields.text_map("annotations"),
        fields.text("artifactType", "") or ("" if is_image else config.media_type),
        _subject(fields),
    )


def _subject(fields: Fields) -> Descriptor | None:
    return Descriptor.from_fields(fields.child("subject")) if "subject" in fields else None


_KNOWN = ("application/vnd.oci.", "application/vnd.docker.")


def _refuse_confusion(fields: Fields, media_type: str, said: str) -> None:
    """Refuse a document that two readers could take for two things (CVE-2021-41190)."""
    if media_type in mediatype.DOCKER_SCHEMA1 or fields.number("schemaVersion", 0) == 1:
        raise schema1()
    if fields.number("schemaVersion", 0) != 2:
        raise InvalidDocument("this manifest is not valid", why="schemaVersion must be 2")
    is_index, is_manifest = "manifests" in fields, "layers" in fields or "config" in fields
    if is_index and is_manifest:
        raise InvalidDocument(
            "this manifest is not valid", why="it is both an index and a manifest"
        )
    if not is_index and not is_manifest:
        raise InvalidDocument("this manifest is not valid", why="it names no config and no layers")
    expected = mediatype.INDEXES if is_index else mediatype.MANIFESTS
    if media_type and media_type not in expected:
        raise InvalidDocument(
            "this manifest is not valid", why=f"{media_type} does not fit what is inside"
        )
    if media_type and said.startswith(_KNOWN) and said != media_type:
        raise InvalidDocument(
            "this manifest is not valid",
            why=f"the registry calls it {said}, it calls itself {media_type}",
        )


def is_schema1(raw: bytes) -> bool:
    """Say whether a document is one of docker's first kind, whatever it is called."""
    try:
        fields = decode(raw, what="manifest", max_bytes=MAX_MANIFEST_BYTES)
        return fields.number("schemaVersion", 0) == 1
    except InvalidDocument:
        return False


def schema1() -> InvalidDocument:
    """Return the refusal of docker's first kind of manifest."""
    return InvalidDocument(
        "this image has a docker schema 1 manifest, which is obsolete",
        why="it has no config and no diff_ids, so its layers cannot be verified; docker wrote the "
        "last ones in 2017",
        hint="its owner can push it again with any docker since then, or convert it:\n"
        "skopeo copy --format v2s2 docker://OLD docker://NEW",
    )


def _refuse_many(entries: Sequence[object], limit: int, what: str) -> None:
    if len(entries) > limit:
        raise InvalidDocument(
            "this manifest is not valid", why=f"{len(entries)} {what}, limit {limit}"
        )
