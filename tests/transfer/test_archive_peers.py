"""The real docker, podman and skopeo read what we save, and we what they save."""

import json
from pathlib import Path

import pytest
import zstandard
from archives import docker_files, named, oci_files, tarred
from peers import Peer, need
from rootfs import MadeImage, tar_of

from ocimagic import Engine

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SAY = ["/bin/busybox", "cat", "/which"]


@pytest.fixture(scope="module")
def ours(busybox_layer, busybox_image, tmp_path_factory):
    """An engine with images over one base, of every kind that is kept, and archives of them."""
    room = tmp_path_factory.mktemp("ours")
    engine = Engine(room / "root", environment={"HOME": str(room)})
    architecture = json.loads(busybox_image.config_raw)["architecture"]
    for name, docker in (("one", False), ("two", True)):
        layers = [busybox_layer, tar_of(("which", name.encode()))]
        config = {"Cmd": SAY, "Env": ["PATH=/bin"]}
        image = MadeImage(layers, config, docker=docker, architecture=architecture)
        engine.images.load(tarred(oci_files((image, named(f"docker.io/library/{name}:1")))))
    layers = [busybox_layer, tar_of(("which", b"zst"))]
    image = MadeImage(layers, {"Cmd": SAY, "Env": ["PATH=/bin"]}, architecture=architecture)
    packed = [zstandard.compress(each) for each in layers]
    engine.images.load(tarred(docker_files(image, "zstd:1", layers=packed)))
    for names in (["one:1"], ["one:1", "two:1", "zstd:1"]):
        with (room / f"{len(names)}.tar").open("wb") as file:
            engine.images.save(names, file.write)
    for path, name in (("oci.tar", "one:1"), ("zstd.tar", "zstd:1")):
        with (room / path).open("wb") as file:
            engine.images.save([name], file.write, format="oci")
    engine.room = room
    engine.ids = {row.name: row.image_id for row in engine.images.list()}
    yield engine
    engine.close()


@pytest.fixture
def skopeo():
    need("skopeo")
    return Peer("skopeo")


def loaded(make_engine, path):
    """Load an archive into an empty engine and return its images' IDs by name."""
    engine = make_engine(f"from-{Path(path).name}")
    engine.images.load(path)
    for row in engine.images.list():
        assert [each.size_bytes for each in engine.images.inspect(row.name).layers][1] == 3
    return {row.name.rpartition("/")[2]: row.image_id for row in engine.images.list()}


# -- docker ------------------------------------------------------------------------------


def test_docker_loads_and_runs_ours(ours, docker):
    said = docker("load", "--input", ours.room / "3.tar")
    assert sorted(said.splitlines()) == [
        f"Loaded image: {name}:1" for name in ("one", "two", "zstd")
    ]
    assert docker.ids() == ours.ids
    for name, said in (("two:1", "two"), ("zstd:1", "zst")):
        assert docker("run", "--rm", "--network", "none", name) == said


def test_we_load_docker_s(ours, docker, make_engine, tmp_path):
    docker("load", "--input", ours.room / "3.tar")
    docker("save", "--output", tmp_path / "archive", *ours.ids)
    assert loaded(make_engine, tmp_path / "archive") == ours.ids


def test_we_import_as_docker_does(docker, engine, tmp_path):
    """The same tar and changes give the same config, but for times and docker's own fields."""
    from ocimagic.model.request import ImportOptions

    changes = ('CMD ["sh"]', "ENV A=1", "EXPOSE 80", "LABEL x=y", "WORKDIR /w", "USER 7")
    (tmp_path / "root.tar").write_bytes(tar_of(("f", b"x")))
    flags = [word for each in changes for word in ("--change", each)]
    docker("import", *flags, tmp_path / "root.tar", "imported:1")
    theirs = json.loads(docker("image", "inspect", "imported:1"))[0]
    ours = engine.images.import_(tmp_path / "root.tar", ImportOptions(changes=changes))
    details = engine.images.inspect(str(ours.image_id)).config
    kept = {key: value for key, value in theirs["Config"].items() if value}
    for name in ("Hostname", "Image", "ArgsEscaped"):
        kept.pop(name, None)
    assert details.config.to_json() | {"ArgsEscaped": None} == kept | {"ArgsEscaped": None}
    assert list(details.diff_ids) == theirs["RootFS"]["Layers"]
    assert details.history[0].comment == theirs["Comment"]


# -- podman ------------------------------------------------------------------------------


@pytest.mark.parametrize("archive", ["1.tar", "3.tar", "oci.tar"])
def test_podman_loads_ours(archive, ours, podman):
    podman("load", "--input", ours.room / archive)
    there = podman.ids()
    wanted = ours.ids if archive == "3.tar" else {"one:1": ours.ids["one:1"]}
    podman("rmi", "--all", "--force")
    assert there == wanted


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_we_load_podman_s(kind, ours, podman, make_engine, tmp_path):
    podman("load", "--input", ours.room / "1.tar")
    podman("save", "--format", kind, "--output", tmp_path / "archive", "one:1")
    podman("rmi", "--all", "--force")
    assert loaded(make_engine, tmp_path / "archive") == {"one:1": ours.ids["one:1"]}


def test_we_load_several_of_podman_s(ours, podman, make_engine, tmp_path):
    podman("load", "--input", ours.room / "3.tar")
    words = ("--multi-image-archive", "--output", tmp_path / "archive")
    podman("save", *words, *(f"localhost/{name}" for name in ours.ids))
    podman("rmi", "--all", "--force")
    assert loaded(make_engine, tmp_path / "archive") == ours.ids


# -- skopeo ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "docker-archive:1.tar",
        "docker-archive:3.tar:two:1",
        "oci-archive:1.tar",
        "oci-archive:oci.tar",
        "oci-archive:3.tar:docker.io/library/two:1",
        "docker-archive:3.tar:zstd:1",
        "oci-archive:3.tar:docker.io/library/zstd:1",
        "oci-archive:zstd.tar",
    ],
)
def test_skopeo_reads_ours(source, ours, skopeo, tmp_path):
    transport, _, rest = source.partition(":")
    skopeo("copy", "--quiet", f"{transport}:{ours.room}/{rest}", f"dir:{tmp_path}")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    name = next((each for each in ("two:1", "zstd:1") if each[:-2] in source), "one:1")
    assert manifest["config"]["digest"] == ours.ids[name]
    for layer in manifest["layers"]:
        assert (tmp_path / layer["digest"].partition(":")[2]).stat().st_size == layer["size"]


@pytest.mark.parametrize("target", ["docker-archive", "oci-archive"])
def test_we_load_skopeo_s(target, ours, skopeo, make_engine, tmp_path):
    words = ("copy", "--quiet", f"oci-archive:{ours.room}/1.tar", f"{target}:{tmp_path}/a:sk:1")
    skopeo(*words)
    assert loaded(make_engine, tmp_path / "a") == {"sk:1": ours.ids["one:1"]}


def test_skopeo_refuses_a_damaged_one(ours, skopeo, tmp_path):
    """That a peer reads an archive proves something only if it looks."""
    broken = tmp_path / "broken.tar"
    content = bytearray((ours.room / "oci.tar").read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)
    with pytest.raises(AssertionError):
        skopeo("copy", "--quiet", f"oci-archive:{broken}", f"dir:{tmp_path / 'd'}")
