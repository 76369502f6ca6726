"""The local image repository: whole after every accident, readable by others."""

import json
import os
import shutil
import sqlite3
import subprocess

import pytest
from rootfs import MadeImage, tar_of

from ocimagic import Engine
from ocimagic.errors import (
    ImageInUse,
    ImageNotFound,
    InvalidReference,
    SizeMismatch,
    StorageError,
)
from ocimagic.spec.digest import Digest

ONE = tar_of(("etc", None), ("etc/one", b"1" * 4000))
TWO = tar_of(("etc", None), ("etc/two", b"2" * 3000))


@pytest.fixture
def stocked(engine, registry):
    MadeImage([ONE], {"Cmd": ["x"]}).serve(registry.source, "base", "latest", "v1")
    MadeImage([ONE, TWO], {"Cmd": ["y"]}).serve(registry.source, "derived", "latest")
    engine.images.pull(f"{registry.host}/base")
    engine.images.pull(f"{registry.host}/derived")
    engine.host = registry.host
    return engine


def blobs(engine):
    return {path.name for path in engine.home.blobs.iterdir()}


def test_shared_bytes_and_base_are_found(stocked):
    derived, base = stocked.images.list()
    assert (derived.size_bytes, derived.shared_bytes) == (7000, 4000)
    assert base.size_bytes == base.shared_bytes == 4000
    layers = stocked.images.inspect(derived.name).layers
    assert [layer.from_base for layer in layers] == [True, False]


def test_list_by_repository_and_tag(stocked):
    stocked.images.tag(f"{stocked.host}/base", "mine:1")
    stocked.images.tag(f"{stocked.host}/base", "mine:2")
    assert sorted(row.tag for row in stocked.images.list("mine")) == ["1", "2"]
    assert [row.tag for row in stocked.images.list("mine:2")] == ["2"]
    assert stocked.images.list("nothing") == ()


def test_tagging(stocked):
    stocked.images.tag(f"{stocked.host}/base", "a/b:c")
    assert stocked.images.inspect("a/b:c").tags == (f"{stocked.host}/base:latest", "a/b:c")
    with pytest.raises(ImageNotFound):
        stocked.images.tag("nothing", "x")
    with pytest.raises(InvalidReference):
        stocked.images.tag("a/b:c", "BAD")
    stocked.images.tag(f"{stocked.host}/derived", "a/b:c")
    assert stocked.images.inspect("a/b:c").config.config.cmd == ("y",)


def test_what_another_engine_changes_is_seen_at_once(stocked):
    def named(engine):
        return sorted(each.name for each in engine.images.list())

    with Engine(stocked.home.data, environment={}) as other:
        for changed, seen in ((stocked, other), (other, stocked), (stocked, other)):
            before = named(seen)
            changed.images.tag(f"{stocked.host}/base", f"added:{len(before)}")
            assert named(seen) == named(changed) == sorted([*before, f"added:{len(before)}"])
        other.images.remove("added:2")
        assert named(stocked) == named(other)
        assert "added:2" not in named(stocked)


def test_inspect_says_what_another_engine_just_changed(stocked):
    def said(name):
        found = stocked.images.inspect(name)
        return found.size_bytes, [each.shared_with for each in found.layers]

    base, derived = f"{stocked.host}/base:latest", f"{stocked.host}/derived:latest"
    assert said(base) == (4000, [(derived,)])
    assert said(derived) == (7000, [(base,), ()])
    with Engine(stocked.home.data, environment={}) as other:
        other.images.tag(base, "second:1")
        other.images.remove(base)
        assert said(derived) == (7000, [("second:1",), ()])
        other.images.remove("second:1")
        assert said(derived) == (7000, [(), ()])
        assert [each.from_base for each in stocked.images.inspect(derived).layers] == [False] * 2
        other.images.tag(derived, base)
        assert said(base) == (7000, [(), ()])
        with pytest.raises(ImageNotFound):
            stocked.images.inspect("second:1")


def test_names_and_ids(stocked):
    image_id = stocked.images.inspect(f"{stocked.host}/base").image_id
    for name in (image_id, image_id.hex, image_id.short, image_id.hex[:5]):
        assert stocked.images.inspect(name).image_id == image_id
    with pytest.raises(ImageNotFound, match="no such image: bose") as caught:
        stocked.images.inspect("bose")
    assert "pull" in caught.value.hint
    stocked.images.tag(image_id, "base-here")
    with pytest.raises(ImageNotFound) as caught:
        stocked.images.inspect("base-hree")
    assert caught.value.hint == "did you mean base-here:latest?"


def test_removing_a_name_keeps_the_image_while_another_names_it(stocked):
    stocked.images.tag(f"{stocked.host}/base", "other")
    gone = stocked.images.remove("other")
    assert (gone.untagged, gone.deleted) == (("other:latest",), ())
    assert stocked.images.inspect(f"{stocked.host}/base")


def test_removing_frees_only_what_nobody_else_needs(stocked):
    shared = stocked.images.inspect(f"{stocked.host}/base").layers[0]
    before = blobs(stocked)
    gone = stocked.images.remove(f"{stocked.host}/derived")
    assert gone.freed_bytes > 0
    assert shared.digest.hex in blobs(stocked)
    assert len(blobs(stocked)) < len(before)
    stocked.images.remove(f"{stocked.host}/base")
    assert blobs(stocked) == set()
    assert [path.name for path in stocked.home.snapshots.iterdir() if path.name != "empty"] == []
    assert json.loads((stocked.home.data / "index.json").read_bytes())["manifests"] == []


def test_removing_by_id_needs_one_repository_or_force(stocked):
    stocked.images.tag(f"{stocked.host}/base", "other")
    image_id = stocked.images.inspect("other").image_id
    with pytest.raises(ImageInUse, match="several names"):
        stocked.images.remove(image_id.short)
    gone = stocked.images.remove(image_id.short, force=True)
    assert len(gone.untagged) == 2
    assert image_id in gone.deleted


def test_an_image_that_a_container_needs_stays(shared):
    made = shared.containers.run("busybox", ["true"], network="none")
    image_id = shared.images.inspect("busybox").image_id
    *others, last = shared.images.inspect("busybox").tags
    shared.images.remove(*others)
    with pytest.raises(ImageInUse, match="stopped container"):
        shared.images.remove(last)
    shared.images.remove(last, force=True)
    with pytest.raises(ImageNotFound):
        shared.images.inspect(image_id)
    shared.containers.start(made.name)
    assert shared.containers.wait(made.name).code == 0, "it still has all its layers"
    shared.containers.remove(made.name)


def test_pulling_a_moved_tag_leaves_the_old_image_without_a_name(engine, registry):
    MadeImage([ONE], {"Cmd": ["old"]}).serve(registry.source, "moves", "latest")
    old = engine.images.pull(f"{registry.host}/moves").image_id
    MadeImage([ONE], {"Cmd": ["new"]}).serve(registry.source, "moves", "latest")
    new = engine.images.pull(f"{registry.host}/moves").image_id
    names = {row.image_id: row.repository for row in engine.images.list()}
    assert names == {new: f"{registry.host}/moves", old: "<none>"}
    engine.images.remove(old)
    assert [row.image_id for row in engine.images.list()] == [new]


def test_the_data_root_is_private(stocked):
    assert stocked.home.data.stat().st_mode & 0o077 == 0


def test_a_truncated_put_is_never_seen(engine):
    store = engine.containers.store
    digest = Digest.of(b"content")
    with store.blobs.ingest(digest, 7) as writer:
        writer.write(b"con")
        with pytest.raises(SizeMismatch):
            writer.commit()
    assert not store.blobs.has(digest)
    with store.blobs.ingest(digest, 7) as writer:
        assert b"".join(writer.resume()) == b"con"
        writer.write(b"tent")
        writer.commit()
    assert store.blobs.has(digest)


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    with Engine(tmp_path / "root", environment={}) as engine:
        path = engine.home.database
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StorageError, match="newer ocimagic"):
        Engine(tmp_path / "root", environment={})


def test_after_a_machine_crash_unsynced_rows_are_not_believed(stocked, registry):
    store = stocked.containers.store
    with store.database.transaction() as cursor:
        cursor.execute("UPDATE blobs SET boot_id = 'before the crash'")
        cursor.execute("UPDATE snapshots SET boot_id = 'before the crash'")
    layer = stocked.images.inspect(f"{stocked.host}/base").layers[0]
    assert store.snapshots.find(layer.diff_id, layer.chain_id) is None
    damaged = store.blobs.path(layer.digest)
    damaged.chmod(0o600)
    damaged.write_bytes(b"half of it")
    assert not store.blobs.has(layer.digest)
    assert not stocked.images.pull(f"{registry.host}/base").up_to_date
    assert store.blobs.has(layer.digest)


@pytest.mark.peer
def test_skopeo_and_umoci_read_the_store(stocked, tmp_path):
    skopeo, umoci = shutil.which("skopeo"), shutil.which("umoci")
    if not (skopeo and umoci):
        pytest.skip("skopeo and umoci are not installed")
    name = f"{stocked.host}/derived:latest"
    target = tmp_path / "out"
    data = stocked.home.data
    subprocess.run([skopeo, "copy", "-q", f"oci:{data}:{name}", f"oci:{target}:x"], check=True)
    listed = subprocess.run(
        [umoci, "ls", "--layout", data], capture_output=True, text=True, check=True
    )
    assert name in listed.stdout.split()


@pytest.mark.peer
def test_what_skopeo_writes_into_the_store_is_taken_over(stocked, tmp_path):
    skopeo = shutil.which("skopeo")
    if not skopeo:
        pytest.skip("skopeo is not installed")
    data = stocked.home.data
    source = f"docker://{stocked.host}/base:v1"
    command = [skopeo, "copy", "-q", "--src-tls-verify=false", source, f"oci:{data}:foreign:1"]
    subprocess.run(command, check=True)
    assert "foreign" in {row.repository for row in stocked.images.list()}
    assert stocked.images.inspect("foreign:1").layers[0].diff_id == Digest.of(ONE)
    names = json.loads((data / "index.json").read_bytes())["manifests"]
    assert len(names) == 3


def test_a_spoilt_index_is_only_a_view(stocked):
    index = stocked.home.data / "index.json"
    index.write_bytes(b"{ not json")
    assert len(stocked.images.list()) == 2
    stocked.images.tag(f"{stocked.host}/base", "again")
    assert len(json.loads(index.read_bytes())["manifests"]) == 3


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path, registry):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    program = (
        "import sys; from ocimagic import Engine; from ocimagic.errors import DiskFull\n"
        "with Engine(sys.argv[1], environment={}) as engine:\n"
        "    try: engine.images.pull(sys.argv[2])\n"
        "    except DiskFull as err: print('full:', err.hint)\n"
        "    print(len(engine.images.list()))\n"
    )
    big = tar_of(*((f"f{n}", os.urandom(1 << 20)) for n in range(8)))
    MadeImage([big]).serve(registry.source, "big", "latest")
    (tmp_path / "small").mkdir()
    (tmp_path / "program.py").write_text(program)
    script = 'mount -t tmpfs -o size=5m none "$1" && exec "$2" "$3" "$1/root" "$4"'
    import sys

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", tmp_path / "small", sys.executable,
         tmp_path / "program.py", f"{registry.host}/big"],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.startswith("full: remove images"), done.stderr
    assert done.stdout.endswith("0\n")
