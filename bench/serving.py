"""Fifty clients pull an image of 100 MB at once: our registry beside Debian's docker-registry.

    python bench/serving.py [--clients N] [--rounds N]

A client asks for the manifest, then for each blob over the same connection, and counts the bytes;
or, as one that pulls does, takes their SHA-256 too.  All of them share two processes.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import made
import peers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

CLIENTS, PROCESSES, ROUNDS = 50, 2, 2
IMAGE_MB, LAYERS = 100, 4
CHUNK = 1 << 20
NAME = "served"
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Served:
    """How one registry did.

    Attributes:
        bytes_per_s: that reached the clients.
        cpu_s: of processor time of the server's process.
        seconds: until the last client had its image.
    """

    bytes_per_s: float
    cpu_s: float
    seconds: float


def serving_figures(
    scratch: Path, theirs: peers.Registry, clients: int = CLIENTS, rounds: int = ROUNDS
) -> dict[str, dict[str, Served]]:
    """Let both serve the same image in turns.

    Returns:
        Medians, by what the clients do with the bytes and by registry.
    """
    path = scratch / "served"
    made.of_random_files(path, layers=LAYERS, layer_bytes=IMAGE_MB * 1_000_000 // LAYERS)
    with ours(scratch / "served-data") as mine:
        servers = {"ocimagic": mine, "docker-registry": theirs}
        for each in servers.values():
            each.push(path, NAME)
        found: dict[str, dict[str, list[Served]]] = {}
        for turn in range(rounds + 1):
            for who, each in servers.items():
                for what in ("serve", "serve hashed"):
                    peers.settle()
                    got = pull_at_once(each, clients, is_hashed=what != "serve")
                    if turn:
                        found.setdefault(what, {}).setdefault(who, []).append(got)
    return {what: {who: _median(each) for who, each in by.items()} for what, by in found.items()}


def _median(several: list[Served]) -> Served:
    return Served(
        statistics.median(each.bytes_per_s for each in several),
        statistics.median(each.cpu_s for each in several),
        statistics.median(each.seconds for each in several),
    )


@contextmanager
def ours(data: Path) -> Iterator[peers.Registry]:
    """Run ``ocimagic registry serve``."""
    words = ["registry", "serve", "--quiet", "--port", "0", "--data", str(data)]
    command = [sys.executable, "-m", "ocimagic", *words]
    environment = os.environ | {"OCIMAGIC_ROOT": str(data.with_name("served-root"))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().strip()
            yield peers.Registry(url.removeprefix("http://"), server.pid)
        finally:
            server.terminate()


def pull_at_once(server: peers.Registry, clients: int, *, is_hashed: bool) -> Served:
    """Let all clients pull at once; they start when all of them are ready."""
    share = [clients // PROCESSES + (each < clients % PROCESSES) for each in range(PROCESSES)]
    pipes = []
    for count in share:
        here, there = SPAWN.Pipe()
        process = SPAWN.Process(target=_be_clients, args=(server.host, count, is_hashed, there))
        process.start()
        there.close()
        pipes.append((here, process))
    for here, _ in pipes:
        here.recv()
    before, began = cpu_s(server.pid), time.perf_counter()
    for here, _ in pipes:
        here.send(None)
    sizes = [here.recv() for here, _ in pipes]
    took = time.perf_counter() - began
    for here, process in pipes:
        here.close()
        process.join()
    return Served(sum(sizes) / took, cpu_s(server.pid) - before, took)


def _be_clients(host: str, count: int, is_hashed: bool, told: Connection) -> None:
    sizes = [0] * count

    def pull(number: int) -> None:
        sizes[number] = _pull(host, is_hashed)

    threads = [threading.Thread(target=pull, args=(each,)) for each in range(count)]
    told.send(None)
    told.recv()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(sizes), "a client failed"
    told.send(sum(sizes))


def _pull(host: str, is_hashed: bool) -> int:
    """Pull the image over one connection; return its bytes."""
    connection = http.client.HTTPConnection(host, timeout=120)
    accept = "application/vnd.oci.image.manifest.v1+json"
    connection.request("GET", f"/v2/{NAME}/manifests/latest", headers={"Accept": accept})
    raw = connection.getresponse().read()
    manifest = json.loads(raw)
    total, buffer = len(raw), memoryview(bytearray(CHUNK))
    for blob in (manifest["config"], *manifest["layers"]):
        connection.request("GET", f"/v2/{NAME}/blobs/{blob['digest']}")
        answer = connection.getresponse()
        size, hasher = 0, hashlib.sha256()
        while got := answer.readinto(buffer):
            size += got
            if is_hashed:
                hasher.update(buffer[:got])
        assert answer.status == 200
        assert size == blob["size"], f"{size} of {blob['size']} bytes"
        assert not is_hashed or f"sha256:{hasher.hexdigest()}" == blob["digest"]
        total += size
    connection.close()
    return total


def cpu_s(pid: int) -> float:
    """Return the seconds of processor time a process has had: proc(5), stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lines(figures: dict[str, dict[str, Served]]) -> list[str]:
    """Say how they did."""
    return [
        f"{what:14} {who}: {got.bytes_per_s / 1e6:.0f} MB/s, {got.cpu_s:.2f} s of processor time"
        for what, by in figures.items()
        for who, got in by.items()
    ]


def main() -> None:
    """Print a line per registry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        theirs = stack.enter_context(peers.registry(scratch))
        figures = serving_figures(scratch, theirs, asked.clients, asked.rounds)
    print("\n".join(lines(figures)))


if __name__ == "__main__":
    main()
