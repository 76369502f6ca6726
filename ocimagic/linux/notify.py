"""System calls of other processes that the kernel asks us about: seccomp_unotify(2).

Source: <linux/seccomp.h>, <linux/stat.h>, process_vm_readv(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import struct
from array import array
from typing import NamedTuple

from ocimagic.linux.syscalls import call, read_process, write_process

# _IOWR('!', 0, struct seccomp_notif) and its kin
_RECEIVE = 0xC0502100
_ANSWER = 0xC0182101
_IS_VALID = 0x40082102
_ADD_FD = 0x40182103
_SET_FLAGS = 0x40082104
_SYNC_WAKE_UP = 1
_CONTINUE = 1
_ADD_AND_ANSWER = 2

_QUESTION = struct.Struct("=QIIiIQ6Q")
_REPLY = struct.Struct("=QqiI")
_ADDITION = struct.Struct("=QIIII")
_NUMBER = struct.Struct("=Q")

_EMPTY_PATH = 0x1000
_NOFOLLOW = 0x100
_STATX_BTIME = 0x800
_STATX_BASIC = 0x7FF
_PAGE = 4096
_NO_ADDRESS = 1 << 63  # a process has its memory below
# Where st_uid is in struct stat, and st_gid right after it; st_mode, st_rdev.
_STAT_BYTES = 144
_STAT_FIELDS = {"x86_64": (28, 24, 40), "aarch64": (24, 16, 32)}


class Question(NamedTuple):
    """A system call that waits for an answer.

    Attributes:
        id: of the question.
        pid: of the thread, as seen from here.
        number: of the call, in the ABI ``arch`` (AUDIT_ARCH_).
        args: six unsigned words.
    """

    id: int
    pid: int
    number: int
    arch: int
    args: tuple[int, ...]


class Listener:
    """The end of a filter where its questions arrive; the descriptor is its owner's to close."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def wake_on_this_processor(self) -> None:
        """Have the kernel go to and fro on one processor, where it can (Linux 6.6)."""
        try:
            fcntl.ioctl(self.fd, _SET_FLAGS, _SYNC_WAKE_UP)
        except OSError as err:
            if err.errno not in (errno.EINVAL, errno.ENOTTY):
                raise

    def receive(self) -> Question | None:
        """Return the next question; None if who asked is gone."""
        buffer = bytearray(_QUESTION.size)
        try:
            fcntl.ioctl(self.fd, _RECEIVE, buffer, True)
        except OSError as err:
            if err.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        identity, pid, _, number, arch, _, *args = _QUESTION.unpack(buffer)
        return Question(identity, pid, number, arch, tuple(args))

    def let_go_on(self, question: Question) -> None:
        """Have the kernel do the call as if nobody had been asked."""
        self._send(_REPLY.pack(question.id, 0, 0, _CONTINUE))

    def answer(self, question: Question, value: int) -> bool:
        """Answer in the kernel's place: a value, or an errno below zero.

        Returns:
            Whether anybody was there to hear it.
        """
        if value < 0:
            return self._send(_REPLY.pack(question.id, 0, value, 0))
        return self._send(_REPLY.pack(question.id, value, 0, 0))

    def _send(self, reply: bytes) -> bool:
        try:
            fcntl.ioctl(self.fd, _ANSWER, reply)
        except OSError as err:
            if err.errno == errno.ENOENT:
                return False
            raise
        return True

    def answer_with_file(self, question: Question, fd: int, *, cloexec: bool) -> None:
        """Put a copy of a descriptor into the process, and answer with its number there.

        Raises:
            OSError: the process may have no more; ENOENT, it is gone or was interrupted.
        """
        flags = os.O_CLOEXEC if cloexec else 0
        packed = _ADDITION.pack(question.id, _ADD_AND_ANSWER, fd, 0, flags)
        fcntl.ioctl(self.fd, _ADD_FD, packed)

    def is_waiting(self, question: Question) -> bool:
        """Say whether the call still waits: until then the pid is that of who asked."""
        try:
            fcntl.ioctl(self.fd, _IS_VALID, _NUMBER.pack(question.id))
        except OSError as err:
            if err.errno == errno.ENOENT:
                return False
            raise
        return True


class Memory:
    """The memory of other processes, through one buffer: for one thread only."""

    def __init__(self) -> None:
        self._buffer = array("B", bytes(_PAGE))
        self._view = memoryview(self._buffer)
        # struct iovec: an address and a count
        self._here = array("Q", (self._buffer.buffer_info()[0], 0))
        self._there = array("Q", (0, 0, 0, 0))
        self._here_at = self._here.buffer_info()[0]
        self._there_at = self._there.buffer_info()[0]

    def _read(self, pid: int, address: int, count: int) -> bytes:
        """Read a page's worth of bytes at most."""
        if address >= _NO_ADDRESS:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        # A piece that touches a page which is not there fails whole: so they end where pages do.
        first = _PAGE - address % _PAGE
        pieces = 1 if count <= first else 2
        there, self._here[1] = self._there, count
        there[0], there[1] = address, min(first, count)
        if pieces == 2:
            there[2], there[3] = address + first, count - first
        got = read_process(pid, self._here_at, self._there_at, pieces)
        return bytes(self._view[:got])

    def read(self, pid: int, address: int, count: int) -> bytes:
        """Read as much as there is, ``count`` bytes at most.

        Raises:
            OSError: EFAULT, there is nothing.
        """
        found = b""
        while len(found) < count:
            wanted = min(count - len(found), _PAGE)
            piece = self._read(pid, address + len(found), wanted)
            found += piece
            if len(piece) < wanted:
                break
        return found

    def read_text(self, pid: int, address: int) -> bytes:
        """Read a string that ends with a NUL.

        Raises:
            OSError: EFAULT; ENAMETOOLONG for one of 4096 bytes or more.
        """
        # Nearly all names are short, and a short read costs less.
        for count in (128, _PAGE):
            found = self._read(pid, address, count)
            end = found.find(0)
            if end >= 0:
                return found[:end]
            if len(found) < count:
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    def write(self, pid: int, address: int, data: bytes) -> None:
        """Write bytes.

        Raises:
            OSError: EFAULT, it may not be written there, or not all of it.
        """
        source = array("B", data)
        here = array("Q", (source.buffer_info()[0], len(data)))
        there = array("Q", (address, len(data)))
        if write_process(pid, here.buffer_info()[0], there.buffer_info()[0]) != len(data):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))


def change_owner(fd: int, uid: int, gid: int) -> None:
    """Change a file's owner by any descriptor, an O_PATH one too; -1 leaves an id as it is."""
    call("fchownat", fd, b"", uid, gid, _EMPTY_PATH)


class FileKey(NamedTuple):
    """What no other file is at the same time, nor a later one in its place.

    Attributes:
        born_ns: when it was made; 0 where the file system does not know.
    """

    device: tuple[int, int]
    ino: int
    born_ns: int


def file_key(path: bytes, dir_fd: int = -100) -> FileKey:
    """Identify a file that is not followed; of ``dir_fd`` itself for an empty path.

    Raises:
        OSError: it is not there.
    """
    buffer = array("B", bytes(256))
    flags = _NOFOLLOW | (0 if path else _EMPTY_PATH)
    mask = _STATX_BASIC | _STATX_BTIME
    call("statx", dir_fd, path, flags, mask, buffer.buffer_info()[0])
    (known,) = struct.unpack_from("=I", buffer, 0)
    (ino,) = struct.unpack_from("=Q", buffer, 32)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, 80)
    born_ns = seconds * 1_000_000_000 + nanoseconds if known & _STATX_BTIME else 0
    return FileKey(struct.unpack_from("=II", buffer, 136), ino, born_ns)


class Shown(NamedTuple):
    """What is to be seen of a file's owner; ``device`` is its type bits and numbers, or None."""

    uid: int
    gid: int
    device: tuple[int, int, int] | None = None


def stat_bytes(fd: int, shown: Shown) -> bytes:
    """Return this machine's ``struct stat`` of a file, with another owner in it."""
    buffer = array("B", bytes(_STAT_BYTES))
    call("newfstatat", fd, b"", buffer.buffer_info()[0], _EMPTY_PATH)
    at_owner, at_mode, at_device = _STAT_FIELDS[platform.machine()]
    struct.pack_into("=II", buffer, at_owner, shown.uid, shown.gid)
    if shown.device is not None:
        kind, major, minor = shown.device
        (mode,) = struct.unpack_from("=I", buffer, at_mode)
        struct.pack_into("=I", buffer, at_mode, mode & 0o7777 | kind)
        struct.pack_into("=Q", buffer, at_device, os.makedev(major, minor))
    size = _STAT_BYTES if platform.machine() == "x86_64" else 128
    return buffer[:size].tobytes()


def statx_bytes(fd: int, flags: int, mask: int, shown: Shown) -> bytes:
    """Return ``struct statx`` of a file, with another owner in it.

    Args:
        fd: of the file.
        flags: AT_STATX_ bits of the call.
        mask: of the call.
        shown: the owner.
    """
    buffer = array("B", bytes(256))
    call("statx", fd, b"", flags | _EMPTY_PATH, mask, buffer.buffer_info()[0])
    struct.pack_into("=II", buffer, 20, shown.uid, shown.gid)
    if shown.device is not None:
        kind, major, minor = shown.device
        (mode,) = struct.unpack_from("=H", buffer, 28)
        struct.pack_into("=H", buffer, 28, mode & 0o7777 | kind)
        struct.pack_into("=II", buffer, 128, major, minor)
    return buffer.tobytes()
