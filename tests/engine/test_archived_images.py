"""Images that came as files run, wherever containers run."""

import gzip
import hashlib
import io
import json
from pathlib import Path

import pytest
from emulated import inside
from rootfs import MadeImage, tar_of

from ocimagic.errors import OcimagicError
from ocimagic.model.options import VolumeMount
from ocimagic.model.request import ImportOptions


def saved(engine, *names):
    out = bytearray()
    engine.images.save(names, out.extend)
    return bytes(out)


@pytest.fixture
def other(make_engine, shared):
    """An engine of its own; ``shared`` skips where containers cannot run."""
    return make_engine("other")


def run(engine, image, *words):
    done = engine.containers.run(image, words, network="none", remove=True)
    return done.stdout.decode(), done.exit_code


def test_a_saved_image_runs_elsewhere(shared, other):
    other.images.load(saved(shared, "busybox"))
    assert run(other, "busybox", "cat", "/etc/hostname", "/etc/passwd")[0].count("root:x:0") == 1
    assert other.images.inspect("busybox").image_id == shared.images.inspect("busybox").image_id


def test_an_imported_root_runs_with_its_changes(busybox_layer, other):
    changes = ('CMD ["sh", "-c", "echo $A; pwd; exit 5"]', "ENV A=1", "WORKDIR /w")
    options = ImportOptions(reference="root:1", changes=("ENV PATH=/bin", *changes))
    other.images.import_(io.BytesIO(gzip.compress(busybox_layer, 1)), options)
    assert run(other, "root:1") == ("1\n/w\n", 5)


def test_an_exported_container_comes_back_as_an_image(shared, other):
    made = shared.containers.run(
        "busybox", ["sh", "-c", "echo mine > /root/made"], network="none", name="exported"
    )
    out = bytearray()
    shared.containers.export(made.name, out.extend)
    shared.containers.remove(made.name)
    other.images.import_(bytes(out), ImportOptions(reference="back", changes=("ENV PATH=/bin",)))
    assert run(other, "back", "cat", "/root/made") == ("mine\n", 0)


def test_layers_that_lean_on_those_below(busybox_layer, other):
    """A layer without its parents, and one that links to a file of a lower layer."""
    below = tar_of(("deep", None, {"mode": 0o700}), ("deep/a", b"a"))
    above = tar_of(("deep/b", b"b"))
    image = MadeImage([busybox_layer, below, above], {"Env": ["PATH=/bin"]})
    from_elsewhere = _docker_archive(image, [busybox_layer, below, above])
    other.images.load(from_elsewhere)
    assert run(other, "lean:1", "sh", "-c", "stat -c %a /deep; cat /deep/a /deep/b")[0] == "700\nab"


def test_one_that_leans_and_is_hostile_publishes_nothing(busybox_layer, other):
    above = tar_of(("deep/b", b"b"), ("../up", b"x"))
    image = MadeImage([busybox_layer, above])
    with pytest.raises(OcimagicError, match=r"'\.\.'"):
        other.images.load(_docker_archive(image, [busybox_layer, above]))
    assert other.images.list() == ()
    assert b'"manifests":[]' in (other.home.data / "index.json").read_bytes()


def _docker_archive(image, layers):
    names = [f"{each.hex}/layer.tar" for each in image.diff_ids]
    config = hashlib.sha256(image.config_raw).hexdigest() + ".json"
    item = {"Config": config, "RepoTags": ["lean:1"], "Layers": names}
    files = {config: image.config_raw, "manifest.json": json.dumps([item]).encode()}
    files |= dict(zip(names, layers, strict=True))
    return tar_of(*files.items())


PROGRAM = """
import sys
from ocimagic import Engine
from ocimagic.model.request import ImportOptions
root = open("/busybox", "rb").read()
sys.path.insert(0, sys.argv[1])
from rootfs import tar_of
tar = tar_of(("bin", None), ("bin/busybox", root, {"mode": 0o755}))
with Engine("/data/one", environment={"HOME": "/data"}) as engine:
    mode = engine.system.info().isolation
    changes = ('CMD ["/bin/busybox", "echo", "hi"]',)
    engine.images.import_(tar, ImportOptions(reference="box", changes=changes))
    archive = bytearray()
    engine.images.save(["box"], archive.extend)
with Engine("/data/two", environment={"HOME": "/data"}) as engine:
    engine.images.load(bytes(archive))
    print(mode, engine.containers.run("box", remove=True).stdout.decode().strip())
"""


def test_where_nobody_may_mount(shared):
    """Layers are copied there, each with all that is below it."""
    tests = str(Path(__file__).parents[1])
    volume = VolumeMount(source=tests, target="/tests", read_only=True)
    said = inside(shared, ["-c", PROGRAM, "/tests"], volume)
    assert said == "chroot hi\n"
