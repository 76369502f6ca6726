"""Paths that a container may only read, and paths that it must not even see.

Spec: runtime-spec config-linux.md, "Masked Paths", "Readonly Paths".
"""

from __future__ import annotations

import os
import stat

from ocimagic.errors import StartFailed
from ocimagic.linux import mounting
from ocimagic.linux.paths import open_in_root
from ocimagic.runtime.mount_attributes import READONLY, attach, change
from ocimagic.runtime.mount_options import Change, MountOptions
from ocimagic.spec.record import dataclass

_NULL = os.makedev(1, 3)
_NOTHING = (
    mounting.MOUNT_ATTR_RDONLY
    | mounting.MOUNT_ATTR_NOSUID
    | mounting.MOUNT_ATTR_NODEV
    | mounting.MOUNT_ATTR_NOEXEC
)
# Read-only, or chmod of a masked file would be chmod of the machine's /dev/null.
_NULL_DEVICE = MountOptions(top=Change(_NOTHING & ~mounting.MOUNT_ATTR_NODEV))


@dataclass(frozen=True, slots=True)
class ReadOnlyPath:
    """Let a path, and what is mounted there now, be only read; one that is missing is fine."""

    destination: str

    def __str__(self) -> str:
        return f"make {self.destination} read-only"

    def apply(self, root_fd: int) -> None:
        """Do it below the root."""
        target = _find(root_fd, self.destination)
        if target < 0:
            return
        try:
            tree = mounting.open_tree("", dir_fd=target, recursive=True)
            try:
                attach(tree, target, _ALL_READONLY)
            finally:
                os.close(tree)
        finally:
            os.close(target)


@dataclass(frozen=True, slots=True)
class ReadOnlyMount:
    """Make a mount of the container read-only, now that everything in it has its place."""

    destination: str

    def __str__(self) -> str:
        return f"make {self.destination} read-only"

    def apply(self, root_fd: int) -> None:
        """Do it below the root."""
        fd = open_in_root(root_fd, self.destination, os.O_PATH)
        try:
            change(fd, READONLY)
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class MaskedPaths:
    """Hide files behind the null device and directories behind an empty one; some may be missing.

    All directories share one file system, and all files one mount's restrictions: a copy of a
    mount costs a third of a new one.
    """

    paths: tuple[str, ...]

    @property
    def destination(self) -> str:
        """Return where, for people."""
        return ", ".join(self.paths)

    def __str__(self) -> str:
        return f"mask {self.destination}"

    def apply(self, root_fd: int) -> None:
        """Do it below the root."""
        covers: dict[bool, int] = {}
        try:
            for path in self.paths:
                target = _find(root_fd, path)
                if target < 0:
                    continue
                try:
                    _cover(target, covers)
                except OSError as err:
                    raise StartFailed(f"cannot mask {path}", why=err.strerror) from err
                finally:
                    os.close(target)
        finally:
            for tree in covers.values():
                os.close(tree)


_ALL_READONLY = MountOptions(all=READONLY.top)


def _find(root_fd: int, path: str) -> int:
    try:
        return open_in_root(root_fd, path, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _cover(target: int, covers: dict[bool, int]) -> None:
    """Cover one path; the first cover of each kind is kept, the others are its copies.

    Args:
        target: what to cover.
        covers: by "is a directory".
    """
    is_directory = stat.S_ISDIR(os.fstat(target).st_mode)
    first = covers.get(is_directory)
    if first is None:
        covers[is_directory] = (_cover_directory if is_directory else _cover_file)(target)
        return
    tree = mounting.open_tree("", dir_fd=first)
    try:
        mounting.move_mount(tree, target)
    finally:
        os.close(tree)


def _cover_directory(target: int) -> int:
    tree = mounting.new_tree("tmpfs", "tmpfs", "nr_blocks=1,nr_inodes=1", _NOTHING)
    mounting.move_mount(tree, target)
    return tree


def _cover_file(target: int) -> int:
    null = open_null()
    try:
        tree = mounting.open_tree("", dir_fd=null)
    finally:
        os.close(null)
    attach(tree, target, _NULL_DEVICE)
    return tree


def open_null() -> int:
    """Open the machine's null device with O_PATH; close it yourself.

    CVE-2025-31133: the image's may be anything; and the machine's is looked at, too.

    Raises:
        StartFailed: it is something else.
    """
    null = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    found = os.fstat(null)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != _NULL:
        os.close(null)
        raise StartFailed("/dev/null of this machine is not the null device")
    return null
