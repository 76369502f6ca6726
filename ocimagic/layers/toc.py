"""Tables of contents of layers, and the tree a stack of them makes.

A table is small and kept beside its layer; with it ``ls``, ``cat``, user look-ups and diffs
need neither a mount nor an unpacked layer, on any operating system.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.errors import ContentError, LayerRefused
from ocimagic.layers.entrypath import Mark, Place, locate
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterable

_VERSION = 1
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_JSON_BYTES = 1 << 30
_KINDS = {kind.value: kind for kind in Kind}  # ten thousand calls of Kind take 3 ms


class TocEntry(NamedTuple):
    """One line of a layer's table of contents.

    Attributes:
        path: relative to the root, "" for the root; of a whiteout, the path it hides; of an
            opaque mark, its directory.
        size: bytes of content.
        linkname: a symlink's text, or the normalised path a hard link names.
        offset: where the content begins in the uncompressed tar.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    linkname: str
    mtime_ns: int
    offset: int


def toc_entry(entry: Entry, place: Place) -> TocEntry:
    """Judge an entry of a layer and return its line.

    Raises:
        LayerRefused: it would forge a whiteout, replace the root, or link to nothing.
    """
    kind = entry.kind
    link = entry.linkname
    path = place.path
    if place.mark is not Mark.PLAIN:
        kind = Kind.WHITEOUT if place.mark is Mark.WHITEOUT else Kind.OPAQUE
        link = ""
    elif kind is Kind.HARDLINK:
        target = locate(link)
        if target.mark is not Mark.PLAIN or not target.name:
            raise LayerRefused(path, f"a hard link to {link!r}")
        link = target.path
    elif kind is Kind.SYMLINK:
        if not link or "\0" in link:
            raise LayerRefused(path, "a symlink without a text")
    elif kind is Kind.CHAR and entry.dev_major == entry.dev_minor == 0:
        # What overlayfs takes for a whiteout: a layer could hide files without saying so.
        raise LayerRefused(path, "a forged whiteout: a character device 0:0")
    if not path and kind not in (Kind.DIR, Kind.OPAQUE):
        raise LayerRefused("/", "the root of a layer can only be a directory")
    return TocEntry(
        path, kind, entry.mode, entry.uid, entry.gid, entry.size, link, entry.mtime_ns, entry.offset
    )


def toc_of(chunks: Iterable[bytes]) -> tuple[TocEntry, ...]:
    """Read the table of contents of an uncompressed layer tar.

    Raises:
        LayerRefused: the tar is malformed or hostile.
    """
    places = ((entry, locate(entry.name)) for entry in TarReader(chunks))
    return tuple(
        toc_entry(entry, place) for entry, place in places if place.mark is not Mark.IGNORED
    )


def independent(toc: Iterable[TocEntry]) -> bool:
    """Say whether a layer unpacks the same whatever lies below it.

    False when a directory is implied but not listed (its mode and owner come from below),
    when a hard link names a file that the layer does not hold, and for an opaque root, which
    overlayfs has no word for.  True is certain only for a layer that does not reach its own
    directories through its own symlinks; ``apply_layer`` has the last word.
    """
    directories = {""}
    files: set[str] = set()
    parents: set[str] = set()
    for entry in toc:
        if entry.kind is Kind.OPAQUE:
            if not entry.path:
                return False
            parents.add(entry.path)
            continue
        if entry.path:
            parents.add(entry.path.rpartition("/")[0])
        if entry.kind is Kind.DIR:
            directories.add(entry.path)
        elif entry.kind is not Kind.WHITEOUT:
            if entry.kind is Kind.HARDLINK and entry.linkname not in files:
                return False
            files.add(entry.path)
    return parents <= directories


def toc_to_bytes(toc: Iterable[TocEntry], *, gzipped: bool = False) -> bytes:
    """Write a table as compact JSON; equal tables give equal bytes."""
    document = {"version": _VERSION, "entries": list(toc)}
    raw = json.dumps(document, separators=(",", ":")).encode()
    if not gzipped:
        return raw
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(raw) + packer.flush()


def toc_from_bytes(raw: bytes) -> tuple[TocEntry, ...]:
    """Read what ``toc_to_bytes`` wrote, gzipped or not.

    Raises:
        ContentError: these bytes are no table of this version.
    """
    try:
        if raw.startswith(_GZIP_MAGIC):
            raw = zlib.decompressobj(31).decompress(raw, _MAX_JSON_BYTES)
        document = json.loads(raw)
        version = document["version"]
        lines = document["entries"] if version == _VERSION else ()
        kinds = _KINDS
        toc = tuple(TocEntry(path, kinds[kind], *rest) for path, kind, *rest in lines)
    except (ValueError, TypeError, KeyError, zlib.error) as err:
        raise ContentError("a layer's table of contents is damaged", why=str(err)) from err
    if version != _VERSION:
        raise ContentError(f"a layer's table of contents has the unknown version {version!r}")
    return toc


def read_file(chunks: Iterable[bytes], entry: TocEntry, *, max_bytes: int = 1 << 20) -> bytes:
    """Return one small file's content out of its layer.

    Args:
        chunks: the uncompressed tar from its beginning; read no further than needed.
        entry: the file, from the table of the same layer.
        max_bytes: the largest file to return.

    Raises:
        ContentError: the file is larger, no file, or the layer ends before it does.
    """
    if entry.kind is not Kind.FILE or entry.size > max_bytes:
        raise ContentError(
            f"/{entry.path} cannot be read from its layer",
            why=f"a {entry.kind.name.lower()} of {entry.size} bytes, at most {max_bytes} are read",
        )
    parts: list[bytes] = []
    missing = entry.size
    position = 0
    for chunk in chunks if missing else ():
        begin = max(entry.offset - position, 0)
        position += len(chunk)
        if begin < len(chunk):
            parts.append(chunk[begin : begin + missing])
            missing -= len(parts[-1])
        if not missing:
            break
    if missing:
        raise ContentError(f"the layer ends before /{entry.path} does")
    return b"".join(parts)
