"""Whose is it, and make it somebody's: the chown and stat calls."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.linux.notify import Shown, change_owner, stat_bytes, statx_bytes
from ocimagic.shim.pretence.credentials import CHOWN, LEAVE, Credentials
from ocimagic.shim.pretence.places import EMPTY_PATH, HERE, MAY_BE_OWN, NOFOLLOW, Name, fd_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.layers.ownership import Ownership
    from ocimagic.linux.notify import Memory, Question
    from ocimagic.shim.pretence.askers import Askers
    from ocimagic.shim.pretence.identity import Answer
    from ocimagic.shim.pretence.places import Places, Records

_DEVICES = {"b": stat.S_IFBLK, "c": stat.S_IFCHR}
_STATX_SYNC, _NO_AUTOMOUNT = 0x6000, 0x800
_STAT_FLAGS = EMPTY_PATH | NOFOLLOW | _NO_AUTOMOUNT | _STATX_SYNC


class OwnerCalls:
    """Answers to them.

    Args:
        askers: who is who.
        memory: of the processes.
        places: the container's files.
        records: whose they are.
    """

    def __init__(self, askers: Askers, memory: Memory, places: Places, records: Records) -> None:
        self._askers = askers
        self._memory = memory
        self._places = places
        self._records = records

    def answers(self) -> dict[str, Answer]:
        """Return what answers each call, by its name."""
        return {
            "chown": partial(self._chown_path, follow=True),
            "lchown": partial(self._chown_path, follow=False),
            "fchown": self._chown_open,
            "fchownat": self._chown_from,
            "stat": lambda asked: self._stat_at(asked, HERE, 0, 0),
            "lstat": lambda asked: self._stat_at(asked, HERE, 0, NOFOLLOW),
            "fstat": self._stat_open,
            "newfstatat": lambda asked: self._stat_at(asked, fd_of(asked), 1, asked.args[3]),
            "statx": self._statx,
        }

    # -- chown -------------------------------------------------------------------

    def _chown_open(self, question: Question) -> int | None:
        return self._chown(question, Name(fd_of(question), b""), 1, follow=True)

    def _chown_from(self, question: Question) -> int | None:
        flags = question.args[4]
        if flags & ~(EMPTY_PATH | NOFOLLOW):
            return -errno.EINVAL
        name = self._name(question, fd_of(question), question.args[1], flags)
        return self._chown(question, name, 2, follow=not flags & NOFOLLOW)

    def _chown_path(self, question: Question, *, follow: bool) -> int | None:
        name = self._places.name(question, HERE, question.args[0], follow=follow)
        return self._chown(question, name, 1, follow=follow)

    def _chown(self, question: Question, name: Name, at: int, *, follow: bool) -> int | None:
        uid, gid = (each & LEAVE for each in question.args[at : at + 2])
        with self._places.seen_by(question):
            try:
                fd = self._places.hold(question, name, follow=follow)
            except OSError as err:
                # Not all of the kernel's own links can be followed here; it knows their owners.
                if err.errno == errno.ELOOP or name.path.startswith(MAY_BE_OWN):
                    return None
                raise
            try:
                return self._give(fd, uid, gid, self._askers.who(question))
            finally:
                os.close(fd)

    def _give(self, fd: int, uid: int, gid: int, creds: Credentials) -> int | None:
        told = os.fstat(fd)
        if told.st_uid != os.geteuid():
            return None  # really somebody else's: the kernel has words for that
        before = self._records.of_file_or_root(fd)
        if not _may_give(before, uid, gid, creds):
            return -errno.EPERM
        # The real thing, to nobody else: it takes setuid bits away and sets the time, and fails
        # where nothing can be written.
        change_owner(fd, -1 if uid == LEAVE else 0, -1 if gid == LEAVE else 0)
        after = before._replace(
            uid=before.uid if uid == LEAVE else uid, gid=before.gid if gid == LEAVE else gid
        )
        if after != before:
            self._records.record(fd, after)
        return 0

    # -- stat --------------------------------------------------------------------

    def _stat_open(self, question: Question) -> int | None:
        name = Name(fd_of(question), b"")
        return self._stat(question, name, question.args[1], stat_bytes, follow=True)

    def _stat_at(self, question: Question, dir_fd: int, at: int, flags: int) -> int | None:
        name = self._name(question, dir_fd, question.args[at], flags)
        follow = not flags & NOFOLLOW
        return self._stat(question, name, question.args[at + 1], stat_bytes, follow=follow)

    def _statx(self, question: Question) -> int | None:
        _, path, flags, mask, buffer, _ = question.args
        name = self._name(question, fd_of(question), path, flags)
        fill = partial(_statx_bytes, flags & _STATX_SYNC, mask & LEAVE)
        return self._stat(question, name, buffer, fill, follow=not flags & NOFOLLOW)

    def _name(self, question: Question, dir_fd: int, address: int, flags: int) -> Name:
        if flags & 0xFFFF_FFFF & ~_STAT_FLAGS:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        empty, follow = bool(flags & EMPTY_PATH), not flags & NOFOLLOW
        return self._places.name(question, dir_fd, address, empty=empty, follow=follow)

    def _stat(
        self,
        question: Question,
        name: Name,
        address: int,
        fill: Callable[[int, Shown], bytes],
        *,
        follow: bool,
    ) -> int | None:
        """Answer if there is a record; everything else is what the kernel says it is."""
        place = self._places.place(question, name)
        follow = follow or not name.path  # a descriptor is a link here
        try:
            with self._places.seen_by(question):
                if self._records.of_place(place, follow=follow) is None:
                    return None
                fd = self._places.hold(question, name, follow=follow)
        except OSError:
            return None
        try:
            owner = self._records.of_file(fd)
            if owner is None:
                return None
            content = fill(fd, shown(owner))
        finally:
            os.close(fd)
        self._places.check(question)
        self._memory.write(question.pid, address, content)
        return 0


def shown(owner: Ownership) -> Shown:
    """Return what is to be seen of a record."""
    if not owner.device:
        return Shown(owner.uid, owner.gid)
    return Shown(owner.uid, owner.gid, (_DEVICES[owner.device], owner.major, owner.minor))


def _may_give(owner: Ownership, uid: int, gid: int, creds: Credentials) -> bool:
    """Apply chown(2): root may all, an owner may choose among his groups."""
    if creds.may(CHOWN):
        return True
    if creds.user.files != owner.uid:
        return uid == gid == LEAVE
    return uid in (LEAVE, owner.uid) and (gid in (LEAVE, owner.gid) or creds.is_member(gid))


def _statx_bytes(flags: int, mask: int, fd: int, seen: Shown) -> bytes:
    return statx_bytes(fd, flags, mask, seen)
