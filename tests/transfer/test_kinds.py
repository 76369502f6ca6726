"""What registries hold besides the plain image of today: shown, refused, or taken as it is."""

import gzip
import io
import json
import struct
import subprocess
import tarfile

import pytest
import zstandard
from rootfs import MadeImage, tar_of

from ocimagic import Engine
from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.errors import DigestMismatch, InvalidDocument, NotAnImage, PlatformNotFound
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Index
from ocimagic.spec.platform import Platform

FILES = (("etc", None), ("etc/a", b"a" * 5000))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    room = tmp_path_factory.mktemp("kinds")
    environment = {"HOME": str(room), "OCIMAGIC_SNAPSHOTTER": "overlay"}  # files to look at
    with Engine(room / "root", environment=environment) as engine:
        yield engine


@pytest.fixture
def hub():
    source = MemorySource()
    with RegistryServer(source) as server:
        server.source = source
        yield server


def artifact(source, config_type, layer_type, *, kind="", tags=("1",), config=b"{}"):
    content = b"some statement"
    document = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": Descriptor(config_type, source.add_blob(config), len(config)).to_json(),
        "layers": [Descriptor(layer_type, source.add_blob(content), len(content)).to_json()],
    }
    raw = json.dumps(document | ({"artifactType": kind} if kind else {})).encode()
    source.add_manifest("thing", raw, mediatype.OCI_MANIFEST, tags=tags)
    return Descriptor(mediatype.OCI_MANIFEST, Digest.of(raw), len(raw))


# -- artifacts and attestations ----------------------------------------------------


@pytest.mark.parametrize(
    ("config_type", "layer_type", "kind", "words"),
    [
        (
            "application/vnd.oci.empty.v1+json",
            "text/spdx+json",
            "application/vnd.example.sbom",
            "an artifact of type application/vnd.example.sbom",
        ),
        (
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "",
            "its config is of type application/vnd.cncf.helm.config.v1+json",
        ),
        (mediatype.OCI_CONFIG, "application/vnd.in-toto+json", "", "application/vnd.in-toto+json"),
    ],
    ids=["artifact", "chart", "attestation"],
)
def test_an_artifact_is_shown_and_not_pulled(engine, hub, config_type, layer_type, kind, words):
    name = f"{hub.host}/thing:1"
    made = artifact(hub.source, config_type, layer_type, kind=kind)
    with pytest.raises(NotAnImage) as caught:
        engine.images.pull(name)
    assert words in caught.value.why
    assert f"%manifest_inspect {name}" in caught.value.hint
    found = engine.manifests.inspect(name)
    assert (found.digest, found.content.layers[0].media_type) == (made.digest, layer_type)
    (detail,) = engine.manifests.details(f"{hub.host}/thing@{made.digest}").manifests
    assert detail.content.artifact_type == (
        kind or ("" if config_type == mediatype.OCI_CONFIG else config_type)
    )
    assert engine.images.list(name) == ()


def index_with_attestation(source):
    image = MadeImage([tar_of(*FILES)], architecture=Platform().architecture)
    image.serve(source, "thing")
    about = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.digest,
    }
    said = artifact(source, mediatype.OCI_CONFIG, "application/vnd.in-toto+json", tags=())
    described = Descriptor(image.media_type, image.digest, len(image.manifest_raw))
    entries = [
        described.to_json() | {"platform": {"os": "linux", "architecture": "amd64"}},
        described.to_json()
        | {"platform": {"os": "linux", "architecture": "arm64"}, "digest": Digest.of(b"arm")},
        said.to_json()
        | {"annotations": about, "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": entries}
    raw = json.dumps(document).encode()
    source.add_manifest("thing", raw, mediatype.OCI_INDEX, tags=["all"])
    return image, said, Digest.of(raw)


def test_an_attestation_is_named_and_never_chosen(engine, hub, tmp_path):
    image, said, index = index_with_attestation(hub.source)
    name = f"{hub.host}/thing:all"
    done = engine.images.pull(name, platform=Platform())
    assert (done.digest, done.image_id) == (index, Digest.of(image.config_raw))
    with pytest.raises(PlatformNotFound, match="no matching manifest") as caught:
        engine.images.pull(name, platform=Platform("unknown", "unknown"))
    assert caught.value.why == "this image is made for: linux/amd64, linux/arm64"
    (tree,) = (each for each in engine.images.trees() if each.digest == index)
    here, other, attestation = tree.parts
    assert (here.is_here, other.is_here) == (True, False)
    assert here.size_bytes == 5000
    assert here.content_bytes == sum(map(len, image.blobs.values())) + len(image.manifest_raw)
    assert (attestation.is_attestation, attestation.describes) == (True, image.digest)
    assert (attestation.digest, attestation.is_here) == (said.digest, False)
    session = Session(engine=lambda: engine, cwd=str(tmp_path))
    rows = execute(["image", "ls", "--tree", name], session)
    assert [each.names for each in rows] == [(name,)]
    # Where the registry does not have it, the index that came with the image can be looked at.
    engine.images.tag(name, f"{hub.host}/gone:1")
    kept = engine.manifests.inspect(f"{hub.host}/gone:1")
    assert (kept.place, kept.content.raw) == ("store", hub.source.manifests[index][0])
    first, *_ = engine.manifests.details(f"{hub.host}/gone:1").manifests
    assert (first.digest, first.platform) == (image.digest, Platform())


def test_an_index_of_attestations_only(engine, hub):
    said = artifact(hub.source, mediatype.OCI_CONFIG, "application/vnd.in-toto+json", tags=())
    entry = Descriptor(
        said.media_type, said.digest, said.size, platform=Platform("unknown", "unknown")
    )
    index = Index.build([entry])
    hub.source.add_manifest("thing", index.raw, index.media_type, tags=["only"])
    with pytest.raises(PlatformNotFound) as caught:
        engine.images.pull(f"{hub.host}/thing:only")
    assert "made for: none" in caught.value.why


# -- schema 1 ----------------------------------------------------------------------

SCHEMA1 = {
    "schemaVersion": 1,
    "name": "old",
    "tag": "1",
    "architecture": "amd64",
    "fsLayers": [],
    "history": [],
    "signatures": [],
}


def assert_refused(engine, name):
    with pytest.raises(InvalidDocument, match="schema 1 manifest, which is obsolete") as caught:
        engine.images.pull(name)
    assert "cannot be verified" in caught.value.why
    assert "skopeo copy --format v2s2" in caught.value.hint


@pytest.mark.parametrize(
    "media_type", [*mediatype.DOCKER_SCHEMA1, "application/json", mediatype.DOCKER_MANIFEST]
)
def test_schema_1_is_refused_in_words(engine, hub, media_type):
    raw = json.dumps(SCHEMA1).encode()
    # As registries have it, the digest is that of the document without its signatures.
    digest = Digest.of(b"payload")
    hub.source.manifests[digest] = (raw, media_type)
    hub.source.names["old"] = {"1": digest}
    assert_refused(engine, f"{hub.host}/old:1")
    assert_refused(engine, f"{hub.host}/old@{digest}")
    hub.source.manifests[digest] = (raw.replace(b'"schemaVersion": 1', b'"schemaVersion": 2'), "")
    with pytest.raises(DigestMismatch):
        engine.images.pull(f"{hub.host}/old@{digest}")


@pytest.mark.peer
def test_schema_1_as_debian_s_registry_has_it(engine, debian_registry, hub, tmp_path):
    """Signed by skopeo, kept and served by a real registry."""
    MadeImage([tar_of(*FILES)], docker=True).serve(hub.source, "new", "1")
    name = f"{debian_registry}/kinds/old:1"
    words = ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]
    words += ["--format", "v2s1", f"docker://{hub.host}/new:1", f"docker://{name}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert_refused(engine, name)


# -- layers of other kinds -----------------------------------------------------------


def estargz(*files):
    """Pack a layer as stargz does, after stargz-snapshotter's docs/estargz.md.

    A gzip member for each entry, one for the table of contents, and an empty one whose extra
    field says where that begins.
    """
    parts, entries = [], []
    for name, content in (*files, (".no.prefetch.landmark", b"\x0f")):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
            end = tar.offset
        parts.append(out.getvalue()[:end])
        entries.append({"name": name, "type": "reg", "size": len(content)})
    blob = b"".join(gzip.compress(part, mtime=0) for part in parts)
    toc = json.dumps({"version": 1, "entries": entries}).encode()
    last = tar_of(("stargz.index.json", toc))
    offset = len(blob)
    blob += gzip.compress(last, mtime=0)
    field = b"%016xSTARGZ" % offset
    extra = b"SG" + struct.pack("<H", len(field)) + field
    footer = b"\x1f\x8b\x08\x04" + bytes(4) + b"\x00\xff" + struct.pack("<H", len(extra)) + extra
    footer += b"\x01\x00\x00\xff\xff" + bytes(8)
    assert len(footer) == 51
    return b"".join(parts) + last, blob + footer


def serve_packed(hub, plain, blob, media_type, annotations=None):
    made = MadeImage([plain])
    layer = Descriptor(media_type, hub.source.add_blob(blob), len(blob), annotations or {})
    config = hub.source.add_blob(made.config_raw)
    document = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": Descriptor(mediatype.OCI_CONFIG, config, len(made.config_raw)).to_json(),
        "layers": [layer.to_json()],
    }
    raw = json.dumps(document).encode()
    hub.source.add_manifest("packed", raw, mediatype.OCI_MANIFEST, tags=["1"])
    return made


def unpacked(engine, name):
    """Return the files of a layer as they lie on disk."""
    (found,) = engine.home.snapshots.rglob(name)
    return found.read_bytes()


def test_estargz_is_plain_gzip_and_its_own_files_stay(engine, hub):
    plain, blob = estargz(("estar-a", b"a" * 5000), ("estar-b", b"b"))
    kept = {"containerd.io/snapshot/stargz/toc.digest": str(Digest.of(b"toc"))}
    made = serve_packed(hub, plain, blob, mediatype.OCI_LAYER_GZIP, kept)
    done = engine.images.pull(f"{hub.host}/packed:1")
    details = engine.images.inspect(f"{hub.host}/packed:1")
    assert (done.image_id, details.config.diff_ids) == (
        Digest.of(made.config_raw),
        tuple(made.diff_ids),
    )
    assert unpacked(engine, "estar-a") == b"a" * 5000
    assert unpacked(engine, ".no.prefetch.landmark") == b"\x0f"
    assert json.loads(unpacked(engine, "stargz.index.json"))["version"] == 1


def skippable(content, number=0):
    return struct.pack("<II", 0x184D2A50 + number, len(content)) + content


@pytest.mark.parametrize("form", ["one frame", "chunked", "skippable first", "without a size"])
def test_zstd_layers(engine, hub, form):
    """zstd:chunked is frames in a row and its manifest in skippable ones (containers/storage)."""
    name = f"zstd-{form.replace(' ', '-')}"
    plain = tar_of((name, b"z" * 300_000))
    whole = zstandard.ZstdCompressor(write_content_size=form != "without a size")
    if form == "chunked":
        pieces = [plain[at : at + 70_000] for at in range(0, len(plain), 70_000)]
        blob = b"".join(map(whole.compress, pieces)) + skippable(b"manifest") + skippable(b"f" * 64)
    else:
        blob = whole.compress(plain)
    if form == "skippable first":
        blob = skippable(b"before", 3) + blob
    made = serve_packed(hub, plain, blob, mediatype.OCI_LAYER_ZSTD)
    assert engine.images.pull(f"{hub.host}/packed:1").image_id == Digest.of(made.config_raw)
    assert unpacked(engine, name) == b"z" * 300_000


def test_zstd_that_is_called_gzip(engine, hub):
    """Some registries lie about it; the bytes say what they are."""
    plain = tar_of(("called-gzip", b"z" * 300))
    blob = zstandard.ZstdCompressor().compress(plain)
    made = serve_packed(hub, plain, blob, mediatype.OCI_LAYER_GZIP)
    assert engine.images.pull(f"{hub.host}/packed:1").image_id == Digest.of(made.config_raw)
