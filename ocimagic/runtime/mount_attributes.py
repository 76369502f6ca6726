"""Restricting mounts: before anybody sees them where the kernel can, at once after where not.

Spec: runtime-spec config.md, "Linux mount options"; mount_setattr(2), Linux 5.12.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from ocimagic.linux import mounting
from ocimagic.linux.paths import open_beneath
from ocimagic.runtime.mount_options import AS_FLAGS, Change, MountOptions
from ocimagic.runtime.mount_target import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

READONLY = MountOptions(top=Change(mounting.MOUNT_ATTR_RDONLY))
_ST_NOSYMFOLLOW = 0x2000  # statfs(2), since Linux 5.10
_HELD = {
    os.ST_RDONLY: mounting.MS_RDONLY,
    os.ST_NOSUID: mounting.MS_NOSUID,
    os.ST_NODEV: mounting.MS_NODEV,
    os.ST_NOEXEC: mounting.MS_NOEXEC,
    os.ST_NODIRATIME: mounting.MS_NODIRATIME,
    os.ST_NOATIME: mounting.MS_NOATIME,
    os.ST_RELATIME: mounting.MS_RELATIME,
    _ST_NOSYMFOLLOW: mounting.MS_NOSYMFOLLOW,
}
_ACCESS_TIMES = mounting.MS_NOATIME | mounting.MS_RELATIME | mounting.MS_STRICTATIME
_ESCAPE = re.compile(r"\\([0-7]{3})")


def attach(tree: int, target: int, options: MountOptions) -> None:
    """Restrict a tree as its options say, then make it visible exactly at ``target``.

    No name is resolved twice: whoever swaps directories meanwhile (CVE-2021-30465) can have
    the mount neither elsewhere nor without its flags.

    Raises:
        OSError: EPERM for an attribute that a user namespace may not take away.
    """
    late = not _change(tree, options)
    mounting.move_mount(tree, target)
    if late:
        _change_attached(tree, options)


def change(mount_fd: int, options: MountOptions) -> None:
    """Change an attached mount, and what is below it, as options say; the rest is kept."""
    if not _change(mount_fd, options):
        _change_attached(mount_fd, options)


def _change(mount_fd: int, options: MountOptions) -> bool:
    """Do it the new way; say whether this kernel has it."""
    try:
        if options.top:
            mounting.set_attributes(mount_fd, options.top.on, clear=options.top.off)
        if options.all:
            mounting.set_attributes(mount_fd, options.all.on, clear=options.all.off, recursive=True)
        for flags in options.propagation:
            recursive = bool(flags & mounting.MS_REC)
            kind = flags & ~mounting.MS_REC
            mounting.set_attributes(mount_fd, propagation=kind, recursive=recursive)
    except OSError as err:
        if err.errno != errno.ENOSYS:  # Linux before 5.12
            raise
        return False
    return True


def _change_attached(mount_fd: int, options: MountOptions) -> None:
    """Do the same the old way, with one remount for each mount."""
    if options.top:
        _remount(mount_fd, options.top)
    if options.all:
        for each in _mounts_of(mount_fd):
            try:
                _remount(each, options.all)
            finally:
                os.close(each)
    for flags in options.propagation:
        mounting.mount(None, path_of(mount_fd), None, flags)


def _remount(mount_fd: int, wanted: Change) -> None:
    """Mount again with what it has, as changed: what is not said again would be lost.

    In a user namespace the kernel would refuse to lose it.
    """
    path = path_of(mount_fd)
    held = os.statvfs(path).f_flag
    flags = sum(flag for bit, flag in _HELD.items() if held & bit)
    for attribute, flag in AS_FLAGS.items():
        if wanted.off & attribute:
            flags &= ~flag
        if wanted.on & attribute:
            flags |= flag
    if wanted.off & mounting.MOUNT_ATTR__ATIME == mounting.MOUNT_ATTR__ATIME:
        flags &= ~mounting.MS_RELATIME
    if not flags & _ACCESS_TIMES:
        wants_default = wanted.off & mounting.MOUNT_ATTR__ATIME
        flags |= mounting.MS_RELATIME if wants_default else mounting.MS_STRICTATIME
    mounting.mount(None, path, None, mounting.MS_REMOUNT | mounting.MS_BIND | flags)


def _mounts_of(mount_fd: int) -> Iterator[int]:
    """Yield every mount of an attached tree, top first, opened with O_PATH; close each.

    Raises:
        OSError: ESTALE when a name on the way means something else meanwhile.
    """
    top = _mount_id(mount_fd)
    points, children = _mount_table()
    yield os.dup(mount_fd)
    waiting = list(children.get(top, ()))
    while waiting:
        mount_id = waiting.pop()
        above = children.get(mount_id, ())
        waiting += above
        if any(points[each] == points[mount_id] for each in above):
            continue  # another one lies exactly over it: nobody can reach it
        fd = open_beneath(mount_fd, os.path.relpath(points[mount_id], points[top]), os.O_PATH)
        if _mount_id(fd) != mount_id:
            os.close(fd)
            raise OSError(errno.ESTALE, "a mount moved while it was restricted", points[mount_id])
        yield fd


def _mount_table() -> tuple[dict[int, str], dict[int, list[int]]]:
    """Return the mount points by mount id, and which mounts are on which."""
    points: dict[int, str] = {}
    children: dict[int, list[int]] = {}
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            words = os.fsdecode(line).split(" ", 5)
            mount_id, parent = int(words[0]), int(words[1])
            points[mount_id] = unescaped(words[4])
            children.setdefault(parent, []).append(mount_id)
    return points, children


def unescaped(point: str) -> str:
    """Return a mount point as it is; proc(5) writes some of its characters in octal."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), point)


def _mount_id(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["mnt_id"])
