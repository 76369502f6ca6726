"""A .deb: an ar archive with two tars in it, what dpkg is to know and the files.

Spec: deb(5); ar(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO

from ocimagic.errors import LayerRefused, PackageRefused
from ocimagic.layers.compress import decompressed_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60
_TAR = re.compile(r"(control|data)\.tar(?:\.(?:gz|xz|zst|bz2))?")
_CHUNK = 1 << 18
_MAX_MEMBERS = 32


def data_tar(file: BinaryIO, name: str, *, max_bytes: int) -> Iterator[bytes]:
    """Yield the plain bytes of the tar with a package's files.

    Args:
        file: the .deb, at its beginning.
        name: of the package, for errors.
        max_bytes: how far it may unpack: the guard against a bomb.

    Raises:
        PackageRefused: no .deb, truncated, damaged, or too large.
    """
    size = _find_data(file, name)
    try:
        yield from decompressed_archive(_limited(file, size, name), max_bytes=max_bytes)
    except LayerRefused as err:
        raise refused(name, err.reason) from err


def _find_data(file: BinaryIO, name: str) -> int:
    """Go to the content of the member ``data.tar``; return its size."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise refused(name, "it is no ar archive")
    seen: list[str] = []
    for _ in range(_MAX_MEMBERS):
        member, size = _header(file, name)
        if not seen:
            if member != "debian-binary" or not file.read(min(size, 16)).startswith(b"2."):
                raise refused(name, "it is no .deb of format 2")
            size -= min(size, 16)
        elif not member.startswith("_"):  # deb(5): such members are to be passed over
            kind = _TAR.fullmatch(member)
            expected = "data" if "control" in seen else "control"
            if not kind or kind[1] != expected:
                raise refused(name, f"{member[:40]!r} stands where {expected}.tar should")
            if kind[1] == "data":
                return size
            member = kind[1]
        seen.append(member)
        _skip(file, size + size % 2, name)
    raise refused(name, f"more than {_MAX_MEMBERS} members before its files")


def _header(file: BinaryIO, name: str) -> tuple[str, int]:
    block = file.read(_HEADER_BYTES)
    if len(block) < _HEADER_BYTES:
        raise refused(name, "it ends before its files")
    digits = block[48:58].rstrip(b" ")
    if block[58:] != b"`\n" or not digits.isdigit():
        raise refused(name, "a header of the ar archive is broken")
    # GNU ar ends names with a slash.
    member = block[:16].rstrip(b" ").removesuffix(b"/").decode("ascii", "replace")
    return member, int(digits)


def _skip(file: BinaryIO, count: int, name: str) -> None:
    while count > 0:
        piece = file.read(min(count, _CHUNK))
        if not piece:
            raise refused(name, "it ends before its files")
        count -= len(piece)


def _limited(file: BinaryIO, size: int, name: str) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, _CHUNK))
        if not piece:
            raise refused(name, "it ends inside its files")
        size -= len(piece)
        yield piece


def refused(name: str, why: str) -> PackageRefused:
    """Return the error for a package that is not to be used."""
    return PackageRefused(
        f"the package {name} cannot be unpacked safely",
        why=why,
        hint="do not use this mirror; nothing of it was kept",
    )
