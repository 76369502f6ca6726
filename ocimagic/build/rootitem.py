"""The entries of a home-made layer: files, links and directories with one owner and one date."""

from __future__ import annotations

import posixpath
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.layers.tarheader import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


# One moment for all files and all images, or the same machine would give another image ID at
# every try: the day of the class notes.
CREATED = datetime(2021, 3, 21, tzinfo=UTC)
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_PLAIN_DIRECTORIES = """
    dev etc home mnt opt proc run srv sys usr/bin usr/lib usr/local/bin usr/sbin usr/share
    var/cache var/lib var/log
"""
_MODES = {
    # Not owned by the learner: where only one user id can be mapped, all must belong to root.
    "home/learner": 0o1777,
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
}


class Item(NamedTuple):
    """One thing in a layer and where its content comes from."""

    entry: Entry
    content: bytes | Path = b""


def text_file(path: str, text: str, mode: int = 0o644) -> Item:
    """Return a small file that is written here."""
    content = text.encode()
    return Item(entry(path, Kind.FILE, mode)._replace(size=len(content)), content)


def link(path: str, target: str) -> Item:
    """Return a symlink to a place in the same tree."""
    relative = posixpath.relpath(target, posixpath.dirname(path))
    return Item(entry(path, Kind.SYMLINK, 0o777)._replace(linkname=relative))


def entry(path: str, kind: Kind, mode: int) -> Entry:
    """Return a root-owned tar entry of the one date."""
    return Entry(path, kind, mode, mtime_ns=int(CREATED.timestamp()) * 1_000_000_000)


def skeleton(*trees: Mapping[str, Item]) -> dict[str, Item]:
    """Return the directories every image has, and the links of merged ``/usr``."""
    paths = (*_PLAIN_DIRECTORIES.split(), *_MODES)
    used = [path for tree in (paths, *trees) for path in tree]
    links = [name for name in MERGED if any(f"{path}/".startswith(f"usr/{name}/") for path in used)]
    return {path: directory(path) for path in paths} | {
        name: link(name, f"usr/{name}") for name in links
    }


def directory(path: str) -> Item:
    """Return a directory with the mode its path has everywhere."""
    return Item(entry(f"{path}/", Kind.DIR, _MODES.get(path, 0o755)))


def with_parents(items: Mapping[str, Item]) -> dict[str, Item]:
    """Add the directories that are not said: a layer that says all unpacks by itself."""
    whole = dict(items)
    for path in items:
        parent = posixpath.dirname(path)
        while parent and parent not in whole:
            whole[parent] = directory(parent)
            parent = posixpath.dirname(parent)
    return whole
