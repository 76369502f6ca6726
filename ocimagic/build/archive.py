"""ADD of a local archive: a tar, compressed or not, told by its content and never its name.

Its entries are rewritten below the destination.  Names that leave it, whiteouts and other
tricks are refused; what the image has in the way is replaced, as ``tar -x`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.build.image_files import kept_xattrs
from ocimagic.errors import LayerRefused
from ocimagic.layers.compress import decompressed_archive
from ocimagic.layers.entrypath import normalise
from ocimagic.layers.tarheader import BLOCK, Entry, Kind, checksum_is_right
from ocimagic.layers.tarstream import TarReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocimagic.build.layer_file import LayerFile
    from ocimagic.build.placement import Placement


def is_archive(chunks: Iterable[bytes]) -> bool:
    """Say whether these bytes are a tar, plain or in gzip, bzip2, xz or zstd."""
    head = b""
    try:
        for piece in decompressed_archive(chunks):
            head += piece
            if len(head) >= BLOCK:
                break
    except (LayerRefused, ImportError):
        return False  # damaged, or no codec here: a file like any other
    return len(head) >= BLOCK and any(head[:BLOCK]) and checksum_is_right(head[:BLOCK])


def extract(
    chunks: Iterable[bytes],
    layer: LayerFile,
    placement: Placement,
    destination: str,
    *,
    max_bytes: int,
    check: Callable[[], None],
) -> None:
    """Write an archive's entries below a directory of the image, with the owners it says.

    Args:
        chunks: the archive.
        layer: takes the entries.
        placement: knows what the image has there.
        destination: resolved path of the directory.
        max_bytes: the guard against a bomb.
        check: called before each entry; may raise.

    Raises:
        LayerRefused: malformed or hostile.
        DockerfileError: an entry that cannot be placed.
    """
    files: dict[str, Entry] = {}
    placement.owner = (0, 0)  # docker's way: --chown is not for directories it leaves out
    reader = TarReader(decompressed_archive(chunks, max_bytes=max_bytes))
    for entry in reader:
        check()
        path = _below(entry.name, destination, placement)
        if path == destination:
            continue  # "./" says how the directory was elsewhere
        made = entry._replace(name=path, xattrs=kept_xattrs(entry.xattrs))
        if entry.kind is Kind.HARDLINK:
            made = _linked(made, destination, placement, files)
        placement.put(made, replace=True)
        for each in placement.take():
            layer.add(each)
        if entry.kind is Kind.FILE:
            layer.add(made, reader.content())
        if entry.kind in (Kind.FILE, Kind.HARDLINK):
            files[path] = made
        else:
            files.pop(path, None)


def _below(name: str, destination: str, placement: Placement) -> str:
    """Return where an entry goes: links of the image above it are followed."""
    parent, _, last = normalise(name).rpartition("/")
    if not last:
        return destination
    above = placement.resolve("/".join(part for part in (destination, parent) if part))
    return f"{above}/{last}" if above else last


def _linked(entry: Entry, destination: str, placement: Placement, files: dict[str, Entry]) -> Entry:
    """Return a hard link as the file it is: who reads the layer must not choose between two."""
    target = _below(entry.linkname, destination, placement)
    if target not in files:
        raise LayerRefused(
            entry.name, f"a hard link to {entry.linkname!r}, which is not in the archive before it"
        )
    file = files[target]
    return entry._replace(linkname=target, mode=file.mode, uid=file.uid, gid=file.gid)
