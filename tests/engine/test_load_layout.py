"""Images that lie in a directory: an OCI layout as skopeo, umoci or another engine keeps it."""

import json
import shutil
import subprocess

import pytest
from rootfs import MadeImage, tar_of

from ocimagic.errors import ArchiveRefused, DigestMismatch, InvalidOption
from ocimagic.spec.digest import Digest

LAYERS = [tar_of(("a", b"a" * 4000)), tar_of(("b", b"b"))]


def write_layout(directory, made, name):
    (directory / "blobs/sha256").mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    for content in (*made.blobs.values(), made.manifest_raw):
        (directory / "blobs/sha256" / Digest.of(content).hex).write_bytes(content)
    entry = {"mediaType": made.media_type, "digest": made.digest, "size": len(made.manifest_raw),
             "annotations": {"org.opencontainers.image.ref.name": name}}  # fmt: skip
    index = {"schemaVersion": 2, "manifests": [entry]}
    (directory / "index.json").write_text(json.dumps(index))


def test_a_layout_is_taken_and_stays(engine, tmp_path):
    made = MadeImage(LAYERS, {"Cmd": ["x"]})
    write_layout(tmp_path / "layout", made, "here/it:1")
    (tmp_path / "layout/blobs/sha256/.tmp").mkdir()
    before = sorted(tmp_path.joinpath("layout").rglob("*"))
    (image,) = engine.images.load(tmp_path / "layout").images
    assert image.tags == ("here/it:1",)
    assert engine.images.inspect("here/it:1").config.config.cmd == ("x",)
    assert engine.images.verify().faults == ()
    assert sorted(tmp_path.joinpath("layout").rglob("*")) == before
    assert list(engine.home.ingest.iterdir()) == []


def test_the_store_of_another_engine_is_one(engine, make_engine, registry):
    MadeImage(LAYERS).serve(registry.source, "layout", "1")
    engine.images.pull(f"{registry.host}/layout:1")
    other = make_engine("other")
    other.images.load(engine.home.data)
    assert other.images.inspect(f"{registry.host}/layout:1").layers
    assert other.images.verify().faults == ()


def test_a_spoilt_layout_leaves_nothing(engine, tmp_path):
    made = MadeImage(LAYERS)
    write_layout(tmp_path / "layout", made, "here/it:1")
    blob = tmp_path / "layout/blobs/sha256" / made.layers[0].digest.hex
    blob.write_bytes(blob.read_bytes() + b"x")
    with pytest.raises(DigestMismatch):
        engine.images.load(tmp_path / "layout")
    blob.unlink()
    with pytest.raises(ArchiveRefused, match="not there"):
        engine.images.load(tmp_path / "layout")
    with pytest.raises(InvalidOption, match="directory"):
        engine.images.load(tmp_path)
    assert engine.images.list() == ()
    assert list(engine.home.ingest.iterdir()) == list(engine.home.blobs.iterdir()) == []


@pytest.mark.peer
def test_what_skopeo_writes(engine, registry, tmp_path):
    skopeo = shutil.which("skopeo")
    if not skopeo:
        pytest.skip("skopeo is not installed")
    MadeImage(LAYERS, docker=True).serve(registry.source, "for-skopeo", "1")
    source, target = f"docker://{registry.host}/for-skopeo:1", f"oci:{tmp_path}/out:some/name:2"
    words = [skopeo, "copy", "-q", "--src-tls-verify=false", source, target]
    subprocess.run(words, check=True)
    (image,) = engine.images.load(tmp_path / "out").images
    assert image.tags == ("some/name:2",)
    assert engine.images.verify().faults == ()
