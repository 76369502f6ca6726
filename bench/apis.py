"""Docker's own client, the same program, in front of our API and of dockerd.

What its client itself costs is on both sides; without a network, for dockerd has none here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING

import peers
from peers import Peer, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOG_BYTES, LARGE_BYTES = 100 * 10**6, 1 << 30
FEW = 2  # turns of what moves many bytes and takes long: none goes before
PATIENCE_S = 120  # for one command
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


def api_times(scratch: Path, docker: Peer, image: str, runs: int) -> Iterator[Results]:
    """Yield what both take who are asked by the same client; both have the image.

    Args:
        scratch: a directory on a real disk.
        docker: a dockerd of our own, and its client.
        image: with busybox.
        runs: of each short command; a few of those that move many bytes.
    """
    with served(scratch, docker) as ours:
        sides = [ours, docker]
        parts: list[Callable[[], Results]] = [
            lambda: _short(sides, image, runs),
            lambda: _many(sides, image, runs),
            lambda: _logs(sides, image),
            lambda: _archives(sides, scratch),
        ]
        for part in parts:
            try:
                yield part()
            except SystemExit as err:  # the rest is measured all the same
                print(f"left out: {err}")
                for each in sides:
                    each.end_all()


def _quiet(peer: Peer, *words: str) -> None:
    """Run one command whose output nobody needs.

    Raises:
        SystemExit: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            [*peer.prefix, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            env=os.environ | peer.environment,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired as err:
        raise SystemExit(f"{peer.name} {words[0]}: not done in {PATIENCE_S} s") from err
    if done.returncode:
        raise SystemExit(f"{peer.name} {words[0]}: {done.stderr.decode(errors='replace')}")


def _measured(sides: list[Peer], runs: int, *words: str, uncounted: int = 1) -> dict[str, float]:
    ways = {each.name: lambda each=each: _quiet(each, *words) for each in sides}
    return measure(ways, runs, uncounted=uncounted)


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
        # docker's client shows what it has every 500 ms, not when it comes: so also without it.
        "api stats, asked without a client": measure(
            {each.name: lambda each=each: _asked(each, "/containers/bench/stats?stream=0")
             for each in sides}, min(runs, 5)),
    }  # fmt: skip
    _remove_all(sides, "bench")
    return results


def _asked(peer: Peer, path: str) -> None:
    """Ask what docker's client asks, over a connection of our own."""
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(PATIENCE_S)
        door.connect(peer.prefix[-1].removeprefix("unix://"))
        head = f"GET /v1.41{path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
        door.sendall(head.encode())
        said = b"".join(iter(lambda: door.recv(1 << 16), b""))
    if not said.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"{peer.name} {path}: {said[:200]!r}")


def _many(sides: list[Peer], image: str, runs: int) -> Results:
    names = [f"bench-{number}" for number in range(100)]
    for each in sides:
        for name in names:
            _quiet(each, "create", "--network", "none", "--name", name, image, "true")
    results = {"api ps of 100": _measured(sides, runs, "ps", "-a")}
    _remove_all(sides, *names)
    return results


def _logs(sides: list[Peer], image: str) -> Results:
    writes = f"yes {LINE} | head -c {LOG_BYTES}"
    for each in sides:
        words = ("--name", "bench", image, "/bin/busybox", "sh", "-c", writes)
        _quiet(each, "run", "-d", "--network", "none", *words)
        _quiet(each, "wait", "bench")
    results = {
        f"api logs of {LOG_BYTES // 10**6} MB": _measured(sides, FEW, "logs", "bench", uncounted=0)
    }
    _remove_all(sides, "bench")
    return results


def _archives(sides: list[Peer], scratch: Path) -> Results:
    """Save and load an image of one layer whose bytes nobody can make fewer."""
    tar, archive = scratch / "large.tar", scratch / "large-image.tar"
    _write_large(scratch / "large", tar)
    for each in sides:
        _quiet(each, "import", str(tar), "large:1")
    tar.unlink()
    peers.settle()
    save = _measured(sides, FEW, "save", "large:1", uncounted=0)
    _quiet(sides[-1], "save", "-o", str(archive), "large:1")

    def load(peer: Peer) -> float:
        _quiet(peer, "rmi", "-f", "large:1")
        peers.settle()
        began = time.perf_counter()
        _quiet(peer, "load", "-q", "-i", str(archive))
        return time.perf_counter() - began

    loads = {each.name: lambda each=each: load(each) for each in sides}
    loaded = measure(loads, FEW, uncounted=0)
    archive.unlink()
    for each in sides:
        _quiet(each, "rmi", "-f", "large:1")
    size = f"{LARGE_BYTES >> 20} MiB"
    return {f"api save of {size}": save, f"api load of {size}": loaded}


def _write_large(payload: Path, tar: Path) -> None:
    """Write the tar of a file that nothing makes smaller."""
    with payload.open("wb") as file:
        for _ in range(LARGE_BYTES >> 20):
            file.write(os.urandom(1 << 20))
    with tarfile.open(tar, "w") as made:
        made.add(payload, "large")
    payload.unlink()


def _remove_all(sides: list[Peer], *names: str) -> None:
    for each in sides:
        _quiet(each, "rm", "-f", *names)
