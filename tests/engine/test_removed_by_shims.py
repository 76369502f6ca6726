"""Containers of ``--rm`` that end when no engine looks: their rows are in nobody's way."""

import os
import threading
import time

import pytest

from ocimagic.model.network import NetworkOptions
from ocimagic.model.options import RunOptions

PATIENCE_S = 20
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def gone(shared):
    """Return the ID of one that was called ``short``, and was in network ``left``."""
    shared.networks.create(NetworkOptions(name="left"))
    made = shared.containers.run("busybox", ["true"], name="short", network="left",
                                 remove=True, detach=True)  # fmt: skip
    deadline = time.monotonic() + PATIENCE_S
    while list(shared.home.containers.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert made.container_id in rows(shared)
    return made.container_id


def rows(engine):
    return [each.container_id for each in engine.containers.store.containers.all()]


def test_its_network_is_pruned(shared, gone):
    assert shared.networks.prune() == ("left",)
    assert gone not in rows(shared)


def test_its_name_can_be_given_to_another(shared, gone):
    shared.containers.create(RunOptions(image="busybox", command=("true",), name="other"))
    assert shared.containers.rename("other", "short").name == "short"
    assert gone not in rows(shared)
    shared.containers.remove("short")
    shared.networks.prune()


def test_its_end_is_told(shared, gone):
    """By its shim: last of all, and once, as docker tells it."""
    over = threading.Event()
    over.set()
    events = shared.system.events(
        since_ns=0, conditions=(f"container={gone}", "type=container"), cancelled=over
    )
    told = [each.action for each in events]
    assert told[-2:] == ["die", "destroy"]
    assert told.count("destroy") == 1
    shared.networks.prune()
