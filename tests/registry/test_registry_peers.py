"""Our client against Debian's registry, our server against skopeo."""

import json
import shutil
import subprocess

import pytest

from ocimagic.errors import ImageNotFound
from ocimagic.registry.server import RegistryServer
from ocimagic.spec.manifest import parse_manifest
from ocimagic.spec.reference import Reference

pytestmark = pytest.mark.peer


def skopeo(*words):
    done = subprocess.run(
        ["skopeo", *map(str, words)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def pushed(debian_registry, oci_layout):
    target = f"{debian_registry}/class/demo:1"
    skopeo(
        "copy",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{oci_layout}:demo",
        f"docker://{target}",
    )
    return Reference.parse(target)


def test_pull_from_docker_registry(client, pushed, image):
    manifest, blobs = image
    resolved = client.resolve(pushed)
    assert resolved == manifest.descriptor
    raw, content_type = client.manifest(pushed)
    got = parse_manifest(raw, content_type=content_type)
    assert got.digest == manifest.digest
    for descriptor in (got.config, *got.layers):
        for offset in (0, descriptor.size // 2):
            with client.open_blob(pushed, descriptor, offset=offset) as stream:
                assert stream.start_offset == offset
                assert b"".join(stream.chunks) == blobs[descriptor.digest][offset:]
    assert client.tags(pushed) == ["1"]


def test_what_docker_registry_lacks(client, pushed, debian_registry):
    for text in (f"{debian_registry}/class/demo:no", f"{debian_registry}/class/none"):
        with pytest.raises(ImageNotFound):
            client.resolve(Reference.parse(text))


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_pulls_from_ours(source, image, tmp_path):
    manifest, blobs = image
    with RegistryServer(source) as server:
        target = f"docker://{server.host}/class/demo:1"
        skopeo("copy", "--src-tls-verify=false", target, f"dir:{tmp_path / 'got'}")
        listed = json.loads(skopeo("list-tags", "--tls-verify=false", target[:-2]))
    assert (tmp_path / "got" / "manifest.json").read_bytes() == manifest.raw
    for digest, content in blobs.items():
        assert (tmp_path / "got" / digest.hex).read_bytes() == content
    assert sorted(listed["Tags"]) == ["1", "latest"]


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_cannot_push_to_ours(source, oci_layout):
    with RegistryServer(source) as server, pytest.raises(AssertionError, match=r"read-only|405"):
        skopeo(
            "copy",
            "--dest-tls-verify=false",
            f"oci:{oci_layout}:demo",
            f"docker://{server.host}/class/new:1",
        )
