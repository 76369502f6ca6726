"""The tree of one layer in memory, with the meaning a layer has as one of an overlay.

It says yes, no and "needs its parent" where ``layers.apply`` does on a real file system.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import LayerRefused
from ocimagic.layers.attributes import Skipped, keeps_xattr
from ocimagic.layers.entrypath import Mark, Place, as_bytes
from ocimagic.layers.erofs.format import MAX_XATTR_UNITS, MAX_XATTR_VALUE, encode_device
from ocimagic.layers.tarheader import MAX_COMPONENT_BYTES, Entry, Kind
from ocimagic.layers.whiteout import NeedsParent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from ocimagic.layers.toc import TocEntry

OPAQUE, ORIGIN = b"trusted.overlay.opaque", b"trusted.overlay.origin"
_MOST_LINKS = 40  # MAXSYMLINKS
_MAX_LINK_BYTES = 4095  # PATH_MAX without its NUL
# What leaves room for overlayfs' own; the root has one block for inode and attributes.
_MOST_XATTR_BYTES = 4 * MAX_XATTR_UNITS - 4096
_MOST_OF_ROOT = 2048
_NO_XATTRS: Mapping[bytes, bytes] = {}
_TYPES = {
    Kind.FILE: stat.S_IFREG,
    Kind.CHAR: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}


class Node:
    """One file of any type.

    Attributes:
        mode: type and permissions, as in ``st_mode``.
        mtime_ns: since the epoch.
        xattrs: full names.
        links: how many names it has; of a directory, how many directories name it.
        size: of content, in bytes; of a symlink, of its text.
        where: a file's first block, a device's number.
        text: of a symlink.
        place: for who writes an image: where the inode goes.
    """

    __slots__ = (
        "gid", "links", "mode", "mtime_ns", "place", "size", "text", "uid", "where", "xattrs",
    )  # fmt: skip

    def __init__(self, mode: int, uid: int, gid: int, mtime_ns: int) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime_ns = mtime_ns
        self.xattrs = _NO_XATTRS
        self.links = 1
        self.size = 0
        self.where = 0
        self.text = b""
        self.place = 0

    @property
    def is_whiteout(self) -> bool:
        """Say whether overlayfs takes it for a deletion."""
        return not self.where and stat.S_ISCHR(self.mode)


class Directory(Node):
    """A directory; the root is its own parent."""

    __slots__ = ("children", "parent")

    def __init__(self, parent: Directory | None, uid: int, gid: int, mtime_ns: int) -> None:
        super().__init__(stat.S_IFDIR | 0o755, uid, gid, mtime_ns)
        self.children: dict[bytes, Node] = {}
        self.parent: Directory = parent or self
        self.links = 2


class Tree:
    """What a layer's entries make, in the tar's order."""

    def __init__(self) -> None:
        self.root = Directory(None, 0, 0, 0)
        self.skipped: list[Skipped] = []
        self._implied: dict[Directory, str] = {}
        self._known: dict[str, Directory] = {"": self.root}

    def put(self, entry: Entry, place: Place, line: TocEntry) -> Node | None:
        """Make one entry; return the new file if it is one that takes content.

        Raises:
            LayerRefused: no file system can hold it.
            NeedsParent: it leans on lower layers.
        """
        if place.mark is Mark.PLAIN and not place.name:
            self._dress_directory(self.root, entry, "")
            return None
        parent = self._parent(place.parent, line)
        name = as_bytes(place.name)
        if place.mark is not Mark.PLAIN:
            self._hide(parent, name, place.mark)
            return None
        kind = entry.kind
        if kind is Kind.DIR:
            self._put_directory(parent, name, entry, line.path)
            return None
        if kind is Kind.HARDLINK:
            self._put_hardlink(parent, name, line)
            return None
        if kind is Kind.SYMLINK:
            node = self._symlink(entry, line.path)
        else:
            node = Node(entry.mode | _TYPES[kind], entry.uid, entry.gid, entry.mtime_ns)
            if kind is Kind.FILE:
                if entry.xattrs:
                    node.xattrs = self._kept(entry, line.path)
            elif kind is not Kind.FIFO:
                node.where = _device(entry, line.path)
            if entry.xattrs and kind is not Kind.FILE:
                self._skip_xattrs(entry, line.path)
        if name in parent.children:
            self._remove(parent, name)
        parent.children[name] = node
        return node if kind is Kind.FILE else None

    def finish(self) -> None:
        """See that nothing is left open.

        Raises:
            NeedsParent: a directory was implied, and lower layers may say what it is like.
        """
        for path in self._implied.values():
            raise NeedsParent(path, "is implied by an entry in it, and not listed itself")

    # Directories

    def _parent(self, path: str, line: TocEntry) -> Directory:
        """Return the directory an entry goes into, made if it is only implied."""
        known = self._known.get(path)
        if known is not None:
            return known
        try:
            found = self._walk(path)
        except FileNotFoundError:
            found = self._imply(path, line)
        except OSError as err:
            if err.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            _lean(line.path, "its parent is no directory", err)
        self._known[path] = found
        return found

    def _walk(self, path: str) -> Directory:
        """Return a directory by its name; symlinks lead where a chroot's would.

        Raises:
            OSError: it is not there, or is no directory.
        """
        here: Directory = self.root
        steps = [as_bytes(path)]
        links = 0
        while steps:
            part, _, rest = steps.pop().partition(b"/")
            if rest:
                steps.append(rest)
            if part in (b"", b"."):
                continue
            if part == b"..":
                here = here.parent
                continue
            if len(part) > MAX_COMPONENT_BYTES:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            node = here.children.get(part)
            if node is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            if isinstance(node, Directory):
                here = node
            elif node.text:
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if node.text.startswith(b"/"):
                    here = self.root
                steps.append(node.text)
            else:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return here

    def _imply(self, path: str, line: TocEntry) -> Directory:
        """Make the directories that entries are in but that the layer does not list."""
        parts = path.split("/")
        there = len(parts)
        parent: Directory | None = None
        while parent is None:
            there -= 1
            try:
                parent = self._walk("/".join(parts[:there]))
            except FileNotFoundError:
                continue
        for count in range(there + 1, len(parts) + 1):
            name = as_bytes(parts[count - 1])
            if name in parent.children:
                _lean(line.path, "its parent is a symlink to nothing")
            made = Directory(parent, 0, 0, line.mtime_ns)
            self._implied[made] = "/".join(parts[:count])
            self._adopt(parent, name, made)
            parent = made
        return parent

    def _adopt(self, parent: Directory, name: bytes, made: Directory) -> None:
        parent.children[name] = made
        parent.links += 1

    def _put_directory(self, parent: Directory, name: bytes, entry: Entry, path: str) -> None:
        """Make a directory, or give the attributes to the one that is there."""
        there = parent.children.get(name)
        if not isinstance(there, Directory):
            if there is not None:
                self._remove(parent, name)
            made = Directory(parent, 0, 0, 0)
            if there is not None:
                made.xattrs = {OPAQUE: b"y"}
            self._adopt(parent, name, made)
            there = made
        self._implied.pop(there, None)
        self._dress_directory(there, entry, path)

    def _dress_directory(self, directory: Directory, entry: Entry, path: str) -> None:
        directory.mode = stat.S_IFDIR | entry.mode
        directory.uid = entry.uid
        directory.gid = entry.gid
        directory.mtime_ns = entry.mtime_ns
        if entry.xattrs or directory.xattrs:
            marks = {key: directory.xattrs[key] for key in directory.xattrs if key in _MARKS}
            directory.xattrs = marks | self._kept(entry, path)

    # Everything else

    def _symlink(self, entry: Entry, path: str) -> Node:
        node = Node(stat.S_IFLNK | 0o777, entry.uid, entry.gid, entry.mtime_ns)
        node.text = as_bytes(entry.linkname)
        node.size = len(node.text)
        if node.size > _MAX_LINK_BYTES:
            raise LayerRefused(path, os.strerror(errno.ENAMETOOLONG).lower())
        if entry.xattrs:
            self._skip_xattrs(entry, path)
        return node

    def _put_hardlink(self, parent: Directory, name: bytes, line: TocEntry) -> None:
        """Link to a file already there; its owner, mode and times stay what they are."""
        above, _, last = line.linkname.rpartition("/")
        target = as_bytes(last)
        missing = f"is a hard link to {line.linkname!r}, which is not there"
        try:
            directory = self._walk(above)
        except OSError as err:
            if err.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            _lean(line.path, missing, err)
        source = directory.children.get(target)
        if source is None:
            _lean(line.path, missing)
        if isinstance(source, Directory):
            _lean(line.path, f"is a hard link to the directory {line.linkname!r}")
        if directory is parent and target == name:
            _lean(line.path, "is a hard link to itself")
        if source.is_whiteout:
            _lean(line.path, f"is a hard link to {line.linkname!r}, which was deleted")
        if name in parent.children:
            self._remove(parent, name)
            if directory.children.get(target) is not source:
                _lean(line.path, "is a hard link to what it replaces")
        source.links += 1
        parent.children[name] = source

    def _hide(self, parent: Directory, name: bytes, mark: Mark) -> None:
        """Mark what lower layers have as deleted."""
        if mark is Mark.OPAQUE:
            if parent is self.root:
                raise NeedsParent("/", "is opaque, which overlayfs has no word for")
            parent.xattrs = {**parent.xattrs, OPAQUE: b"y"}
            return
        there = parent.children.get(name)
        if there is None:
            # Why a directory with a whiteout has an origin: ``whiteout.OverlayWhiteouts``.
            parent.xattrs = {ORIGIN: b"", **parent.xattrs}
            parent.children[name] = Node(stat.S_IFCHR, 0, 0, 0)
        elif isinstance(there, Directory):
            there.xattrs = {**there.xattrs, OPAQUE: b"y"}

    def _remove(self, parent: Directory, name: bytes) -> None:
        """Remove what is in an entry's way, whole."""
        doomed = [parent.children.pop(name)]
        if isinstance(doomed[0], Directory):
            parent.links -= 1
        if isinstance(doomed[0], Directory) or doomed[0].text:
            self._known = {"": self.root}
        while doomed:
            node = doomed.pop()
            node.links -= 1
            if isinstance(node, Directory):
                self._implied.pop(node, None)
                doomed += node.children.values()
                node.children = {}

    def _kept(self, entry: Entry, path: str) -> dict[bytes, bytes]:
        """Return the attributes a layer may set that fit into an inode."""
        kept: dict[bytes, bytes] = {}
        total = 0
        most = _MOST_XATTR_BYTES if path else _MOST_OF_ROOT
        for name, value in entry.xattrs.items():
            size = len(name) + len(value) + 8
            if not keeps_xattr(name):
                why = "no layer may set it"
            elif len(value) > MAX_XATTR_VALUE or total + size > most:
                why = os.strerror(errno.E2BIG)
            else:
                kept[as_bytes(name)] = value
                total += size
                continue
            self.skipped.append(Skipped(path, f"xattr {name}", why))
        return kept

    def _skip_xattrs(self, entry: Entry, path: str) -> None:
        why = "only files and directories keep attributes"
        self.skipped.extend(Skipped(path, f"xattr {key}", why) for key in entry.xattrs)


_MARKS = (OPAQUE, ORIGIN)


def _device(entry: Entry, path: str) -> int:
    try:
        return encode_device(entry.dev_major, entry.dev_minor)
    except ValueError as err:
        raise LayerRefused(path, str(err)) from err


def _lean(path: str, reason: str, cause: OSError | None = None) -> NoReturn:
    """Give up on an entry that fits nothing here; lower layers might make it fit."""
    raise NeedsParent(path, reason) from cause
