"""Manifests, indexes and configs that nobody honest serves: each a typed error, nothing kept.

The rows are those of the project's list of hostile inputs, "Manifest/config/index".
"""

import json

import pytest
from rootfs import MadeImage, tar_of

from ocimagic import Engine
from ocimagic.errors import OcimagicError
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.spec import mediatype
from ocimagic.spec.digest import Digest

SMALL = tar_of(("etc", None), ("etc/a", b"a" * 50))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One for all rows: each leaves it as it was, which is what they are about."""
    home = tmp_path_factory.mktemp("hostile")
    with Engine(home / "root", environment={"HOME": str(home)}) as engine:
        yield engine


@pytest.fixture
def source():
    return MemorySource()


@pytest.fixture
def asked():
    return []


@pytest.fixture
def server(source, asked):
    with RegistryServer(source, on_request=lambda *request: asked.append(request)) as server:
        yield server


def state(engine):
    store = engine.containers.store
    tables = ("names", "images", "layers")
    return [store.database.rows(f"SELECT * FROM {table}") for table in tables]


def refused(engine, server, name="bad"):
    """Assert that a pull ends in words, and that the store is as before; return the error."""
    before = state(engine)
    with pytest.raises(OcimagicError) as caught:
        engine.images.pull(f"{server.host}/{name}")
    assert state(engine) == before
    assert len(str(caught.value)) < 2000
    return caught.value


def changed_manifest(source, change, kind=mediatype.OCI_MANIFEST):
    """Serve an image whose manifest was changed."""
    made = MadeImage([SMALL])
    made.serve(source, "bad")
    document = json.loads(made.manifest_raw)
    change(document)
    source.add_manifest("bad", json.dumps(document).encode(), kind, tags=["latest"])


def changed_config(source, change):
    """Serve an image whose config was changed; all digests are right."""
    made = MadeImage([SMALL])
    made.serve(source, "bad")
    document = json.loads(made.config_raw)
    raw = change(document)
    raw = raw if isinstance(raw, bytes) else json.dumps(document).encode()
    manifest = json.loads(made.manifest_raw)
    manifest["config"] |= {"digest": str(source.add_blob(raw)), "size": len(raw)}
    source.add_manifest(
        "bad", json.dumps(manifest).encode(), mediatype.OCI_MANIFEST, tags=["latest"]
    )


def deep(levels):
    return json.loads("[" * levels + "]" * levels)


MANIFESTS = {
    "schema 1": lambda m: m.update(schemaVersion=1),
    "layers and manifests": lambda m: m.update(manifests=[]),
    "type of an index": lambda m: m.update(mediaType=mediatype.OCI_INDEX),
    "unknown algorithm": lambda m: m["layers"][0].update(digest="md5:" + "0" * 32),
    "upper case": lambda m: m["layers"][0].update(digest=m["layers"][0]["digest"].upper()),
    "63 digits": lambda m: m["layers"][0].update(digest="sha256:" + "0" * 63),
    "a path": lambda m: m["layers"][0].update(digest="sha256:../../x"),
    "size as text": lambda m: m["layers"][0].update(size="12"),
    "size below zero": lambda m: m["layers"][0].update(size=-1),
    "size as a fraction": lambda m: m["layers"][0].update(size=1.5),
    "size true": lambda m: m["layers"][0].update(size=True),
    "a huge size": lambda m: m["layers"][0].update(size=1 << 70),
    "null layer": lambda m: m.update(layers=[None]),
    "layers as text": lambda m: m.update(layers="x"),
    "config is a list": lambda m: m.update(config=[]),
    "deep annotations": lambda m: m.update(annotations={"a": deep(900)}),
    "100,000 layers": lambda m: m.update(layers=m["layers"] * 20_000),
    "a config too large": lambda m: m["config"].update(size=9 << 20),
    "config is the layer": lambda m: m.update(config=m["layers"][0]),
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_manifests(engine, server, source, change):
    changed_manifest(source, change)
    refused(engine, server)


RAW = {
    "UTF-16": lambda raw: raw.decode().encode("utf-16"),
    "a mark of order": lambda raw: b"\xef\xbb\xbf" + raw,
    "a key twice": lambda raw: raw.replace(b'"layers"', b'"layers": [], "layers"', 1),
    "NaN": lambda raw: raw.replace(b'"schemaVersion": 2', b'"schemaVersion": NaN'),
    "nested 100,000 deep": lambda raw: b'{"a":' * 100_000,
    "over 4 MiB": lambda raw: raw + b" " * (5 << 20),
}


@pytest.mark.parametrize("spoil", RAW.values(), ids=RAW.keys())
def test_bytes_of_manifests(engine, server, source, spoil):
    made = MadeImage([SMALL])
    made.serve(source, "bad")
    raw = spoil(made.manifest_raw)
    source.add_manifest("bad", raw, mediatype.OCI_MANIFEST, tags=["latest"])
    refused(engine, server)


def index_of(*digests, kind=mediatype.OCI_INDEX, **platform):
    entries = [
        {
            "mediaType": kind,
            "digest": str(digest),
            "size": 10,
            "platform": {"os": "linux", "architecture": "amd64"} | platform,
        }
        for digest in digests
    ]
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": entries}
    return json.dumps(document).encode()


def test_indexes_within_indexes(engine, server, source):
    digest = Digest.of(b"none")
    for _ in range(100):
        digest = source.add_manifest("bad", index_of(digest), mediatype.OCI_INDEX, tags=["latest"])
    assert "indexes within indexes" in str(refused(engine, server))


def test_an_index_that_names_another_s_bytes(engine, server, source):
    """A cycle cannot be made of digests, but a registry can pretend to one."""
    raw = index_of(Digest.of(b"itself"))
    source.add_manifest("bad", raw, mediatype.OCI_INDEX, tags=["latest"])
    source.manifests[Digest.of(b"itself")] = (raw, mediatype.OCI_INDEX)
    refused(engine, server)


@pytest.mark.parametrize(
    "platform",
    [{"architecture": "../.."}, {"os": 7}, {"architecture": None}, {"architecture": "s390x"}],
)
def test_indexes_for_no_platform_of_ours(engine, server, source, platform):
    made = MadeImage([SMALL])
    made.serve(source, "bad")
    raw = index_of(made.digest, kind=mediatype.OCI_MANIFEST, **platform)
    source.add_manifest("bad", raw, mediatype.OCI_INDEX, tags=["latest"])
    refused(engine, server)


CONFIGS = {
    "no JSON": lambda c: b"\xff",
    "a list": lambda c: b"[]",
    "nested deep": lambda c: b'{"a":' * 50_000,
    "rootfs null": lambda c: c.update(rootfs=None),
    "diff_ids as text": lambda c: c["rootfs"].update(diff_ids="x"),
    "a diff_id that is none": lambda c: c["rootfs"].update(diff_ids=["sha256:../../x"]),
    "one diff_id more": lambda c: c["rootfs"]["diff_ids"].append("sha256:" + "0" * 64),
    "another diff_id": lambda c: c["rootfs"].update(diff_ids=["sha256:" + "0" * 64]),
    "Env as text": lambda c: c.update(config={"Env": "A=b"}),
    "Entrypoint as text": lambda c: c.update(config={"Entrypoint": "sh"}),
    "Cmd with a number": lambda c: c.update(config={"Cmd": [7]}),
    "Labels as a list": lambda c: c.update(config={"Labels": ["a"]}),
    "created in no year": lambda c: c.update(created="never"),
}


@pytest.mark.parametrize("change", CONFIGS.values(), ids=CONFIGS.keys())
def test_configs(engine, server, source, change):
    changed_config(source, change)
    refused(engine, server)


def test_what_a_manifest_says_besides_is_not_used(engine, server, source, asked):
    """``data`` that is not the blob's is not read, and nobody asks where ``urls`` lead."""

    def change(manifest):
        manifest["config"]["data"] = "e30="
        manifest["layers"][0]["urls"] = [f"http://{server.host}/canary"]

    changed_manifest(source, change)
    pulled = engine.images.pull(f"{server.host}/bad")
    assert pulled.image_id == Digest.of(MadeImage([SMALL]).config_raw)
    assert not [path for _, path, _ in asked if "canary" in path]
    engine.images.remove(f"{server.host}/bad")
