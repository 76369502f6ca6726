"""Pushing: to Debian's registry for real, and what the store remembers of it."""

import json
import os
import shutil
import subprocess
import tempfile
import threading

import pytest
from rootfs import MadeImage, tar_of

from ocimagic.errors import (
    BlobNotFound,
    Cancelled,
    ImageNotFound,
    InvalidReference,
    OcimagicError,
    RegistryAnswered,
)
from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted
from ocimagic.model.options import BuildOptions
from ocimagic.model.registry import RegistryOptions
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.spec import mediatype
from ocimagic.spec.digest import Digest

pytestmark = pytest.mark.peer


@pytest.fixture
def hub():
    """Serve what tests pull."""
    source = MemorySource()
    with RegistryServer(source) as server:
        server.source = source
        yield server


@pytest.fixture
def pulled(engine, hub):
    """Return an image that came as docker made it: schema 2, compressed layers."""
    made = MadeImage([tar_of(("a", b"a" * 50_000)), tar_of(("b", b"b" * 9000))], docker=True)
    made.serve(hub.source, "base", "1")
    engine.images.pull(f"{hub.host}/base:1")
    return made


@pytest.fixture
def name(debian_registry, request):
    """Return a repository of the test's own."""
    return f"{debian_registry}/{request.node.name.lower().replace('[', '-').strip(']')}"


def build(engine, tmp_path, tag, text="FROM scratch\nCOPY file /file\n", content="hello"):
    context = tmp_path / "context"
    context.mkdir(exist_ok=True)
    (context / "file").write_text(content)
    os.utime(context / "file", (1, 1))
    engine.images.build(BuildOptions(context=str(context), dockerfile=text, tags=(tag,)))


def remote(reference, *more):
    """Return what skopeo finds there."""
    done = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", *more, f"docker://{reference}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_built_image_goes_compressed_and_keeps_its_id(engine, make_engine, tmp_path, name):
    build(engine, tmp_path, f"{name}:1")
    before = engine.images.inspect(f"{name}:1")
    (done,) = engine.images.push(f"{name}:1")
    assert (done.layers, done.there, done.mounted) == (1, 0, 0)
    manifest = remote(f"{name}:1", "--raw")
    assert [each["mediaType"] for each in manifest["layers"]] == [mediatype.OCI_LAYER_GZIP]
    assert remote(f"{name}:1")["Digest"] == done.digest
    other = make_engine("other")
    assert other.images.pull(f"{name}:1").image_id == before.image_id


def test_what_was_pulled_goes_byte_for_byte(engine, hub, pulled, name):
    engine.images.tag(f"{hub.host}/base:1", f"{name}:1")
    (done,) = engine.images.push(f"{name}:1")
    assert done.digest == pulled.digest
    assert remote(f"{name}:1", "--raw")["mediaType"] == mediatype.DOCKER_MANIFEST


def test_layers_from_here_and_from_there(engine, hub, pulled, tmp_path, name):
    build(engine, tmp_path, f"{name}:1", f"FROM {hub.host}/base:1\nCOPY file /file\n")
    engine.images.push(f"{name}:1")
    manifest = remote(f"{name}:1", "--raw")
    assert {each["mediaType"] for each in manifest["layers"]} == {mediatype.OCI_LAYER_GZIP}
    assert len(manifest["layers"]) == 3


def test_a_second_push_sends_nothing(engine, tmp_path, name):
    build(engine, tmp_path, f"{name}:1")
    (first,) = engine.images.push(f"{name}:1")
    events = []
    (second,) = engine.images.push(f"{name}:1", on_event=events.append)
    assert (second.digest, second.sent_bytes, second.there) == (first.digest, 0, 1)
    phases = [each.phase for each in events if isinstance(each, LayerProgress)]
    assert phases == [LayerPhase.EXISTS], "it was not compressed again"


def test_progress(engine, tmp_path, name):
    build(engine, tmp_path, f"{name}:1", content="x" * 3_000_000)
    events = []
    engine.images.push(f"{name}:1", on_event=events.append)
    started, *rest = events
    assert isinstance(started, TransferStarted)
    assert (started.verb, started.reference) == ("pushing", f"{name}:1")
    assert {each.digest for each in rest} == {digest for digest, _ in started.layers}
    assert rest[-1].phase is LayerPhase.DONE
    assert LayerPhase.COMPRESSING in {each.phase for each in rest}


def test_a_neighbour_has_it(engine, tmp_path, name):
    build(engine, tmp_path, f"{name}:1")
    engine.images.push(f"{name}:1")
    engine.images.tag(f"{name}:1", f"{name}-two:1")
    (done,) = engine.images.push(f"{name}-two:1")
    assert (done.mounted, done.there) == (1, 0)
    assert remote(f"{name}-two:1")["Digest"] == done.digest


def test_zstd(engine, make_engine, tmp_path, name):
    build(engine, tmp_path, f"{name}:1")
    engine.images.push(f"{name}:1", compression="zstd")
    kinds = {each["mediaType"] for each in remote(f"{name}:1", "--raw")["layers"]}
    assert kinds == {mediatype.OCI_LAYER_ZSTD}
    assert make_engine("other").images.pull(f"{name}:1").layers == 1


def test_all_tags(engine, tmp_path, name):
    build(engine, tmp_path, f"{name}:1")
    build(engine, tmp_path, f"{name}:2", content="other")
    done = engine.images.push(name, all_tags=True)
    assert [each.reference for each in done] == [f"{name}:1", f"{name}:2"]
    assert sorted(remote(f"{name}:1")["RepoTags"]) == ["1", "2"]
    with pytest.raises(ImageNotFound, match="does not exist locally"):
        engine.images.push(f"{name}-none", all_tags=True)


def test_the_name_points_at_what_is_there(engine, tmp_path, name):
    build(engine, tmp_path, f"{name}:1")
    (done,) = engine.images.push(f"{name}:1")
    (summary,) = engine.images.list(f"{name}:1")
    assert summary.digest == done.digest
    assert engine.images.inspect(f"{name}@{done.digest}").image_id == summary.image_id
    assert engine.images.pull(f"{name}:1").image_id == summary.image_id


def test_equal_images_are_equal_there(engine, make_engine, tmp_path, name):
    """Compression adds nothing of the time or the machine."""
    build(engine, tmp_path, f"{name}:1", content="x" * 300_000)
    engine.images.push(f"{name}:1")
    other = make_engine("other")
    build(other, tmp_path, f"{name}:2", content="x" * 300_000)
    other.images.push(f"{name}:2")
    first, second = (remote(f"{name}:{tag}", "--raw")["layers"] for tag in "12")
    assert first == second


def test_one_image_many_times_at_once(engine, tmp_path):
    """To our own registry, which must bear it."""
    failed = []
    with engine.system.serve_registry(RegistryOptions(port=0)) as served:
        names = [f"{served.host}/app:{number}" for number in range(6)]
        build(engine, tmp_path, names[0], content="x" * 500_000)
        for each in names[1:]:
            engine.images.tag(names[0], each)

        def push(name):
            try:
                engine.images.push(name)
            except OcimagicError as err:
                failed.append(err)

        threads = [threading.Thread(target=push, args=(each,)) for each in names]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert failed == []
        assert {remote(each)["Digest"] for each in names} == {remote(names[0])["Digest"]}


@pytest.mark.parametrize("images", [1, 6])
def test_many_at_once(engine, tmp_path, name, images):
    """Debian's registry may not know for a moment what two send at once: a class does that."""
    for number in range(images):
        text = f"FROM scratch\nCOPY file /file\nLABEL number={number}\n"
        build(engine, tmp_path, f"{name}:{number}", text, content="x" * 500_000)
    for number in range(images, 6):
        engine.images.tag(f"{name}:0", f"{name}:{number}")
    failed = []

    def push(number):
        try:
            engine.images.push(f"{name}:{number}")
        except OcimagicError as err:
            failed.append(err)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    assert len(remote(f"{name}:3")["RepoTags"]) == 6
    assert list(engine.home.ingest.iterdir()) == []


# -- what goes wrong -------------------------------------------------------------------


def test_names_that_cannot_be_pushed(engine, name):
    with pytest.raises(InvalidReference, match="cannot push a digest reference"):
        engine.images.push(f"{name}@{Digest.of(b'')}")
    with pytest.raises(ImageNotFound, match="does not exist locally"):
        engine.images.push(f"{name}:1")


def test_a_read_only_registry(engine, tmp_path, hub):
    build(engine, tmp_path, f"{hub.host}/mine:1")
    with pytest.raises(RegistryAnswered, match="does not take"):
        engine.images.push(f"{hub.host}/mine:1")
    assert list(engine.home.ingest.iterdir()) == []


def test_a_layer_that_is_not_here(engine, hub, pulled, name):
    engine.images.tag(f"{hub.host}/base:1", f"{name}:1")
    layer = engine.images.inspect(f"{name}:1").layers[0]
    engine.containers.store.blobs.remove(layer.digest)
    with pytest.raises(BlobNotFound, match="is not here"):
        engine.images.push(f"{name}:1")


def test_stopped(engine, tmp_path, name):
    build(engine, tmp_path, f"{name}:1", content="x" * 3_000_000)
    stop = threading.Event()

    def on_event(event):
        if isinstance(event, LayerProgress):
            stop.set()

    with pytest.raises(Cancelled, match="stopped"):
        engine.images.push(f"{name}:1", on_event=on_event, cancelled=stop)
    assert list(engine.home.ingest.iterdir()) == []
    (done,) = engine.images.push(f"{name}:1")
    assert remote(f"{name}:1")["Digest"] == done.digest


@pytest.mark.skipif(not shutil.which("podman"), reason="podman is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_podman_pulls_what_was_pushed(engine, tmp_path, name):
    build(engine, tmp_path, f"{name}:1")
    engine.images.push(f"{name}:1")
    with tempfile.TemporaryDirectory(prefix="oci-") as room:  # podman wants a short path
        words = ["podman", "--root", f"{room}/root", "--runroot", f"{room}/run",
                 "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]  # fmt: skip
        for more in (["pull", "--tls-verify=false", f"{name}:1"], ["rmi", "-f", f"{name}:1"]):
            done = subprocess.run(
                [*words, *more], capture_output=True, text=True, timeout=120, check=False, cwd=room
            )
            assert done.returncode == 0, done.stderr
