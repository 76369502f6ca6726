"""Copying: from registry to registry for real, past the store."""

import http.client
import io
import json
import threading

import pytest
from rootfs import MadeImage, tar_of

from ocimagic import Engine
from ocimagic.errors import (
    BlobNotFound,
    Cancelled,
    DigestMismatch,
    ImageNotFound,
    InvalidReference,
    PlatformNotFound,
)
from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted
from ocimagic.model.registry import RegistryOptions
from ocimagic.registry.discovery import referrers_tag
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.platform import Platform

ARM = Platform("linux", "arm64")
EMPTY = b"{}"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    root = tmp_path_factory.mktemp("copy")
    with Engine(root / "root", environment={"HOME": str(root)}) as engine:
        yield engine


@pytest.fixture
def hub():
    """Serve what tests copy: ``base:1`` for two platforms, one with an attestation."""
    source = MemorySource()
    with RegistryServer(source) as server:
        server.source = source
        yield server


def index_in(source, repository, tag, entries):
    """Write an index as no encoder of ours would: its bytes must stay."""
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": entries}
    raw = json.dumps(document, indent=3).encode()
    return source.add_manifest(repository, raw, mediatype.OCI_INDEX, tags=[tag])


@pytest.fixture
def images(hub):
    made = {}
    entries = []
    for architecture in ("amd64", "arm64"):
        image = MadeImage([tar_of((architecture, b"x" * 9000))], architecture=architecture)
        image.serve(hub.source, "base")
        made[architecture] = image
        described = Descriptor(image.media_type, image.digest, len(image.manifest_raw))
        platform = {"os": "linux", "architecture": architecture}
        entries.append(described.to_json() | {"platform": platform})
    statement = hub.source.add_blob(b'{"a": "statement"}')
    config = hub.source.add_blob(EMPTY)
    attestation = json.dumps({
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": Descriptor(mediatype.OCI_CONFIG, config, 2).to_json(),
        "layers": [Descriptor("application/vnd.in-toto+json", statement, 18).to_json()],
    }).encode()  # fmt: skip
    digest = hub.source.add_manifest("base", attestation, mediatype.OCI_MANIFEST)
    entries.append(
        Descriptor(mediatype.OCI_MANIFEST, digest, len(attestation)).to_json()
        | {
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": made["amd64"].digest,
            },
        }
    )
    made["attestation"] = digest
    made["index"] = index_in(hub.source, "base", "1", entries)
    return made


@pytest.fixture(scope="module")
def ours(engine):
    """A registry of our own that can be pushed to."""
    with engine.system.serve_registry(RegistryOptions(port=0)) as served:
        yield served.host


def get(host, path, **headers):
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", path, headers={"Accept": mediatype.OCI_INDEX} | headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


@pytest.mark.parametrize("registry", ["ours", "debian_registry"])
def test_all_of_an_index(engine, hub, images, request, registry):
    host = request.getfixturevalue(registry)
    name = f"{host}/copy/all-{registry[:4]}"
    events = []
    done = engine.images.copy(f"{hub.host}/base:1", f"{name}:1", all=True, on_event=events.append)
    assert (done.digest, done.manifests, done.blobs) == (images["index"], 4, 6)
    assert (done.there, done.mounted) == (0, 0)
    raw = hub.source.manifests[images["index"]][0]
    assert get(host, f"/v2/{name.partition('/')[2]}/manifests/1")[1] == raw
    started = next(each for each in events if isinstance(each, TransferStarted))
    assert (started.verb, len(started.layers)) == ("copying", 6)
    assert {each.phase for each in events if isinstance(each, LayerProgress)} >= {LayerPhase.DONE}
    again = engine.images.copy(f"{hub.host}/base:1", f"{name}:1", all=True)
    assert (again.sent_bytes, again.there) == (0, 6)
    # In the same registry blobs are taken over, not sent.
    near = engine.images.copy(f"{name}:1", f"{name}-too:2", all=True)
    assert (near.digest, near.mounted, near.sent_bytes) == (images["index"], 6, 0)
    assert engine.images.list() == (), "nothing of it is in the store"


def test_one_platform_keeps_its_digest(engine, hub, images, ours):
    done = engine.images.copy(f"{hub.host}/base:1", f"{ours}/one:1", platform=ARM)
    assert (done.digest, done.manifests, done.blobs) == (images["arm64"].digest, 1, 2)
    with pytest.raises(PlatformNotFound):
        engine.images.copy(
            f"{hub.host}/base:1", f"{ours}/one:2", platform=Platform("linux", "s390x")
        )
    pinned = f"{hub.host}/base@{images['amd64'].digest}"
    assert engine.images.copy(pinned, f"{ours}/one:3").digest == images["amd64"].digest
    assert engine.images.list_registry(f"{ours}/one").names == ("1", "3")


def test_docker_documents_stay_docker_s(engine, hub, ours):
    made = MadeImage([tar_of(("a", b"a"))], docker=True)
    made.serve(hub.source, "old", "1")
    assert engine.images.copy(f"{hub.host}/old:1", f"{ours}/old:1").digest == made.digest


def test_a_damaged_blob_ends_nothing(engine, hub, images, ours):
    layer = images["arm64"].layers[0].digest
    hub.source.blobs[layer] = bytes(reversed(hub.source.blobs[layer]))
    with pytest.raises(DigestMismatch):
        engine.images.copy(f"{hub.host}/base:1", f"{ours}/bad:1", all=True)
    assert get(ours, "/v2/bad/manifests/1")[0] == 404
    del hub.source.blobs[layer]
    with pytest.raises(BlobNotFound):
        engine.images.copy(f"{hub.host}/base:1", f"{ours}/bad:1", all=True)
    assert get(ours, "/v2/bad/manifests/1")[0] == 404


def test_what_cannot_be_a_target(engine, hub, images, ours):
    with pytest.raises(InvalidReference, match="digest"):
        engine.images.copy(f"{hub.host}/base:1", f"{ours}/x@{images['index']}")
    with pytest.raises(ImageNotFound):
        engine.images.copy(f"{hub.host}/none:1", f"{ours}/x:1")


def test_called_off(engine, hub, images, ours):
    stop = threading.Event()

    def on_event(event):
        if isinstance(event, TransferStarted):
            stop.set()

    with pytest.raises(Cancelled, match="copy to"):
        engine.images.copy(
            f"{hub.host}/base:1", f"{ours}/x:1", all=True, on_event=on_event, cancelled=stop
        )
    assert get(ours, "/v2/x/manifests/1")[0] == 404


class Half(io.BytesIO):
    """A blob whose connection breaks at 3 MiB the first time it is read."""

    asked: list

    def fileno(self):
        raise OSError

    def seek(self, offset, *_):
        self.asked.append(offset)
        return super().seek(offset)

    def read(self, size=-1):
        left = (3 << 20) - self.tell() if len(self.asked) == 1 else size
        return super().read(min(size, left))


class Breaking(MemorySource):
    def open_blob(self, repository, digest):
        size, file = super().open_blob(repository, digest)
        if size > 1 << 20:
            file = Half(file.getvalue())
            file.asked = self.asked
        return size, file


@pytest.mark.parametrize("registry", ["ours", "debian_registry"])
def test_a_source_that_breaks_off_is_asked_for_the_rest(engine, request, registry):
    """The target keeps what it has; only the rest is fetched and sent again."""
    host = request.getfixturevalue(registry)
    made = MadeImage([tar_of(("big", bytes(range(256)) * (5 << 12)))], compress=False)
    source = Breaking()
    source.asked = []
    made.serve(source, "big", "1")
    name = f"big-{registry[:4]}"
    with RegistryServer(source) as server:
        done = engine.images.copy(f"{server.host}/big:1", f"{host}/{name}:1")
    assert done.digest == made.digest
    status, raw, _ = get(host, f"/v2/{name}/blobs/{made.layers[0].digest}")
    assert (status, Digest.of(raw)) == (200, made.layers[0].digest)
    # The target may have been writing yet when it was asked; then it is asked again, and each
    # time it has more.
    begun, *more = source.asked
    assert begun == 0
    assert more
    assert registry == "debian_registry" or more == sorted(set(more) - {0}), "not anew"


def artifact(source, repository, subject, kind="application/vnd.example.sbom", tags=()):
    config = source.add_blob(EMPTY)
    content = f"about {subject}".encode()
    blob = source.add_blob(content)
    raw = json.dumps({
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "artifactType": kind,
        "config": Descriptor("application/vnd.oci.empty.v1+json", config, 2).to_json(),
        "layers": [Descriptor("text/plain", blob, len(content)).to_json()],
        "subject": subject.to_json(),
        "annotations": {"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
    }).encode()  # fmt: skip
    return source.add_manifest(repository, raw, mediatype.OCI_MANIFEST, tags=tags)


@pytest.mark.parametrize("registry", ["ours", "debian_registry"])
def test_an_artifact_is_listed_with_what_it_is_about(engine, hub, images, request, registry):
    """Debian's registry is from before the list: there it stands under a tag."""
    host = request.getfixturevalue(registry)
    name = f"{host}/about-{registry[:4]}"
    subject = Descriptor(mediatype.OCI_INDEX, images["index"], 10)
    kinds = ("application/vnd.example.sbom", "application/vnd.example.signature")
    made = [artifact(hub.source, "base", subject, kind, tags=[kind[-4:]]) for kind in kinds]
    engine.images.copy(f"{hub.host}/base:1", f"{name}:1", all=True)
    for kind in kinds:
        done = engine.images.copy(f"{hub.host}/base:{kind[-4:]}", f"{name}:{kind[-4:]}")
    assert done.digest == made[1]
    report = engine.images.referrers(f"{name}:1")
    assert report.subject == images["index"]
    assert report.is_listed == (registry == "ours")
    assert {each.digest for each in report.referrers} == set(made)
    assert {each.artifact_type for each in report.referrers} == set(kinds)
    assert {each.created.year for each in report.referrers} == {2026}
    one = engine.images.referrers(f"{name}:1", artifact_type=kinds[0])
    assert [each.digest for each in one.referrers] == [made[0]]
    none = engine.images.referrers(f"{name}:1", platform=ARM)
    assert (none.subject, none.referrers) == (images["arm64"].digest, ())
    tag = referrers_tag(images["index"])
    assert get(host, f"/v2/{name.partition('/')[2]}/manifests/{tag}")[0] == (
        404 if registry == "ours" else 200
    )
