"""Where a mount goes: a place in the container, held by descriptor and never by name.

Whoever swaps directories for symlinks meanwhile (CVE-2021-30465, CVE-2024-45310) can neither
lead a mount out of the root nor have anything made outside it.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat

from ocimagic.errors import StartFailed
from ocimagic.linux.syscalls import PROC_SUPER_MAGIC, file_system_magic

PROC = "/proc"
_PROC_ROOT_INODE = 1
_NET_DEV = "/proc/net/dev"

# What may be covered of /proc: files that say how much there is of something, which lxcfs and
# gVisor replace.  None of them is a door: nothing is looked up below them or written to them.
COVERABLE = frozenset(
    {
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        _NET_DEV,
        "/proc/slabinfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/sys/crypto/fips_enabled",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/uptime",
    }
)
_OWN_NET_DEV = re.compile(r"/proc/[0-9]+/net/dev")  # where the link /proc/net leads


def path_of(fd: int) -> str:
    """Return a name that means exactly this descriptor, for calls that take no descriptor."""
    return f"/proc/self/fd/{fd}"


def is_procfs_root(fd: int) -> bool:
    """Say whether a descriptor is the top of a procfs."""
    return file_system_magic(fd) == PROC_SUPER_MAGIC and os.fstat(fd).st_ino == _PROC_ROOT_INODE


def keep_off_proc(root_fd: int, target: int, destination: str, *, by_name: bool) -> None:
    """Refuse to cover any of /proc (CVE-2019-16884, CVE-2023-27561, CVE-2023-28642).

    An image may have a symlink that leads a volume there; what is masked, written and looked
    up below /proc from then on would be the volume's files.

    Args:
        root_fd: the container's root.
        target: what is to be covered.
        destination: what the config calls it.
        by_name: no procfs is mounted yet: it is the place where one belongs that is spared.

    Raises:
        StartFailed: it lies in /proc.
    """
    if file_system_magic(target) == PROC_SUPER_MAGIC:
        refused = not _is_coverable(root_fd, target, destination)
    else:
        refused = by_name and f"{inside(root_fd, target)}/".startswith(f"{PROC}/")
    if refused:
        raise StartFailed(
            f"cannot mount on {destination}",
            why="it lies in /proc, which shows the kernel's own files",
            hint="choose another directory of the container",
        )


def _is_coverable(root_fd: int, target: int, destination: str) -> bool:
    """Say whether the config and the kernel agree that it is one of the harmless files."""
    said, found = posixpath.normpath(destination), inside(root_fd, target)
    if said not in COVERABLE or not stat.S_ISREG(os.fstat(target).st_mode):
        return False
    return found == said or (said == _NET_DEV and bool(_OWN_NET_DEV.fullmatch(found)))


def inside(root_fd: int, fd: int) -> str:
    """Return where a descriptor is now, seen from the container's root; "/" for the root."""
    root = os.readlink(path_of(root_fd)).rstrip("/")
    return os.readlink(path_of(fd)).removeprefix(root) or "/"


def check_procfs_place(root_fd: int, target: int, destination: str) -> None:
    """Refuse a procfs below /proc, where it would stand for the one at /proc.

    Raises:
        StartFailed: it is neither /proc nor outside it.
    """
    if file_system_magic(target) == PROC_SUPER_MAGIC and not is_procfs_root(target):
        keep_off_proc(root_fd, target, destination, by_name=False)
