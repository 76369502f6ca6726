"""Indexes put together from here and from registries, and what other tools make of them."""

import json
import os
import shutil
import subprocess
import tempfile

import pytest
from rootfs import MadeImage, tar_of

from ocimagic import Engine
from ocimagic.errors import (
    ImageNotFound,
    InvalidDocument,
    InvalidOption,
    InvalidPlatform,
    InvalidReference,
    NameInUse,
    NotAnImage,
    NotFound,
)
from ocimagic.model.distribution import PlatformChange
from ocimagic.model.event import Notice
from ocimagic.model.options import BuildOptions
from ocimagic.model.registry import RegistryOptions
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.manifest import Index
from ocimagic.spec.platform import Platform

ARM = Platform("linux", "arm", "v7")


@pytest.fixture(scope="module")
def hub():
    """Another registry, with images that are not here: ``app:arm`` and an index of it."""
    source = MemorySource()
    image = MadeImage([tar_of(("arm", b"x" * 9000))], architecture="arm")
    image.serve(source, "app", "arm")
    described = Descriptor(image.media_type, image.digest, len(image.manifest_raw), platform=ARM)
    index = Index.build([described])
    source.add_manifest("app", index.raw, index.media_type, tags=["all"])
    with RegistryServer(source) as server:
        server.source, server.arm = source, image
        yield server


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    room = tmp_path_factory.mktemp("lists")
    with Engine(room / "root", environment={"HOME": str(room)}) as engine:
        (room / "file").write_text("hello")
        text = "FROM scratch\nCOPY file /file\n"
        engine.images.build(
            BuildOptions(
                context=str(room), dockerfile=text, tags=("built",), platforms=(Platform(),)
            )
        )
        yield engine


@pytest.fixture(scope="module")
def ours(engine):
    with engine.system.serve_registry(RegistryOptions(port=0)) as served:
        yield served.host


@pytest.fixture
def name(request, ours):
    """A list's name in our registry; the list is taken away at the end."""
    name = f"{ours}/{request.node.name.lower().replace('[', '-').strip(']')}:1"
    yield name
    if name in request.getfixturevalue("engine")._store.lists.names():
        request.getfixturevalue("engine").manifests.remove(name)


def skopeo(*words):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    done = subprocess.run(
        ["skopeo", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.peer
@pytest.mark.parametrize("registry", ["ours", "debian_registry"])
def test_images_from_here_and_from_elsewhere(engine, hub, request, registry, tmp_path):
    """What was built here is compressed on its way; the index names what came of it."""
    host = request.getfixturevalue(registry)
    name = f"{host}/lists/app-{registry[:4]}:1"
    made = engine.manifests.create(name, ["built", f"{hub.host}/app:arm"])
    assert made.entries[0] == ("built:latest", Platform())
    assert made.entries[1] == (f"{hub.host}/app:arm", Platform("linux", "arm"))
    engine.manifests.annotate(name, f"{hub.host}/app:arm", PlatformChange(variant="v7"))
    shown = engine.manifests.inspect(name)
    assert shown.place == "list"
    assert [each.platform for each in shown.content.manifests] == [Platform(), ARM]
    first = engine.manifests.push(name)
    kept = engine.manifests.inspect(name)
    assert (kept.place, kept.digest) == ("list", first.digest), "what it has become is known"
    inside = engine.manifests.inspect("built", within=name)
    assert inside.content.layers[0].media_type == mediatype.OCI_LAYER_GZIP
    pushed = engine.manifests.push(name, purge=True)
    assert (pushed.digest, pushed.sent_bytes, pushed.purged) == (first.digest, 0, True)
    with pytest.raises(NotFound):
        engine.manifests.push(name)
    there = engine.manifests.inspect(name)
    assert (there.place, there.digest) == ("registry", pushed.digest)
    assert there.content.media_type == mediatype.OCI_INDEX
    assert there.content.manifests[1].digest == hub.arm.digest, "byte for byte"
    built = engine.manifests.details(name).manifests[0]
    assert [each.media_type for each in built.content.layers] == [mediatype.OCI_LAYER_GZIP]
    assert built.content.config.digest == engine.images.inspect("built").image_id
    # The same by another's eyes, and for each platform its own image.
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}")
    assert raw.encode() == there.content.raw
    for words, config in (
        (("--override-arch", "amd64"), built.content.config.digest),
        (("--override-arch", "arm", "--override-variant", "v7"), hub.arm.manifest().config.digest),
    ):
        target = tmp_path / words[1]
        skopeo(*words, "copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{target}")
        manifest = json.loads((target / "manifest.json").read_bytes())
        assert manifest["config"]["digest"] == config
    assert engine.images.pull(name, platform=ARM).digest == pushed.digest
    engine.images.remove(name)


@pytest.mark.peer
def test_podman_pulls_by_platform(engine, hub, name, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not shutil.which("podman"):
        pytest.skip("podman is not installed")
    engine.manifests.create(name, ["built", f"{hub.host}/app:arm"])
    engine.manifests.push(name)
    with tempfile.TemporaryDirectory() as short:
        words = ["podman", "--root", tmp_path / "store", "--runroot", f"{short}/run"]
        words += ["--storage-driver", "vfs"]
        pulled = ["pull", "-q", "--tls-verify=false", "--arch", "arm", name]
        try:
            done = subprocess.run(
                [*words, *pulled], capture_output=True, text=True, timeout=60, check=True
            )
        finally:
            mount = ["umount", "-l", tmp_path / "store/vfs"]
            subprocess.run(mount, capture_output=True, check=False)
    assert done.stdout.strip() == hub.arm.manifest().config.digest.hex


def test_amending(engine, hub, name):
    engine.manifests.create(name, ["built"])
    with pytest.raises(NameInUse, match="already"):
        engine.manifests.create(name, ["built"])
    engine.manifests.annotate(name, "built", PlatformChange(architecture="riscv64"))
    both = engine.manifests.create(name, [f"{hub.host}/app:arm"], amend=True)
    assert [str(platform) for _, platform in both.entries] == ["linux/riscv64", "linux/arm"]
    again = engine.manifests.create(name, ["built"], amend=True)
    assert [str(platform) for _, platform in again.entries] == ["linux/amd64", "linux/arm"]
    assert engine.manifests.remove(name) == (name,)
    with pytest.raises(NotFound, match="no such manifest list"):
        engine.manifests.remove(name)


def test_what_is_said_of_a_platform(engine, name):
    engine.manifests.create(name, ["built"])
    change = PlatformChange(
        os="windows",
        architecture="arm64",
        variant="v8",
        os_version="10.0.17763.1",
        os_features=("win32k",),
    )
    ((_, platform),) = engine.manifests.annotate(name, "built", change).entries
    assert platform == Platform("windows", "arm64", "v8", "10.0.17763.1", ("win32k",))
    (entry,) = engine.manifests.inspect(name).content.manifests
    assert entry.to_json()["platform"] == {
        "architecture": "arm64",
        "os": "windows",
        "variant": "v8",
        "os.version": "10.0.17763.1",
        "os.features": ["win32k"],
    }
    inside = engine.manifests.inspect("built", within=name)
    assert (inside.place, inside.platform) == ("list", platform)
    ((_, platform),) = engine.manifests.annotate(name, "built", PlatformChange(variant="")).entries
    assert platform.variant == ""
    for wrong in (PlatformChange(architecture=""), PlatformChange(os="lin/ux")):
        with pytest.raises(InvalidPlatform):
            engine.manifests.annotate(name, "built", wrong)
    with pytest.raises(InvalidOption, match="nothing to annotate"):
        engine.manifests.annotate(name, "built", PlatformChange())
    with pytest.raises(ImageNotFound, match="not in the manifest list") as caught:
        engine.manifests.annotate(name, "buitl", PlatformChange(os="linux"))
    assert "built:latest" in caught.value.hint


def test_what_cannot_be_in_a_list(engine, hub, name):
    with pytest.raises(InvalidDocument, match="manifest list itself"):
        engine.manifests.create(name, [f"{hub.host}/app:all"])
    with pytest.raises(ImageNotFound):
        engine.manifests.create(name, [f"{hub.host}/app:none"])
    chart = {
        "schemaVersion": 2,
        "config": Descriptor(
            "application/vnd.cncf.helm.config.v1+json", hub.source.add_blob(b"{}"), 2
        ).to_json(),
        "layers": [],
    }
    hub.source.add_manifest("chart", json.dumps(chart).encode(), mediatype.OCI_MANIFEST, tags=["1"])
    with pytest.raises(NotAnImage, match="not a container image"):
        engine.manifests.create(name, [f"{hub.host}/chart:1"])
    with pytest.raises(InvalidReference):
        engine.manifests.create(f"{name}@{hub.arm.digest}", ["built"])
    with pytest.raises(NotFound):
        engine.manifests.annotate(name, "built", PlatformChange(os="linux"))


def test_an_image_that_is_gone_since(engine, hub, ours, name):
    engine.images.pull(f"{hub.host}/app:arm", platform=Platform("linux", "arm"))
    engine.manifests.create(name, [f"{hub.host}/app:arm"])
    engine.images.remove(f"{hub.host}/app:arm")
    with pytest.raises(ImageNotFound, match="not here any more"):
        engine.manifests.push(name)


def test_a_manifest_that_only_the_store_has(engine, ours):
    engine.images.tag("built", f"{ours}/never:pushed")
    told = []
    found = engine.manifests.inspect(f"{ours}/never:pushed", on_event=told.append)
    assert (found.place, found.content.config.digest) == (
        "store",
        engine.images.inspect("built").image_id,
    )
    assert isinstance(told[0], Notice)
    (only,) = engine.manifests.details(f"{ours}/never:pushed").manifests
    assert only.platform == Platform()
    engine.images.remove(f"{ours}/never:pushed")
    with pytest.raises(ImageNotFound):
        engine.manifests.inspect(f"{ours}/never:pushed")
