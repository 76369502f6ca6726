"""A new file is its maker's: the calls that make files, by who is not root or beside a group.

What root makes is root's as it is, so that the kernel does it; unless the directory is setgid
and its group is recorded.  Everything else is made here, with the process's umask, and recorded
before the process can see it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.layers.ownership import ROOT, Ownership
from ocimagic.linux import syscalls
from ocimagic.shim.pretence.credentials import DAC_OVERRIDE, MKNOD
from ocimagic.shim.pretence.places import HERE, fd_of, status_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocimagic.linux.notify import Listener, Memory, Question
    from ocimagic.shim.pretence.askers import Askers
    from ocimagic.shim.pretence.identity import Answer
    from ocimagic.shim.pretence.places import Name, Places, Records

    Make = Callable[[bytes, int], None]  # a name and the directory it goes into

TMPFILE = 0o20000000  # O_TMPFILE without the O_DIRECTORY in it
_WRITE, _SEARCH = 2, 1
_HOW = struct.Struct("=QQQ")
DONE = 1 << 32  # no value of a call: the answer has been given


class _How(NamedTuple):
    """How to open: ``struct open_how``."""

    flags: int
    mode: int
    resolve: int = 0


class MakerCalls:
    """Answers to them.

    Args:
        listener: where a new descriptor is handed over.
        askers: who is who.
        memory: of the processes.
        places: the container's files.
        records: whose they are.
    """

    def __init__(
        self,
        listener: Listener,
        askers: Askers,
        memory: Memory,
        places: Places,
        records: Records,
    ) -> None:
        self._listener = listener
        self._memory = memory
        self._askers = askers
        self._places = places
        self._records = records

    def answers(self) -> dict[str, Answer]:
        """Return what answers each call, by its name."""
        return {
            "open": lambda asked: self._open(asked, HERE, 0),
            "openat": lambda asked: self._open(asked, fd_of(asked), 1),
            "creat": self._creat,
            "openat2": self._openat2,
            "mkdir": lambda asked: self._mkdir(asked, HERE, 0),
            "mkdirat": lambda asked: self._mkdir(asked, fd_of(asked), 1),
            "mknod": lambda asked: self._mknod(asked, HERE, 0),
            "mknodat": lambda asked: self._mknod(asked, fd_of(asked), 1),
            "symlink": lambda asked: self._symlink(asked, HERE, 1),
            "symlinkat": lambda asked: self._symlink(asked, fd_of(asked, 1), 2),
        }

    # -- open --------------------------------------------------------------------

    def _open(self, question: Question, dir_fd: int, at: int) -> int | None:
        flags, mode = question.args[at + 1 : at + 3]
        name = self._places.name(question, dir_fd, question.args[at])
        return self._opened(question, name, _How(flags & 0x7FFF_FFFF, mode & 0o7777))

    def _creat(self, question: Question) -> int | None:
        name = self._places.name(question, HERE, question.args[0])
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        return self._opened(question, name, _How(flags, question.args[1] & 0o7777))

    def _openat2(self, question: Question) -> int | None:
        raw = self._memory.read(question.pid, question.args[2], _HOW.size)
        if len(raw) < _HOW.size or question.args[3] < _HOW.size:
            return None
        how = _How._make(_HOW.unpack(raw))
        if not how.flags & (os.O_CREAT | TMPFILE):
            return None
        name = self._places.name(question, fd_of(question), question.args[1])
        if how.resolve & syscalls.RESOLVE_IN_ROOT and name.path[:1] == b"/":
            return None
        return self._opened(question, name, how)

    def _opened(self, question: Question, name: Name, how: _How) -> int | None:
        if not name.path or how.flags & os.O_PATH:  # that makes nothing
            return None
        with self._places.seen_by(question):
            if not how.flags & TMPFILE and (mode := self._mode_of_existing(question, name)):
                self._check(question, name, mode, how)
                return None
            owner = self._owner(question, name if how.flags & TMPFILE else name.above)
            if owner is None:
                return None
            fd = self._new_file(question, name, how)
        if fd is None:
            return None
        try:
            self._records.record(fd, owner)
            cloexec = bool(how.flags & os.O_CLOEXEC)
            self._listener.answer_with_file(question, fd, cloexec=cloexec)
        finally:
            os.close(fd)
        return DONE

    def _mode_of_existing(self, question: Question, name: Name) -> int:
        """Return the mode of what is there already, for who is not root; else 0.

        The kernel looks for that before it asks whether anything may be made.
        """
        if not self._askers.who(question).may(DAC_OVERRIDE):
            with contextlib.suppress(OSError):
                return os.stat(self._places.place(question, name)).st_mode
        return 0

    def _check(self, question: Question, name: Name, mode: int, how: _How) -> None:
        """Refuse a file that who asks may not write, though this account might.

        Raises:
            OSError: EACCES.
        """
        if how.flags & os.O_EXCL or not how.flags & os.O_ACCMODE or not stat.S_ISREG(mode):
            return
        found = self._records.of_place(self._places.place(question, name), follow=True) or ROOT
        creds = self._askers.who(question)
        if not creds.may_access(mode, found.uid, found.gid, _WRITE):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def _new_file(self, question: Question, name: Name, how: _How) -> int | None:
        """Make a file and open it; None where there is one, for the kernel to open."""
        flags = how.flags if how.flags & TMPFILE else how.flags | os.O_EXCL
        resolve = how.resolve | syscalls.RESOLVE_NO_MAGICLINKS
        with self._places.start(question, name) as start, _umask_of(question):
            self._places.check(question)
            try:
                return syscalls.openat2(start, name.path, flags, how.mode, resolve)
            except OSError as err:
                if err.errno == errno.EEXIST and not how.flags & os.O_EXCL:
                    return None
                raise

    # -- other kinds -------------------------------------------------------------

    def _mkdir(self, question: Question, dir_fd: int, at: int) -> int | None:
        mode = question.args[at + 1] & 0o7777
        name = self._places.name(question, dir_fd, question.args[at])
        return self._make(question, name, lambda last, fd: os.mkdir(last, mode, dir_fd=fd))

    def _symlink(self, question: Question, dir_fd: int, at: int) -> int | None:
        text = self._memory.read_text(question.pid, question.args[0])
        name = self._places.name(question, dir_fd, question.args[at])
        return self._make(question, name, lambda last, fd: os.symlink(text, last, dir_fd=fd))

    def _mknod(self, question: Question, dir_fd: int, at: int) -> int | None:
        mode, device = question.args[at + 1] & 0xFFFF, question.args[at + 2] & 0xFFFF_FFFF
        name = self._places.name(question, dir_fd, question.args[at])
        # Anybody may make the device 0:0, by which overlayfs means a deleted file.
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and device):
            return self._make_device(question, name, mode, device)
        return self._make(question, name, lambda last, fd: os.mknod(last, mode, dir_fd=fd))

    def _make_device(self, question: Question, name: Name, mode: int, device: int) -> int | None:
        """Make an empty file in a device's place, as only root may."""
        if not self._askers.who(question).may(MKNOD):
            return -errno.EPERM
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
        # new_decode_dev() of <linux/kdev_t.h>
        major, minor = device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00
        kind = "c" if stat.S_ISCHR(mode) else "b"

        def make(last: bytes, fd: int) -> None:
            os.close(os.open(last, flags, stat.S_IMODE(mode), dir_fd=fd))

        return self._make(question, name, make, Ownership(0, 0, kind, major, minor))

    def _make(
        self, question: Question, name: Name, make: Make, device: Ownership | None = None
    ) -> int | None:
        if not name.path:
            return None
        with self._places.seen_by(question):
            if self._mode_of_existing(question, name):
                return None
            owner = self._owner(question, name.above)
            if device is not None:
                owner = device._replace(gid=owner.gid if owner else 0)
            if owner is None:
                return None
            with self._places.parent(question, name) as (fd, last), _umask_of(question):
                make(last, fd)
                self._record(last, fd, owner)
        return 0

    def _record(self, last: bytes, dir_fd: int, owner: Ownership) -> None:
        fd = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            self._records.record(fd, owner)
        finally:
            os.close(fd)

    def _owner(self, question: Question, directory: Name) -> Ownership | None:
        """Return whose a new file in a directory is; None for root's.

        Raises:
            OSError: EACCES, who asks may make none there.
        """
        creds = self._askers.who(question)
        place = self._places.place(question, directory)
        try:
            mode = os.stat(place).st_mode
        except OSError:
            return None  # the kernel says what is wrong
        is_roots = not (creds.user.files or creds.group.files)
        if (is_roots and not mode & stat.S_ISGID) or not stat.S_ISDIR(mode):
            return None
        found = self._records.of_place(place, follow=True) or ROOT
        if not creds.may_access(mode, found.uid, found.gid, _WRITE | _SEARCH):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        gid = found.gid if mode & stat.S_ISGID else creds.group.files
        owner = Ownership(creds.user.files, gid)
        return owner if owner != ROOT else None


@contextlib.contextmanager
def _umask_of(question: Question) -> Iterator[None]:
    """Have the umask of who asks, in the with-block; this process stands in /proc."""
    line = status_line(question.pid, b"Umask:")
    before = os.umask(int(line, 8))
    try:
        yield
    finally:
        os.umask(before)
