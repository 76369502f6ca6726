"""What a container changed: its upper directory beside the layers below.

The rules are those of docker's diff: a directory is changed when something in it is; of a
deleted tree only the top is told.  A file that was opened for writing and is what it was
before is no change, nor are the empty files and directories that the engine mounts things on.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.layers.attributes import keeps_xattr
from ocimagic.layers.entrypath import as_bytes, from_bytes
from ocimagic.layers.ownership import XATTR
from ocimagic.layers.rootdir import OPEN_DIRECTORY
from ocimagic.linux.paths import open_beneath
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

ADDED, CHANGED, DELETED = "A", "C", "D"
_SAME = ""
_READ_BYTES = 1 << 20
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_LOOK = os.O_PATH | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

Change = tuple[str, str]  # kind, and the path without a slash in front


def changes(
    upper_fd: int,
    lower_fd: int,
    *,
    userxattr: bool,
    stubs: Collection[str] = (),
    copied: bool = False,
) -> tuple[list[Change], frozenset[str]]:
    """Compare an upper directory with the merged layers below it.

    Args:
        upper_fd: the upper directory, open.
        lower_fd: the root that the layers make, open.
        userxattr: whether the overlay mount has this option.
        stubs: paths that the engine mounts something on; empty there, they are no change.
        copied: the upper directory began as a copy of what is below, so that what it lacks is
            deleted; stubs are the engine's whatever they hold.

    Returns:
        The changes sorted by path, a directory before what is in it; and the paths in the
        upper directory that are no change.

    Raises:
        OSError: it cannot be read.
    """
    walk = _Walk(upper_fd, lower_fd, "user" if userxattr else "trusted", frozenset(stubs))
    walk.copied = copied
    found, same = _judged(list(walk.nodes()))
    return sorted(found, key=lambda change: change[1].split("/")), same


def weighed(
    upper_fd: int, found: Iterable[Change], *, userxattr: bool
) -> list[tuple[str, str, int, bool, bool]]:
    """Add to each change what lies in the upper directory for it.

    overlayfs marks what it copied up with where that came from, also where it cannot say: an
    empty mark.  What was made anew has none.  Source: fs/overlayfs/copy_up.c, ovl_set_origin.

    Returns:
        Kind, path, size of a file in bytes, whether it is a directory, whether it was copied up.
    """
    origin = f"{'user' if userxattr else 'trusted'}.overlay.origin"
    made = []
    for kind, path in found:
        size, is_directory, copied_up = 0, False, False
        if kind is not DELETED:
            with suppress(FileNotFoundError, NotADirectoryError):  # it has just been removed
                size, is_directory, copied_up = _weight(upper_fd, path, origin)
        made.append((kind, path, size, is_directory, copied_up))
    return made


def _weight(upper_fd: int, path: str, origin: str) -> tuple[int, bool, bool]:
    fd = open_beneath(upper_fd, as_bytes(path), _LOOK)
    try:
        told = os.fstat(fd)
        is_file, is_directory = stat.S_ISREG(told.st_mode), stat.S_ISDIR(told.st_mode)
        size = told.st_size if is_file else 0
        # An O_PATH descriptor has no attributes of its own; only files can be asked like this.
        marked = is_file and _has_mark(fd, origin)
        return size, is_directory, marked
    finally:
        os.close(fd)


def _has_mark(fd: int, name: str) -> bool:
    try:
        os.getxattr(f"/proc/self/fd/{fd}", name)
    except OSError as err:
        if err.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
    return True


@dataclass(slots=True)
class _Node:
    """A file of the upper directory, judged by itself; what is in it may change that.

    Attributes:
        kind: one of the letters, or ``_SAME``.
        is_stub: something is mounted on it, and it is empty for all it knows itself.
    """

    path: str
    kind: str
    is_directory: bool = False
    is_stub: bool = False


def _judged(nodes: list[_Node]) -> tuple[list[Change], frozenset[str]]:
    """Let changes rise to the directories they are in; ``nodes`` has those first."""
    found: list[Change] = []
    same: set[str] = set()
    changed: set[str] = set()
    furnished: set[str] = set()  # directories with a stub somewhere in them
    for node in reversed(nodes):
        parent = node.path.rpartition("/")[0]
        kind = node.kind
        is_engines = node.is_stub or (kind is ADDED and node.path in furnished)
        if node.path in changed:
            kind = kind or CHANGED
        elif is_engines:
            kind = _SAME
            furnished.add(parent)
        if kind:
            found.append((kind, node.path))
            changed.add(parent)
        else:
            same.add(node.path)
    return found, frozenset(same)


class _Walk:
    """One pass over an upper directory."""

    def __init__(self, upper_fd: int, lower_fd: int, namespace: str, stubs: frozenset[str]) -> None:
        self._upper = upper_fd
        self._lower = lower_fd
        self._opaque = f"{namespace}.overlay.opaque"
        self._stubs = stubs
        self.copied = False

    def nodes(self) -> Iterator[_Node]:
        """Yield every file, a directory before what is in it; the root is not one."""
        # Paths, not descriptors or frames: a tree may be very deep.
        pending = [("", False)]
        while pending:
            path, is_new = pending.pop()
            try:
                if path:
                    node = self._node(path, is_new=is_new)
                    yield node
                    if not node.is_directory or (self.copied and node.is_stub):
                        continue
                    is_new = node.kind is ADDED or self._took_the_place_of_a_file(path, node)
                names, opaque = self._names(path)
            except OSError as err:
                if err.errno in _ABSENT:
                    continue  # a container that runs has just removed it
                raise
            pending.extend((_join(path, name), is_new) for name in reversed(names))
            if opaque and not is_new:
                yield from self._cut_off(path, set(names))

    def _names(self, path: str) -> tuple[list[str], bool]:
        """Return what a directory holds, sorted, and whether it hides what is below."""
        fd = open_beneath(self._upper, as_bytes(path) or b".", OPEN_DIRECTORY)
        try:
            names = sorted(map(os.fsencode, os.listdir(fd)))
            return list(map(from_bytes, names)), self.copied or _xattr(fd, self._opaque) == b"y"
        finally:
            os.close(fd)

    def _node(self, path: str, *, is_new: bool) -> _Node:
        fd = open_beneath(self._upper, as_bytes(path), _LOOK)
        try:
            told = os.fstat(fd)
            if stat.S_ISCHR(told.st_mode) and not told.st_rdev and not self.copied:
                return _Node(path, DELETED)
            is_directory = stat.S_ISDIR(told.st_mode)
            is_empty = is_directory or not told.st_size
            is_stub = path in self._stubs and (self.copied or is_empty)
            kind = ADDED if is_new else self._compared(path, fd, told)
            return _Node(path, kind, is_directory, is_stub)
        finally:
            os.close(fd)

    def _compared(self, path: str, fd: int, told: os.stat_result) -> str:
        below = self._below(path)
        if below < 0:
            return ADDED
        try:
            return _SAME if self._is_same(path, fd, told, below) else CHANGED
        finally:
            os.close(below)

    def _below(self, path: str) -> int:
        try:
            return open_beneath(self._lower, as_bytes(path), _LOOK)
        except OSError as err:
            if err.errno in _ABSENT:
                return -1
            raise

    def _took_the_place_of_a_file(self, path: str, node: _Node) -> bool:
        if node.kind is not CHANGED:
            return False
        below = self._below(path)
        try:
            return not stat.S_ISDIR(os.fstat(below).st_mode)
        finally:
            os.close(below)

    def _cut_off(self, path: str, kept: set[str]) -> Iterator[_Node]:
        """Tell what is below in a directory that hides it, or is to have it by itself."""
        fd = open_beneath(self._lower, as_bytes(path) or b".", OPEN_DIRECTORY)
        try:
            gone = {from_bytes(os.fsencode(name)) for name in os.listdir(fd)} - kept
        finally:
            os.close(fd)
        yield from (
            _Node(_join(path, name), DELETED)
            for name in gone
            if _join(path, name) not in self._stubs
        )

    def _is_same(self, path: str, fd: int, told: os.stat_result, below: int) -> bool:
        """Say whether a file is what it was; of a directory, what it holds is not asked."""
        if _identity(told) != _identity(os.fstat(below)):
            return False
        if stat.S_ISLNK(told.st_mode):
            return os.readlink(b"", dir_fd=fd) == os.readlink(b"", dir_fd=below)
        if not stat.S_ISREG(told.st_mode) and not stat.S_ISDIR(told.st_mode):
            return True
        flags = OPEN_DIRECTORY if stat.S_ISDIR(told.st_mode) else _READ
        one = open_beneath(self._upper, as_bytes(path), flags)
        try:
            other = open_beneath(self._lower, as_bytes(path), flags)
            try:
                same = _xattrs(one) == _xattrs(other)
                return same and (stat.S_ISDIR(told.st_mode) or _equal(one, other))
            finally:
                os.close(other)
        finally:
            os.close(one)


def _identity(told: os.stat_result) -> tuple[int, ...]:
    """Return what tells two versions of a file apart without reading it."""
    common = (told.st_mode, told.st_uid, told.st_gid, told.st_rdev)
    if stat.S_ISDIR(told.st_mode):  # its time and size say only that names came and went
        return common
    return (*common, told.st_size, told.st_mtime_ns)


def _equal(one: int, other: int) -> bool:
    while piece := os.read(one, _READ_BYTES):
        if piece != os.read(other, _READ_BYTES):
            return False
    return not os.read(other, 1)


def _xattrs(fd: int) -> dict[str, bytes]:
    # A recorded owner is none of the file's attributes, but a change of it is a change.
    names = [name for name in os.listxattr(fd) if keeps_xattr(name) or name == XATTR]
    return {name: os.getxattr(fd, name) for name in names}


def _xattr(fd: int, name: str) -> bytes:
    try:
        return os.getxattr(fd, name)
    except OSError as err:
        if err.errno in (errno.ENODATA, errno.ENOTSUP):
            return b""
        raise


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
