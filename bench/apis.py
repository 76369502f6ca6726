"""Docker's own client, the same program, in front of our API and of dockerd.

What its client itself costs is on both sides; without a network, for dockerd has none here.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING

import peers
from peers import Peer, measure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG_BYTES, LARGE_BYTES = 100 << 20, 1 << 30
LINE = "0123456789abcdef" * 4  # of a log, with its newline 65 bytes
Results = dict[str, dict[str, float]]


@contextlib.contextmanager
def served(scratch: Path, docker: Peer) -> Iterator[Peer]:
    """Serve the data root of the bench from a process of its own."""
    address = f"unix://{scratch}/api.sock"
    environment = os.environ | {"OCIMAGIC_ROOT": str(scratch / "ours")}
    command = [sys.executable, "-m", "ocimagic", "serve", "--quiet", "--host", address]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert server.stdout
    try:
        server.stdout.readline()  # it says where it listens
        yield Peer("ocimagic", [docker.prefix[0], "-H", address], docker.environment)
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()


def api_times(scratch: Path, docker: Peer, image: str, runs: int, few: int) -> Results:
    """Measure what both are asked by the same client; both have the image.

    Args:
        scratch: a directory on a real disk.
        docker: a dockerd of our own, and its client.
        image: with busybox.
        runs: of each short command.
        few: of those that move many bytes.
    """
    with served(scratch, docker) as ours:
        sides = [ours, docker]
        results = _short(sides, image, runs)
        results |= _many(sides, image, runs)
        results |= _logs(sides, image, few)
        results |= _archives(sides, scratch, few)
    return results


def _quiet(peer: Peer, *words: str) -> None:
    """Run one command whose output nobody needs."""
    subprocess.run(
        [*peer.prefix, *words],
        stdout=subprocess.DEVNULL,
        check=True,
        env=os.environ | peer.environment,
    )


def _measured(sides: list[Peer], runs: int, *words: str) -> dict[str, float]:
    return measure({each.name: lambda each=each: _quiet(each, *words) for each in sides}, runs)


def _short(sides: list[Peer], image: str, runs: int) -> Results:
    for each in sides:
        _quiet(each, "run", "-d", "--network", "none", "--name", "bench", image, "sleep", "10000")
    run = ("run", "--rm", "--network", "none", image, "true")
    results = {
        "api version": _measured(sides, runs, "version"),
        "api ps": _measured(sides, runs, "ps", "-a"),
        "api run": _measured(sides, runs, *run),
        "api exec": _measured(sides, runs, "exec", "bench", "true"),
        "api stats": _measured(sides, min(runs, 5), "stats", "--no-stream", "bench"),
    }
    _remove_all(sides, "bench")
    return results


def _many(sides: list[Peer], image: str, runs: int) -> Results:
    names = [f"bench-{number}" for number in range(100)]
    for each in sides:
        for name in names:
            _quiet(each, "create", "--network", "none", "--name", name, image, "true")
    results = {"api ps of 100": _measured(sides, runs, "ps", "-a")}
    _remove_all(sides, *names)
    return results


def _logs(sides: list[Peer], image: str, few: int) -> Results:
    writes = f"yes {LINE} | head -c {LOG_BYTES}"
    for each in sides:
        words = ("--name", "bench", image, "/bin/busybox", "sh", "-c", writes)
        _quiet(each, "run", "-d", "--network", "none", *words)
        _quiet(each, "wait", "bench")
    results = {"api logs of 100 MB": _measured(sides, few, "logs", "bench")}
    _remove_all(sides, "bench")
    return results


def _archives(sides: list[Peer], scratch: Path, few: int) -> Results:
    """Save and load an image of one layer whose bytes nobody can make fewer."""
    tar, archive = scratch / "large.tar", scratch / "large-image.tar"
    payload = scratch / "large"
    with payload.open("wb") as file:
        for _ in range(LARGE_BYTES >> 20):
            file.write(os.urandom(1 << 20))
    with tarfile.open(tar, "w") as made:
        made.add(payload, "large")
    payload.unlink()
    for each in sides:
        _quiet(each, "import", str(tar), "large:1")
    tar.unlink()
    peers.settle()
    save = _measured(sides, few, "save", "large:1")
    _quiet(sides[-1], "save", "-o", str(archive), "large:1")

    def load(peer: Peer) -> float:
        _quiet(peer, "rmi", "-f", "large:1")
        peers.settle()
        began = time.perf_counter()
        _quiet(peer, "load", "-q", "-i", str(archive))
        return time.perf_counter() - began

    loaded = measure({each.name: lambda each=each: load(each) for each in sides}, few)
    archive.unlink()
    for each in sides:
        _quiet(each, "rmi", "-f", "large:1")
    size = f"{LARGE_BYTES >> 20} MiB"
    return {f"api save of {size}": save, f"api load of {size}": loaded}


def _remove_all(sides: list[Peer], *names: str) -> None:
    for each in sides:
        _quiet(each, "rm", "-f", *names)
