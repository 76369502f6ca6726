"""Namespaces, cgroups and processes of a container, beside what /proc says; and its bundle."""

import json
import os
import time
from pathlib import Path

import pytest

from ocimagic.errors import InvalidState


@pytest.fixture
def two(shared):
    """Two containers, the second in the network of the first."""
    names = ("inside-a", "inside-b")
    made = [
        shared.containers.run("busybox", ["sleep", "100"], name=names[0], detach=True),
        shared.containers.run(
            "busybox",
            ["sh", "-c", "sleep 100 & wait"],
            name=names[1],
            detach=True,
            network="container:inside-a",
        ),
    ]
    yield made
    for each in names:
        shared.containers.remove(each, force=True)


def test_what_the_kernel_says(shared, two):
    found = shared.containers.namespaces("inside-b")
    pid = shared.containers.get("inside-b").pid
    assert found.pid == pid
    seen = {each.kind: each for each in found.namespaces}
    for kind, each in seen.items():
        assert os.readlink(f"/proc/{pid}/ns/{kind}") == f"{kind}:[{each.inode}]"
        mine = os.readlink(f"/proc/self/ns/{kind}") == f"{kind}:[{each.inode}]"
        assert each.is_own is not mine
    assert seen["net"].containers == ("inside-a",)
    assert seen["mnt"].containers == ()
    assert seen["mnt"].is_own
    assert found.mounts == len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert sorted(found.cgroups.values()) == sorted(line.split(":", 2)[2] for line in lines)


def test_processes_have_two_numbers(shared, two):
    deadline = time.monotonic() + 10
    found = ()
    while [each.command for each in found[1:]] != ["sleep 100"]:
        assert time.monotonic() < deadline, found
        found = shared.containers.namespaces("inside-b").processes
    for each in found:
        words = Path(f"/proc/{each.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        assert each.command == b" ".join(words).decode()
    first, second = found
    assert (first.pid_inside, second.pid_inside > 1) == (1, True)


def test_one_that_does_not_run_has_a_bundle_only(shared, two):
    shared.containers.stop("inside-b", grace_s=0)
    with pytest.raises(InvalidState):
        shared.containers.namespaces("inside-b")
    found = shared.containers.bundle("inside-b")
    assert set(found.files) >= {"config.json", "rootfs/"}
    assert found.config == json.loads((Path(found.path) / "config.json").read_bytes())
    assert found.config["process"]["args"] == ["sh", "-c", "sleep 100 & wait"]
