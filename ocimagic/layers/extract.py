"""A tar into a tree that others use: what ``cp`` puts into a container, or on the machine.

No layer: names that begin with ``.wh.`` are just names.  Parents are resolved by the kernel
inside the root, the last component is never followed, so nothing outside is reached.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import BadInput, DiskFull, LayerRefused, OcimagicError, StorageError
from ocimagic.layers.attributes import Attributes, IdPolicy
from ocimagic.layers.entrypath import as_bytes, normalise
from ocimagic.layers.rootdir import OPEN_DIRECTORY, OpenDirectory, RootDirectory, open_searchable
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarReader
from ocimagic.linux.paths import make_directories

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOUNTED = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def extract(
    chunks: Iterable[bytes],
    root_fd: int,
    base: str,
    *,
    ids: IdPolicy,
    devices: bool,
    itself: bool = False,
) -> int:
    """Unpack a tar into a directory; what is there already is replaced or added to.

    Args:
        chunks: the uncompressed tar.
        root_fd: what symlinks in the tree are relative to, open.
        base: the directory in it, absolute or relative.
        ids: whether files get the owners the tar says.
        devices: whether device nodes are made; else they are left out.
        itself: whether the directory, too, gets what the tar says of it.

    Returns:
        How many entries were made.

    Raises:
        BadInput: a file would take the place of a directory, or the other way round.
        LayerRefused: the tar is malformed, or names something outside.
        DiskFull: no space.
        StorageError: it cannot be written.
    """
    reader = TarReader(chunks)
    with RootDirectory(root_fd) as root:
        work = _Extraction(reader, root, base.strip("/"), ids, devices=devices)
        work.dresses_itself = itself
        entry: Entry | None = None
        try:
            for entry in reader:
                work.put(entry)
            work.finish()
        except OSError as err:
            raise _as_fact(err, entry.name if entry else base) from err
        return work.count


class _Extraction:
    """One tar on its way into one directory."""

    def __init__(
        self, reader: TarReader, root: RootDirectory, base: str, ids: IdPolicy, *, devices: bool
    ) -> None:
        self.count = 0
        self.dresses_itself = False
        self._reader = reader
        self._root = root
        self._base = base
        self._attributes = Attributes(ids)
        self._devices = devices

    def put(self, entry: Entry) -> None:
        """Make one entry."""
        self._root.close_retired()
        inside = normalise(entry.name)
        if not inside:
            if self.dresses_itself and entry.kind is Kind.DIR:
                self._dress_itself(entry)
            return
        path = self._below(inside)
        above, _, last = path.rpartition("/")
        parent, name = self._parent(above), as_bytes(last)
        self.count += 1
        if entry.kind is Kind.DIR:
            self._put_directory(parent, name, entry, path)
            return
        self._check_no_directory(parent, name, path)
        match entry.kind:
            case Kind.FILE:
                self._put_file(parent, name, entry, path)
            case Kind.SYMLINK:
                self._clear(parent, name)
                os.symlink(as_bytes(entry.linkname), name, dir_fd=parent.fd)
                self._attributes.dress_nofollow(parent, name, entry, path)
            case Kind.HARDLINK:
                self._put_hardlink(parent, name, entry)
            case _:
                self._put_special(parent, name, entry, path)

    def finish(self) -> None:
        """Set modes and times of directories, now that nothing changes them any more."""
        self._attributes.finish(self._root)

    def _dress_itself(self, entry: Entry) -> None:
        here = self._root.open(self._base)
        fd = os.open(b".", OPEN_DIRECTORY, dir_fd=here.fd)
        try:
            self._attributes.dress_directory(fd, entry, here.path)
        finally:
            os.close(fd)

    def _below(self, inside: str) -> str:
        return f"{self._base}/{inside}" if self._base else inside

    def _parent(self, path: str) -> OpenDirectory:
        try:
            return self._root.open(path)
        except FileNotFoundError:
            # A tar need not list its directories.
            os.close(make_directories(self._root.fd, path))
            return self._root.open(path)

    def _put_directory(self, parent: OpenDirectory, name: bytes, entry: Entry, path: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent.fd).st_mode):
                raise BadInput(
                    f"cannot overwrite /{path}, no directory, with a directory"
                ) from None
        fd = open_searchable(name, parent.fd)
        real = f"{parent.path}/{path.rpartition('/')[2]}" if parent.path else path
        held = self._root.hold(real.lstrip("/"), fd)
        self._attributes.dress_directory(fd, entry, held.path)

    def _put_file(self, parent: OpenDirectory, name: bytes, entry: Entry, path: str) -> None:
        try:
            self._clear(parent, name)
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent.fd)
        except OSError as err:
            if err.errno != errno.EBUSY:
                raise
            # Something is mounted there, such as /etc/hosts: only its content can be replaced.
            fd = os.open(name, _MOUNTED, dir_fd=parent.fd)
        try:
            for piece in self._reader.content():
                written = os.write(fd, piece)
                while written < len(piece):
                    written += os.write(fd, piece[written:])
            self._attributes.dress_file(fd, entry, path)
        finally:
            os.close(fd)

    def _put_hardlink(self, parent: OpenDirectory, name: bytes, entry: Entry) -> None:
        above, _, last = self._below(normalise(entry.linkname)).rpartition("/")
        target = as_bytes(last)
        source = self._root.open(above)
        if (source.ino, target) == (parent.ino, name):
            raise LayerRefused(entry.name, "is a hard link to itself")
        self._clear(parent, name)
        # CPython wants a flag to follow symlinks and takes False for "the link itself".
        os.link(target, name, src_dir_fd=source.fd, dst_dir_fd=parent.fd, follow_symlinks=False)

    def _put_special(self, parent: OpenDirectory, name: bytes, entry: Entry, path: str) -> None:
        if entry.kind is not Kind.FIFO and not self._devices:
            return
        self._clear(parent, name)
        if entry.kind is Kind.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent.fd)
        else:
            kind = stat.S_IFCHR if entry.kind is Kind.CHAR else stat.S_IFBLK
            device = os.makedev(entry.dev_major, entry.dev_minor)
            try:
                os.mknod(name, kind | 0o600, device, dir_fd=parent.fd)
            except PermissionError:
                return  # a user namespace may make no devices
        self._attributes.dress_nofollow(parent, name, entry, path)

    def _check_no_directory(self, parent: OpenDirectory, name: bytes, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(name, dir_fd=parent.fd).st_mode):
                raise BadInput(f"cannot overwrite the directory /{path} with a file")

    def _clear(self, parent: OpenDirectory, name: bytes) -> None:
        """Remove a file that is in an entry's way."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent.fd)
            self._root.forget()  # it may have been a symlink that others' parents went through


def _as_fact(err: OSError, name: str) -> OcimagicError:
    """Say what an errno means for a copy."""
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("no space is left for the copy", why=err.strerror, where=name)
    return StorageError("the copy cannot be written", why=err.strerror, where=name)
