"""What is on disk, and taking away what nobody needs: nothing that somebody needs goes."""

import threading

import pytest

from ocimagic.errors import ImageNotFound
from ocimagic.model.options import BuildOptions, RunOptions
from ocimagic.model.report import CachePruned, ImagesPruned, KeptImage, Pruned, SystemPruned
from ocimagic.model.volume import VolumesPruned
from ocimagic.render.report import (
    images_pruned_text,
    system_pruned_sentence,
    why_kept,
)


@pytest.fixture
def build(engine, tmp_path):
    """Build an image of a base of 100 kB and a file of its own."""

    def build(tag, own=1000, *, label=""):
        context = tmp_path / "context"
        context.mkdir(exist_ok=True)
        (context / "base").write_bytes(b"b" * 100_000)
        (context / "own").write_bytes(b"o" * own)
        text = "FROM scratch\nCOPY base /base\nCOPY own /own\n"
        text += f"LABEL {label}=1\n" if label else ""
        options = BuildOptions(context=str(context), dockerfile=text, tags=(tag,))
        return engine.images.build(options).image_id

    return build


@pytest.fixture
def busybox(engine, registry):
    engine.images.pull(f"{registry.host}/busybox")
    engine.images.tag(f"{registry.host}/busybox", "busybox")
    engine.images.remove(f"{registry.host}/busybox:latest")


def usage_of(engine):
    return engine.system.disk.usage()


def blob_files(engine):
    return {each.name for each in (engine.home.data / "blobs/sha256").iterdir()}


def test_an_empty_store(engine):
    found = usage_of(engine)
    assert (found.images, found.containers, found.images_bytes) == ((), (), 0)
    assert (found.cache_steps, found.cache_bytes) == (0, 0)


def test_shared_and_own(engine, build):
    build("one:1")
    build("two:1", 3000)
    found = usage_of(engine)
    one, two = sorted(found.images, key=lambda each: each.name)
    assert one.shared_bytes == two.shared_bytes >= 100_000
    assert 1000 <= one.unique_bytes < two.unique_bytes < 20_000
    assert found.images_bytes == one.size_bytes + two.unique_bytes, "what is shared counts once"
    assert found.images_reclaimable_bytes == found.images_bytes, "no container needs any"


@pytest.mark.parametrize("unpacked", [False, True])
def test_what_removal_frees_is_what_was_said(engine, build, unpacked):
    build("one:1")
    build("two:1", 3000)
    if unpacked:
        made = engine.containers.create(RunOptions(image="two:1", command=("x",)))
        engine.containers.remove(made.container_id)
    said = {each.name: each.unique_bytes for each in usage_of(engine).images}
    freed = engine.images.remove("two:1").freed_bytes
    assert 0 <= freed - said["two:1"] < 5000, "its documents, too"


@pytest.mark.root
def test_a_container_needs_its_image(engine, busybox):
    before = usage_of(engine)
    made = engine.containers.run("busybox", ["sh", "-c", "echo hello > /file"], network="none")
    found = usage_of(engine)
    assert found.images_reclaimable_bytes < before.images_reclaimable_bytes
    (container,) = found.containers
    assert (container.container_id, container.active) == (made.container_id, False)
    assert container.size_bytes == len("hello\n")
    assert [each.containers for each in found.images if each.name.startswith("busybox")] == [1]


def test_dangling_images_go_and_named_ones_stay(engine, build):
    old = build("one:1", 1000)
    new = build("one:1", 2000)
    assert {each.image_id for each in engine.images.list()} == {old, new}
    pruned = engine.system.disk.prune_images()
    assert pruned.untagged == ()
    assert pruned.deleted[0] == old
    assert [each.image_id for each in engine.images.list()] == [new]
    assert pruned.freed_bytes > 0
    assert engine.system.disk.prune_images().deleted == ()


def test_two_manifests_are_one_image(engine, build, debian_registry):
    name = f"{debian_registry}/disk:1"
    build(name)
    engine.images.push(name)
    engine.images.tag(name, "kept:1")
    engine.images.remove(name)
    engine.images.pull(name)
    found = usage_of(engine)
    assert (len(found.images), len(engine.images.list())) == (1, 2)
    assert found.images_bytes == found.images[0].unique_bytes
    assert len(set(engine.system.disk.prune_images(all=True).deleted)) == 3, "and its two layers"


def test_all_images_without_a_container(engine, build, busybox):
    build("one:1")
    build("two:1")
    pruned = engine.system.disk.prune_images(
        all=True, keep=lambda each: each.name == "busybox:latest"
    )
    assert sorted(pruned.untagged) == ["one:1", "two:1"]
    assert [each.name for each in engine.images.list()] == ["busybox:latest"]
    with pytest.raises(ImageNotFound):
        engine.images.inspect("one:1")


@pytest.mark.root
def test_an_image_in_use_stays(engine, busybox):
    engine.containers.run("busybox", ["true"], network="none")
    assert engine.system.disk.prune_images(all=True).deleted == ()
    assert engine.images.inspect("busybox")


def test_the_build_cache(engine, build):
    build("one:1")
    engine.images.remove("one:1")
    build("one:1")
    steps = usage_of(engine).cache_steps
    assert steps > 0
    pruned = engine.system.disk.prune_cache()
    assert pruned.steps == steps
    assert usage_of(engine).cache_steps == 0
    assert engine.images.inspect("one:1"), "images stay"


def test_what_only_the_cache_needs(engine, tmp_path):
    """The layers of a stage that no image has."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c/big").write_bytes(b"x" * 200_000)
    (tmp_path / "c/small").write_bytes(b"y")
    text = "FROM scratch AS first\nCOPY big /big\nFROM scratch\nCOPY --from=first /big /copy\n"
    text += "COPY small /small\n"
    engine.images.build(BuildOptions(context=str(tmp_path / "c"), dockerfile=text, tags=("one:1",)))
    before = usage_of(engine)
    assert before.cache_bytes >= 200_000
    files = blob_files(engine)
    pruned = engine.system.disk.prune_cache()
    assert pruned.freed_bytes >= 200_000
    assert blob_files(engine) < files
    assert usage_of(engine).cache_bytes == 0


@pytest.mark.root
def test_everything(engine, build, busybox):
    build("one:1", 1000)
    build("one:1", 2000)
    engine.containers.run("busybox", ["sh", "-c", "echo hello > /file"], network="none")
    pruned = engine.system.disk.prune(all=True)
    assert len(pruned.containers.containers) == 1
    assert {"one:1", "busybox:latest"} <= set(pruned.images.untagged), "its container went first"
    assert pruned.freed_bytes == sum(
        each.freed_bytes for each in (pruned.containers, pruned.images, pruned.cache)
    )
    assert engine.images.list(all=True) == ()
    assert blob_files(engine) == set()


def test_what_is_kept_and_why(engine, build):
    build("one:1")
    two = build("two:1", 3000)
    used = engine.images.inspect("two:1")
    pruned = engine.system.disk.prune_images(all=True, keep=lambda image: image.image_id == two)
    assert pruned.images == 1
    [kept] = pruned.kept
    assert kept.diff_id == used.config.diff_ids[0]
    assert kept.size_bytes == 100_000
    assert kept.used_by == "two:1"
    whole = SystemPruned(
        containers=Pruned(containers=("a",), freed_bytes=0),
        volumes=VolumesPruned(),
        images=pruned,
        cache=CachePruned(steps=2, freed_bytes=0),
    )
    assert system_pruned_sentence(whole).startswith("1 container, 1 image, 2 build steps, ")
    assert system_pruned_sentence(whole).endswith("a layer of 100kB kept because two:1 uses it")


@pytest.mark.root
def test_which_container_or_name_keeps_an_image(engine, build, busybox):
    build("one:1")
    made = engine.containers.run("busybox", ["true"], network="none")
    pruned = engine.system.disk.prune_images()
    assert {(each.name, each.container) for each in pruned.stay} == {
        ("one:1", ""),
        ("busybox:latest", made.name),
    }
    said = images_pruned_text(pruned)
    assert f"busybox:latest kept because container {made.name} was made from it" in said
    assert "one:1 kept because it has a name: -a takes such, too" in said
    assert f"Kept: {'; '.join(why_kept(pruned))}\n" in images_pruned_text(pruned)
    pruned = engine.system.disk.prune_images(all=True)
    assert [(each.name, each.container) for each in pruned.stay] == [("busybox:latest", made.name)]
    assert engine.system.disk.prune_images(all=True, keep=lambda _: True).stay == ()


def test_many_that_are_kept_are_counted():
    stay = tuple(KeptImage(name=f"i:{n}", container="web") for n in range(5))
    stay += (KeptImage(name="a:1"), KeptImage(name="b:1"))
    said = why_kept(ImagesPruned(untagged=(), deleted=(), freed_bytes=0, stay=stay))
    assert len(said) == 5
    assert said[-2] == "2 more images kept because of containers"
    assert said[-1] == "2 images kept because they have names: -a takes such, too"


def test_a_build_beside_a_prune(engine, build):
    failed = []

    def prune():
        try:
            for _ in range(20):
                engine.system.disk.prune_images()
                engine.system.disk.prune_cache()
        except Exception as err:  # noqa: BLE001  told below
            failed.append(err)

    thread = threading.Thread(target=prune)
    thread.start()
    for number in range(10):
        build(f"image:{number}", 1000 + number)
    thread.join()
    assert failed == []
    for number in range(10):
        assert engine.images.inspect(f"image:{number}").layers
