"""Write a layer into a directory.

Each entry is made below a descriptor of its parent directory, which the kernel resolved
inside the root (openat2, RESOLVE_IN_ROOT); the last component is never followed.  So no
name, link or race in a layer reaches a file outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, NoReturn

from ocimagic.errors import DiskFull, LayerRefused, OcimagicError, StorageError
from ocimagic.layers.attributes import Attributes, IdPolicy, Skipped
from ocimagic.layers.entrypath import Mark, Place, as_bytes, locate
from ocimagic.layers.rootdir import (
    OPEN_DIRECTORY,
    OpenDirectory,
    RootDirectory,
    open_searchable,
    remove,
)
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarReader
from ocimagic.layers.toc import TocEntry, independent, toc_entry
from ocimagic.layers.whiteout import (
    MergeWhiteouts,
    NeedsParent,
    OverlayWhiteouts,
    Whiteouts,
    WhiteoutStyle,
)
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ocimagic.layers.ownership import Leaves

__all__ = [
    "AppliedLayer",
    "IdPolicy",
    "NeedsParent",
    "Skipped",
    "WhiteoutStyle",
    "apply_layer",
]

_SHOWN = 200  # characters of a name in a message
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedLayer:
    """What applying a layer came to.

    Attributes:
        entries: how many entries the tar has.
        size_bytes: content of all files.
        toc: the table of contents, in the tar's order, with the owners the layer means.
        needs_parent: whether the layer leans on lower layers, so that it is not the same
            directory over every parent.
        skipped: what was left out.
        leaves: records of what can have no attributes, with ids RECORDED.
    """

    entries: int
    size_bytes: int
    toc: tuple[TocEntry, ...]
    needs_parent: bool
    skipped: tuple[Skipped, ...]
    leaves: Leaves = field(default_factory=dict)


def apply_layer(
    chunks: Iterable[bytes],
    root_fd: int,
    *,
    style: WhiteoutStyle,
    ids: IdPolicy,
    userxattr: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> AppliedLayer:
    """Unpack a layer; on any error the root is left half written, for the caller to remove.

    Args:
        chunks: the uncompressed tar; read to its end, so a digest over it is complete.
        root_fd: the directory, open: an empty one for OVERLAY, the parent's tree for MERGE.
        style: whether deletions are marked for overlayfs or carried out.
        ids: whether files get the owners the layer says.
        userxattr: mark opaque directories for overlay's option of that name.
        on_progress: is told the bytes of tar used so far, after each chunk.

    Raises:
        LayerRefused: the tar is malformed or hostile, or an owner has no place in this user
            namespace.
        NeedsParent: style OVERLAY, and the layer leans on its parent.
        DiskFull: no space.
        StorageError: the directory cannot be written.
        HostLacks: the kernel or file system cannot mark a deletion or change an owner.
    """
    whiteouts: Whiteouts = MergeWhiteouts()
    if style is WhiteoutStyle.OVERLAY:
        whiteouts = OverlayWhiteouts(userxattr=userxattr)
    reader = TarReader(counted(chunks, on_progress) if on_progress else chunks)
    with RootDirectory(root_fd) as root:
        work = _Application(reader, root, whiteouts, style=style, ids=ids)
        entry: Entry | None = None
        try:
            for entry in reader:
                work.put(entry)
            work.finish()
        except OSError as err:
            raise as_fact(err, entry.name if entry else "") from err
        except RecursionError as err:
            raise LayerRefused("", "directories nested too deep to remove") from err
        return work.result()


class _Application:
    """One layer on its way into one root."""

    def __init__(
        self,
        reader: TarReader,
        root: RootDirectory,
        whiteouts: Whiteouts,
        *,
        style: WhiteoutStyle,
        ids: IdPolicy,
    ) -> None:
        self._reader = reader
        self._root = root
        self._whiteouts = whiteouts
        self._merges = style is WhiteoutStyle.MERGE
        self._attributes = Attributes(ids)
        self._toc: list[TocEntry] = []
        self._entries = 0
        self._no_devices: set[str] = set()
        self._implied: dict[int, str] = {}  # by inode number: symlinks give it several paths
        self._makers: dict[Kind, Callable[[OpenDirectory, bytes, Entry, TocEntry], None]] = {
            Kind.FILE: self._put_file,
            Kind.DIR: self._put_directory,
            Kind.SYMLINK: self._put_symlink,
            Kind.HARDLINK: self._put_hardlink,
            Kind.CHAR: self._put_special,
            Kind.BLOCK: self._put_special,
            Kind.FIFO: self._put_special,
        }

    def put(self, entry: Entry) -> None:
        """Make one entry, or carry out what its name means."""
        self._root.close_retired()
        self._entries += 1
        place = locate(entry.name)
        if place.mark is Mark.IGNORED:
            return
        line = toc_entry(entry, place)
        self._toc.append(line)
        if place.mark is not Mark.PLAIN:
            self._hide(place, line)
        elif not place.name:
            self._put_root(entry)
        else:
            parent = self._parent(place.parent, line)
            name = as_bytes(place.name)
            self._makers[entry.kind](parent, name, entry, line)
            self._whiteouts.note(parent, name)

    def finish(self) -> None:
        """Set modes and times of directories, now that nothing changes them any more.

        Raises:
            NeedsParent: a directory was implied, and lower layers may say what it is like.
        """
        if self._implied and not self._merges:
            path = next(iter(self._implied.values()))
            raise NeedsParent(path, "is implied by an entry in it, and not listed itself")
        self._attributes.finish(self._root)

    def result(self) -> AppliedLayer:
        """Return what it came to."""
        toc = tuple(self._toc)
        return AppliedLayer(
            entries=self._entries,
            size_bytes=sum(line.size for line in toc),
            toc=toc,
            needs_parent=self._merges and not independent(toc),
            skipped=tuple(self._attributes.skipped),
            leaves=self._attributes.leaves(self._root),
        )

    # Directories

    def _parent(self, path: str, line: TocEntry) -> OpenDirectory:
        """Return the directory an entry goes into, made if it is only implied."""
        try:
            parent = self._root.open(path)
        except FileNotFoundError:
            parent = self._imply(path, line)
        except OSError as err:
            if err.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            self._lean(line.path, "its parent is no directory", err)
        if self._merges:
            self._attributes.touch(parent)
        return parent

    def _imply(self, path: str, line: TocEntry) -> OpenDirectory:
        """Make the directories that entries are in but that the layer does not list."""
        parts = path.split("/")
        there = len(parts)
        parent = None
        while parent is None:
            there -= 1
            with contextlib.suppress(FileNotFoundError):
                parent = self._root.open("/".join(parts[:there]))
        if self._merges:
            self._attributes.touch(parent)
        for count in range(there + 1, len(parts) + 1):
            parent = self._make_implied(parent, "/".join(parts[:count]), line)
            self._root.close_retired()  # of a thousand levels only the last is still needed
        return parent

    def _make_implied(self, parent: OpenDirectory, path: str, line: TocEntry) -> OpenDirectory:
        name = as_bytes(path.rpartition("/")[2])
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except FileExistsError as err:
            self._lean(line.path, "its parent is a symlink to nothing", err)
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent.fd)
        made = self._root.hold(_below(parent, path), fd)
        self._attributes.dress_implied(made, fd, line.mtime_ns)
        self._implied[made.ino] = path
        self._whiteouts.note(parent, name)
        return made

    def _put_root(self, entry: Entry) -> None:
        fd = os.open(".", OPEN_DIRECTORY, dir_fd=self._root.fd)
        try:
            self._attributes.dress_directory(fd, entry, "")
        finally:
            os.close(fd)

    def _put_directory(
        self, parent: OpenDirectory, name: bytes, entry: Entry, line: TocEntry
    ) -> None:
        """Make a directory, or give the attributes to the one that is there."""
        replaced = False
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent.fd).st_mode):
                self._clear(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent.fd)
                replaced = True
        fd = open_searchable(name, parent.fd)
        held = self._root.hold(_below(parent, line.path), fd)
        if replaced:
            self._whiteouts.cut_off(fd)
        self._implied.pop(held.ino, None)
        self._attributes.dress_directory(fd, entry, held.path)

    # Everything else

    def _put_file(self, parent: OpenDirectory, name: bytes, entry: Entry, line: TocEntry) -> None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent.fd)
        except FileExistsError:
            self._clear(parent, name)
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent.fd)
        try:
            for piece in self._reader.content():
                written = os.write(fd, piece)
                while written < len(piece):
                    written += os.write(fd, piece[written:])
            self._attributes.dress_file(fd, entry, line.path)
        finally:
            os.close(fd)

    def _put_symlink(
        self, parent: OpenDirectory, name: bytes, entry: Entry, line: TocEntry
    ) -> None:
        text = as_bytes(entry.linkname)
        try:
            os.symlink(text, name, dir_fd=parent.fd)
        except FileExistsError:
            self._clear(parent, name)
            os.symlink(text, name, dir_fd=parent.fd)
        self._attributes.dress_nofollow(parent, name, entry, line.path)

    def _put_hardlink(
        self,
        parent: OpenDirectory,
        name: bytes,
        entry: Entry,  # noqa: ARG002  all makers have one signature
        line: TocEntry,
    ) -> None:
        """Link to a file already there; its owner, mode and times stay what they are."""
        if line.linkname in self._no_devices:
            self._skip_device(parent, name, line.path)
            return
        above, _, last = line.linkname.rpartition("/")
        target = as_bytes(last)
        try:
            source = self._root.open(above)
            told = os.lstat(target, dir_fd=source.fd)
        except OSError as err:
            if err.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            self._lean(line.path, f"is a hard link to {line.linkname!r}, which is not there", err)
        if stat.S_ISDIR(told.st_mode):
            self._lean(line.path, f"is a hard link to the directory {line.linkname!r}")
        if (source.ino, target) == (parent.ino, name):
            self._lean(line.path, "is a hard link to itself")
        if stat.S_ISCHR(told.st_mode) and not told.st_rdev:
            self._lean(line.path, f"is a hard link to {line.linkname!r}, which was deleted")
        try:
            _link(source.fd, target, parent.fd, name)
        except FileExistsError:
            self._clear(parent, name)
            try:
                _link(source.fd, target, parent.fd, name)
            except FileNotFoundError as err:
                self._lean(line.path, "is a hard link to what it replaces", err)

    def _put_special(
        self, parent: OpenDirectory, name: bytes, entry: Entry, line: TocEntry
    ) -> None:
        try:
            try:
                _make_node(parent.fd, name, entry)
            except FileExistsError:
                self._clear(parent, name)
                _make_node(parent.fd, name, entry)
        except PermissionError:
            if entry.kind is Kind.FIFO:
                raise
            if self._attributes.records:
                self._stand_in(parent, name, entry, line.path)
            else:
                self._skip_device(parent, name, line.path)
            return
        self._attributes.dress_nofollow(parent, name, entry, line.path)

    # Shared

    def _hide(self, place: Place, line: TocEntry) -> None:
        """Carry out a whiteout or an opaque mark."""
        if self._merges:
            try:
                parent = self._root.open(place.parent)
            except OSError as err:
                if err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    return  # nothing to hide
                raise
            self._attributes.touch(parent)
        else:
            parent = self._parent(place.parent, line)
        if place.mark is Mark.OPAQUE:
            stale = self._whiteouts.hide_all(parent)
        else:
            stale = self._whiteouts.hide(parent, as_bytes(place.name))
        if stale:
            self._root.forget()

    def _clear(self, parent: OpenDirectory, name: bytes) -> None:
        """Remove what is in an entry's way, whole."""
        remove(name, parent.fd)
        self._root.forget()

    def _stand_in(self, parent: OpenDirectory, name: bytes, entry: Entry, path: str) -> None:
        """Make an empty file in a device's place, with a record of which it is."""
        fd = os.open(name, _CREATE, 0o600, dir_fd=parent.fd)
        try:
            self._attributes.dress_file(fd, entry, path)
        finally:
            os.close(fd)

    def _skip_device(self, parent: OpenDirectory, name: bytes, path: str) -> None:
        """Leave a device out, but hide what it would have hidden."""
        why = "this process may not make devices"
        self._attributes.skipped.append(Skipped(path, "device", why))
        self._no_devices.add(path)
        self._whiteouts.hide(parent, name)

    def _lean(self, path: str, reason: str, cause: OSError | None = None) -> NoReturn:
        """Give up on an entry that fits nothing here; lower layers might make it fit."""
        if self._merges:
            raise LayerRefused(path, reason) from cause
        raise NeedsParent(path, reason) from cause


def _below(parent: OpenDirectory, path: str) -> str:
    """Return where a path is whose parent directory is really elsewhere."""
    name = path.rpartition("/")[2]
    return f"{parent.path}/{name}" if parent.path else name


def _link(source_fd: int, target: bytes, dir_fd: int, name: bytes) -> None:
    # CPython wants a flag to follow symlinks and takes False for "the link itself".
    os.link(target, name, src_dir_fd=source_fd, dst_dir_fd=dir_fd, follow_symlinks=False)


def _make_node(dir_fd: int, name: bytes, entry: Entry) -> None:
    if entry.kind is Kind.FIFO:
        os.mkfifo(name, 0o600, dir_fd=dir_fd)
        return
    kind = stat.S_IFCHR if entry.kind is Kind.CHAR else stat.S_IFBLK
    device = os.makedev(entry.dev_major, entry.dev_minor)
    os.mknod(name, kind | 0o600, device, dir_fd=dir_fd)


def counted(chunks: Iterable[bytes], on_progress: Callable[[int], None]) -> Iterator[bytes]:
    """Pass chunks on and tell, after each, how many bytes that is so far."""
    done_bytes = 0
    for chunk in chunks:
        yield chunk
        done_bytes += len(chunk)
        on_progress(done_bytes)


def as_fact(err: OSError, name: str) -> OcimagicError:
    """Say what an errno means for a layer whose entry has this name."""
    name = name if len(name) <= _SHOWN else f"...{name[-_SHOWN:]}"
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            "no space is left to unpack a layer",
            why=err.strerror,
            where=name or None,
            hint="remove images and containers, or move the data root",
        )
    if err.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return LayerRefused(name, os.strerror(err.errno).lower())
    return StorageError("a layer cannot be unpacked", why=err.strerror, where=name or None)
