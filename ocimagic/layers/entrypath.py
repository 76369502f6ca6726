"""Where an entry of a layer belongs: its name, made safe, and what ``.wh.`` names mean.

Spec: image-spec layer.md, "Whiteouts".
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from ocimagic.errors import LayerRefused
from ocimagic.layers.tarheader import MAX_COMPONENT_BYTES, MAX_NAME_BYTES

WHITEOUT_PREFIX = ".wh."
WHITEOUT_MODE = 0o600  # of no meaning; one for all, so that equal layers are equal bytes
OPAQUE_NAME = ".wh..wh..opq"
_AUFS_PREFIX = ".wh..wh."


class Mark(enum.Enum):
    """What the name of an entry says about it."""

    PLAIN = enum.auto()
    WHITEOUT = enum.auto()  # hides the file of the lower layers that Place.name names
    OPAQUE = enum.auto()  # hides all that lower layers have in Place.parent
    IGNORED = enum.auto()  # bookkeeping of aufs, no part of the file system


class Place(NamedTuple):
    """Where an entry belongs, relative to the root and without ``.`` or ``..``.

    Attributes:
        parent: the directory; "" is the root.
        name: the last component; "" for the root itself and for an opaque mark.
        mark: plain, or what ``.wh.`` stands for.
    """

    parent: str
    name: str
    mark: Mark

    @property
    def path(self) -> str:
        """Return parent and name as one path; "" is the root."""
        return (
            f"{self.parent}/{self.name}"
            if self.parent and self.name
            else (self.parent or self.name)
        )


def as_bytes(path: str) -> bytes:
    """Return a tar's name as the kernel wants it, whatever this process' locale is."""
    return path.encode("utf-8", "surrogateescape")


def from_bytes(raw: bytes) -> str:
    """Return a name from the kernel as a tar reader would."""
    return raw.decode("utf-8", "surrogateescape")


def normalise(name: str) -> str:
    """Return a name relative to the root: ``/a//./b/`` is ``a/b``, ``./`` is "".

    Raises:
        LayerRefused: a ``..``, a NUL, or longer than a path can be.
    """
    parts = [part for part in name.split("/") if part and part != "."]
    if ".." in parts:
        raise LayerRefused(name[:MAX_NAME_BYTES], "its name has '..' in it")
    path = "/".join(parts)
    if len(path) > MAX_COMPONENT_BYTES // 4:
        _check_lengths(path, parts)
    if "\0" in path:
        raise LayerRefused(path, "its name holds a NUL byte")
    return path


def _check_lengths(path: str, parts: list[str]) -> None:
    if len(as_bytes(path)) > MAX_NAME_BYTES:
        raise LayerRefused(path[:MAX_NAME_BYTES], f"its name is over {MAX_NAME_BYTES} bytes")
    if any(len(part) * 4 > MAX_COMPONENT_BYTES for part in parts) and any(
        len(as_bytes(part)) > MAX_COMPONENT_BYTES for part in parts
    ):
        raise LayerRefused(path, f"a component of its name is over {MAX_COMPONENT_BYTES} bytes")


def locate(name: str) -> Place:
    """Say where an entry belongs and what its name means.

    Raises:
        LayerRefused: a name that leaves the root, or a ``.wh.`` that hides nothing.
    """
    path = normalise(name)
    parent, _, last = path.rpartition("/")
    if WHITEOUT_PREFIX not in path:
        return Place(parent, last, Mark.PLAIN)
    for part in parent.split("/"):
        if part.startswith(_AUFS_PREFIX):
            return Place(parent, last, Mark.IGNORED)
        if part.startswith(WHITEOUT_PREFIX):
            raise LayerRefused(path, "it lies in a whiteout")
    if not last.startswith(WHITEOUT_PREFIX):
        return Place(parent, last, Mark.PLAIN)
    if last == OPAQUE_NAME:
        return Place(parent, "", Mark.OPAQUE)
    if last.startswith(_AUFS_PREFIX):
        return Place(parent, last, Mark.IGNORED)
    hidden = last[len(WHITEOUT_PREFIX) :]
    if hidden in ("", ".", ".."):
        raise LayerRefused(path, "a whiteout of no name")
    return Place(parent, hidden, Mark.WHITEOUT)
