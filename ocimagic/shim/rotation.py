"""Old log files: ``log`` becomes ``log.1``, that ``log.2``, and the last goes.

Each step can be the last one before a kill; beginning again finishes what was begun.
"""

from __future__ import annotations

import contextlib
import os
import zlib

from ocimagic.shim.forks import fork_helper

_CHUNK = 1 << 20
_GZIP = 31  # zlib's wbits for a gzip header and trailer


def shift(path: str, max_files: int) -> None:
    """Make room at ``path``, keeping ``max_files`` with the one to come.

    Raises:
        OSError: a file cannot be renamed.
    """
    if max_files <= 1:
        os.unlink(path)
        return
    # Up to the first gap only: where a kill left one, what lies above has moved already.
    gap = 1
    while gap < max_files and _present(path, gap):
        gap += 1
    if gap == max_files:
        gap -= 1
        _remove(path, gap)
    for number in range(gap - 1, 0, -1):
        for name in _present(path, number):
            os.rename(name, _name(path, number + 1) + name.removeprefix(_name(path, number)))
    os.rename(path, _name(path, 1))


def _name(path: str, number: int) -> str:
    return f"{path}.{number}"


def _present(path: str, number: int) -> list[str]:
    """Return a file's names: the plain one first, which is the whole one if there are two."""
    plain = _name(path, number)
    return [name for name in (plain, f"{plain}.gz") if os.path.exists(name)]


def _remove(path: str, number: int) -> None:
    for name in _present(path, number):
        os.unlink(name)


class Compressor:
    """Compresses one file at a time, in a process of its own."""

    def __init__(self) -> None:
        self._pid = 0

    def start(self, path: str) -> None:
        """Begin to turn ``path`` into ``path.gz``."""
        self._pid = fork_helper(lambda: compress(path))

    def is_busy(self) -> bool:
        """Say whether it has not finished the last one."""
        if self._pid:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                    return True
            self._pid = 0
        return False


def compress(path: str) -> None:
    """Replace a file by a gzip of it: whole, or not at all.

    Raises:
        OSError: the disk is full; the file stays as it is.
    """
    temporary = f"{path}.gz.part"
    try:
        with open(path, "rb") as source, open(temporary, "wb") as target:
            os.fchmod(target.fileno(), 0o640)
            packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
            while chunk := source.read(_CHUNK):
                target.write(packer.compress(chunk))
            target.write(packer.flush())
        os.rename(temporary, f"{path}.gz")
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    os.unlink(path)
