import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import BadInput, InvalidDocument, PlatformNotFound
from ocimagic.spec import mediatype
from ocimagic.spec.config import ContainerConfig, HistoryEntry, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Index, Manifest, parse_manifest
from ocimagic.spec.platform import Platform, candidates
from ocimagic.spec.runtime import Mount, Process, RuntimeConfig, User

LAYER = Descriptor(mediatype.OCI_LAYER_GZIP, Digest.of(b"layer"), 5)
CONFIG = Descriptor(mediatype.OCI_CONFIG, Digest.of(b"config"), 6)


def test_a_manifest_keeps_its_bytes():
    raw = b' {"schemaVersion": 2, "config": %s, "layers": [%s] }' % (
        json.dumps(CONFIG.to_json()).encode(),
        json.dumps(LAYER.to_json()).encode(),
    )
    manifest = parse_manifest(raw)
    assert isinstance(manifest, Manifest)
    assert manifest.digest == Digest.of(raw)
    assert manifest.layers == (LAYER,)


def test_the_oci_twin_has_the_same_content():
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatype.DOCKER_MANIFEST,
            "config": CONFIG.to_json() | {"mediaType": mediatype.DOCKER_CONFIG},
            "layers": [LAYER.to_json() | {"mediaType": mediatype.DOCKER_LAYER_GZIP}],
        }
    ).encode()
    twin = parse_manifest(raw).as_oci()
    assert twin.media_type == mediatype.OCI_MANIFEST
    assert (twin.config, twin.layers) == (CONFIG, (LAYER,))
    assert parse_manifest(twin.raw).as_oci() is not None


def index_of(*platforms, attestation=False):
    entries = [
        Descriptor(mediatype.OCI_MANIFEST, Digest.of(str(p).encode()), 1, {}, p).to_json()
        for p in platforms
    ]
    if attestation:
        entries.append(
            Descriptor(
                mediatype.OCI_MANIFEST, Digest.of(b"a"), 1, {}, Platform("unknown", "unknown")
            ).to_json()
        )
    found = parse_manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    assert isinstance(found, Index)
    return found


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/arm64", ["linux/arm64/v8", "linux/amd64"], "linux/arm64/v8"),
        ("linux/arm64/v8", ["linux/arm64", "linux/amd64"], "linux/arm64"),
        ("linux/amd64", ["linux/386"], "linux/386"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], "linux/amd64/v2"),
    ],
)
def test_platform_choice(wanted, offered, chosen):
    index = index_of(*map(Platform.parse, offered), attestation=True)
    assert str(index.choose(Platform.parse(wanted)).platform) == chosen


def test_a_missing_platform_lists_what_there_is():
    with pytest.raises(PlatformNotFound) as caught:
        index_of(Platform.parse("linux/s390x"), attestation=True).choose(Platform())
    assert caught.value.why.endswith("linux/s390x")


def test_the_best_candidate_is_the_platform_itself():
    assert candidates(Platform.parse("linux/arm64"))[0] == Platform.parse("linux/arm64/v8")


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 1},
        {"schemaVersion": 2},
        {"schemaVersion": "2", "layers": []},
        {"schemaVersion": 2, "manifests": [], "layers": []},
        {"schemaVersion": 2, "manifests": [], "mediaType": mediatype.OCI_MANIFEST},
        {"schemaVersion": 2, "manifests": {}},
        {"schemaVersion": 2, "config": CONFIG.to_json(), "layers": [LAYER.to_json()] * 600},
        {"schemaVersion": 2, "config": CONFIG.to_json() | {"size": -1}, "layers": []},
        {"schemaVersion": 2, "config": CONFIG.to_json() | {"size": True}, "layers": []},
        {"schemaVersion": 2, "config": CONFIG.to_json() | {"digest": "sha256:../../x"}},
        {"schemaVersion": 2, "config": [], "layers": []},
    ],
)
def test_bad_manifests(document):
    with pytest.raises(BadInput):
        parse_manifest(json.dumps(document).encode())


def test_the_registrys_word_and_the_documents_must_agree():
    raw = Manifest.build(CONFIG, [LAYER]).raw
    parse_manifest(raw, content_type=mediatype.OCI_MANIFEST + "; charset=utf-8")
    parse_manifest(raw, content_type="application/json")
    with pytest.raises(InvalidDocument, match="not valid"):
        parse_manifest(raw, content_type=mediatype.DOCKER_MANIFEST)


@pytest.mark.parametrize("raw", [b"\xff", b"\xef\xbb\xbf{}", b"{" * 70, b'{"a":' * 70, b"NaN"])
def test_bad_json(raw):
    with pytest.raises(InvalidDocument):
        parse_manifest(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(raw):
    with pytest.raises(BadInput):
        parse_manifest(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["config", "rootfs", "diff_ids", "history", "Env", "os", "created"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_an_image_config_or_refused(document):
    with contextlib.suppress(BadInput):
        ImageConfig.parse(json.dumps(document).encode())


def test_an_image_config_survives_writing_and_reading():
    config = ImageConfig(
        platform=Platform("linux", "arm", "v7"),
        config=ContainerConfig(
            env=("A=1", "B="),
            entrypoint=("sh", "-c"),
            cmd=("x",),
            labels={"maintainer": "khaja@qt.com"},
            exposed_ports=("80/tcp",),
            volumes=("/data",),
            user="1000:0",
            working_dir="/srv",
        ),
        diff_ids=(Digest.of(b"1"),),
        history=(HistoryEntry(created_by="RUN x"), HistoryEntry(empty_layer=True)),
    ).encoded()
    again = ImageConfig.parse(config.raw)
    assert again == config
    assert again.image_id == Digest.of(config.raw)


@pytest.mark.parametrize("env", ["NOEQUALS", "=x", "A=\0"])
def test_env_must_have_names(env):
    with pytest.raises(InvalidDocument, match="not valid"):
        ImageConfig.parse(json.dumps({"config": {"Env": [env]}}).encode())


def test_nanoseconds_and_zones_of_go():
    parsed = ImageConfig.parse(b'{"created": "2024-05-01T10:00:00.123456789+02:00"}')
    assert parsed.created.isoformat() == "2024-05-01T08:00:00.123456+00:00"


def test_a_runtime_config_survives_writing_and_reading():
    config = RuntimeConfig(
        process=Process(args=("sh",), env=("A=1",), cwd="/", user=User(uid=1, gid=2)),
        mounts=(Mount(destination="/proc", type="proc", source="proc", options=("nosuid",)),),
        namespaces={"pid": "", "mount": "", "uts": ""},
        masked_paths=("/proc/kcore",),
        seccomp={"defaultAction": "SCMP_ACT_ALLOW"},
        hostname="box",
    )
    again = RuntimeConfig.parse(config.encode())
    assert again.encode() == config.encode()


@pytest.mark.parametrize(
    "change",
    [
        {"process": {"args": [], "cwd": "/"}},
        {"process": {"args": ["x"], "cwd": "relative"}},
        {"linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}]}},
        {"linux": {"namespaces": [{"type": "moon"}]}},
        {"root": None},
    ],
)
def test_bad_runtime_configs(change):
    good = {"process": {"args": ["x"], "cwd": "/"}, "root": {"path": "rootfs"}}
    with pytest.raises(InvalidDocument):
        RuntimeConfig.parse(json.dumps(good | change).encode())
