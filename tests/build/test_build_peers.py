"""What others make of our images, and we of theirs: a real registry, skopeo."""

import json
import shutil
import subprocess

import pytest

from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource

TEXT = "FROM scratch\nCOPY f /f\nWORKDIR /w\nLABEL a=b\n"


def serve(place, result, repository):
    """Return a source that has a built image."""
    store, source = place.engine._store, MemorySource()
    image = store.images.load(result.digest)
    for blob in (image.manifest.config, *image.manifest.layers):
        source.add_blob(store.blobs.path(blob.digest).read_bytes())
    source.add_manifest(repository, image.manifest.raw, image.manifest.media_type, tags=["1"])
    return source


def test_base_from_a_registry(place, fresh):
    place.write("f", "from the registry")
    built = place.build(TEXT)
    with RegistryServer(serve(place, built, "demo/base")) as server:
        name = f"{server.host}/demo/base:1"
        result = fresh.build(f"FROM {name}\nENV A=1\n", "child")
        assert not result.steps[0].cached
        assert fresh.build(f"FROM {name}\nENV A=1\n", pull=True).steps[0].cached
    details = fresh.engine.images.inspect("child")
    assert (name, built.digest) == (details.base_name, details.base_digest)
    assert fresh.text(result, "f") == "from the registry"
    again = fresh.build(f"FROM {name}\nENV A=1\n")
    assert again.steps[0].cached


@pytest.mark.peer
def test_skopeo_reads_what_was_built(fresh):
    if not shutil.which("skopeo"):
        pytest.skip("no skopeo on this machine")
    fresh.write("f", "f")
    result = fresh.build(TEXT, "for-skopeo")
    source = f"oci:{fresh.engine.home.data}:docker.io/library/for-skopeo:latest"
    done = subprocess.run(["skopeo", "inspect", source], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert result.digest == told["Digest"]
    assert [step.layer for step in result.steps if step.layer] == told["Layers"]
    assert told["Labels"] == {"a": "b"}
