"""Who a process takes itself for: the kernel's rules for changing that, on plain values.

Source: credentials(7), capabilities(7) "Effect of user ID changes on capabilities",
setresuid(2), setreuid(2), setuid(2), setfsuid(2), setgroups(2).
"""

from __future__ import annotations

import errno
from typing import NamedTuple

LEAVE = 0xFFFF_FFFF  # -1: this id stays what it is
MAX_GROUPS = 65536

# The capabilities that make a difference here: <linux/capability.h>.
CHOWN, DAC_OVERRIDE, SETGID, SETUID, MKNOD = 1 << 0, 1 << 1, 1 << 6, 1 << 7, 1 << 27
_OF_FILES = CHOWN | DAC_OVERRIDE | MKNOD
ALL = _OF_FILES | SETGID | SETUID


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
    """User, group and further groups, and what they may do.

    Attributes:
        groups: sorted, as the kernel keeps them.
        permitted: capabilities, as far as they make a difference here.
        effective: those of them that are in force.
        keeps: PR_SET_KEEPCAPS.
    """

    user: Ids = Ids()
    group: Ids = Ids()
    groups: tuple[int, ...] = ()
    permitted: int = ALL
    effective: int = ALL
    keeps: bool = False

    def may(self, capability: int) -> bool:
        """Say whether a capability is in force."""
        return bool(self.effective & capability)

    def may_access(self, mode: int, uid: int, gid: int, wanted: int) -> bool:
        """Say whether a file's permission bits let it be used so.

        Args:
            mode: the bits.
            uid: its owner.
            gid: its group.
            wanted: of 4, 2 and 1.
        """
        if self.may(DAC_OVERRIDE):
            return True
        shift = 6 if uid == self.user.files else 3 if self.is_member(gid) else 0
        return mode >> shift & wanted == wanted

    def is_member(self, gid: int) -> bool:
        """Say whether a group is one of its own."""
        return gid == self.group.files or gid in self.groups

    def with_user(self, user: Ids) -> Credentials:
        """Change the user; who is not root any more loses what root may."""
        permitted, effective = self.permitted, self.effective
        if 0 in self.user[:3] and 0 not in user[:3] and not self.keeps:
            permitted = effective = 0
        if self.user.effective == 0 != user.effective:
            effective = 0
        elif self.user.effective != 0 == user.effective:
            effective = permitted
        return self._replace(user=user, permitted=permitted, effective=effective)

    def with_user_for_files(self, user: Ids) -> Credentials:
        """Change it for files only, and so what may be done to them."""
        effective = self.effective
        if self.user.files == 0 != user.files:
            effective &= ~_OF_FILES
        elif self.user.files != 0 == user.files:
            effective |= self.permitted & _OF_FILES
        return self._replace(user=user, effective=effective)

    def with_capabilities(self, effective: int, permitted: int) -> Credentials:
        """Do capset(2), as far as it may be done; what it may not, the kernel says itself."""
        permitted &= self.permitted
        return self._replace(permitted=permitted, effective=effective & permitted)


class Refused(Exception):
    """The kernel would not have it.

    Attributes:
        number: its errno.
    """

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.number = number


def set_one(ids: Ids, may: bool, number: int) -> Ids:
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


def set_two(ids: Ids, may: bool, real: int, effective: int) -> Ids:
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


def set_three(ids: Ids, may: bool, *wanted: int) -> Ids:
    """Do setresuid(2) or setresgid(2).

    Raises:
        Refused: EPERM.
    """
    if not may and any(each not in (LEAVE, *ids[:3]) for each in wanted):
        raise Refused(errno.EPERM)
    first, effective, last = wanted
    if (
        first in (LEAVE, ids.real)
        and (effective == LEAVE or effective == ids.effective == ids.files)
        and last in (LEAVE, ids.saved)
    ):
        return ids  # then not even the one for files, since Linux 6.1
    pairs = zip(wanted, ids, strict=False)
    real, effective, saved = (old if new == LEAVE else new for new, old in pairs)
    return Ids(real, effective, saved, effective)


def set_for_files(ids: Ids, may: bool, number: int) -> Ids:
    """Do setfsuid(2) or setfsgid(2), which change nothing rather than fail."""
    if number == LEAVE or not (may or number in ids):
        return ids
    return ids._replace(files=number)


def set_groups(creds: Credentials, groups: tuple[int, ...]) -> Credentials:
    """Do setgroups(2).

    Raises:
        Refused: EPERM, EINVAL.
    """
    if not creds.may(SETGID):
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
    permitted = ALL if 0 in (creds.user.real, user) else 0
    return creds._replace(
        user=Ids(creds.user.real, user, user, user),
        group=Ids(creds.group.real, group, group, group),
        permitted=permitted,
        effective=permitted if user == 0 else 0,
        keeps=False,
    )
