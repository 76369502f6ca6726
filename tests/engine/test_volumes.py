"""Volumes of real containers: kept, filled from images, shared, protected, removed."""

import pytest

from ocimagic.model.options import VolumeMount, VolumesFrom


def kept(name, target="/data", **more):
    return VolumeMount(target=target, kept=True, name=name, **more)


def run(engine, script, *volumes, image="busybox", **options):
    """Run a script in a container; return what it wrote."""
    options.setdefault("remove", True)
    done = engine.containers.run(image, ["sh", "-c", script], volumes=volumes, **options)
    return (done.stdout + done.stderr).decode()


@pytest.fixture(autouse=True)
def nothing_left(shared):
    yield
    for each in shared.containers.list(all=True):
        shared.containers.remove(each.container_id, force=True, volumes=True)
    for each in shared.volumes.all():
        shared.volumes.remove(each.name)
    assert not list(shared.home.volumes.iterdir())


def test_what_is_written_is_there_for_the_next_container(shared):
    assert run(shared, "echo hello > /data/file", kept("data")) == ""
    assert run(shared, "cat /data/file", kept("data")) == "hello\n"
    assert "Read-only" in run(shared, "echo x > /data/file", kept("data", read_only=True))
    assert (shared.home.volumes / "data" / "_data" / "file").read_text() == "hello\n"
