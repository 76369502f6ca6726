"""``image verify``: each kind of damage is found and said, and nothing is changed by looking."""

import gzip
import json
import threading

import pytest
from rootfs import MadeImage, tar_of

from ocimagic.errors import Cancelled, ImageNotFound
from ocimagic.model.event import LayerProgress
from ocimagic.model.options import BuildOptions
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference


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


def rewritten(made, change):
    """Return an image like ``made`` with its manifest document changed."""
    document = json.loads(made.manifest_raw)
    change(document)
    made.manifest_raw = json.dumps(document).encode()
    return made


def stored(engine, made, *targets):
    """Put an image into the store without asking whether it is right."""
    store = engine.containers.store
    for content in (*made.blobs.values(), made.manifest_raw):
        store.blobs.put(content)
    reference = Reference.parse("odd:1")
    target = targets[0] if targets else made.digest
    store.images.add(made.manifest(), [(reference, target)])
    return engine.images.verify("odd:1").faults


LAYER = tar_of(("a", b"a"))


def test_a_size_that_is_not_the_configs(engine):
    def change(document):
        document["config"]["size"] += 1

    (fault,) = stored(engine, rewritten(MadeImage([LAYER]), change))
    assert "the config has" in fault.what


def test_media_types_that_are_no_images(engine):
    def change(document):
        document["layers"][0]["mediaType"] = "application/x-chart"

    (fault,) = stored(engine, rewritten(MadeImage([LAYER]), change))
    assert "application/x-chart" in fault.what


def test_a_history_of_other_layers(engine):
    (fault,) = stored(engine, MadeImage([LAYER], history=[{"created_by": "1"}, {"comment": "2"}]))
    assert "history makes 2 layers, its rootfs has 1" in fault.what
    assert stored(engine, MadeImage([LAYER], history=[])) == (), "none is no fault"


def test_counts_that_differ(engine):
    diff_ids = [Digest.of(LAYER)] * 2
    made = MadeImage([LAYER], rootfs={"type": "layers", "diff_ids": diff_ids}, history=[])
    (fault,) = stored(engine, made)
    assert "1 layers, its config 2" in fault.what


@pytest.mark.parametrize("leads", [True, False])
def test_an_index_that_leads_elsewhere(engine, leads):
    made = MadeImage([LAYER])
    digest = made.digest if leads else Digest.of(b"else")
    entry = {"mediaType": made.media_type, "digest": digest, "size": len(made.manifest_raw)}
    raw = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    target = engine.containers.store.blobs.put(raw)
    faults = stored(engine, made, target)
    assert [each.what.startswith("the index does not lead to") for each in faults] == [True] * (
        not leads
    )
    path_of(engine, target).write_bytes(raw + b" ")
    (fault,) = engine.images.verify("odd:1").faults
    assert fault.digest == target


def test_a_target_that_is_another_image(engine):
    other = MadeImage([tar_of(("b", b"b"))])
    target = engine.containers.store.blobs.put(other.manifest_raw)
    (fault,) = stored(engine, MadeImage([LAYER]), target)
    assert "another image" in fault.what
