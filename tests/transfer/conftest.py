"""The real dockerd and podman, one of each for the tests of a file."""

import os
import subprocess
import time

import pytest
from peers import Peer, need

NETNS = f"ocimagic-save-{os.getpid()}"
TIMEOUT_S = 30


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    """A dockerd of our own, in a network namespace where it can delete nobody's bridge."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    need("dockerd", "docker", "ip")
    room = tmp_path_factory.mktemp("docker")
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    words = [
        "nsenter", f"--net=/run/netns/{NETNS}", "dockerd", "--data-root", room / "data",
        "--exec-root", room / "exec", "--host", f"unix://{room}/socket", "--bridge", "none",
        "--pidfile", room / "pid", "--iptables=false", "--log-level", "error",
    ]  # fmt: skip
    peer = Peer("docker", "--host", f"unix://{room}/socket")
    peer.address = f"unix://{room}/socket"
    with (room / "log").open("wb") as log:
        daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not peer("version", "--format", "{{.Server.Version}}", check=False).strip():
            assert daemon.poll() is None, (room / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "dockerd does not answer"
            time.sleep(0.1)
        yield peer
    finally:
        daemon.terminate()
        daemon.wait(TIMEOUT_S)
        subprocess.run(["ip", "netns", "del", NETNS], check=True)
        _unmount(room / "exec/netns/default")


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    need("podman")
    room = tmp_path_factory.mktemp("podman")
    rooms = ("--root", room / "root", "--runroot", room / "run")
    peer = Peer("podman", *rooms, "--log-level", "error")
    peer.room = room
    yield peer
    _unmount(room / "root/overlay")


def _unmount(path):
    """Take away every mount there: each podman that finds none makes one."""
    while subprocess.run(["umount", "-l", path], capture_output=True, check=False).returncode == 0:
        pass
