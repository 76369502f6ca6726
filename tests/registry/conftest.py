import json
import os
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest
from emulation import HOSTS, World
from pusher import Pusher, assert_whole
from registry_peers import call, dockerd, program
from scripted import ScriptedServer

from ocimagic.registry.client import RegistryClient
from ocimagic.registry.credentials import Credentials, Login
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.server import RegistryServer, Rules
from ocimagic.registry.source import MemorySource
from ocimagic.registry.transport import Patience, Transport
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.reference import Reference

HURRY = Patience(
    connect_s=1, read_s=1, backoff_s=0.01, retry_after_s=1, body_s=0.4, error_body_s=0.2
)


@pytest.fixture
def patience():
    return HURRY


@pytest.fixture
def transport(patience):
    with Transport(patience=patience) as transport:
        yield transport


@pytest.fixture
def client(transport):
    return RegistryClient(transport)


@pytest.fixture
def scripted():
    """Start servers that follow a script; all are stopped at the end."""
    servers = []

    def start(script, **options):
        servers.append(ScriptedServer(script, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def logged_in(tmp_path):
    """Return Credentials that know one login for one host."""

    def make(host, **fields):
        login = Login(**(fields or {"username": "ada", "password": "lovelace"}))
        return Credentials(tmp_path, {}, explicit={host: login})

    return make


@pytest.fixture
def image():
    """Return a small image: its manifest, and its blobs by digest."""
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
    ).encode()
    layer = bytes(range(256)) * 12_000
    blobs = {Digest.of(content): content for content in (config, layer)}
    descriptors = [
        Descriptor(media_type, digest, len(content))
        for media_type, (digest, content) in zip(
            (mediatype.OCI_CONFIG, mediatype.OCI_LAYER), blobs.items(), strict=True
        )
    ]
    return Manifest.build(descriptors[0], descriptors[1:]), blobs


@pytest.fixture
def source(image):
    manifest, blobs = image
    source = MemorySource()
    for content in blobs.values():
        source.add_blob(content)
    source.add_manifest("class/demo", manifest.raw, manifest.media_type, tags=["latest", "1"])
    return source


@pytest.fixture
def server(source):
    with RegistryServer(source) as server:
        yield server


@pytest.fixture
def reference(server):
    return Reference.parse(f"{server.host}/class/demo:1")


@pytest.fixture
def oci_layout(tmp_path, image):
    """Write the image as an OCI layout and return its directory."""
    manifest, blobs = image
    layout = tmp_path / "layout"
    folder = layout / "blobs" / "sha256"
    folder.mkdir(parents=True)
    for digest, content in {**blobs, manifest.digest: manifest.raw}.items():
        (folder / digest.hex).write_bytes(content)
    entry = manifest.descriptor.to_json()
    entry["annotations"] = {"org.opencontainers.image.ref.name": "demo"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return layout


@pytest.fixture
def kept(tmp_path):
    """A registry's own directory; what is in it at the end is whole."""
    with RegistryDirectory(tmp_path / "kept") as kept:
        yield kept
    assert_whole(tmp_path / "kept")


@pytest.fixture
def keeping(kept):
    """A server that can be pushed to, and deleted from."""
    with RegistryServer(kept, rules=Rules(may_delete=True)) as server:
        yield server


@pytest.fixture
def push(keeping):
    with Pusher(keeping.host) as pusher:
        yield pusher


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Make a certificate for this machine; returns its file and its key's."""
    room = tmp_path_factory.mktemp("tls")
    words = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-keyout", room / "key.pem", "-out", room / "cert.pem", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]  # fmt: skip
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("openssl cannot make a certificate")
    return room / "cert.pem", room / "key.pem"


@pytest.fixture(scope="session")
def clouds_certificate(tmp_path_factory):
    """Make a certificate for all emulated hosts."""
    room = tmp_path_factory.mktemp("clouds")
    names = ",".join(f"DNS:{host}" for host in HOSTS)
    words = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-keyout", room / "key.pem", "-out", room / "cert.pem", "-days", "2",
        "-subj", "/CN=clouds", "-addext", f"subjectAltName={names}",
    ]  # fmt: skip
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("openssl cannot make a certificate")
    return room / "cert.pem", room / "key.pem"


@pytest.fixture
def world(clouds_certificate, patience, tmp_path):
    """The emulated clouds, empty."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*clouds_certificate)
    world = World(tls, clouds_certificate[0], patience, tmp_path)
    yield world
    world.close()


@pytest.fixture
def skopeo():
    found = program("skopeo")
    return lambda verb, *words, **options: call(found, verb, *words, **options)


@pytest.fixture
def as_root():
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def short():
    """A directory with a short name: podman's runroot has 50 characters at most."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def root_tar(tmp_path, busybox_layer):
    path = tmp_path / "root.tar"
    path.write_bytes(busybox_layer)
    return path


@pytest.fixture
def docker(as_root, tmp_path):
    """What calls docker, and the host of our registry beside its daemon."""
    with dockerd(tmp_path) as both:
        yield both
