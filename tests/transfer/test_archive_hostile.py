"""Archives that nobody should load: each refused by name, and nothing of it is left."""

import gzip
import hashlib
import json
import tarfile

import pytest
from archives import (
    INDEX_TYPE,
    OCI_LAYOUT,
    ONE,
    TWO,
    descriptor,
    docker_files,
    index,
    made,
    named,
    oci_files,
    tarred,
)
from rootfs import tar_of

from ocimagic import Engine
from ocimagic.errors import (
    ArchiveRefused,
    DigestMismatch,
    InvalidDocument,
    InvalidReference,
    LayerRefused,
    OcimagicError,
    SizeMismatch,
)


def docker(**changes):
    """Return docker's files with fields of their only item changed."""
    files = docker_files(made(), "a:1")
    [item] = json.loads(files["manifest.json"])
    return files | {"manifest.json": json.dumps([item | changes]).encode()}


def oci(change=lambda files: None):
    files = oci_files((made(), named("a:1")))
    change(files)
    return files


def layer_of(files):
    return f"blobs/sha256/{made().layers[0].digest.hex}"


def without(name):
    files = docker()
    del files[next(each for each in files if each.endswith(name))]
    return files


def with_config(config):
    files = docker()
    raw = json.dumps(config).encode()
    name = hashlib.sha256(raw).hexdigest() + ".json"
    [item] = json.loads(files["manifest.json"])
    return files | {name: raw, "manifest.json": json.dumps([item | {"Config": name}]).encode()}


def config(**changes):
    return json.loads(made().config_raw) | changes


def with_manifest(**changes):
    image = made()
    document = json.loads(image.manifest_raw) | changes
    raw = json.dumps(document).encode()
    files = oci()
    files[f"blobs/sha256/{hashlib.sha256(raw).hexdigest()}"] = raw
    files["index.json"] = index([descriptor(raw, image.media_type)])
    return files


def lying_sizes():
    layers = json.loads(made().manifest_raw)["layers"]
    layers[0]["size"] += 1
    return with_manifest(layers=layers)


def endless_indexes():
    files, entry = oci(), descriptor(made().manifest_raw, made().media_type)
    for _ in range(8):
        raw = index([entry])
        files[f"blobs/sha256/{hashlib.sha256(raw).hexdigest()}"] = raw
        entry = descriptor(raw, INDEX_TYPE)
    return files | {"index.json": index([entry])}


def renamed(name, to):
    return {to if each == name else each: content for each, content in docker().items()}


def hostile_layer(*layers):
    image = made(*layers, compress=False)
    return docker_files(image, "a:1", layers=layers)


DEEP = b"[" * 100_000
HUGE = b'[{"Config": "' + b"x" * (5 << 20) + b'"}]'
UP = tar_of(("../up", b"x"))
TABLE = {
    "no archive": (b"no tar at all", ArchiveRefused, "inside a header"),
    "nothing": (b"", ArchiveRefused, "neither"),
    "a tar of something else": (ONE, ArchiveRefused, "neither"),
    "truncated": (tarred(docker())[:6000], ArchiveRefused, "ends inside a file"),
    "truncated between files": (tarred(docker())[:1024], ArchiveRefused, "neither"),
    "truncated gzip": (gzip.compress(tarred(docker()))[:-300], ArchiveRefused, "too early"),
    "before docker 1.10": (tarred({"repositories": b"{}"}), ArchiveRefused, "1.10"),
    "a name with ..": (tarred(docker() | {"a/../../x": b""}), ArchiveRefused, "'..'"),
    "an absolute name": (tarred(docker() | {"/etc/x": b""}), ArchiveRefused, "absolute"),
    "one name twice": (
        tarred([*docker().items(), ("manifest.json", b"[]")]), ArchiveRefused, "two files",
    ),
    "one name, two spellings": (
        tarred([*docker().items(), ("./manifest.json", b"[]")]), ArchiveRefused, "two files",
    ),
    "a link out": (tarred(docker(), {"x": "../../etc/passwd"}), ArchiveRefused, "out of"),
    "an absolute link": (tarred(docker(), {"x": "/etc/passwd"}), ArchiveRefused, "out of"),
    "a hard link": (
        tarred(docker(), {"x": "manifest.json"}, tarfile.LNKTYPE), ArchiveRefused, "hardlink",
    ),
    "a device": (tarred(docker(), {"x": ""}, tarfile.CHRTYPE), ArchiveRefused, "char"),
    "a pipe": (tarred(docker(), {"x": ""}, tarfile.FIFOTYPE), ArchiveRefused, "fifo"),
    "a layer that is a dangling link": (
        tarred(without("layer.tar"), {made().diff_ids[0].hex + "/layer.tar": "../gone"}),
        ArchiveRefused, "not there",
    ),
    "a layer that is a ring of links": (
        tarred(docker(Layers=["p", "q"]), {"p": "q", "q": "p"}), ArchiveRefused, "not there",
    ),
    "a missing layer": (tarred(without("layer.tar")), ArchiveRefused, "not there"),
    "a layer outside": (tarred(docker(Layers=["../x", "/y"])), ArchiveRefused, "not there"),
    "one layer too few": (
        tarred(docker(Layers=[made().diff_ids[0].hex + "/layer.tar"])), ArchiveRefused, "diff_ids",
    ),
    "layers in another order": (
        tarred(docker(Layers=[f"{each.hex}/layer.tar" for each in made().diff_ids[::-1]])),
        DigestMismatch, "uncompressed",
    ),
    "no layers at all": (tarred(docker(Layers=[])), ArchiveRefused, "diff_ids"),
    "a thousand layers": (
        tarred(docker(Layers=["x"] * 1000)), ArchiveRefused, "limit",
    ),
    "another config under its name": (
        tarred(docker() | {hashlib.sha256(made().config_raw).hexdigest() + ".json": b"{}"}),
        DigestMismatch, "config",
    ),
    "a missing config": (tarred(docker(Config="gone.json")), ArchiveRefused, "not there"),
    "a config that is none": (tarred(with_config([])), InvalidDocument, "object"),
    "diff_ids that name no blob": (
        tarred(with_config(config(rootfs={"type": "layers", "diff_ids": ["sha256:../x"] * 2}))),
        OcimagicError, "invalid digest",
    ),
    "a manifest.json that is no list": (
        tarred(docker() | {"manifest.json": b"{}"}), InvalidDocument, "list",
    ),
    "a manifest.json of texts": (
        tarred(docker() | {"manifest.json": b'["a"]'}), InvalidDocument, "list of objects",
    ),
    "an empty manifest.json": (
        tarred(docker() | {"manifest.json": b"[]"}), ArchiveRefused, "no image",
    ),
    "a huge manifest.json": (
        tarred(docker() | {"manifest.json": HUGE}), ArchiveRefused, "at most",
    ),
    "a deep manifest.json": (
        tarred(docker() | {"manifest.json": DEEP}), InvalidDocument, "deeply",
    ),
    "layers that are no list": (tarred(docker(Layers={"a": 1})), InvalidDocument, "list"),
    "a tag that is none": (tarred(docker(RepoTags=["a b"])), InvalidReference, "a b"),
    "a tag that speaks to a terminal": (
        tarred(docker(RepoTags=["a:\x1b[2J"])), InvalidReference, "tag",
    ),
    "one tag, two images": (
        tarred(oci_files((made(), named("a:1")), (made(ONE), named("a:1")))),
        ArchiveRefused, "two images",
    ),
    "a layer that climbs": (tarred(hostile_layer(UP)), LayerRefused, "'..'"),
    "a good layer, and one that climbs": (tarred(hostile_layer(ONE, UP)), LayerRefused, "'..'"),
    "a layer that is no tar": (tarred(hostile_layer(b"x" * 2000)), LayerRefused, "checksum"),
    "a layer that is half a gzip": (
        tarred(docker_files(made(), "a:1", layers=[gzip.compress(ONE)[:-9], TWO])),
        ArchiveRefused, "too early",
    ),
    "a wrong blob": (
        tarred(oci(lambda files: files.update({layer_of(files): b"x"}))), DigestMismatch, "blob",
    ),
    "a wrong blob that nobody wants": (
        tarred(oci(lambda files: files.update({"blobs/sha256/" + "a" * 64: b"x"}))),
        DigestMismatch, "blob",
    ),
    "a missing blob": (
        tarred(oci(lambda files: files.pop(layer_of(files)))), ArchiveRefused, "not there",
    ),
    "sizes that lie": (tarred(lying_sizes()), SizeMismatch, "wrong size"),
    "both index and manifest": (
        tarred(with_manifest(manifests=[])), InvalidDocument, "both",
    ),
    "an artifact": (
        tarred(with_manifest(config=descriptor(made().config_raw, "application/vnd.x.y+json"))),
        InvalidDocument, "not a container image",
    ),
    "an index.json that is a manifest": (
        tarred(oci() | {"index.json": made().manifest_raw}), ArchiveRefused, "no index",
    ),
    "an oci-layout that is none": (tarred(oci() | {"oci-layout": b"x"}), InvalidDocument, "JSON"),
    "an empty index": (
        tarred({"oci-layout": OCI_LAYOUT, "index.json": index([])}), ArchiveRefused, "no image",
    ),
    "indexes without end": (tarred(endless_indexes()), ArchiveRefused, "indexes within"),
}  # fmt: skip


def state(engine):
    """Return everything that a load could have changed."""
    home = engine.home
    stored = sorted(
        (str(path.relative_to(home.data)), path.read_bytes())
        for room in (home.blobs, home.ingest)
        for path in room.rglob("*")
        if path.is_file()
    )
    rows = [
        engine._store.database.rows(f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in ("names", "images", "layers", "snapshots", "blobs")
    ]
    return stored, rows, sorted(home.snapshots.iterdir()), (home.data / "index.json").read_bytes()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """An engine with one image that no archive of the table may touch."""
    room = tmp_path_factory.mktemp("hostile")
    engine = Engine(room / "root", environment={"HOME": str(room)})
    engine.images.load(tarred(oci_files((made(tar_of(("k", b"k"))), named("a:1")))))
    engine._store.sync()  # or its thread would stamp rows in the middle of a test
    yield engine
    engine.close()


def test_the_parts_of_the_table_load_when_nothing_is_wrong(engine):
    """Without this the refusals would prove nothing."""
    assert engine.images.load(tarred(docker())).images[0].tags == ("a:1",)
    assert engine.images.load(tarred(oci())).images[0].tags == ("a:1",)
    assert engine.images.load(tarred(with_manifest()))
    assert engine.images.load(tarred(docker(), {"x": "manifest.json"}))


@pytest.mark.parametrize(("archive", "error", "said"), TABLE.values(), ids=TABLE)
def test_refused_and_nothing_is_left(archive, error, said, here):
    before = state(here)
    with pytest.raises(error) as caught:
        here.images.load(archive)
    assert said in str(caught.value)
    assert state(here) == before


def test_a_bomb_is_stopped(here, monkeypatch):
    """A gzip of zeros around everything, and one as a layer."""
    monkeypatch.setattr("ocimagic.transfer.layer._LEAST_LIMIT", 1 << 20)
    before = state(here)
    zeros = bytes(16 << 20)
    for archive in (
        gzip.compress(tarred({"x": zeros})),
        tarred(docker_files(made(), "a:1", layers=[gzip.compress(zeros), TWO])),
    ):
        with pytest.raises(ArchiveRefused, match="unpack"):
            here.images.load(archive)
    assert state(here) == before


def test_too_many_files(here, monkeypatch):
    monkeypatch.setattr("ocimagic.transfer.spool._MAX_ENTRIES", 50)
    with pytest.raises(ArchiveRefused, match="more than 50"):
        here.images.load(tarred({f"{number}": b"" for number in range(51)}))
    assert list(here.home.ingest.iterdir()) == []


def test_every_cut_of_an_archive_is_refused_or_whole(here):
    """Wherever a download broke off."""
    archive = tarred(docker())
    whole = archive.rstrip(b"\0")
    before = state(here)
    for cut in range(0, len(whole), 509):
        with pytest.raises(OcimagicError):
            here.images.load(archive[:cut])
    assert state(here) == before
