"""Plain values of what registries hold, to draw."""

import json
from datetime import UTC, datetime

from samples import HOSTILE, digest

from ocimagic.model.distribution import (
    CopyResult,
    ImageTree,
    ListPushed,
    ManifestDetails,
    ManifestDocument,
    ManifestList,
    Referrer,
    ReferrerReport,
    RegistryListing,
    SearchHit,
    TreePart,
)
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import REFERENCE_DIGEST, REFERENCE_TYPE, Descriptor
from ocimagic.spec.manifest import parse_manifest
from ocimagic.spec.platform import Platform

ARM = Platform("linux", "arm", "v7")
CREATED = datetime(2026, 3, 1, tzinfo=UTC)


def described(name, **more):
    return Descriptor(mediatype.OCI_MANIFEST, digest(name), 600, **more)


def copied(**given):
    values = {
        "source": "docker.io/library/busybox:latest",
        "reference": "quay.io/team/busybox:1",
        "digest": digest("index"),
        "manifests": 3,
        "blobs": 4,
        "there": 1,
        "mounted": 2,
        "sent_bytes": 2_160_000,
        "seconds": 0.4,
    }
    return CopyResult(**values | given)


def index_raw(hostile=False):
    attestation = {REFERENCE_TYPE: "attestation-manifest", REFERENCE_DIGEST: digest("amd")}
    unknown = Platform("unknown", "unknown")
    entries = [
        described("amd", platform=Platform()).to_json(),
        described("arm", platform=ARM).to_json(),
        described("said", platform=unknown, annotations=attestation).to_json(),
        described("sbom", artifact_type="application/vnd.example.sbom").to_json(),
    ]
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": entries}
    return json.dumps(document | {"annotations": {"a": HOSTILE if hostile else "b"}}).encode()


def index_document(**given):
    raw = index_raw(**given)
    return ManifestDocument(
        reference=f"docker.io/library/web:1@{digest('index')}",
        digest=digest("index"),
        content=parse_manifest(raw),
        platform=None,
        place="registry",
    )


def image_document():
    config = Descriptor(mediatype.OCI_CONFIG, digest("config"), 7)
    layer = Descriptor(mediatype.OCI_LAYER_GZIP, digest("layer"), 1_000_000)
    raw = json.dumps({
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json()],
        "subject": described("amd").to_json(),
    }).encode()  # fmt: skip
    return ManifestDocument(
        reference=f"docker.io/library/web:1@{digest('arm')}",
        digest=digest("arm"),
        content=parse_manifest(raw),
        platform=ARM,
        place="list",
    )


def manifest_details(*, is_list=True):
    one = image_document()
    return ManifestDetails(document=index_document() if is_list else one, manifests=(one,))


def manifest_list(name="docker.io/library/web:1"):
    return ManifestList(reference=name, entries=(("web:amd", Platform()), ("web:arm", ARM)))


def list_pushed(**given):
    values = {
        "reference": "quay.io/team/web:1",
        "digest": digest("index"),
        "size_bytes": 800,
        "manifests": ((digest("amd"), Platform()), (digest("arm"), ARM)),
        "sent_bytes": 2_160_000,
        "seconds": 0.4,
        "purged": False,
    }
    return ListPushed(**values | given)


def listing(place="quay.io/team", kind="tag", names=("1", "latest")):
    return RegistryListing(place=place, kind=kind, names=tuple(names))


def referrer(name="sbom", **given):
    values = {
        "digest": digest(name),
        "media_type": mediatype.OCI_MANIFEST,
        "artifact_type": f"application/vnd.example.{name}",
        "size_bytes": 700,
        "created": CREATED,
        "annotations": {},
    }
    return Referrer(**values | given)


def referrers(**given):
    values = {
        "reference": "quay.io/team/web:1",
        "subject": digest("index"),
        "referrers": (referrer(), referrer("signature", created=None)),
        "is_listed": True,
    }
    return ReferrerReport(**values | given)


def hit(name="nginx", **given):
    values = {
        "description": "Official build of Nginx, and much more than forty-five characters",
        "stars": 20_000,
        "is_official": True,
    }
    return SearchHit(name=name, **values | given)


def hits():
    return (hit(), hit("team/nginx", description="two\nlines", stars=3, is_official=False))


def tree(*names, **given):
    arm = TreePart(
        digest=digest("arm"), platform=ARM, is_here=False, size_bytes=0, content_bytes=600
    )
    amd = TreePart(
        digest=digest("amd"),
        platform=Platform(),
        is_here=True,
        size_bytes=67_800_000,
        content_bytes=27_000_000,
    )
    said = TreePart(
        digest=digest("said"),
        platform=Platform("unknown", "unknown"),
        is_here=False,
        size_bytes=0,
        content_bytes=600,
        describes=digest("amd"),
        is_attestation=True,
    )
    values = {
        "names": names or ("web:1",),
        "digest": digest("index"),
        "image_id": digest("web:1"),
        "created": CREATED,
        "in_use": True,
        "is_index": True,
        "parts": (amd, arm, said),
    }
    return ImageTree(**values | given)


def trees():
    built = TreePart(
        digest=digest("built"),
        platform=Platform(),
        is_here=True,
        size_bytes=5_000_000,
        content_bytes=5_000_000,
    )
    return (tree(), tree("built:1", is_index=False, in_use=False, parts=(built,)))
