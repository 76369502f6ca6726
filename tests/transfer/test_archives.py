"""Save, load and import: round trips, the shapes others write, and what a broken one leaves."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import threading

import pytest
import zstandard
from archives import (
    ONE,
    TWO,
    docker_files,
    index,
    made,
    named,
    nested,
    oci_files,
    tarred,
)
from rootfs import tar_of

from ocimagic import Engine
from ocimagic.errors import (
    BlobNotFound,
    Cancelled,
    DigestMismatch,
    ImageNotFound,
    InvalidOption,
    InvalidReference,
    LayerRefused,
    PlatformNotFound,
)
from ocimagic.model.event import LayerPhase, TransferStarted
from ocimagic.model.options import BuildOptions
from ocimagic.model.request import ImportOptions
from ocimagic.spec.digest import Digest
from ocimagic.spec.platform import Platform
from ocimagic.transfer.unpack import Unpacker


def saved(engine, *names, **options):
    out = bytearray()
    engine.images.save(names, out.extend, **options)
    return bytes(out)


def files_of(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar if each.isfile()}


def names_of(engine):
    return sorted((row.name, row.image_id) for row in engine.images.list())


def image_id(image):
    return Digest.of(image.config_raw)


@pytest.fixture
def stocked(make_engine):
    """An engine with two images that share a layer; one has two names, one no name."""
    engine = make_engine("stocked")
    first, second, third = made(), made(ONE, compress=False), made(TWO)
    for image, tags in ((first, ("a:1", "a:2")), (second, ("b:1",)), (third, ())):
        files = oci_files(*((image, named(f"docker.io/library/{tag}")) for tag in tags or ()))
        engine.images.load(tarred(files if tags else oci_files((third, {}))))
    engine.ids = [image_id(each) for each in (first, second, third)]
    return engine


# -- round trips -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_a_round_trip_keeps_ids_names_and_manifests(kind, stocked, make_engine):
    archive = saved(stocked, "a", "b:1", stocked.ids[2], format=kind)
    other = make_engine("other")
    loaded = other.images.load(archive)
    assert {each.image_id: each.tags for each in loaded.images} == {
        stocked.ids[0]: ("a:1", "a:2"),
        stocked.ids[1]: ("b:1",),
        stocked.ids[2]: (),
    }
    assert names_of(other) == names_of(stocked)
    for name in ("a:1", "b:1", stocked.ids[2]):
        ours, theirs = other.images.inspect(name), stocked.images.inspect(name)
        assert ours.manifest.raw == theirs.manifest.raw
        assert ours.config.raw == theirs.config.raw
    assert saved(other, "b", "a", stocked.ids[2], format=kind) == archive


def test_docker_s_documents_alone_are_enough(stocked, make_engine):
    files = files_of(saved(stocked, "a", "b"))
    layout = [files.pop(name) for name in ("index.json", "oci-layout")]
    assert all(layout)
    other = make_engine("other")
    other.images.load(tarred(files))
    assert names_of(other) == [each for each in names_of(stocked) if each[0] != "<none>:<none>"]
    assert (
        other.images.inspect("a:1").manifest.layers == stocked.images.inspect("a:1").manifest.layers
    )


def test_equal_images_give_equal_bytes_and_a_shared_blob_is_written_once(stocked):
    archive = saved(stocked, "a", "b")
    assert archive == saved(stocked, "b:1", "a:2", "a:1", "b")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
    names = [each.name for each in members]
    assert len(set(names)) == len(names)
    assert {(each.mtime, each.uid, each.gid, each.uname) for each in members} == {(0, 0, 0, "")}


def test_the_documents_are_docker_s(stocked):
    files = files_of(saved(stocked, "a:1", "b:1", stocked.ids[2]))
    items = json.loads(files["manifest.json"])
    assert sorted(str(each["RepoTags"]) for each in items) == ["None", "['a:1']", "['b:1']"]
    for item in items:
        config = json.loads(files[item["Config"]])
        plain = []
        for name in item["Layers"]:
            raw = files[name]
            plain.append(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)
        diff_ids = ["sha256:" + hashlib.sha256(each).hexdigest() for each in plain]
        assert diff_ids == config["rootfs"]["diff_ids"]
    tops = json.loads(files["repositories"])
    assert tops.keys() == {"a", "b"}
    assert all(f"blobs/sha256/{top}" in files for tags in tops.values() for top in tags.values())


def test_zstd_is_plain_for_docker_and_kept_in_a_layout(engine, make_engine):
    image = made()
    packed = [zstandard.compress(ONE), zstandard.compress(TWO)]
    engine.images.load(tarred(docker_files(image, "z:1", layers=packed)))
    kept = [Digest.of(each) for each in packed]
    for kind, digests in (("docker", image.diff_ids), ("oci", kept)):
        archive = saved(engine, "z:1", format=kind)
        names = {name.rpartition("/")[2] for name in files_of(archive)}
        assert {each.hex for each in digests} <= names
        other = make_engine(kind)
        other.images.load(archive)
        assert other.images.inspect("z:1").image_id == image_id(image)
        assert [each.digest for each in other.images.inspect("z:1").layers] == digests


def test_oci_leaves_docker_s_own_files_out(stocked):
    names = set(files_of(saved(stocked, "a", format="oci")))
    assert {"oci-layout", "index.json"} <= names
    assert not {"manifest.json", "repositories"} & names


def test_what_cannot_be_saved_writes_nothing(stocked):
    out = []
    for names, kind, error in (
        (("a", "nothing"), "docker", ImageNotFound),
        (("a:3",), "docker", ImageNotFound),
        (("A!",), "docker", InvalidReference),
        (("a",), "zip", InvalidOption),
    ):
        with pytest.raises(error):
            stocked.images.save(names, out.append, format=kind)
    layer = stocked.images.inspect("a:1").layers[-1].digest
    (stocked.home.blobs / layer.hex).unlink()
    with pytest.raises(BlobNotFound):
        stocked.images.save(["a"], out.append)
    assert out == []


def test_a_blob_that_rotted_is_not_passed_on(stocked):
    blob = stocked.home.blobs / stocked.images.inspect("a:1").layers[0].digest.hex
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DigestMismatch):
        saved(stocked, "a")


def test_a_built_image_says_its_base_after_a_round_trip(stocked, make_engine):
    stocked.images.build(BuildOptions(dockerfile="FROM a:1\nLABEL x=y\n", tags=("built:1",)))
    other = make_engine("other")
    other.images.load(saved(stocked, "built"))
    assert other.images.inspect("built:1").base_name == "docker.io/library/a:1"


# -- the shapes others write ---------------------------------------------------------


def test_an_old_docker_s_archive(engine):
    image = made()
    loaded = engine.images.load(tarred(docker_files(image, "old:1", "registry.example/x:2")))
    assert loaded.images[0].tags == ("old:1", "registry.example/x:2")
    assert engine.images.inspect("old:1").image_id == image_id(image)
    assert [each.digest for each in engine.images.inspect("old:1").layers] == image.diff_ids


def test_a_layer_that_is_a_link_to_another_s(engine):
    """docker 20.10 writes a layer once for all images of one archive, podman beside its links."""
    files = docker_files(made(), "old:1")
    item = json.loads(files["manifest.json"])[0]
    item["Layers"][0] = "twin/layer.tar"
    target = next(name for name in files if name.endswith("layer.tar"))
    files["manifest.json"] = json.dumps([item]).encode()
    engine.images.load(tarred(files, {"twin/layer.tar": f"../{target}"}))
    assert engine.images.inspect("old:1").image_id == image_id(made())


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"],
)
@pytest.mark.parametrize("source", ["bytes", "file", "stream", "pipe"])
def test_compressed_or_not_from_anywhere(pack, source, engine, tmp_path):
    archive = pack(tarred(docker_files(made(), "a:1")))
    path = tmp_path / "archive"
    path.write_bytes(archive)
    if source == "bytes":
        engine.images.load(archive)
    elif source == "file":
        engine.images.load(path)
    elif source == "stream":
        engine.images.load(io.BytesIO(archive))
    else:
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
            engine.images.load(cat.stdout.fileno())
    assert engine.images.inspect("a:1").image_id == image_id(made())


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_compressed_layers_in_docker_s_archive(pack, engine):
    image = made()
    files = docker_files(image, "a:1", layers=[pack(ONE), pack(TWO)])
    engine.images.load(tarred(files))
    assert [each.diff_id for each in engine.images.inspect("a:1").layers] == image.diff_ids


@pytest.mark.parametrize("flat", [False, True])
def test_several_platforms(flat, engine):
    images = {"amd64": made(A=["x"]), "riscv64": made(tar_of(("r", b"r")))}
    files, entries, outer = nested(images)
    top = [each | named("docker.io/library/many:1") for each in entries] if flat else [outer]
    files["index.json"] = index(top)
    del files[f"blobs/sha256/{images['riscv64'].layers[0].digest.hex}"]  # as docker 25 may
    engine.images.load(tarred(files), platform=Platform("linux", "amd64"))
    assert engine.images.inspect("many:1").image_id == image_id(images["amd64"])
    with pytest.raises(PlatformNotFound, match="amd64"):
        engine.images.load(tarred(files), platform=Platform("linux", "s390x"))


@pytest.mark.parametrize(
    ("said", "tags"),
    [
        (named("quay.io/x/y:1"), ("quay.io/x/y:1",)),
        (named("sk:1"), ("sk:1",)),
        (named("latest"), ()),  # a tag of nobody knows what
        (named("x@sha256:" + "a" * 64), ()),  # not the archive's to say
        (
            {"annotations": {"io.containerd.image.name": "docker.io/library/c:1",
                             "org.opencontainers.image.ref.name": "1"}},
            ("c:1",),
        ),
        ({}, ()),
    ],
)  # fmt: skip
def test_names_of_a_layout(said, tags, engine):
    loaded = engine.images.load(tarred(oci_files((made(), said))))
    assert [each.tags for each in loaded.images] == [tags]


# -- what was here before ------------------------------------------------------------


def test_an_image_that_is_here_gets_a_name_and_no_second_form(engine):
    image = made()
    engine.images.load(tarred(oci_files((image, named("a:1")))))
    loaded = engine.images.load(tarred(docker_files(image, "a:2")))
    assert loaded.images[0].image_id == image_id(image)
    rows = engine.images.list()
    assert sorted(row.name for row in rows) == ["a:1", "a:2"]
    assert len({row.digest for row in rows}) == 1


@pytest.mark.parametrize(
    "archive",
    [tarred(oci_files((made(), named("a:1")))), tarred(docker_files(made(), "a:1"))],
    ids=["the same form", "another form"],
)
def test_a_damaged_image_is_repaired(archive, engine):
    engine.images.load(tarred(oci_files((made(), named("a:1")))))
    blob = engine.home.blobs / engine.images.inspect("a:1").layers[0].digest.hex
    blob.unlink()
    engine.images.load(archive)
    assert saved(engine, "a:1")


def test_each_layer_is_unpacked_once_and_on_its_way(engine, monkeypatch):
    def again(*_):
        pytest.fail("unpacked once more, from the store")

    monkeypatch.setattr(Unpacker, "_try_blob", again)
    engine.images.load(tarred(docker_files(made(), "a:1")))
    assert engine.images.inspect("a:1").size_bytes == 8000


def test_a_name_that_moves_is_said(engine):
    old, new = made(), made(ONE)
    engine.images.load(tarred(docker_files(old, "a:1")))
    [image] = engine.images.load(tarred(oci_files((new, named("a:1"))))).images
    assert image.replaced == (("a:1", image_id(old)),)
    assert ("<none>:<none>", image_id(old)) in names_of(engine)


def test_progress_is_told_of_each_layer_once(engine):
    events = []
    image = made(ONE, TWO, ONE)
    engine.images.load(tarred(oci_files((image, named("a:1")))), on_event=events.append)
    wanted = list(dict.fromkeys((each.digest, each.size) for each in image.layers))
    assert events[0] == TransferStarted("a:1", None, tuple(wanted), "loading")
    done = [each.digest for each in events[1:] if each.phase is LayerPhase.DONE]
    assert done == [digest for digest, _ in wanted]


def test_several_at_once(make_engine):
    archive = tarred(docker_files(made(), "a:1"))
    engines = [make_engine(), make_engine()]
    failures = []

    def load(engine):
        try:
            engine.images.load(archive)
        except Exception as err:  # noqa: BLE001
            failures.append(err)

    threads = [threading.Thread(target=load, args=(each,)) for each in engines * 3]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    assert names_of(engines[0]) == names_of(engines[1]) == [("a:1", image_id(made()))]
    assert list(engines[0].home.ingest.iterdir()) == []


# -- broken off ------------------------------------------------------------------------


def test_cancelled(engine):
    archive = tarred(docker_files(made(), "a:1"))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        engine.images.load(archive, cancelled=stop)
    assert engine.images.list() == ()
    assert list(engine.home.ingest.iterdir()) == []
    engine.images.load(archive)
    with pytest.raises(Cancelled):
        engine.images.save(["a:1"], lambda _: None, cancelled=stop)


LOAD = "import sys; from ocimagic import Engine; Engine(sys.argv[1], environment={}).images.load(0)"


@pytest.mark.parametrize("part", [0.3, 0.95])
def test_killed_in_the_middle(part, make_engine, tmp_path):
    engine = make_engine()
    engine.images.load(tarred(oci_files((made(TWO), named("kept:1")))))
    before = names_of(engine), (engine.home.data / "index.json").read_bytes()
    big = tar_of(("big", os.urandom(3 << 20)))
    archive = tarred(docker_files(made(big, compress=False), "big:1", layers=[big]))
    with subprocess.Popen(
        [sys.executable, "-c", LOAD, engine.home.data], stdin=subprocess.PIPE
    ) as killed:
        killed.stdin.write(archive[: int(len(archive) * part)])
        killed.stdin.flush()
        while not any(each.stat().st_size for each in engine.home.ingest.glob("load-*")):
            assert killed.poll() is None
        killed.send_signal(signal.SIGKILL)
    assert (names_of(engine), (engine.home.data / "index.json").read_bytes()) == before
    assert list(engine.home.ingest.glob("load-*"))
    Engine(engine.home.data, environment={}).close()
    assert not list(engine.home.ingest.glob("load-*")), "the next engine takes them away"
    engine.images.load(archive)
    assert engine.images.inspect("big:1").image_id == image_id(made(big, compress=False))


KILLED_AT = """
import os, signal, sys
from ocimagic import Engine
from ocimagic.store.blobs import BlobStore
from ocimagic.store.images import Images
from ocimagic.store.layout import Layout
from ocimagic.store.syncing import Syncing
from ocimagic.transfer.unpacking import Unpacking
root, archive, place = sys.argv[1:]
kind, name = place.split(".")
setattr(globals()[kind], name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
Engine(root, environment={}).images.load(archive)
"""


@pytest.mark.parametrize(
    ("place", "published"),
    [
        ("Unpacking.verify", False),
        ("BlobStore.adopt_file", False),
        ("BlobStore.put", False),
        ("Unpacking.keep", False),
        ("Syncing.blobs", False),
        ("Images.add_all", False),
        ("Layout.publish", True),
    ],
)
def test_killed_at_each_step_on_the_way_in(place, published, make_engine, tmp_path):
    engine = make_engine()
    files = oci_files((made(), named("a:1")), (made(TWO), named("b:1")))
    (tmp_path / "archive").write_bytes(tarred(files))
    words = [sys.executable, "-c", KILLED_AT, engine.home.data, tmp_path / "archive", place]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    Engine(engine.home.data, environment={}).close()
    both = [("a:1", image_id(made())), ("b:1", image_id(made(TWO)))]
    assert names_of(engine) == (both if published else [])
    assert list(engine.home.ingest.glob("load-*")) == []
    assert list(engine.home.snapshots.glob("new-*")) == []
    engine.images.load(tmp_path / "archive")
    assert names_of(engine) == both
    assert b"docker.io/library/a:1" in (engine.home.data / "index.json").read_bytes()
    assert saved(engine, "a:1", "b:1")


MEMORY = """
import sys
from ocimagic import Engine
root, archive, out = sys.argv[1:]
with Engine(root, environment={}) as engine:
    engine.images.load(archive)
    with open(out, "wb") as file:
        engine.images.save(["big:1"], file.write)
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_no_layer_is_ever_in_memory(tmp_path, make_engine):
    engine = make_engine()
    big = tar_of(("big", bytes(160 << 20)))
    image = made(big, compress=False)
    (tmp_path / "in").write_bytes(tarred(docker_files(image, "big:1", layers=[big])))
    words = [sys.executable, "-c", MEMORY, engine.home.data, tmp_path / "in", tmp_path / "out"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert int(told) < 120 << 10, "KiB"
    assert (tmp_path / "out").stat().st_size > 160 << 20


# -- import ----------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_import(pack, engine):
    options = ImportOptions(
        reference="root:1",
        changes=('CMD ["sh"]', "ENV A=1 B=2", "LABEL x=y", "EXPOSE 80"),
        message="by hand",
        platform=Platform("linux", "arm64"),
    )
    imported = engine.images.import_(pack(ONE), options)
    details = engine.images.inspect("root:1")
    assert (imported.image_id, imported.reference) == (details.image_id, "root:1")
    assert imported.size_bytes == 5000
    config = details.config
    assert (config.config.cmd, config.config.env) == (("sh",), ("A=1", "B=2"))
    assert (config.config.labels, config.config.exposed_ports) == ({"x": "y"}, ("80/tcp",))
    assert str(config.platform) == "linux/arm64"
    assert [each.diff_id for each in details.layers] == [Digest.of(ONE)]
    assert engine.images.history("root:1")[0].comment == "by hand"


def test_import_without_a_name(engine):
    imported = engine.images.import_(ONE)
    assert imported.reference == ""
    assert engine.images.history(str(imported.image_id))[0].comment == "Imported from -"


@pytest.mark.parametrize(
    ("content", "options", "error"),
    [
        (b"", {}, LayerRefused),
        (b"no tar at all", {}, LayerRefused),
        (ONE[:700], {}, LayerRefused),
        (gzip.compress(ONE)[:-20], {}, LayerRefused),
        (tar_of(("../up", b"x")), {}, LayerRefused),
        (ONE, {"changes": ("RUN true",)}, InvalidOption),
        (ONE, {"reference": "Upper"}, InvalidReference),
        (ONE, {"reference": "a@sha256:" + "a" * 64}, InvalidReference),
    ],
)
def test_import_refuses(content, options, error, engine):
    with pytest.raises(error):
        engine.images.import_(content, ImportOptions(**options))
    assert engine.images.list() == ()
    assert list(engine.home.ingest.iterdir()) == []


def test_a_source_that_is_not_there(engine, tmp_path):
    for take in (engine.images.load, engine.images.import_):
        with pytest.raises(InvalidOption, match="No such file"):
            take(tmp_path / "nowhere")
        with pytest.raises(InvalidOption, match="directory"):
            take(tmp_path)
