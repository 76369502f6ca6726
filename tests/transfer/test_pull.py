"""Pulling: from our own registry with every fault, from Debian's registry for real."""

import gzip
import json
import os
import threading

import pytest
from rootfs import MadeImage, tar_of

from ocimagic.errors import (
    BlobNotFound,
    Cancelled,
    ContentError,
    DigestMismatch,
    ImageNotFound,
    InvalidDocument,
    InvalidReference,
    LayerRefused,
    OcimagicError,
    PlatformNotFound,
    RegistryUnreachable,
    SizeMismatch,
)
from ocimagic.model.event import LayerPhase, LayerProgress, Notice, TransferStarted
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.spec import mediatype
from ocimagic.spec.digest import Digest
from ocimagic.spec.platform import Platform

SMALL = tar_of(("etc", None), ("etc/a", b"a" * 5000))
OTHER = tar_of(("etc", None), ("etc/b", b"b" * 3000))


@pytest.fixture
def source():
    return MemorySource()


@pytest.fixture
def requests():
    return []


@pytest.fixture
def server(source, requests):
    def note(method, path, status):
        requests.append((method, path, status))

    with RegistryServer(source, on_request=note) as server:
        yield server


def blob_gets(requests):
    return [path for method, path, _ in requests if method == "GET" and "/blobs/" in path]


def assert_empty(engine):
    """Assert that a failed pull left no name, no image and no vouched layer."""
    assert engine.images.list() == ()
    store = engine.containers.store
    assert store.database.rows("SELECT * FROM names") == []
    assert store.database.rows("SELECT * FROM images") == []
    assert [p.name for p in engine.home.snapshots.iterdir() if p.name.startswith("new-")] == []


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_pull_gives_the_same_image_id_whatever_the_types(engine, server, source, docker, compress):
    made = MadeImage([SMALL, OTHER], docker=docker, compress=compress)
    made.serve(source, "demo", "latest")
    done = engine.images.pull(f"{server.host}/demo")
    assert done.image_id == Digest.of(made.config_raw)
    assert done.digest == made.digest
    assert (done.layers, done.up_to_date) == (2, False)
    details = engine.images.inspect(f"{server.host}/demo")
    assert [layer.diff_id for layer in details.layers] == made.diff_ids


def test_pull_again_does_nothing(engine, server, source, requests):
    MadeImage([SMALL]).serve(source, "demo", "latest")
    engine.images.pull(f"{server.host}/demo")
    requests.clear()
    assert engine.images.pull(f"{server.host}/demo").up_to_date
    assert [method for method, path, _ in requests if "manifests" in path] == ["HEAD"]


def test_pull_by_digest(engine, server, source):
    made = MadeImage([SMALL])
    made.serve(source, "demo", "latest")
    done = engine.images.pull(f"{server.host}/demo@{made.digest}")
    assert done.image_id == Digest.of(made.config_raw)
    assert engine.images.inspect(f"{server.host}/demo@{made.digest}").image_id == done.image_id


def test_shared_layers_are_fetched_and_stored_once(engine, server, source, requests):
    MadeImage([SMALL, OTHER]).serve(source, "one", "latest")
    MadeImage([SMALL, SMALL], {"Cmd": ["x"]}).serve(source, "two", "latest")
    engine.images.pull(f"{server.host}/one")
    requests.clear()
    engine.images.pull(f"{server.host}/two")
    assert len(blob_gets(requests)) == 1, "only the config"
    report = engine.images.layers(f"{server.host}/one", f"{server.host}/two")
    assert report.images[0][1][0].shared_with == (f"{server.host}/two:latest",)


def index_of(images, kind=mediatype.OCI_INDEX):
    """Return the bytes of an index of images, by architecture."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "manifests": [
                {
                    "mediaType": made.media_type,
                    "digest": made.digest,
                    "size": len(made.manifest_raw),
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for architecture, made in images.items()
            ],
        }
    ).encode()


def test_all_tags(engine, server, source):
    one, two = MadeImage([SMALL]), MadeImage([SMALL, OTHER])
    one.serve(source, "app", "1", "one")
    two.serve(source, "app", "2")
    foreign = MadeImage([OTHER], architecture="s390x")
    foreign.serve(source, "app")
    source.add_manifest("app", index_of({"s390x": foreign}), mediatype.OCI_INDEX, tags=["far"])
    name, events = f"{server.host}/app", []
    done = engine.images.pull_all(
        name, platform=Platform.parse("linux/amd64"), on_event=events.append
    )
    assert {each.reference for each in done} == {f"{name}:{tag}" for tag in ("1", "2", "one")}
    assert sorted(each.tag for each in engine.images.list(name)) == ["1", "2", "one"]
    [said] = [each.text for each in events if isinstance(each, Notice)]
    assert said.startswith(f"{name}:far passed over: ")
    for wrong in (f"{name}:1", f"{name}@{one.digest}"):
        with pytest.raises(InvalidReference):
            engine.images.pull_all(wrong)
    with pytest.raises(ImageNotFound):
        engine.images.pull_all(f"{server.host}/nothing")


def test_all_tags_for_other_platforms_only(engine, server, source):
    foreign = MadeImage([OTHER], architecture="s390x")
    foreign.serve(source, "app")
    source.add_manifest("app", index_of({"s390x": foreign}), mediatype.OCI_INDEX, tags=["far"])
    with pytest.raises(PlatformNotFound):
        engine.images.pull_all(f"{server.host}/app", platform=Platform.parse("linux/amd64"))
    assert engine.images.list() == ()


def test_index_and_manifest_list_with_platform_choice(engine, server, source):
    amd = MadeImage([SMALL], architecture="amd64")
    arm = MadeImage([OTHER], architecture="arm64", variant="v8")
    for made in (amd, arm):
        made.serve(source, "multi")
    for tag, kind in (("oci", mediatype.OCI_INDEX), ("docker", mediatype.DOCKER_INDEX)):
        index = index_of({"amd64": amd, "arm64": arm}, kind)
        source.add_manifest("multi", index, kind, tags=[tag])
        name = f"{server.host}/multi:{tag}"
        for made, wanted in ((arm, "linux/arm64"), (amd, "linux/amd64")):
            done = engine.images.pull(name, platform=Platform.parse(wanted))
            assert done.image_id == Digest.of(made.config_raw)
            assert done.digest == Digest.of(index)
        with pytest.raises(PlatformNotFound, match="linux/s390x") as caught:
            engine.images.pull(name, platform=Platform.parse("linux/s390x"))
        assert "linux/arm64" in caught.value.why


def test_events_tell_the_truth(engine, server, source):
    made = MadeImage([SMALL, OTHER])
    made.serve(source, "demo", "latest")
    events = []
    engine.images.pull(f"{server.host}/demo", on_event=events.append)
    assert isinstance(events[0], TransferStarted)
    assert [size for _, size in events[0].layers] == [layer.size for layer in made.layers]
    done = [e for e in events if isinstance(e, LayerProgress) and e.phase is LayerPhase.DONE]
    assert {e.digest for e in done} == {layer.digest for layer in made.layers}
    assert all(e.done_bytes == e.total_bytes for e in done)


@pytest.mark.parametrize("reference", ["", "UPPER", "a b", "x:", "x@sha256:12", "../x", "x/" * 200])
def test_malformed_references(engine, reference):
    with pytest.raises(InvalidReference):
        engine.images.pull(reference)
    assert_empty(engine)


def test_unknown_image_and_unreachable_registry(engine, server):
    with pytest.raises(ImageNotFound):
        engine.images.pull(f"{server.host}/nosuch")
    with pytest.raises(RegistryUnreachable):
        engine.images.pull("127.0.0.1:1/nosuch")
    assert_empty(engine)


def test_a_changed_blob_is_refused(engine, server, source):
    made = MadeImage([SMALL, OTHER])
    made.serve(source, "demo", "latest")
    good = made.blobs[made.layers[1].digest]
    source.blobs[made.layers[1].digest] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(ContentError):
        engine.images.pull(f"{server.host}/demo")
    assert_empty(engine)


@pytest.mark.parametrize("change", [b"", b"half", b"more"])
def test_a_blob_of_another_size_is_refused(engine, server, source, change):
    made = MadeImage([SMALL])
    made.serve(source, "demo", "latest")
    good = made.blobs[made.layers[0].digest]
    other = {b"": b"", b"half": good[: len(good) // 2], b"more": good + b"x" * 100}[change]
    source.blobs[made.layers[0].digest] = other
    with pytest.raises((SizeMismatch, ContentError, RegistryUnreachable)):
        engine.images.pull(f"{server.host}/demo")
    assert_empty(engine)


def test_right_digest_but_wrong_diff_id_is_refused(engine, server, source):
    made = MadeImage([SMALL], rootfs={"type": "layers", "diff_ids": [Digest.of(b"lie")]})
    made.serve(source, "demo", "latest")
    with pytest.raises(DigestMismatch, match="uncompressed"):
        engine.images.pull(f"{server.host}/demo")
    assert_empty(engine)


def test_layers_and_diff_ids_must_be_as_many(engine, server, source):
    made = MadeImage([SMALL, OTHER], rootfs={"type": "layers", "diff_ids": [Digest.of(SMALL)]})
    made.serve(source, "demo", "latest")
    with pytest.raises(InvalidDocument, match="not valid"):
        engine.images.pull(f"{server.host}/demo")
    assert_empty(engine)


@pytest.mark.parametrize("name", ["../escape", "etc/../../escape", "a/../../../tmp/escape"])
def test_a_hostile_layer_is_refused_and_nothing_is_kept(engine, server, source, tmp_path, name):
    MadeImage([tar_of((name, b"x"))]).serve(source, "evil", "latest")
    with pytest.raises(LayerRefused):
        engine.images.pull(f"{server.host}/evil")
    assert_empty(engine)
    assert not any("escape" in files for _, _, files in os.walk(tmp_path))


def test_a_gzip_bomb_is_refused(engine, server, source, monkeypatch):
    monkeypatch.setattr("ocimagic.transfer.layer._LEAST_LIMIT", 1 << 20)
    bomb = tar_of(("zeros", bytes(64 << 20)))
    made = MadeImage([bomb])
    blob = gzip.compress(bomb, 9, mtime=0)
    assert len(blob) * 100 < len(bomb)
    made.serve(source, "bomb", "latest")
    with pytest.raises(LayerRefused, match=r"safely|not a valid tar") as caught:
        engine.images.pull(f"{server.host}/bomb")
    assert "unpacks to more than" in caught.value.why
    assert_empty(engine)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"schemaVersion": 1}',
        b'{"schemaVersion": 2}',
        b'{"schemaVersion": 2, "layers": [], "manifests": [], "config": {}}',
        b'{"schemaVersion": 2, "config": {"mediaType": "x"}, "layers": []}',
        b'{"schemaVersion": 2, "config": null, "layers": null, "manifests": null}',
        b'{"schemaVersion": 2, "schemaVersion": 2, "manifests": []}',
        b'{"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha256:x", "size": 1}]}',
        b'{"schemaVersion": NaN}',
    ],
)
def test_malformed_manifests(engine, server, source, raw):
    source.add_manifest("bad", raw, mediatype.OCI_MANIFEST, tags=["latest"])
    with pytest.raises(OcimagicError):
        engine.images.pull(f"{server.host}/bad")
    assert_empty(engine)


def test_an_artifact_is_no_image(engine, server, source):
    made = MadeImage([SMALL])
    changed = made.manifest_raw.replace(
        mediatype.OCI_CONFIG.encode(), b"application/vnd.cncf.helm.config.v1+json"
    )
    made.serve(source, "chart")
    source.add_manifest("chart", changed, mediatype.OCI_MANIFEST, tags=["latest"])
    with pytest.raises(InvalidDocument, match="not a container image"):
        engine.images.pull(f"{server.host}/chart")


def test_a_layer_without_parent_directories_is_unpacked_over_its_parent(engine, server, source):
    """The mode of an implied directory comes from below: such a layer is keyed by chain_id."""
    base = tar_of(("private", None, {"mode": 0o700}), ("private/a", b"a"))
    above = tar_of(("private/b", b"b"))
    made = MadeImage([base, above])
    made.serve(source, "implied", "latest")
    engine.images.pull(f"{server.host}/implied")
    store = engine.containers.store
    keys = {str(row[0]) for row in store.database.rows("SELECT key FROM snapshots")}
    image = store.images.find(f"{server.host}/implied")
    if engine.containers.unpacker.launcher is None:
        pytest.skip("nothing is unpacked here")
    assert keys == {image.config.diff_ids[0], image.chain_ids[1]}
    name = store.snapshots.find(image.config.diff_ids[1], image.chain_ids[1])
    upper = store.snapshots.directory(name) / "fs" / "private"
    assert os.stat(upper).st_mode & 0o777 == 0o700
    assert sorted(os.listdir(upper)) == ["b"]


def test_cancelling_keeps_what_came_and_the_next_pull_resumes(make_engine):
    big = tar_of(*((f"f{n}", os.urandom(1 << 20)) for n in range(24)))
    made = MadeImage([big])
    source = MemorySource()
    made.serve(source, "big", "latest")
    stop = threading.Event()
    with RegistryServer(source) as server:
        engine = make_engine()

        def listen(event):
            if isinstance(event, LayerProgress) and event.done_bytes > 0:
                stop.set()

        with pytest.raises(Cancelled):
            engine.images.pull(f"{server.host}/big", on_event=listen, cancelled=stop)
        assert engine.images.list() == ()
        parts = list(engine.home.ingest.iterdir())
        assert len(parts) == 1
        had = parts[0].stat().st_size
        assert 0 < had < made.layers[0].size
        done = engine.images.pull(f"{server.host}/big")
        assert done.downloaded_bytes == made.layers[0].size - had
        assert list(engine.home.ingest.iterdir()) == []


def test_a_spoilt_part_does_not_hurt_the_next_pull_for_ever(engine, server, source):
    made = MadeImage([SMALL])
    made.serve(source, "demo", "latest")
    digest = made.layers[0].digest
    part = engine.home.ingest / f"sha256-{digest.hex}.part"
    part.write_bytes(b"rubbish")
    with pytest.raises(ContentError):
        engine.images.pull(f"{server.host}/demo")
    assert not part.exists()
    assert engine.images.pull(f"{server.host}/demo").layers == 1


def test_two_engines_pull_the_same_at_once(make_engine, server, source, requests):
    made = MadeImage([SMALL, OTHER])
    made.serve(source, "demo", "latest")
    first, second = make_engine(), make_engine()
    failures = []

    def pull(engine):
        try:
            engine.images.pull(f"{server.host}/demo")
        except OcimagicError as err:
            failures.append(err)

    threads = [threading.Thread(target=pull, args=(engine,)) for engine in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(blob_gets(requests)) == 3, "config and two layers, once each"
    assert len(first.images.list()) == 1


def test_a_damaged_store_file_is_found_and_fetched_again(engine, server, source):
    made = MadeImage([SMALL])
    made.serve(source, "demo", "latest")
    engine.images.pull(f"{server.host}/demo")
    blob = engine.home.blobs / made.layers[0].digest.hex
    blob.unlink()
    with pytest.raises(BlobNotFound):
        engine.containers.store.blobs.open(made.layers[0].digest)
    assert not engine.images.pull(f"{server.host}/demo").up_to_date
    assert blob.exists()


def test_an_unvouched_blob_is_verified_before_it_is_trusted(engine, server, source):
    made = MadeImage([SMALL])
    made.serve(source, "demo", "latest")
    wrong = engine.home.blobs / made.layers[0].digest.hex
    wrong.write_bytes(b"x" * made.layers[0].size)
    engine.images.pull(f"{server.host}/demo")
    assert Digest.of(wrong.read_bytes()) == made.layers[0].digest
