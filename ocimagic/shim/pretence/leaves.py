"""Owners of what can have no attributes, by the file itself: a path may change at any time."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.layers.ownership import ROOT, Leaves, Ownership, read_leaves
from ocimagic.layers.rootdir import OPEN_DIRECTORY
from ocimagic.linux.notify import FileKey, file_key
from ocimagic.linux.paths import open_beneath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_LEAVES = 1 << 18


class LeafOwners:
    """What is recorded of symlinks, FIFOs, and files on file systems without attributes.

    Args:
        root_fd: the container's root.  All its layers are on one file system, so that overlayfs
            shows their files' own numbers, with its own device.
    """

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._device = file_key(b"", root_fd).device
        self._owners: dict[FileKey, Ownership] = {}
        # Of files in the layers, which nobody can change: their numbers are never given again,
        # and overlayfs shows them also when it has copied the file up.
        self._below: dict[int, Ownership] = {}

    def __bool__(self) -> bool:
        """Say whether anything is recorded."""
        return bool(self._owners or self._below)

    def load(self, snapshots: Iterable[str], place: str) -> None:
        """Read what is recorded of layers, before this process changes its root.

        Args:
            snapshots: directories with ``fs``.
            place: one whose ``fs`` is where changes go; it may hold something already.
        """
        for snapshot in snapshots:
            for key, owner in _recorded(snapshot):
                self._below[key.ino] = owner
        for key, owner in _recorded(place):
            self._owners[key._replace(device=self._device)] = owner

    def find(self, key: FileKey) -> Ownership | None:
        """Return what is recorded, None for nothing."""
        found = self._owners.get(key)
        if found is None and key.device == self._device:
            return self._below.get(key.ino)
        return found

    def record(self, key: FileKey, owner: Ownership) -> None:
        """Record an owner.

        Raises:
            OSError: ENOSPC, there are too many.
        """
        if key.device == self._device and key.ino in self._below:
            self._below[key.ino] = owner
        elif owner == ROOT:
            self._owners.pop(key, None)
        elif len(self._owners) < MAX_LEAVES or key in self._owners:
            self._owners[key] = owner
        else:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def below(self, upper_fd: int) -> Leaves:
        """Return what is recorded of an upper directory's leaves, by their paths.

        Args:
            upper_fd: of the container's root.
        """
        paths: dict[str, int] = {}
        owners: dict[int, Ownership] = {}  # by number: links to one file have one owner
        for path, ino in _leaves_in(upper_fd) if self else ():
            paths[path] = ino
            # By overlayfs, which may show another number than the upper file has.
            owner = self.find(file_key(os.fsencode(path), self._root_fd))
            if owner is not None and owner != ROOT:
                owners[ino] = owner
        return {path: owners[ino] for path, ino in paths.items() if ino in owners}


def _leaves_in(root_fd: int) -> Iterator[tuple[str, int]]:
    """Yield path and inode number of each symlink and FIFO in a directory."""
    pending = ["."]
    while pending:  # paths, not descriptors: a tree may be very deep
        directory = pending.pop()
        fd = open_beneath(root_fd, os.fsencode(directory), OPEN_DIRECTORY)
        try:
            told = [(name, os.lstat(name, dir_fd=fd)) for name in os.listdir(fd)]
        finally:
            os.close(fd)
        for name, each in told:
            path = name if directory == "." else f"{directory}/{name}"
            if stat.S_ISDIR(each.st_mode):
                pending.append(path)
            elif stat.S_ISLNK(each.st_mode) or stat.S_ISFIFO(each.st_mode):
                yield path, each.st_ino


def _recorded(snapshot: str) -> Iterator[tuple[FileKey, Ownership]]:
    for path, owner in (read_leaves(snapshot) or {}).items():
        yield file_key(os.fsencode(f"{snapshot}/fs/{path}")), owner
