"""``image verify``: each kind of damage is found and said, and nothing is changed by looking."""

import gzip
import threading

import pytest
from rootfs import MadeImage, tar_of

from ocimagic.errors import Cancelled, ImageNotFound
from ocimagic.model.event import LayerProgress
from ocimagic.model.options import BuildOptions


@pytest.fixture
def pulled(engine, registry):
    made = MadeImage([tar_of(("a", b"a" * 50_000)), tar_of(("b", b"b" * 9000))])
    made.serve(registry.source, "whole", "1")
    engine.images.pull(f"{registry.host}/whole:1")
    engine.images.tag(f"{registry.host}/whole:1", "whole:1")
    return made


def path_of(engine, digest):
    return engine.home.data / "blobs" / digest.algorithm / digest.hex


def test_all_is_well(engine, pulled, tmp_path):
    (tmp_path / "file").write_text("x")
    text = "FROM whole:1\nCOPY file /file\n"
    engine.images.build(BuildOptions(context=str(tmp_path), dockerfile=text, tags=("more:1",)))
    events = []
    found = engine.images.verify(on_event=events.append)
    assert (found.images, found.faults, found.exit_code) == (2, (), 0)
    layers = sum(each.size for each in pulled.layers)
    assert layers < found.checked_bytes < layers + 5000, "what they share is read once"
    assert len([each for each in events if isinstance(each, LayerProgress)]) == 5
    assert engine.images.verify("whole:1").images == 1


@pytest.mark.parametrize("damage", ["a bit", "cut", "longer", "gone", "other", "no gzip"])
def test_a_damaged_layer(engine, pulled, damage):
    layer = pulled.layers[0]
    path = path_of(engine, layer.digest)
    whole = path.read_bytes()
    broken = {
        "a bit": whole[:50] + bytes([whole[50] ^ 1]) + whole[51:],
        "cut": whole[:-9],
        "longer": whole + b"x",
        "gone": None,
        "other": gzip.compress(b"other", mtime=0),
        "no gzip": b"x" * len(whole),
    }[damage]
    path.unlink() if broken is None else path.write_bytes(broken)
    found = engine.images.verify()
    (fault,) = found.faults
    assert (fault.digest, found.exit_code) == (layer.digest, 1)
    assert fault.image.endswith("whole:1")
    words = {"gone": "not here", "cut": "bytes, not", "longer": "bytes, not", "other": "bytes, not"}
    assert words.get(damage, "") in fault.what
    assert path.exists() == (broken is not None), "looking changes nothing"
    if broken is not None:
        assert path.read_bytes() == broken


def test_a_layer_that_unpacks_to_something_else(engine, registry):
    """Its blob is what the manifest says, and not what the config says."""
    made = MadeImage([tar_of(("a", b"a"))])
    made.serve(registry.source, "liar", "1")
    engine.images.pull(f"{registry.host}/liar:1")
    _manifest, config = engine.containers.store.images.documents(made.digest)
    other = type(config.diff_ids[0])(f"sha256:{'1' * 64}")
    object.__setattr__(config, "diff_ids", (other,))
    (fault,) = engine.images.verify().faults
    assert f"not {other}" in fault.what


@pytest.mark.parametrize("which", ["manifest", "config"])
def test_a_damaged_document(engine, pulled, make_engine, which):
    digest = pulled.digest if which == "manifest" else None
    digest = digest or engine.images.inspect("whole:1").image_id
    path = path_of(engine, digest)
    path.write_bytes(path.read_bytes().replace(b"linux", b"LINUX").replace(b"schema", b"Schema"))
    other = make_engine()  # the first one remembers what it has read
    (fault,) = other.images.verify().faults
    assert fault.digest == pulled.digest
    assert fault.image.endswith("/whole:1")


def test_none_and_unknown(engine):
    assert engine.images.verify().images == 0
    with pytest.raises(ImageNotFound):
        engine.images.verify("none:1")


def test_stopped(engine, pulled):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        engine.images.verify(cancelled=stop)
