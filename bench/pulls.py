"""Pulls into an empty store until a first container has run, ours beside the peers' and the limit.

Everybody has two clocks in the same round: ``ready``, when ``run … true`` has come back, and
``on disk``, when what was written would survive a power cut: all of the machine's disks are synced.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import made
import peers

from ocimagic import Engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers import Clocks, Peer, Registry

LAYERS, FILES = 20, 300
LARGE, LARGE_BYTES = 8, 128 << 20
# One of these reads gzip from its standard input fastest, one hashes it fastest.
INFLATERS = (
    ("{python}", "-m", "isal.igzip", "-dc"),
    ("igzip", "-dc"),
    ("pigz", "-dc"),
    ("gzip", "-dc"),
)
HASHERS = (("sha256sum",), ("openssl", "dgst", "-sha256"))
LIMIT = """
set -e -o pipefail
mkfifo "$room/packed" "$room/tar"
{hash} <"$room/packed" >"$room/digest" &
{hash} <"$room/tar" >"$room/diff_id" &
curl -sf "$url" | tee "$room/packed" | {inflate} | tee "$room/tar" |
    tar -xp --numeric-owner -C "$room/root"
wait
"""

Results = dict[str, dict[str, float]]


def snapshotters(scratch: Path) -> tuple[str, ...]:
    """Name the ways of ours that this machine has, the one it takes by itself first."""
    with Engine(scratch / "asked", environment={}) as engine:
        first = engine.system.info().snapshotter
    return (first,) if first != "erofs" else (first, "overlay")


class Pulls:
    """Measures pulls; everybody takes turns.

    Args:
        scratch: a directory on a real disk.
        registry: Debian's.
        others: docker and podman.
        debian: the image of one layer, and its blob.
    """

    def __init__(
        self, scratch: Path, registry: Registry, others: list[Peer], debian: tuple[str, Path]
    ) -> None:
        self._scratch, self._registry, self._others = scratch, registry, others
        self._debian, self._layer = debian
        self._ways = snapshotters(scratch)
        self.notes: list[str] = []

    def one_layer(self, runs: int) -> Results:
        """Pull the Debian image, and do the least that could make directories of it."""
        found = self._times("pull", self._debian, runs, limit=self._limit())
        # What the figure of earlier runs was: our own way on this machine.
        name = f"pull {self._ways[0]} on disk"
        return {"pull": {who: s for who, s in found[name].items() if who != "limit"}} | found

    def many_layers(self, root: bytes, runs: int) -> Results:
        """Pull Debian with 19 more layers of a few hundred files; all programs are warm by now."""
        image = self._made(
            "layers", lambda path: made.of_many_layers(path, root, layers=LAYERS, files=FILES)
        )
        return self._times(f"pull {LAYERS} layers", image, runs, uncounted=0)

    def large(self, root: bytes, runs: int) -> Results:
        """Pull 1 GB in few files; all programs are warm by now."""
        image = self._made(
            "large",
            lambda path: made.of_few_files(path, root, files=LARGE, file_bytes=LARGE_BYTES),
        )
        return self._times("pull 1 GB", image, runs, uncounted=0)

    def _made(self, name: str, make: Callable[[Path], object]) -> str:
        path = self._scratch / name
        make(path)
        image = self._registry.push(path, name)
        shutil.rmtree(path)
        return image

    def _times(
        self,
        what: str,
        image: str,
        runs: int,
        *,
        uncounted: int = 1,
        limit: Callable[[], Clocks] | None = None,
    ) -> Results:
        ways = {each: lambda each=each: self._ours(image, each) for each in self._ways}
        ways |= {peer.name: lambda peer=peer: peer.pull(image) for peer in self._others}
        if limit:
            ways["limit"] = limit
        clocks = peers.measure_clocks(ways, runs, peers.settle, uncounted)
        for peer in self._others:
            peer.forget(image)
        results: Results = {}
        for mine in self._ways:
            for clock, times in clocks.items():
                theirs = {who: s for who, s in times.items() if who not in self._ways}
                if mine != "overlay":
                    theirs.pop("limit", None)  # that makes directories
                results[f"{what} {mine} {clock}"] = {"ocimagic": times[mine]} | theirs
        return results

    def _ours(self, image: str, snapshotter: str) -> Clocks:
        """Pull into a data root of its own."""
        root = Path(tempfile.mkdtemp(dir=self._scratch))
        chosen = {"OCIMAGIC_SNAPSHOTTER": snapshotter} if snapshotter != "none" else {}

        def pull() -> None:
            engine.images.pull(image)
            done = engine.containers.run(image, ["true"], network="none", remove=True)
            assert done.exit_code == 0

        with Engine(root, environment=chosen) as engine:
            clocks = peers.clocked(pull)
            engine.images.remove(image)
        shutil.rmtree(root)
        return clocks

    def _limit(self) -> Callable[[], Clocks] | None:
        """Return the pipeline of the fastest programs here, None where some are missing."""
        if not all(map(peers.find, ("bash", "curl", "tee", "tar", "mkfifo"))) or os.geteuid():
            return None
        inflate = fastest(INFLATERS, self._layer)
        hasher = fastest(HASHERS, self._layer)
        self.notes.append(f"limit: inflated by {inflate!r}, hashed by {hasher!r}")
        script = LIMIT.format(hash=hasher, inflate=inflate)
        url = f"http://{self._registry.host}/v2/debian/blobs/sha256:{self._layer.name}"

        def limit() -> Clocks:
            room = Path(tempfile.mkdtemp(dir=self._scratch))
            (room / "root").mkdir()
            variables = os.environ | {"room": str(room), "url": url}
            clocks = peers.clocked(
                lambda: subprocess.run(["bash", "-c", script], env=variables, check=True)
            )
            assert re.search(self._layer.name, (room / "digest").read_text())
            shutil.rmtree(room)
            return clocks

        return limit


def fastest(commands: tuple[tuple[str, ...], ...], path: Path) -> str:
    """Return the command that reads a file fastest, as a shell takes it; each has three tries."""
    times: dict[str, float] = {}
    for words in commands:
        program = [word.format(python=sys.executable) for word in words]
        for _ in range(3):
            with path.open("rb") as file:
                began = time.perf_counter()
                done = _tried(program, file.fileno())
                took = time.perf_counter() - began
            if done:
                name = " ".join(program)
                times[name] = min(took, times.get(name, took))
    return min(times, key=times.__getitem__)


def _tried(program: list[str], stdin: int) -> bool:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.run(program, stdin=stdin, check=False, **quiet).returncode == 0
    except OSError:
        return False
