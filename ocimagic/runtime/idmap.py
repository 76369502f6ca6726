"""Say which ids of the machine the ids of a new user namespace are.

Spec: runtime-spec config-linux.md, "User namespace mappings"; user_namespaces(7).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.spec.isolation import IdMapping

_SAID_BYTES = 4096


def write_mappings(pid: int, uids: Sequence[IdMapping], gids: Sequence[IdMapping]) -> None:
    """Map the ids of the user namespace that a process has just entered.

    An ordinary user may map its own id alone; for more the set-uid programs newuidmap and
    newgidmap are asked.

    Raises:
        HostLacks: neither may map these ids.
    """
    if os.geteuid() == 0:
        _write(pid, "uid_map", _text(uids))
        _write(pid, "gid_map", _text(gids))
    elif _is_only(uids, os.geteuid()) and _is_only(gids, os.getegid()):
        _write(pid, "uid_map", _text(uids))
        # Or a process could leave a group that is denied something (CVE-2014-8989).
        _write(pid, "setgroups", "deny")
        _write(pid, "gid_map", _text(gids))
    else:
        _ask("newuidmap", pid, uids)
        _ask("newgidmap", pid, gids)


def _is_only(ranges: Sequence[IdMapping], own: int) -> bool:
    return len(ranges) == 1 and ranges[0].size == 1 and ranges[0].host_id == own


def _text(ranges: Sequence[IdMapping]) -> str:
    return "".join(f"{each.container_id} {each.host_id} {each.size}\n" for each in ranges)


def _write(pid: int, name: str, text: str) -> None:
    """Write a map with one call, as the kernel wants it."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as err:
        raise HostLacks(
            "the ids of the user namespace cannot be mapped",
            why=f"{name}: {err.strerror}: {' '.join(text.split())}",
            hint="a range may not overlap another, and its ids must exist here "
            "(/proc/self/uid_map); the kernel takes 340 ranges",
        ) from err


def _ask(name: str, pid: int, ranges: Sequence[IdMapping]) -> None:
    import shutil  # heavy, and only for ordinary users

    program = shutil.which(name)
    if not program:
        raise HostLacks(
            "the ids of the user namespace cannot be mapped",
            why=f"{name} is not installed",
            hint="install the package uidmap, or map your own id alone",
        )
    said = os.memfd_create("said")
    try:
        words = [name, str(pid), *_text(ranges).split()]
        actions = [(os.POSIX_SPAWN_DUP2, said, number) for number in (1, 2)]
        child = os.posix_spawn(program, words, {}, file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            raise HostLacks(
                "the ids of the user namespace cannot be mapped",
                why=os.pread(said, _SAID_BYTES, 0).decode(errors="replace").strip(),
                hint="/etc/subuid and /etc/subgid say which ids this account may map",
            )
    finally:
        os.close(said)
