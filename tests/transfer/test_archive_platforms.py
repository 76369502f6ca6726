"""Archives with images for several platforms: all that are whole are loaded, with their index."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile

import pytest
from archives import INDEX_TYPE, descriptor, index, made, named, nested, oci_files, tarred
from rootfs import tar_of

from ocimagic.errors import ArchiveRefused, DigestMismatch, ImageInUse
from ocimagic.model.options import BuildOptions
from ocimagic.spec.digest import Digest
from ocimagic.spec.platform import Platform, host_platform
from ocimagic.spec.reference import Reference

HOST = host_platform().architecture
NAME = "many:1"


@pytest.fixture
def images():
    """Return architecture to image; the first is not for this machine."""
    found = {"riscv64": made(tar_of(("r", b"r")), A=["r"]), HOST: made(A=["x"])}
    return found | {"s390x": made(tar_of(("s", b"s")), A=["s"])}


def image_id(image):
    return Digest.of(image.config_raw)


def without(files, image):
    del files[f"blobs/sha256/{image.layers[-1].digest.hex}"]
    return files


def parts(engine, name=NAME):
    """Return what a name points at, and architecture to image ID of what is here of it."""
    images, reference = engine._store.images, Reference.parse(name)
    found = images.parts(reference)
    loaded = {each.platform.architecture: images.load(each.manifest).image_id for each in found}
    return images.name(reference).target, loaded


def read(image):
    """Return the tar of an archive, and the digest of the index in it."""
    files, _, outer = nested(image)
    files["index.json"] = index([outer])
    return files, Digest(outer["digest"])


def test_all_platforms_are_loaded(engine, images, tmp_path):
    files, digest = read(images)
    loaded = engine.images.load(tarred(files))
    assert [(each.image_id, each.tags) for each in loaded.images] == [
        (image_id(images[HOST]), (NAME,))
    ]
    ids = {name: image_id(image) for name, image in images.items()}
    assert parts(engine) == (digest, ids)
    assert engine.images.inspect(NAME).image_id == ids[HOST]
    assert len(engine.images.list()) == 1
    [tree] = engine.images.trees()
    assert [each.is_here for each in tree.parts] == [True] * 3
    # And out again, whole.
    out = bytearray()
    engine.images.save([NAME], out.extend, format="oci")
    with tarfile.open(fileobj=io.BytesIO(bytes(out))) as tar:
        [entry] = json.load(tar.extractfile("index.json"))["manifests"]
    assert entry["digest"] == digest
    engine.images.remove(NAME)
    assert engine.images.list() == ()
    assert engine._store.images.all() == []


def test_a_second_load_changes_nothing(engine, images):
    files, digest = read(images)
    engine.images.load(tarred(files))
    again = engine.images.load(tarred(files))
    assert again.images[0].replaced == ()
    assert parts(engine)[0] == digest
    assert len(engine._store.images.all()) == 3


def test_a_directory_too(engine, images, tmp_path):
    files, digest = read(images)
    for name, content in files.items():
        (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "layout" / name).write_bytes(content)
    without(files, images["s390x"])
    (tmp_path / "layout/blobs/sha256" / images["s390x"].layers[-1].digest.hex).unlink()
    engine.images.load(tmp_path / "layout")
    assert parts(engine) == (
        digest,
        {name: image_id(images[name]) for name in ("riscv64", HOST)},
    )


@pytest.mark.parametrize("lost", ["layer", "manifest"])
def test_what_is_not_whole_is_left_out(engine, images, lost):
    files, digest = read(images)
    without(files, images[HOST])
    if lost == "manifest":
        del files[f"blobs/sha256/{images[HOST].digest.hex}"]
    engine.images.load(tarred(files))
    target, here = parts(engine)
    assert (target, set(here)) == (digest, {"riscv64", "s390x"})
    assert engine.images.inspect(NAME).image_id == here["riscv64"]


def test_nothing_whole_is_refused(engine, images):
    files, _ = read(images)
    for image in images.values():
        without(files, image)
    with pytest.raises(ArchiveRefused, match="not there"):
        engine.images.load(tarred(files))
    assert engine._store.images.all() == []


def test_one_platform_that_is_damaged_spoils_all(engine, images):
    files, _ = read(images)
    blob = f"blobs/sha256/{images['riscv64'].layers[0].digest.hex}"
    files[blob] = files[blob][::-1]
    with pytest.raises(DigestMismatch):
        engine.images.load(tarred(files))
    assert engine._store.images.all() == []


def test_one_platform_that_is_asked_for(engine, images):
    files, _ = read(images)
    engine.images.load(tarred(files), platform=Platform("linux", "s390x"))
    assert engine.images.inspect(NAME).image_id == image_id(images["s390x"])
    assert len(engine._store.images.all()) == 1


def test_images_and_indexes_in_one_archive(engine, images):
    files, _, outer = nested(images)
    single = made(tar_of(("one", b"1")))
    files |= oci_files((single, named("docker.io/library/one:1")))
    also = outer | named("docker.io/library/also:2")
    entry = descriptor(single.manifest_raw, single.media_type, **named("docker.io/library/one:1"))
    files["index.json"] = index([outer, entry, also])
    loaded = engine.images.load(tarred(files))
    assert {each.tags for each in loaded.images} == {("one:1",), (NAME, "also:2")}
    assert parts(engine) == parts(engine, "also:2")
    entry |= named("docker.io/library/many:1")
    files["index.json"] = index([outer, entry])
    with pytest.raises(ArchiveRefused, match="two images have the name many:1"):
        engine.images.load(tarred(files))


def test_a_part_that_is_here_in_another_form(engine, images):
    """The same config under another manifest: the index names its own."""
    [first, *_] = images.values()
    other = made(tar_of(("r", b"r")), A=["r"], compress=False)
    assert image_id(other) == image_id(first)
    engine.images.load(tarred(oci_files((other, named("docker.io/library/plain:1")))))
    files, digest = read(images)
    engine.images.load(tarred(files))
    assert parts(engine)[0] == digest
    assert engine._store.images.whole_index(Reference.parse(NAME)).digest == digest


def test_a_name_that_stood_for_another(engine, images):
    old = made(tar_of(("old", b"o")))
    engine.images.load(tarred(oci_files((old, named("docker.io/library/many:1")))))
    files, _ = read(images)
    loaded = engine.images.load(tarred(files))
    assert loaded.images[0].replaced == ((NAME, image_id(old)),)


def test_what_we_save_comes_back(engine, make_engine, tmp_path):
    two = (Platform("linux", HOST), Platform("linux", "riscv64"))
    text = "FROM scratch\nARG TARGETARCH\nCOPY <<E /arch\n$TARGETARCH\nE\n"
    built = engine.images.build(BuildOptions(dockerfile=text, tags=("built",), platforms=two))
    out = bytearray()
    engine.images.save(["built"], out.extend, format="oci")
    other = make_engine("other")
    other.images.load(bytes(out))
    assert parts(other, "built") == parts(engine, "built")
    assert parts(other, "built")[0] == built.digest
    riscv = parts(other, "built")[1]["riscv64"]
    with pytest.raises(ImageInUse, match="part of built:latest"):
        other.images.remove(str(riscv))


@pytest.mark.peer
def test_what_skopeo_copies(engine, images, tmp_path):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    files, digest = read(images)
    for name, content in files.items():
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_bytes(content)
    archive = tmp_path / "to.tar"
    source, target = f"oci:{tmp_path}/from:docker.io/library/{NAME}", f"oci-archive:{archive}"
    words = ["skopeo", "--insecure-policy", "copy", "--all", source, f"{target}:{NAME}"]
    subprocess.run(words, check=True, capture_output=True)
    engine.images.load(archive)
    assert parts(engine)[0] == digest
    assert len(parts(engine)[1]) == 3


def test_an_index_that_names_more_indexes(engine, images):
    files, _, outer = nested(images)
    deeper = index([{k: v for k, v in outer.items() if k != "annotations"}])
    files[f"blobs/sha256/{hashlib.sha256(deeper).hexdigest()}"] = deeper
    top = descriptor(deeper, INDEX_TYPE, platform={"os": "linux", "architecture": HOST})
    files["index.json"] = index([top | named("docker.io/library/many:1")])
    inner = json.loads(deeper)["manifests"][0]
    assert inner["mediaType"] == INDEX_TYPE
    engine.images.load(tarred(files))  # one is chosen, as before
    assert engine.images.inspect(NAME).image_id == image_id(images[HOST])
