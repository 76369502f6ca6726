"""One build for several platforms: an index under the tag, as others read it."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import need_containers
from rootfs import MadeImage, tar_of

from ocimagic.build.foreign import _can_run
from ocimagic.errors import (
    DockerfileError,
    HostLacks,
    ImageInUse,
    ImageNotFound,
    InvalidOption,
    PlatformNotFound,
)
from ocimagic.model.event import StepStarted
from ocimagic.model.options import BuildOutput, PullPolicy
from ocimagic.model.registry import RegistryOptions
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.manifest import Index, parse_manifest
from ocimagic.spec.platform import Platform, host_platform

HOST = host_platform()
ARM64, ARM, S390 = Platform.parse("linux/arm64"), Platform.parse("linux/arm"), "linux/s390x"
WANTED = tuple(map(Platform.parse, ("linux/amd64", "linux/arm64/v8", "linux/arm")))
NAMES = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
TEXT = """FROM scratch
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM
COPY <<EOF /told
$TARGETPLATFORM $TARGETOS $TARGETARCH [$TARGETVARIANT] $BUILDPLATFORM
EOF
COPY f /f
"""


def told(place, result):
    """Return what each image says of its platform."""
    return [place.text(each, "told") for each in result.platforms]


@pytest.fixture
def made(fresh):
    fresh.write("f", "the same for all\n")
    return fresh, fresh.build(TEXT, "many", platforms=WANTED)


def test_each_image_knows_its_platform(made):
    place, result = made
    assert [str(each.platform) for each in result.platforms] == NAMES
    assert told(place, result) == [
        f"linux/amd64 linux amd64 [] {HOST}\n",
        f"linux/arm64 linux arm64 [] {HOST}\n",
        f"linux/arm/v7 linux arm [v7] {HOST}\n",
    ]
    images = place.engine._store.images
    configs = [images.load(each.digest).config.platform for each in result.platforms]
    assert list(map(str, configs)) == NAMES
    assert {event.stage for event in place.of(StepStarted)} == {f"{name} 0" for name in NAMES}
    again = place.build(TEXT, "many", platforms=WANTED)
    assert all(step.cached for step in again.steps)
    assert (again.digest, again.platforms) == (result.digest, result.platforms)
    assert {each.why for each in again.steps} == {""}


def test_the_store_holds_one_name_for_all(made):
    place, result = made
    images = place.engine.images
    assert [(each.name, each.digest) for each in images.list()] == [("many:latest", result.digest)]
    (tree,) = images.trees()
    assert (tree.is_index, tree.digest, tree.names) == (True, result.digest, ("many:latest",))
    assert [(str(each.platform), each.is_here) for each in tree.parts] == [
        (name, True) for name in NAMES
    ]
    assert images.inspect("many").image_id == result.image_id
    assert place.engine.system.disk.prune_images().deleted == ()
    images.tag("many", "same:2")
    assert {each.digest for each in images.list()} == {result.digest}
    assert images.remove("same:2").deleted == ()
    arm = result.platforms[1]
    with pytest.raises(ImageInUse, match="is the linux/arm64 part of many:latest"):
        images.remove(arm.image_id.short)
    assert images.inspect(f"many@{arm.digest}").image_id == arm.image_id
    gone = images.remove("many")
    assert {each.image_id for each in result.platforms} <= set(gone.deleted)
    with pytest.raises(ImageNotFound):
        images.inspect(arm.image_id)
    assert images.list() == images.trees() == ()


def test_a_name_that_gets_another_image_leaves_one_that_is_dangling(made):
    place, result = made
    again = place.build(TEXT + "LABEL a=b\n", "many", platforms=WANTED[:2])
    dangling = [each for each in place.engine.images.list() if each.repository == "<none>"]
    assert [(each.image_id, each.digest) for each in dangling] == [(result.image_id, result.digest)]
    pruned = place.engine.system.disk.prune_images()
    assert {each.image_id for each in result.platforms} <= set(pruned.deleted)
    (tree,) = place.engine.images.trees()
    assert [each.digest for each in tree.parts] == [each.digest for each in again.platforms]
    assert len(place.engine.system.disk.prune_images(all=True).deleted) > 2
    assert place.engine.images.list(all=True) == ()


def test_another_tool_reads_the_index_out_of_the_data_root(made, tmp_path):
    place, result = made
    place.engine.images.tag("many", "reg.example/team/many:1")
    source = f"oci:{place.engine.home.data}:reg.example/team/many:1"
    raw = skopeo("inspect", "--raw", source)
    index = parse_manifest(raw)
    assert index.digest == result.digest
    assert [str(each.platform) for each in index.manifests] == NAMES
    skopeo("copy", "--override-arch", "arm64", source, f"dir:{tmp_path}/out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest["config"]["digest"] == result.platforms[1].image_id


@pytest.mark.parametrize("registry", ["ours", "debian_registry"])
def test_a_push_brings_all_of_them(made, request, registry):
    place, result = made
    host = request.getfixturevalue(registry)
    name = f"{host}/many/{registry.partition('_')[0]}:1"
    place.engine.images.tag("many", name)
    (pushed,) = place.engine.images.push(name)
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}")
    index = parse_manifest(raw)
    assert index.digest == pushed.digest
    assert [str(each.platform) for each in index.manifests] == NAMES
    for each in result.platforms:
        words = ["--override-arch", each.platform.architecture]
        words += ["--override-variant", each.platform.variant] if each.platform.variant else []
        said = skopeo(*words, "inspect", "--config", "--tls-verify=false", f"docker://{name}")
        assert json.loads(said)["architecture"] == each.platform.architecture
    (again,) = place.engine.images.push(name)
    assert (again.digest, again.sent_bytes) == (pushed.digest, 0)
    # What was compressed on its way is still one name, and nothing of it dangles.
    assert {each.repository for each in place.engine.images.list()} == {"many", name[:-2]}
    tree = next(each for each in place.engine.images.trees() if each.digest == pushed.digest)
    assert sum(each.is_here for each in tree.parts) == 3
    place.engine.images.remove(name)
    assert [each.name for each in place.engine.images.list()] == ["many:latest"]


@pytest.fixture
def ours(fresh):
    with fresh.engine.system.serve_registry(RegistryOptions(port=0)) as served:
        yield served.host


def skopeo(*words):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    done = subprocess.run(["skopeo", *words], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def archs(content):
    """Return a base for two platforms: the machine's busybox, and a file for another processor."""
    native = MadeImage([content], {"Cmd": ["sh"]}, architecture=HOST.architecture)
    other = MadeImage([tar_of(("for-another", b"x"))], architecture="s390x")
    platforms = (HOST, Platform.parse(S390))
    return list(zip((native, other), platforms, strict=True))


@pytest.fixture
def hub(busybox_layer):
    """A registry with ``base`` for this machine and for another processor."""
    source = MemorySource()
    described = []
    for image, platform in archs(busybox_layer):
        image.serve(source, "base")
        size = len(image.manifest_raw)
        described.append(Descriptor(image.media_type, image.digest, size, platform=platform))
    index = Index.build(described)
    source.add_manifest("base", index.raw, index.media_type, tags=["latest"])
    with RegistryServer(source) as server:
        yield f"{server.host}/base"


CROSS = """FROM --platform=$BUILDPLATFORM {base} AS compiler
RUN date +%N-%s > /when; cat /proc/sys/kernel/random/uuid >> /when
FROM --platform=$BUILDPLATFORM compiler AS writer
ARG TARGETARCH
RUN echo "program for $TARGETARCH" > /program
FROM {base}
COPY --from=compiler /when /when
COPY --from=writer /program /program
"""


@pytest.mark.parametrize("no_cache", [False, True])
def test_a_stage_of_the_build_platform_is_done_once(fresh, hub, no_cache):
    need_containers(fresh.engine)
    two = (HOST, Platform.parse(S390))
    result = fresh.build(CROSS.format(base=hub), "cross", platforms=two, no_cache=no_cache)
    starts = [(event.stage, event.text.split()[0]) for event in fresh.of(StepStarted)]
    assert starts.count((f"{HOST} compiler", "RUN")) == 1
    assert starts.count((f"{HOST} writer", "RUN")) == 2, "it sees the platform"
    when = [fresh.text(each, "when") for each in result.platforms]
    assert when[0] == when[1]
    programs = [fresh.text(each, "program").split()[-1] for each in result.platforms]
    assert programs == [HOST.architecture, "s390x"]
    assert "for-another" in fresh.listing(result.platforms[1])
    assert "bin/busybox" in fresh.listing(result.platforms[0])
    done = fresh.engine.containers.run("cross", ["cat", "/program"], remove=True, network="none")
    assert done.stdout.decode() == f"program for {HOST.architecture}\n"


def test_a_base_for_two_platforms_keeps_its_name_and_its_images(fresh, hub):
    images = fresh.engine.images
    images.pull(hub)
    own = images.inspect(hub).image_id
    text = f"FROM {hub}\nLABEL a=b\n"
    two = (Platform.parse(S390), HOST)
    fresh.build(text, "x", platforms=two)
    assert images.inspect(hub).image_id == own, "what this machine runs"
    assert [each.name for each in images.list() if each.repository == "<none>"] == []
    tree = next(each for each in images.trees() if f"{hub}:latest" in each.names)
    assert [each.is_here for each in tree.parts] == [True, True]
    # Both are here: nobody is asked again.
    again = fresh.build(text, "x", platforms=two)
    assert all(step.cached for step in again.steps)
    # An image of ours for several platforms is a base for each of them.
    child = fresh.build("FROM x\nENV c=d\n", "child", platforms=two)
    base = {each.platform: each.digest for each in again.platforms}
    load = fresh.engine._store.images.load
    for each in child.platforms:
        layers = load(base[each.platform]).manifest.layers
        assert load(each.digest).manifest.layers == layers
    with pytest.raises(ImageNotFound, match="for linux/riscv64"):
        fresh.engine.containers.run(
            "x", ["true"], platform=Platform.parse("linux/riscv64"), pull=PullPolicy.NEVER
        )


def foreign():
    """Return a platform that this machine cannot run, whatever is registered."""
    for name in ("linux/s390x", "linux/riscv64", "linux/ppc64le", "linux/arm64", "windows/amd64"):
        if not _can_run(Platform.parse(name)):
            return Platform.parse(name)
    raise AssertionError("windows can be run")


def test_a_run_for_another_processor_is_refused_before_anything_is_done(fresh):
    fresh.write("f", "f")
    text = "FROM scratch AS first\nCOPY f /f\nFROM first\nRUN true\n"
    with pytest.raises(HostLacks, match=f"RUN for {foreign()} cannot be done") as caught:
        fresh.build(text, platforms=(HOST, foreign()))
    assert fresh.of(StepStarted) == []
    assert "qemu-user-static" in caught.value.hint
    assert "Dockerfile line 4" in caught.value.where
    # A stage that the target does not need is none of its business.
    assert fresh.build(text, target="first", platforms=(foreign(),)).platforms == ()


@pytest.mark.parametrize("flags", ["F", ""])
def test_a_registered_interpreter_runs_it(tmp_path, flags):
    """With the flag F it is seen from inside; without it that is said first."""
    busybox = shutil.which("busybox")
    if os.geteuid() == 0:
        pytest.skip("root may change the cgroups of the namespace it is not root of")
    if busybox is None:
        pytest.skip("no busybox on this machine (apt install busybox-static)")
    program = Path(__file__).with_name("foreign_program.py")
    script = (
        f"{sys.executable} {program} register '{flags}' {busybox} && exec unshare -U "
        f"--map-user=1000 --map-group=1000 {sys.executable} {program} build {tmp_path}"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        capture_output=True, text=True, timeout=60, check=False, env=env,
    )  # fmt: skip
    if "'mount', '-t', 'binfmt_misc'" in done.stderr:
        pytest.skip("a user namespace has no binfmt_misc of its own before Linux 6.7")
    if flags:
        assert (done.returncode, done.stdout) == (0, "arm64\n"), done.stderr
    else:
        assert "is there, but the interpreter" in done.stderr


def test_outputs_for_several_platforms(made, tmp_path):
    place, result = made
    outputs = {kind: str(tmp_path / kind) for kind in ("local", "tar", "oci")}
    place.build(
        TEXT,
        "many",
        platforms=WANTED,
        outputs=tuple(BuildOutput(kind=kind, path=path) for kind, path in outputs.items()),
    )
    files = {str(path.relative_to(outputs["local"])) for path in Path(outputs["local"]).rglob("*")}
    expected = {"linux_amd64", "linux_arm64", "linux_arm_v7"}
    expected |= {f"{each}/{name}" for each in expected for name in ("told", "f")}
    assert files == expected
    with tarfile.open(outputs["tar"]) as tar:
        assert {each.rstrip("/") for each in tar.getnames()} == expected
    raw = skopeo("inspect", "--raw", f"oci-archive:{outputs['oci']}")
    assert parse_manifest(raw).digest == result.digest
    saved = tmp_path / "saved"
    with saved.open("wb") as file:
        place.engine.images.save(["many"], file.write, format="oci")
    assert saved.read_bytes() == Path(outputs["oci"]).read_bytes()
    with pytest.raises(InvalidOption, match="one platform"):
        place.build(
            TEXT, platforms=WANTED, outputs=(BuildOutput(kind="docker", path=outputs["oci"]),)
        )
    with fresh_engine(tmp_path / "other") as other:
        loaded = other.images.load(outputs["oci"])
        assert loaded.images[0].image_id == result.image_id


def fresh_engine(root):
    from ocimagic.engine.engine import Engine

    return Engine(root=root)


def test_a_platform_that_the_base_does_not_have(fresh, hub):
    with pytest.raises(PlatformNotFound, match="linux/riscv64"):
        fresh.build(f"FROM {hub}\n", platforms=(HOST, Platform.parse("linux/riscv64")))
    with pytest.raises(DockerfileError, match="failed to parse platform"):
        fresh.build(f"FROM --platform=a/b/c/d {hub}\n", platforms=(HOST, ARM64))


def test_scratch_for_a_platform_of_its_own(place):
    result = place.build("FROM --platform=linux/arm scratch\nCOPY <<a /a\na\n", platforms=(ARM64,))
    image = place.engine._store.images.load(result.digest)
    assert str(image.config.platform) == "linux/arm"


@pytest.mark.peer
def test_as_buildah_makes_it(made, tmp_path):
    """The same Dockerfile by ``buildah bud --platform a,b --manifest``: equal but for its times."""
    if os.geteuid() != 0 or not shutil.which("buildah"):
        pytest.skip("needs root and buildah")
    place, _ = made
    buildah = ["buildah", "--root", tmp_path / "root", "--runroot", tmp_path / "run"]
    buildah += ["--storage-driver", "vfs"]
    text = "FROM scratch\nARG TARGETARCH\nARG TARGETVARIANT\n"
    text += "ENV for=$TARGETARCH-$TARGETVARIANT\nCOPY f /f\n"
    dockerfile = place.write("Theirs", text)
    ours = place.build(text, "ours", platforms=WANTED)
    where = ["--platform", ",".join(NAMES), "--manifest", "theirs", "-f", dockerfile]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run(
        [*buildah, "bud", *where, place.context], capture_output=True, check=True, env=env
    )
    said = subprocess.run(
        [*buildah, "manifest", "inspect", "theirs"], capture_output=True, check=True, env=env
    )
    theirs = [each["platform"] for each in json.loads(said.stdout)["manifests"]]
    theirs.sort(key=lambda each: NAMES.index(str(Platform(**each))))  # it has no order of its own
    index = parse_manifest(place.engine._store.blobs.read(ours.digest, max_bytes=1 << 20))
    assert [each.platform.to_json() for each in index.manifests] == theirs
    push = ["manifest", "push", "--all", "theirs", f"oci:{tmp_path}/out:1"]
    subprocess.run([*buildah, *push], capture_output=True, check=True, env=env)
    for each in ours.platforms:
        words = ["--override-arch", each.platform.architecture]
        words += ["--override-variant", each.platform.variant] if each.platform.variant else []
        config = json.loads(skopeo(*words, "inspect", "--config", f"oci:{tmp_path}/out:1"))
        own = place.engine._store.images.load(each.digest).config
        assert set(own.config.env) == set(config["config"]["Env"]) | {own.config.env[0]}
        assert config["architecture"] == own.platform.architecture
