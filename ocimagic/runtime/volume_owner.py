"""Volumes that belong to whoever the container's process is: the ``U`` of ``-v name:/data:U``.

Done inside, where names of users mean something, at each start: what is right already is only
looked at, so that a start that was killed leaves the rest to the next one.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, StartFailed
from ocimagic.linux import syscalls
from ocimagic.linux.paths import open_in_root
from ocimagic.spec.runtime import OWN_ANNOTATION

if TYPE_CHECKING:
    from ocimagic.runtime.program import Context
    from ocimagic.runtime.user import Identity

# What is mounted somewhere in a volume is not of it, and links lead elsewhere.
_HERE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_ENTRY = os.O_PATH | os.O_NOFOLLOW


def own_volumes(context: Context) -> None:
    """Give the volumes that were asked for to the user and group of the process."""
    who = context.identity
    for target in json.loads(context.config.annotations.get(OWN_ANNOTATION, "[]")):
        top = open_in_root(context.root_fd, target, os.O_PATH)
        try:
            _give(context, top, who)
        except OSError as err:
            raise _refusal(err, target, who) from err
        finally:
            os.close(top)


def _give(context: Context, top: int, who: Identity) -> None:
    if not stat.S_ISDIR(os.fstat(top).st_mode):
        os.chown(f"fd/{top}", who.uid, who.gid, dir_fd=context.own_proc)
        return
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        try:
            fd = syscalls.openat2(top, path, _DIRECTORY, 0, _HERE)
        except OSError as err:
            # Another mount, or gone or replaced meanwhile by who has the volume as well.
            if err.errno in (errno.EXDEV, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                continue
            raise
        try:
            waiting += [f"{path}/{name}" for name in _give_entries(fd, who)]
            if _is_others(os.fstat(fd), who):
                os.fchown(fd, who.uid, who.gid)
        finally:
            os.close(fd)


def _give_entries(fd: int, who: Identity) -> list[str]:
    """Give all that is no directory in one; return the directories."""
    directories = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
                continue
            try:
                if _is_others(entry.stat(follow_symlinks=False), who):
                    os.close(syscalls.openat2(fd, entry.name, _ENTRY, 0, _HERE))
                    os.chown(entry.name, who.uid, who.gid, dir_fd=fd, follow_symlinks=False)
            except OSError as err:
                if err.errno not in (errno.EXDEV, errno.ENOENT):
                    raise
    return directories


def _is_others(told: os.stat_result, who: Identity) -> bool:
    return (told.st_uid, told.st_gid) != (who.uid, who.gid)


def _refusal(err: OSError, target: str, who: Identity) -> HostLacks | StartFailed:
    what = f"the files at {target} cannot belong to {who.uid}:{who.gid}"
    if err.errno in (errno.EINVAL, errno.EPERM):
        return HostLacks(
            what,
            why="this account does not have that id, or may not give files to it",
            hint="give the account a range in /etc/subuid and /etc/subgid, or leave U out",
        )
    return StartFailed(what, why=err.strerror)
