"""Who am I, and let me be somebody else: the set*id and get*id calls."""

from __future__ import annotations

import errno
import os
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.linux.process import descriptor_of
from ocimagic.shim.pretence.credentials import (
    LEAVE,
    MAX_GROUPS,
    SETGID,
    SETUID,
    Credentials,
    Ids,
    Refused,
    set_for_files,
    set_groups,
    set_one,
    set_three,
    set_two,
)
from ocimagic.shim.pretence.places import fd_of, status_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.linux.notify import Memory, Question
    from ocimagic.shim.pretence.askers import Askers

    Answer = Callable[[Question], int | None]

_CREDENTIALS = struct.Struct("=iII")
_CAPABILITIES = struct.Struct("=III")  # the first of two struct __user_cap_data_struct


class IdentityCalls:
    """Answers to them.

    Args:
        askers: who is who.
        memory: of the processes.
    """

    def __init__(self, askers: Askers, memory: Memory) -> None:
        self._askers = askers
        self._memory = memory

    def answers(self) -> dict[str, Answer]:
        """Return what answers each call, by its name."""
        found: dict[str, Answer] = {"getgroups": self._get_groups, "setgroups": self._set_groups}
        for short, field in (("uid", "user"), ("gid", "group")):
            found |= {
                f"get{short}": partial(self._get, field, 0),
                f"gete{short}": partial(self._get, field, 1),
                f"getres{short}": partial(self._get_three, field),
                f"set{short}": partial(self._set, field, set_one, 1),
                f"setre{short}": partial(self._set, field, set_two, 2),
                f"setres{short}": partial(self._set, field, set_three, 3),
                f"setfs{short}": partial(self._set_for_files, field),
            }
        return found | {
            "getsockopt": self._peer,
            "capset": self._set_capabilities,
            "prctl": self._keep_capabilities,
            "getrlimit": partial(self._limit, 1),
            "setrlimit": partial(self._limit, None),
            "prlimit64": partial(self._limit, 3),
        }

    def _get(self, field: str, which: int, question: Question) -> int:
        ids: Ids = getattr(self._askers.who(question), field)
        return ids[which]

    def _get_three(self, field: str, question: Question) -> int:
        ids: Ids = getattr(self._askers.who(question), field)
        for number, address in zip(ids[:3], question.args, strict=False):
            self._memory.write(question.pid, address, struct.pack("=I", number))
        return 0

    def _get_groups(self, question: Question) -> int:
        groups = self._askers.who(question).groups
        room = fd_of(question)
        if room and room < len(groups):
            return -errno.EINVAL
        if room and groups:
            packed = struct.pack(f"={len(groups)}I", *groups)
            self._memory.write(question.pid, question.args[1], packed)
        return len(groups)

    def _set_groups(self, question: Question) -> int:
        creds = self._askers.who(question)
        count = question.args[0] & 0xFFFF_FFFF
        if count > MAX_GROUPS:
            raise Refused(errno.EINVAL if creds.may(SETGID) else errno.EPERM)
        raw = self._memory.read(question.pid, question.args[1], 4 * count) if count else b""
        if len(raw) < 4 * count:
            return -errno.EFAULT
        self._become(question, creds, set_groups(creds, struct.unpack(f"={count}I", raw)))
        return 0

    def _set(self, field: str, rule: Callable[..., Ids], count: int, question: Question) -> int:
        creds = self._askers.who(question)
        words = [each & LEAVE for each in question.args[:count]]
        ids = rule(*_ids(creds, field), *words)
        after = creds.with_user(ids) if field == "user" else creds._replace(group=ids)
        self._become(question, creds, after)
        return 0

    def _set_for_files(self, field: str, question: Question) -> int:
        creds = self._askers.who(question)
        before, may = _ids(creds, field)
        ids = set_for_files(before, may, question.args[0] & LEAVE)
        after = creds.with_user_for_files(ids) if field == "user" else creds._replace(group=ids)
        self._become(question, creds, after)
        return before.files

    def _become(self, question: Question, before: Credentials, after: Credentials) -> None:
        if after != before:
            self._askers.become(question, after)

    def _set_capabilities(self, question: Question) -> None:
        """Remember what the kernel is told, too; it knows what of that is wrong."""
        raw = self._memory.read(question.pid, question.args[1], _CAPABILITIES.size)
        if len(raw) == _CAPABILITIES.size:
            creds = self._askers.who(question)
            effective, permitted, _ = _CAPABILITIES.unpack(raw)  # all of ours are in the low word
            self._become(question, creds, creds.with_capabilities(effective, permitted))

    def _keep_capabilities(self, question: Question) -> None:
        creds = self._askers.who(question)
        self._become(question, creds, creds._replace(keeps=bool(question.args[1])))

    def _limit(self, at: int | None, question: Question) -> int:
        """Hide the limit that says who a process is: there is none, and nobody changes it."""
        if at is not None and question.args[at]:
            self._memory.write(question.pid, question.args[at], b"\xff" * 16)
        return 0

    def _peer(self, question: Question) -> int | None:
        """Say who is at the other end of a local socket (SO_PEERCRED); the kernel knows errors."""
        try:
            return self._say_peer(question)
        except (OSError, struct.error):
            return None

    def _say_peer(self, question: Question) -> int | None:
        theirs = os.pidfd_open(int(status_line(question.pid, b"Tgid:")))
        try:
            door = socket.socket(fileno=descriptor_of(theirs, fd_of(question)))
        finally:
            os.close(theirs)
        with door:
            raw = door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, _, _ = _CREDENTIALS.unpack(raw)
        if pid <= 0:
            return None
        creds = self._askers.who(question._replace(pid=pid))
        (room,) = struct.unpack("=I", self._memory.read(question.pid, question.args[4], 4))
        packed = _CREDENTIALS.pack(
            int(status_line(pid, b"NSpid:").split()[-1]),
            creds.user.effective,
            creds.group.effective,
        )
        self._memory.write(question.pid, question.args[3], packed[:room])
        self._memory.write(
            question.pid, question.args[4], struct.pack("=I", min(room, len(packed)))
        )
        return 0


def _ids(creds: Credentials, field: str) -> tuple[Ids, bool]:
    """Return a user's or group's ids, and whether they may be changed to any other."""
    if field == "user":
        return creds.user, creds.may(SETUID)
    return creds.group, creds.may(SETGID)
