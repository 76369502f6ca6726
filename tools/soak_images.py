"""Layers as large as they come, as EROFS images: a part of ``make soak``, for root.

One layer has a million small files, one a file of more than 4 GiB.  The kernel mounts each
image and ``fsck.erofs`` looks at it; names are counted, and bytes from the beginning, the
middle and the end compared.  Time and memory of the writer are written to a file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.layers.erofs.image import write_image
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarWriter
from ocimagic.linux import mounting, syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = 1_000_000
IN_A_DIRECTORY = 1000
LARGE_BYTES = (4 << 30) + 12_345
PIECE = bytes(at * 31 % 256 for at in range(1 << 20))


def many() -> Iterator[bytes]:
    """Yield the tar of a million files, each holding its own number."""
    parts: list[bytes] = []
    writer = TarWriter(lambda piece: parts.append(bytes(piece)))
    for number in range(FILES):
        directory, name = divmod(number, IN_A_DIRECTORY)
        if not name:
            writer.add(Entry(f"d{directory}/", Kind.DIR, 0o755))
        text = b"%d" % number
        writer.add(Entry(f"d{directory}/f{name}", Kind.FILE, size=len(text)), [text])
        if not name:
            yield b"".join(parts)
            parts.clear()
    writer.finish()
    yield b"".join(parts)


def large() -> Iterator[bytes]:
    """Yield the tar of one large file."""
    header = tarfile.TarInfo("large")
    header.size = LARGE_BYTES
    yield header.tobuf()
    for at in range(0, LARGE_BYTES, len(PIECE)):
        yield PIECE[: LARGE_BYTES - at]
    yield bytes(-LARGE_BYTES % 512)


def check_many(root: Path) -> None:
    """Compare what is mounted with what was asked for."""
    assert len(os.listdir(root)) == FILES // IN_A_DIRECTORY
    assert sum(len(names) for _, _, names in os.walk(root)) == FILES
    for number in (0, 1, 4711, FILES // 2, FILES - 1):
        directory, name = divmod(number, IN_A_DIRECTORY)
        assert (root / f"d{directory}" / f"f{name}").read_bytes() == b"%d" % number


def check_large(root: Path) -> None:
    """Compare what is mounted with what was asked for."""
    with (root / "large").open("rb") as file:
        assert os.fstat(file.fileno()).st_size == LARGE_BYTES
        for at in (0, (1 << 31) - 7, (4 << 30) - 7, LARGE_BYTES - 4000):
            found = os.pread(file.fileno(), 4000, at)
            begin = at % len(PIECE)
            assert found == (PIECE * 2)[begin : begin + len(found)]
            assert len(found) == min(4000, LARGE_BYTES - at)


def write(name: str, directory: Path) -> dict[str, float]:
    """Write one image in a process of its own; return its figures."""
    words = [sys.executable, __file__, "--only", name, "--directory", str(directory)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def write_here(name: str, directory: Path) -> None:
    """Write one image and print its figures as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fd = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    began = time.perf_counter()
    done = write_image(LAYERS[name][0](), fd)
    figures = {
        "entries": done.entries,
        "content_bytes": done.size_bytes,
        "image_bytes": os.fstat(fd).st_size,
        "seconds": round(time.perf_counter() - began, 1),
        "memory_above_start_mb": round(
            (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        ),
    }
    os.close(fd)
    print(json.dumps(figures))


LAYERS = {"many": (many, check_many), "large": (large, check_large)}


def main() -> int:
    """Write, mount, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--result", type=Path)
    parser.add_argument("--only", choices=LAYERS)
    parser.add_argument("--directory", type=Path)
    words = parser.parse_args()
    if words.only:
        write_here(words.only, words.directory)
        return 0
    if os.geteuid():
        print("images are for root: nothing to be done")
        return 0
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounting.mount(None, "/", None, mounting.MS_PRIVATE | mounting.MS_REC)
    results = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as base:
        place = Path(base, "root")
        place.mkdir()
        for name, (_, check) in LAYERS.items():
            results[name] = write(name, Path(base))
            image = f"{base}/{name}"
            subprocess.run(["fsck.erofs", image], check=True, capture_output=True)
            mounting.mount(image, str(place), "erofs", mounting.MS_RDONLY)
            try:
                check(place)
            finally:
                mounting.umount(str(place))
            os.unlink(image)
            print(f"{name}: {results[name]}")
    if words.result:
        day = datetime.now(UTC).date().isoformat()
        words.result.write_text(json.dumps({"day": day, "layers": results}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
