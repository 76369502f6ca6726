"""The memory of pulls and builds: what is large beside what is small, each in a fresh process.

    python bench/memory.py [--scratch DIRECTORY]

A pull of 1 GB: above what an image of a few bytes takes it may take 80 MB, in the engine's
process and in the largest of those it began; with directories, and with what this machine does
by itself.  A COPY of 2 GB, in one file and in many: above what a COPY of one byte takes, as much.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ocimagic import Engine
from ocimagic.model.options import BuildOptions
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

MIB = 1 << 20
ALLOWED_BYTES = 80e6
COPIED_BYTES, MANY = 2 << 30, 20_000
SPAWN = multiprocessing.get_context("spawn")


class Files(MemorySource):
    """A source whose large blob is a file."""

    def open_blob(self, repository: str, digest: Digest) -> tuple[int, BinaryIO] | None:
        """Open a blob."""
        content = self.blobs.get(digest)
        if content is None or not content.startswith(b"/"):
            return super().open_blob(repository, digest)
        path = Path(content.decode())
        return path.stat().st_size, path.open("rb")


def make_layer(path: Path, mib: int) -> tuple[Digest, Digest]:
    """Write a layer of one file that does not compress; return its digest and its diff_id."""
    blob, diff = hashlib.sha256(), hashlib.sha256()
    packer = zlib.compressobj(0, wbits=31)
    entry = tarfile.TarInfo("file")
    entry.size = mib * MIB
    with path.open("wb") as file:

        def put(tar: bytes) -> None:
            diff.update(tar)
            packed = packer.compress(tar)
            blob.update(packed)
            file.write(packed)

        put(entry.tobuf())
        for _ in range(mib):
            put(os.urandom(MIB))
        put(bytes(2 * tarfile.BLOCKSIZE))
        rest = packer.flush()
        blob.update(rest)
        file.write(rest)
    return Digest.of_hash(blob), Digest.of_hash(diff)


def serve(scratch: Path, told: Connection) -> None:
    """Be the registry, with both images."""
    source = Files()
    for name, mib in (("small", 0), ("large", 1000)):
        path = scratch / name
        digest, diff_id = make_layer(path, mib)
        source.blobs[digest] = str(path).encode()
        config = {"os": "linux", "architecture": os_architecture(), "config": {}}
        config |= {"rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        raw = json.dumps(config).encode()
        about = Descriptor(mediatype.OCI_CONFIG, source.add_blob(raw), len(raw))
        layer = Descriptor(mediatype.OCI_LAYER_GZIP, digest, path.stat().st_size)
        manifest = Manifest.build(about, [layer])
        source.add_manifest(name, manifest.raw, manifest.media_type, tags=["latest"])
    with RegistryServer(source) as server:
        told.send(server.host)
        told.recv()


def os_architecture() -> str:
    """Return this machine's architecture as images name it."""
    from ocimagic.spec.platform import host_platform

    return host_platform().architecture


def pull(scratch: Path, snapshotter: str, told: Connection) -> None:
    """Pull one image; tell the peaks of this process before and after."""
    environment = {"HOME": str(scratch), "OCIMAGIC_SNAPSHOTTER": snapshotter}
    with Engine(scratch / f"root-{os.getpid()}", environment=environment) as engine:
        engine.images.list()
        before = peak_bytes("self")
        reference = told.recv()
        engine.images.pull(reference)
        told.send((before, peak_bytes("self")))
        told.recv()
        engine.images.remove(reference)


def rises(scratch: Path) -> dict[str, float]:
    """Return the bytes that pulls of the large image took, by process and way."""
    ours, theirs = SPAWN.Pipe()
    server = SPAWN.Process(target=serve, args=(scratch, theirs))
    server.start()
    host = ours.recv()
    found = {}
    for way, snapshotter in (("by itself", ""), ("overlay", "overlay")):
        _, small = peaks(scratch, snapshotter, f"{host}/small")
        engine, large = peaks(scratch, snapshotter, f"{host}/large")
        found[f"engine {way}"] = float(engine)
        found[f"worker {way}"] = float(large - small)
    ours.send(None)
    server.join()
    return found


def peaks(scratch: Path, snapshotter: str, image: str) -> tuple[int, int]:
    """Pull in a fresh process: how far its peak rose, and the peak of what it began, in bytes."""
    here, there = SPAWN.Pipe()
    puller = SPAWN.Process(target=pull, args=(scratch, snapshotter, there))
    puller.start()
    there.close()
    here.send(image)
    worker = 0
    while not here.poll(0.01):
        worker = max([worker, *map(peak_bytes, descendants(puller.pid or 0))])
    before, after = here.recv()
    assert worker, "none of the engine's own processes was seen"
    here.send(None)
    puller.join()
    return after - before, worker


def build(scratch: Path, context: str, told: Connection) -> None:
    """Build with COPY; tell the peaks of this process before and after."""
    with Engine(scratch / f"root-{os.getpid()}", environment={"HOME": str(scratch)}) as engine:
        text = "FROM scratch\nCOPY . /copied/\nLABEL a=b\n"
        engine.images.build(BuildOptions(dockerfile=text, context=str(scratch / "one byte")))
        before = peak_bytes("self")
        engine.images.build(BuildOptions(dockerfile=text, context=str(scratch / context)))
        told.send((before, peak_bytes("self")))
    shutil.rmtree(scratch / f"root-{os.getpid()}")


def copies(scratch: Path) -> dict[str, float]:
    """Return the bytes that a COPY of 2 GB took above one of a byte, by the number of files."""
    found = {}
    make_files(scratch / "one byte", 1, 1)
    for count in (1, MANY):
        name = f"{count} file{'s' if count > 1 else ''}"
        make_files(scratch / name, count, COPIED_BYTES // count)
        here, there = SPAWN.Pipe()
        builder = SPAWN.Process(target=build, args=(scratch, name, there))
        builder.start()
        there.close()
        before, after = here.recv()
        builder.join()
        found[name] = float(after - before)
    return found


def make_files(directory: Path, count: int, size: int) -> None:
    """Make files with holes for content: they take no room, and are read as any others."""
    for number in range(count):
        path = directory / str(number // 1000) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)


def peak_bytes(pid: int | str) -> int:
    """Return the most memory that a process has had, 0 when it is gone.

    ``ru_maxrss`` would not do: a process inherits it from whoever began it.
    Source: proc(5), status; fs/exec.c, setmax_mm_hiwater_rss.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    peak = next((line for line in text.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(peak.split()[1]) << 10


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process began, and those that these did."""
    for entry in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            begun = entry.read_text().split()
        except OSError:
            continue
        for each in map(int, begun):
            yield each
            yield from descendants(each)


def main() -> int:
    """Print the figures; fail when they are above what is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", help="a directory with 4 GB to spare")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().scratch) as scratch:
        built, pulled = copies(Path(scratch)), rises(Path(scratch))
    found = {f"2 GB copied: {name}": more for name, more in built.items()}
    found |= {f"1 GB pulled: {who}": more for who, more in pulled.items()}
    for what, more in found.items():
        print(f"{what}: {more / 1e6:.0f} MB above start")
    return int(max(found.values()) > ALLOWED_BYTES)


if __name__ == "__main__":
    raise SystemExit(main())
