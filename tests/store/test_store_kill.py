"""A short round of the store's soak, and what it has found, each once more."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rootfs import MadeImage, tar_of

from ocimagic.errors import DiskFull
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.spec.digest import Digest
from ocimagic.store import gc

PROGRAM = Path(__file__).parents[2] / "tools" / "soak_store.py"


@pytest.mark.slow
def test_a_store_hurt_at_any_write_is_whole(registry):
    words = [sys.executable, str(PROGRAM), "--rounds", "8", "--seed", "4"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def two(engine, registry):
    """An engine with the images ``one`` and ``two``."""
    for name in ("one", "two"):
        made = MadeImage([tar_of((name, name.encode()))], {"Cmd": [name]})
        made.serve(registry.source, f"hurt-{name}", "latest")
        engine.images.pull(f"{registry.host}/hurt-{name}")
        engine.images.tag(f"{registry.host}/hurt-{name}", name)
        engine.images.remove(f"{registry.host}/hurt-{name}")
    return engine


def test_the_view_names_nothing_that_a_removal_has_swept(two, monkeypatch):
    """A kill between a sweep and the view left an index.json that led to nothing."""
    real, seen = gc.sweep, []

    def sweep(*args):
        seen.append((two.home.data / "index.json").read_text())
        return real(*args)

    monkeypatch.setattr(gc, "sweep", sweep)
    two.images.remove("one")
    two.system.disk.prune_images(all=True)
    assert "one:latest" not in seen[0]
    assert "two:latest" in seen[0]
    assert "two:latest" not in seen[1]


def test_a_sweep_writes_the_view_that_a_killed_removal_did_not(two):
    store = two.containers.store
    image = store.images.find("one")
    assert store.images.untag(image.manifest.digest, [each.reference for each in image.names])
    two.system.disk.prune_cache()
    assert not store.blobs.has(image.manifest.digest)
    assert "one:latest" not in (two.home.data / "index.json").read_text()


def test_an_image_loses_its_last_name_and_itself_at_once(two):
    store = two.containers.store
    image = store.images.find("one")
    two.images.tag("one", "again")
    names = [each.reference for each in image.names]
    assert not store.images.untag(image.manifest.digest, names), "it was named meanwhile"
    assert store.images.delete([image]) == []
    assert [str(each.reference) for each in store.images.find("again").names] == [
        "docker.io/library/again:latest"
    ]


def test_an_image_that_is_removed_while_it_gets_a_name_is_here_or_not(two, monkeypatch):
    """A name without its image's row could never be pruned."""
    images = two.containers.store.images
    real = images.find

    def found_and_removed(text):
        image = real(text)
        images.untag(image.manifest.digest, [each.reference for each in image.names])
        return image

    monkeypatch.setattr(images, "find", found_and_removed)
    two.images.tag("one", "again")
    monkeypatch.undo()
    assert {each.name for each in two.images.list()} == {"again:latest", "two:latest"}
    two.system.disk.prune_images(all=True)
    assert two.images.list() == ()
    assert images.names() == []


def test_a_sweep_leaves_what_another_program_is_writing(two):
    raw = b"a layer that skopeo has written, its index to come"
    path = two.home.blobs / Digest.of(raw).hex
    path.write_bytes(raw)
    two.system.disk.prune_cache()
    assert path.exists()
    os.utime(path, (1, 1))
    two.system.disk.prune_cache()
    assert not path.exists()


def test_a_full_disk_is_told_wherever_it_is_full(two, registry, monkeypatch):
    real = os.replace

    def replace(source, target):
        if "blobs" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        real(source, target)

    archive = []
    two.images.save(["one"], archive.append)
    two.images.remove("one")
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(DiskFull):
        two.images.load(b"".join(archive))


def test_a_registry_takes_half_a_view_away(tmp_path):
    RegistryDirectory(tmp_path / "r").close()
    (tmp_path / "r/.index.json.1.abc").write_text("half")
    RegistryDirectory(tmp_path / "r").close()
    assert list((tmp_path / "r").glob(".*")) == []
