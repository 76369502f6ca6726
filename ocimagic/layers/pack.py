"""A container's changes written as a layer, hashed and listed on the way."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from ocimagic.layers.diff import diff_upper
from ocimagic.layers.ownership import read_leaves
from ocimagic.layers.tarstream import TarWriter
from ocimagic.layers.toc import toc_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CHUNK = 1 << 20


class Meter:
    """Counts and hashes bytes that pass."""

    def __init__(self) -> None:
        self.hasher = hashlib.sha256()
        self.total = 0

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass chunks on, and see each."""
        for chunk in chunks:
            self.see(chunk)
            yield chunk

    def see(self, chunk: bytes | memoryview) -> None:
        """Count and hash a piece."""
        self.hasher.update(chunk)
        self.total += len(chunk)

    @property
    def diff_id(self) -> str:
        """Return the digest of all that was seen."""
        return "sha256:" + self.hasher.hexdigest()


def pack_changes(request: dict[str, object], out_fd: int) -> dict[str, object]:
    """Write an upper directory as an uncompressed layer tar.

    Request: ``upper``, ``userxattr``, ``clamp_mtime`` (seconds or null), ``toc`` (a path),
    ``recorded`` (owners are recorded, those of leaves beside the upper directory).
    Result: ``diff_id``, ``tar_bytes``, ``unpacked_bytes``, ``entries``.
    """
    meter = Meter()
    clamp, upper = request["clamp_mtime"], str(request["upper"])
    with os.fdopen(os.dup(out_fd), "wb", buffering=_CHUNK) as out:

        def sink(chunk: bytes | memoryview) -> None:
            meter.see(chunk)
            out.write(chunk)

        fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            toc = diff_upper(
                fd,
                userxattr=bool(request["userxattr"]),
                writer=TarWriter(sink),
                clamp_mtime=None if clamp is None else int(str(clamp)),
                leaves=(read_leaves(os.path.dirname(upper)) or {}) if request["recorded"] else None,
            )
        finally:
            os.close(fd)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(str(request["toc"]), flags, 0o600), "wb") as file:
        file.write(toc_to_bytes(toc))
    return {
        "diff_id": meter.diff_id,
        "tar_bytes": meter.total,
        "unpacked_bytes": sum(entry.size for entry in toc),
        "entries": len(toc),
    }
