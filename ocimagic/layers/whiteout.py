"""How a layer hides what lies below it, in the two forms a layer can take on disk.

Spec: image-spec layer.md, "Whiteouts"; Linux Documentation/filesystems/overlayfs.rst,
"whiteouts and opaque directories".
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import stat
from typing import Protocol

from ocimagic.errors import HostLacks
from ocimagic.layers.rootdir import (
    OPEN_DIRECTORY,
    OpenDirectory,
    empty,
    remove,
)

_WHITEOUT_DEVICE = os.makedev(0, 0)


class NeedsParent(Exception):
    """This layer cannot be applied alone; apply it again, merged onto its parent.

    Raised in style OVERLAY only.  The directory is half written and must be removed.

    Args:
        path: the entry that leans on a lower layer.
        reason: how it does.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path!r} {reason}")
        self.path = path
        self.reason = reason


class WhiteoutStyle(enum.Enum):
    """What a layer is applied to."""

    OVERLAY = enum.auto()  # an empty directory, to be one lower directory of an overlay mount
    MERGE = enum.auto()  # a tree that shows all layers below this one


class Whiteouts(Protocol):
    """How one style hides lower files; ``apply`` decides when."""

    def hide(self, parent: OpenDirectory, name: bytes) -> bool:
        """Hide what lower layers have there; return whether names must be looked up again."""

    def hide_all(self, directory: OpenDirectory) -> bool:
        """Hide all that lower layers have in a directory; return as ``hide``."""

    def cut_off(self, fd: int) -> None:
        """Keep lower files out of a new directory that took the place of no directory."""

    def note(self, parent: OpenDirectory, name: bytes) -> None:
        """Take note that this layer made a file."""


class OverlayWhiteouts:
    """Whiteouts as overlayfs reads them: character devices 0:0 and an xattr.

    Everything in the directory is this layer's own, so a whiteout beside a file of the same
    name hides only what is below, in whatever order the two come.

    Args:
        userxattr: for a mount with this option, as in user namespaces.
    """

    def __init__(self, *, userxattr: bool) -> None:
        namespace = "user" if userxattr else "trusted"
        self._opaque = f"{namespace}.overlay.opaque"
        self._origin = f"{namespace}.overlay.origin"

    def hide(self, parent: OpenDirectory, name: bytes) -> bool:
        """Put a whiteout there, or make the directory that is there opaque."""
        try:
            os.mknod(name, stat.S_IFCHR, _WHITEOUT_DEVICE, dir_fd=parent.fd)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(name, dir_fd=parent.fd).st_mode):
                self._open_and_cut_off(name, parent.fd)
        except PermissionError as err:
            raise HostLacks(
                "deleted files of a layer cannot be marked here",
                why="mknod(2) refuses the character device 0:0 (Linux before 5.8, or a filter)",
                hint="use the copytree snapshotter",
            ) from err
        else:
            self._mark(parent)
        return False

    def hide_all(self, directory: OpenDirectory) -> bool:
        """Make the directory opaque."""
        if not directory.path:
            raise NeedsParent("/", "is opaque, which overlayfs has no word for")
        self._open_and_cut_off(b".", directory.fd)
        return False

    def cut_off(self, fd: int) -> None:
        """Make the directory opaque."""
        try:
            os.setxattr(fd, self._opaque, b"y")
        except OSError as err:
            if err.errno not in (errno.EPERM, errno.ENOTSUP):
                raise
            raise HostLacks(
                "emptied directories of a layer cannot be marked here",
                why=f"the file system refuses the attribute {self._opaque}: {err.strerror}",
                hint="use the copytree snapshotter, or a data root on ext4 or xfs",
            ) from err

    def note(self, parent: OpenDirectory, name: bytes) -> None:
        """Need no notes."""

    def _mark(self, directory: OpenDirectory) -> None:
        """Have the kernel look for whiteouts when it lists this directory.

        It does so by itself where two layers have the directory.  Elsewhere (nothing below, or
        opaque) it would list the whiteout as a file that nobody can open, unless the directory
        has an origin (fs/overlayfs/inode.c, ovl_get_inode); an empty one means "unknown".
        """
        fd = os.open(b".", OPEN_DIRECTORY, dir_fd=directory.fd)
        try:
            with contextlib.suppress(OSError):  # without it a ghost is listed, no more
                os.setxattr(fd, self._origin, b"")
        finally:
            os.close(fd)

    def _open_and_cut_off(self, name: bytes, dir_fd: int) -> None:
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd)
        try:
            self.cut_off(fd)
        finally:
            os.close(fd)


class MergeWhiteouts:
    """Whiteouts carried out: lower files are deleted, this layer's own stay.

    Own files are known by their directory's inode number and their name, because symlinks
    give a directory several paths.  A number that is used again does no harm: a directory
    made by this layer holds nothing else.
    """

    def __init__(self) -> None:
        self._own: set[tuple[int, bytes]] = set()

    def hide(self, parent: OpenDirectory, name: bytes) -> bool:
        """Delete what was there before this layer."""
        try:
            told = os.lstat(name, dir_fd=parent.fd)
        except FileNotFoundError:
            return False
        if not self._is_own(parent.ino, name):
            remove(name, parent.fd, self._is_own)
        elif stat.S_ISDIR(told.st_mode):
            self._empty(name, parent.fd)
        return True

    def hide_all(self, directory: OpenDirectory) -> bool:
        """Delete what was in the directory before this layer."""
        self._empty(b".", directory.fd)
        return True

    def cut_off(self, fd: int) -> None:
        """Have nothing to do: a new directory is empty."""

    def note(self, parent: OpenDirectory, name: bytes) -> None:
        """Remember an own file."""
        self._own.add((parent.ino, name))

    def _is_own(self, directory_ino: int, name: bytes) -> bool:
        return (directory_ino, name) in self._own

    def _empty(self, name: bytes, dir_fd: int) -> None:
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=dir_fd)
        try:
            empty(fd, self._is_own)
        finally:
            os.close(fd)
