"""An index without a name is one thing: listed, tagged and taken away whole."""

import pytest

from ocimagic.engine.engine import Engine
from ocimagic.errors import ImageInUse
from ocimagic.model.options import BuildOptions, RunOptions
from ocimagic.spec.platform import Platform, host_platform
from ocimagic.spec.reference import Reference

HOST = host_platform()
BOTH = (Platform("linux", "riscv64"), HOST)
TEXT = 'FROM scratch\nARG TARGETARCH\nLABEL n={}\nCOPY <<E /arch\n$TARGETARCH{}\nE\nCMD ["/none"]\n'


@pytest.fixture
def engine(tmp_path):
    with Engine(root=tmp_path / "root") as found:
        yield found


def build(engine, number=0, *tags):
    text = TEXT.format(number, number)
    return engine.images.build(BuildOptions(dockerfile=text, tags=tags, platforms=BOTH))


def stored(engine):
    return {image.manifest.digest for image in engine._store.images.all()}


def rows(engine):
    return [(each.name, each.digest) for each in engine.images.list()]


def test_it_is_one_line(engine):
    built = build(engine)
    assert len(stored(engine)) == 2
    assert rows(engine) == [("<none>:<none>", built.digest)]
    assert engine.images.list()[0].image_id == built.image_id
    [tree] = engine.images.trees()
    assert (tree.digest, tree.is_index, tree.names) == (built.digest, True, ())
    assert [each.is_here for each in tree.parts] == [True, True]
    build(engine)
    assert len(engine.images.list()) == 1


def test_prune_takes_all_of_it(engine):
    build(engine)
    kept = build(engine, 1, "kept")
    pruned = engine.system.disk.prune_images()
    assert len(pruned.deleted) >= 2
    assert rows(engine) == [("kept:latest", kept.digest)]
    assert len(stored(engine)) == 2
    assert engine._store.images.nameless() == []


def test_its_index_lasts_as_long_as_it_does(engine):
    built = build(engine)
    one = engine.images.build(BuildOptions(dockerfile="FROM scratch\nCOPY <<E /x\nE\n"))
    engine.images.remove(str(one.image_id))  # and sweeps
    assert engine._store.blobs.has(built.digest)
    engine.images.remove(str(built.image_id))
    assert not engine._store.blobs.has(built.digest)
    assert stored(engine) == set()


def test_a_part_does_not_go_alone(engine):
    built = build(engine)
    other = next(each.image_id for each in built.platforms if each.image_id != built.image_id)
    with pytest.raises(ImageInUse, match="riscv64 part of an index without a name") as caught:
        engine.images.remove(str(other))
    assert built.image_id.short in caught.value.hint
    engine.images.remove(built.image_id.short)
    assert engine.images.list() == ()


def test_a_container_of_one_platform_keeps_all(engine):
    built = build(engine)
    container = engine.containers.create(RunOptions(image=str(built.image_id)))
    engine.system.disk.prune_images()
    assert len(stored(engine)) == 2
    with pytest.raises(ImageInUse):
        engine.images.remove(str(built.image_id))
    engine.containers.remove(container.container_id)
    engine.system.disk.prune_images()
    assert stored(engine) == set()


def test_a_tag_gives_it_a_name_with_all_platforms(engine):
    built = build(engine)
    engine.images.tag(built.image_id.short, "named:1")
    assert rows(engine) == [("named:1", built.digest)]
    assert len(engine._store.images.parts(Reference.parse("named:1"))) == 2
    assert engine._store.images.nameless() == []
    assert engine.system.disk.prune_images().deleted == ()


def test_a_name_that_moves_on_leaves_one_line(engine):
    first = build(engine, 0, "name")
    second = build(engine, 1, "name")
    assert set(rows(engine)) == {
        ("name:latest", second.digest),
        ("<none>:<none>", first.digest),
    }
    engine.images.tag("name", "also")
    third = build(engine, 2, "name")
    assert set(rows(engine)) == {
        ("name:latest", third.digest),
        ("also:latest", second.digest),
        ("<none>:<none>", first.digest),
    }
    build(engine, 0, "old")  # from the cache: it has a name again
    assert ("old:latest", first.digest) in rows(engine)
    assert engine._store.images.nameless() == []
    assert len(rows(engine)) == 3


def test_its_platforms_are_found_by_its_id(engine):
    built = build(engine)
    for each in built.platforms:
        found = engine._store.images.of_platform(str(built.image_id), each.platform)
        assert found.image_id == each.image_id


def test_an_archive_of_one_without_a_name(engine, tmp_path):
    built = build(engine, 0, "name")
    out = bytearray()
    engine.images.save(["name"], out.extend, format="oci")
    raw = bytes(out).replace(
        b"org.opencontainers.image.ref.name", b"org.opencontainers.image.ref.none"
    )
    raw = raw.replace(b"io.containerd.image.name", b"io.containerd.image.none")
    with Engine(root=tmp_path / "other") as other:
        loaded = other.images.load(raw)
        assert loaded.images[0].tags == ()
        assert rows(other) == [("<none>:<none>", built.digest)]
        other.images.remove(str(built.image_id))
        assert stored(other) == set()
