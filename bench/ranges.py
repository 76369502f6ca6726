"""One large blob over one connection and over several: does it pay, and where does it cost?

    python bench/ranges.py

A server on loopback gives each connection so many bytes a second, after so much latency; 0 is as
fast as it can.  The reader hashes what comes, as a pull does.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import re
import resource
import statistics
import threading
import time
from typing import TYPE_CHECKING

from ocimagic.registry.client import RegistryClient
from ocimagic.registry.ranges import Spreading
from ocimagic.registry.transport import Transport
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CASES = ((64, 4e6, 0.05), (64, 10e6, 0.02), (128, 25e6, 0.02), (256, 50e6, 0.02), (512, 0.0, 0.0))
PIECE = 64 << 10
BLOCK = bytes(range(256)) * (PIECE // 256)
NEVER = Spreading(connections=0)


async def serve(size: int, rate: float, latency_s: float, told: Connection) -> None:
    """Answer GETs of one blob, each connection at its own pace."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readuntil(b"\r\n\r\n"):
            if b"GET /v2/ " in request:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                continue
            await asyncio.sleep(latency_s)
            found = re.search(rb"[Rr]ange: bytes=(\d+)-(\d+)", request)
            start, end = (int(found[1]), int(found[2]) + 1) if found else (0, size)
            head = f"HTTP/1.1 {206 if found else 200} OK\r\nContent-Length: {end - start}\r\n"
            head += f"Content-Range: bytes {start}-{end - 1}/{size}\r\n" if found else ""
            writer.write(f"{head}\r\n".encode())
            began, sent = time.monotonic(), 0
            while sent < end - start:
                piece = BLOCK[: min(PIECE, end - start - sent)]
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
                ahead_s = sent / rate - (time.monotonic() - began) if rate else 0.0
                if ahead_s > 0.002:
                    await asyncio.sleep(ahead_s)

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await connected(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def run_server(size: int, rate: float, latency_s: float, told: Connection) -> None:
    """Be the server's process."""
    asyncio.run(serve(size, rate, latency_s, told))


def read(port: int, size: int, spreading: Spreading | None) -> tuple[float, int]:
    """Read the blob once; return seconds and helpers used."""
    reference = Reference.parse(f"127.0.0.1:{port}/x")
    blob = Descriptor(mediatype.OCI_LAYER, Digest.of(b""), size)
    hashed, got, helpers = hashlib.sha256(), 0, set()
    with Transport() as transport:
        client = RegistryClient(transport, spreading=spreading)
        began = time.perf_counter()
        with client.open_blob(reference, blob) as stream:
            for chunk in stream.chunks:
                hashed.update(chunk)
                got += len(chunk)
                helpers |= {t.name for t in threading.enumerate() if "range" in t.name}
        took = time.perf_counter() - began
    assert got == size
    return took, len(helpers)


def main() -> None:
    """Print a line per case."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for mib, rate, latency_s in CASES:
        ours, theirs = multiprocessing.Pipe()
        made = (mib << 20, rate, latency_s, theirs)
        server = multiprocessing.get_context("spawn").Process(target=run_server, args=made)
        server.start()
        port = ours.recv()
        times: dict[str, list[float]] = {"one": [], "several": []}
        helpers = 0
        for _ in range(1 if rate else 5):
            times["one"].append(read(port, mib << 20, NEVER)[0])
            took, used = read(port, mib << 20, None)
            times["several"].append(took)
            helpers = max(helpers, used)
        server.kill()
        server.join()
        one, several = (statistics.median(times[each]) for each in ("one", "several"))
        pace = f"{rate / 1e6:g} MB/s, {latency_s * 1e3:g} ms" if rate else "unlimited"
        print(f"{mib} MiB at {pace}: one {one:.2f} s, several {several:.2f} s, {helpers} helpers")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"memory above start: {(after - before) / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
