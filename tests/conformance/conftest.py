"""Docker's own words, spoken to us and to a real dockerd: the same checks for both."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from dockernet import Daemon, Docker, namespace


@pytest.fixture(scope="module")
def archive(shared, tmp_path_factory):
    """An image with busybox, as ``docker save`` writes it."""
    path = tmp_path_factory.mktemp("image") / "busybox.tar"
    with path.open("wb") as file:
        shared.images.save(["busybox"], file.write)
    return path


@pytest.fixture(scope="module")
def ours(archive, tmp_path_factory):
    root = tmp_path_factory.mktemp("ours")
    docker = Docker("ocimagic", [sys.executable, "-m", "ocimagic"], {"OCIMAGIC_ROOT": str(root)})
    docker.call("load", "-i", str(archive))
    return docker


@pytest.fixture(scope="module")
def theirs(archive, tmp_path_factory):
    """A dockerd with a bridge, in a network namespace of its own."""
    room = tmp_path_factory.mktemp("dockerd")
    with namespace(f"ocimagic-like-{os.getpid()}") as inside, Daemon(room, inside) as daemon:
        daemon.docker.call("load", "-i", str(archive))
        yield daemon.docker


@pytest.fixture(params=["ours", "theirs"])
def docker(request):
    """One of the two; what a test makes is taken away."""
    found = request.getfixturevalue(request.param)
    yield found
    for each in found.call("ps", "-aq").split():
        found.call("rm", "-f", each)
    for each in found.call("volume", "ls", "-q").split():
        found.call("volume", "rm", each)
    found.call("network", "prune", "-f")
