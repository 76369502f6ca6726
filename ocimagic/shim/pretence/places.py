"""Files as a process of the container names them, and what is recorded of them.

This process has the container's root for its own, so that no path leads out of it, whatever
links are on the way and whoever changes them meanwhile; and its working directory is the
machine's /proc, where ``PID/cwd`` and ``PID/fd/N`` are what a relative path begins at.  What is
only looked at is named by such a path.  What is to be changed is opened first, without links
of the kernel's own making on the way; then the process must still be waiting for its answer,
for a pid can become somebody else's; and then only that descriptor is used.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.layers.ownership import ROOT, Ownership, find_record, record
from ocimagic.linux import syscalls
from ocimagic.linux.notify import Listener, Memory, file_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.linux.notify import Question
    from ocimagic.shim.pretence.leaves import LeafOwners

HERE = -100  # AT_FDCWD
NOFOLLOW, FOLLOW, EMPTY_PATH = 0x100, 0x400, 0x1000  # AT_SYMLINK_NOFOLLOW and its kin
# "self" is whoever looks: these are meant by who asks.
_OWN_FILES = re.compile(rb"/+(?:proc/+(?:self|thread-self)/+fd|dev/+fd)/+(\d{1,9})")
_STREAMS = {b"/dev/stdin": 0, b"/dev/stdout": 1, b"/dev/stderr": 2}
MAY_BE_OWN = (b"/proc/", b"/dev/", b"//")
_SAME_ROOT = contextlib.nullcontext()
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EPERM)


class Name(NamedTuple):
    """How a process names a file.

    Attributes:
        dir_fd: where a relative path begins: a descriptor of the process, or HERE.
        path: empty for what ``dir_fd`` itself is.
    """

    dir_fd: int
    path: bytes

    @property
    def above(self) -> Name:
        """Return the directory that the last part of the path is in."""
        above, slash, _ = self.path.rstrip(b"/").rpartition(b"/")
        return Name(self.dir_fd, above or (b"/" if slash else b""))


class Gone(Exception):
    """Who asked is not there any more."""


class Places:
    """The files of one container.

    Args:
        listener: whose questions they are about.
        memory: of the processes.
        proc_fd: the machine's /proc.
        root_fd: the container's root.
    """

    def __init__(self, listener: Listener, memory: Memory, proc_fd: int, root_fd: int) -> None:
        self._listener = listener
        self._memory = memory
        self._proc_fd = proc_fd
        self._root_fd = root_fd
        # Whether any process may have another root than the container's.
        self.some_changed_root = False

    def enter(self) -> None:
        """Take the container's root, and stand in /proc."""
        os.fchdir(self._root_fd)
        os.chroot(".")
        os.fchdir(self._proc_fd)

    def seen_by(self, question: Question) -> contextlib.AbstractContextManager[None]:
        """Have the root that a process has, in the with-block."""
        return self._with_root_of(question) if self.some_changed_root else _SAME_ROOT

    @contextlib.contextmanager
    def _with_root_of(self, question: Question) -> Iterator[None]:
        fd = os.open(b"%d/root" % question.pid, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.check(question)
            os.fchdir(fd)
            os.chroot(".")
            os.fchdir(self._proc_fd)
            yield
        finally:
            os.close(fd)
            self.enter()

    def check(self, question: Question) -> None:
        """Make sure that the pid still is that of who asked.

        Raises:
            Gone: it may not be.
        """
        if not self._listener.is_waiting(question):
            raise Gone

    def name(
        self,
        question: Question,
        dir_fd: int,
        address: int,
        *,
        empty: bool = False,
        follow: bool = True,
    ) -> Name:
        """Read how a process names a file.

        Args:
            question: whose.
            dir_fd: where a relative path begins: a descriptor of the process, or HERE.
            address: of the path.
            empty: the path may be, for what ``dir_fd`` is.
            follow: what a link at its end leads to is meant.

        Raises:
            OSError: EFAULT, ENAMETOOLONG, ENOENT.
        """
        path = self._memory.read_text(question.pid, address) if address or not empty else b""
        if not path and not empty:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if follow and path.startswith(MAY_BE_OWN):
            if found := _OWN_FILES.fullmatch(path):
                return Name(int(found[1]), b"")
            if path in _STREAMS:
                return Name(_STREAMS[path], b"")
        return Name(dir_fd, path)

    def place(self, question: Question, name: Name) -> bytes:
        """Return what this process calls a file, for looking at it only."""
        dir_fd, path = name
        if path[:1] == b"/":
            return path
        start = b"%d/cwd" % question.pid if dir_fd == HERE else b"%d/fd/%d" % (question.pid, dir_fd)
        return start + b"/" + path if path else start

    def hold(self, question: Question, name: Name, *, follow: bool) -> int:
        """Open a file with O_PATH for changing it; close it yourself.

        Raises:
            OSError: it is not there; ELOOP for a link of the kernel's own making.
            Gone: who asked is.
        """
        flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        if not name.path:
            fd = self._open_start(question, name.dir_fd, os.O_PATH | os.O_CLOEXEC)
        else:
            with self.start(question, name) as start:
                fd = syscalls.openat2(start, name.path, flags, 0, syscalls.RESOLVE_NO_MAGICLINKS)
        try:
            self.check(question)
        except Gone:
            os.close(fd)
            raise
        return fd

    @contextlib.contextmanager
    def start(self, question: Question, name: Name) -> Iterator[int]:
        """Open the directory that a path begins at.

        Raises:
            OSError: the process has no such descriptor, or it is no directory.
        """
        if name.path[:1] == b"/":
            yield self._root_fd
            return
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        fd = self._open_start(question, name.dir_fd, flags)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open_start(self, question: Question, dir_fd: int, flags: int) -> int:
        try:
            return os.open(self.place(question, Name(dir_fd, b"")), flags)
        except FileNotFoundError as err:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from err

    @contextlib.contextmanager
    def parent(self, question: Question, name: Name) -> Iterator[tuple[int, bytes]]:
        """Open the directory that something is to be made in; give it with the last name.

        Raises:
            OSError: the directory is not there; EEXIST for a path without a last name.
            Gone: who asked is.
        """
        last = name.path.rstrip(b"/").rpartition(b"/")[2]
        if last in (b"", b".", b".."):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        fd = self.hold(question, name.above, follow=True)
        try:
            yield fd, last
        finally:
            os.close(fd)


class Records:
    """What is recorded of a container's files: in attributes, and of those without in a list."""

    def __init__(self, leaves: LeafOwners) -> None:
        self._leaves = leaves

    def of_place(self, place: bytes, *, follow: bool) -> Ownership | None:
        """Return what is recorded of a file that is named.

        Raises:
            OSError: it is not there.
        """
        found = find_record(place, follow=follow)
        if found is not None or not self._leaves:
            return found
        fd = os.open(place, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
        try:
            return self._leaves.find(file_key(b"", fd))
        finally:
            os.close(fd)

    def of_file(self, fd: int) -> Ownership | None:
        """Return what is recorded of a file that is open, with O_PATH too."""
        found = find_record(b"self/fd/%d" % fd)
        if found is not None or not self._leaves:
            return found
        return self._leaves.find(file_key(b"", fd))

    def record(self, fd: int, owner: Ownership) -> None:
        """Record the owner of a file that is open, with O_PATH too.

        Raises:
            OSError: there is no room.
        """
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind in (stat.S_IFREG, stat.S_IFDIR):
            try:
                record(b"self/fd/%d" % fd, owner)
            except OSError as err:
                if err.errno not in _NO_ATTRIBUTES:
                    raise
            else:
                return
        self._leaves.record(file_key(b"", fd), owner)

    def of_file_or_root(self, fd: int) -> Ownership:
        """Return whose a file is."""
        return self.of_file(fd) or ROOT


def fd_of(question: Question, at: int = 0) -> int:
    """Return an argument that is a descriptor."""
    word = question.args[at]
    return (word & 0x7FFF_FFFF) - (word & 0x8000_0000)


def status_line(pid: int, field: bytes) -> bytes:
    """Return what a line of /proc/PID/status says; this process stands in /proc.

    Raises:
        OSError: the process is gone.
    """
    with open(f"{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(field):
                return line[len(field) :].strip()
    raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
