"""Who a process takes itself for: the kernel's rules for changing that, on plain values.

Source: credentials(7), setresuid(2), setreuid(2), setuid(2), setfsuid(2), setgroups(2).
"""

from __future__ import annotations

import errno
from typing import NamedTuple

LEAVE = 0xFFFF_FFFF  # -1: this id stays what it is
MAX_GROUPS = 65536


class Ids(NamedTuple):
    """The four of a user, or of a group."""

    real: int = 0
    effective: int = 0
    saved: int = 0
    files: int = 0

    @classmethod
    def all(cls, number: int) -> Ids:
        """Return four times the same one."""
        return cls(number, number, number, number)


class Credentials(NamedTuple):
    """User, group and further groups.

    Attributes:
        groups: sorted, as the kernel keeps them.
    """

    user: Ids = Ids()
    group: Ids = Ids()
    groups: tuple[int, ...] = ()

    @property
    def may_change_ids(self) -> bool:
        """Say whether it has what root has: the kernel takes capabilities from all others."""
        return self.user.effective == 0

    @property
    def may_change_owners(self) -> bool:
        """Say the same of files."""
        return self.user.files == 0

    def is_member(self, gid: int) -> bool:
        """Say whether a group is one of its own."""
        return gid == self.group.files or gid in self.groups


class Refused(Exception):
    """The kernel would not have it.

    Attributes:
        number: its errno.
    """

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.number = number


def set_one(ids: Ids, number: int, *, may: bool) -> Ids:
    """Do setuid(2) or setgid(2).

    Raises:
        Refused: EINVAL, EPERM.
    """
    if number == LEAVE:
        raise Refused(errno.EINVAL)
    if may:
        return Ids.all(number)
    if number not in (ids.real, ids.saved):
        raise Refused(errno.EPERM)
    return ids._replace(effective=number, files=number)


def set_two(ids: Ids, real: int, effective: int, *, may: bool) -> Ids:
    """Do setreuid(2) or setregid(2).

    Raises:
        Refused: EPERM.
    """
    if not may:
        if real != LEAVE and real not in (ids.real, ids.effective):
            raise Refused(errno.EPERM)
        if effective not in (LEAVE, *ids[:3]):
            raise Refused(errno.EPERM)
    now_real = ids.real if real == LEAVE else real
    now = ids.effective if effective == LEAVE else effective
    keeps = real == LEAVE and effective in (LEAVE, ids.real)
    return Ids(now_real, now, ids.saved if keeps else now, now)


def set_three(ids: Ids, wanted: tuple[int, int, int], *, may: bool) -> Ids:
    """Do setresuid(2) or setresgid(2).

    Raises:
        Refused: EPERM.
    """
    if not may and any(each not in (LEAVE, *ids[:3]) for each in wanted):
        raise Refused(errno.EPERM)
    pairs = zip(wanted, ids, strict=False)
    real, effective, saved = (old if new == LEAVE else new for new, old in pairs)
    return Ids(real, effective, saved, effective)


def set_for_files(ids: Ids, number: int, *, may: bool) -> Ids:
    """Do setfsuid(2) or setfsgid(2), which change nothing rather than fail."""
    if number == LEAVE or not (may or number in ids):
        return ids
    return ids._replace(files=number)


def set_groups(creds: Credentials, groups: tuple[int, ...]) -> Credentials:
    """Do setgroups(2).

    Raises:
        Refused: EPERM, EINVAL.
    """
    if not creds.may_change_ids:
        raise Refused(errno.EPERM)
    if len(groups) > MAX_GROUPS or LEAVE in groups:
        raise Refused(errno.EINVAL)
    return creds._replace(groups=tuple(sorted(groups)))


def executing(creds: Credentials, uid: int | None, gid: int | None) -> Credentials:
    """Return who a process is after execve(2).

    Args:
        creds: before.
        uid: the owner of a set-user-id program, else None.
        gid: the group of a set-group-id program, else None.
    """
    user = creds.user.effective if uid is None else uid
    group = creds.group.effective if gid is None else gid
    return creds._replace(
        user=Ids(creds.user.real, user, user, user),
        group=Ids(creds.group.real, group, group, group),
    )
