"""The mounts of a container: planned as values, then applied one by one.

Spec: runtime-spec config.md, "Mounts"; config-linux.md, "Masked Paths", "Readonly Paths".
A destination is always resolved by the kernel below the new root (CVE-2021-30465).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from ocimagic.errors import StartFailed
from ocimagic.linux import syscalls
from ocimagic.linux.paths import make_directories, make_file, open_beneath, open_in_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.spec.runtime import Mount, RuntimeConfig

_FLAGS = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "relatime": syscalls.MS_RELATIME,
    "strictatime": syscalls.MS_STRICTATIME,
    "bind": syscalls.MS_BIND,
    "rbind": syscalls.MS_BIND | syscalls.MS_REC,
}
_NO_FLAG = {"rw", "suid", "dev", "exec", "defaults"}
_PROPAGATION = {
    "private": syscalls.MS_PRIVATE,
    "rprivate": syscalls.MS_PRIVATE | syscalls.MS_REC,
    "slave": syscalls.MS_SLAVE,
    "rslave": syscalls.MS_SLAVE | syscalls.MS_REC,
    "shared": syscalls.MS_SHARED,
    "rshared": syscalls.MS_SHARED | syscalls.MS_REC,
}
# What a mount in a user namespace may not lose when it is mounted again.
_LOCKED = {
    os.ST_NOSUID: syscalls.MS_NOSUID,
    os.ST_NODEV: syscalls.MS_NODEV,
    os.ST_NOEXEC: syscalls.MS_NOEXEC,
}
DEV = "/dev"  # has devices; the runtime shuts it for others when it is furnished
_HERE = -100  # AT_FDCWD


class Action(Enum):
    """What one operation does at its destination."""

    MOUNT = "mount"
    BIND = "bind"
    MASK = "mask"
    READONLY = "make read-only"


@dataclass(frozen=True, slots=True)
class MountOp:
    """One thing to do, in order.

    Attributes:
        destination: absolute, in the container.
        flags: MS_ bits.
        data: options of the file system.
        optional: a destination that does not exist is fine.
    """

    action: Action
    destination: str
    source: str = ""
    kind: str = ""
    flags: int = 0
    data: str = ""
    propagation: int = 0
    optional: bool = False
    why: str = field(default="", compare=False)


def plan_mounts(config: RuntimeConfig) -> list[MountOp]:
    """List everything to mount below the new root, in the config's order."""
    return [_plan_mount(each) for each in config.mounts]


def plan_protection(config: RuntimeConfig) -> list[MountOp]:
    """List what to make read-only and what to hide, once all is mounted."""
    readonly = [
        MountOp(Action.READONLY, path, optional=True, why="readonlyPaths")
        for path in config.readonly_paths
    ]
    masked = [
        MountOp(Action.MASK, path, optional=True, why="maskedPaths") for path in config.masked_paths
    ]
    return readonly + masked


def _plan_mount(mount: Mount) -> MountOp:
    flags, propagation, data = 0, 0, []
    for option in mount.options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option in _PROPAGATION:
            propagation = _PROPAGATION[option]
        elif option not in _NO_FLAG:
            data.append(option)
    if mount.type != "devpts" and (mount.type != "tmpfs" or mount.destination != DEV):
        # There is no device cgroup yet: with CAP_MKNOD, which docker gives, a node of the
        # machine's disk made on any file system that allows devices would be the disk.
        flags |= syscalls.MS_NODEV
    action = Action.BIND if flags & syscalls.MS_BIND else Action.MOUNT
    return MountOp(
        action,
        mount.destination,
        source=mount.source or mount.type,
        kind=mount.type,
        flags=flags,
        data=",".join(data),
        propagation=propagation,
        why="mounts",
    )


def apply_mount(op: MountOp, root_fd: int) -> None:
    """Do one planned operation below ``root_fd``.

    Raises:
        StartFailed: says which destination and why.
    """
    act = {
        Action.MOUNT: _mount_new,
        Action.BIND: _bind,
        Action.MASK: _mask,
        Action.READONLY: _make_readonly,
    }[op.action]
    try:
        act(op, root_fd)
    except (FileNotFoundError, NotADirectoryError) as err:
        if not op.optional:
            raise _failed(op, err) from err
    except OSError as err:
        raise _failed(op, err) from err


def _failed(op: MountOp, err: OSError) -> StartFailed:
    return StartFailed(
        f"cannot {op.action.value} {op.destination}",
        why=f"{op.kind or op.source}: {err.strerror or err}",
    )


@dataclass(frozen=True, slots=True)
class _Target:
    """Somewhere in the container, whatever its name leads to by now."""

    fd: int

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self.fd}"


@contextlib.contextmanager
def _opened(root_fd: int, destination: str, *, links: bool = True) -> Iterator[_Target]:
    """Yield exactly the destination, wherever names move meanwhile."""
    relative = destination.strip("/") or "."
    door = open_in_root if links else open_beneath
    fd = door(root_fd, relative, os.O_PATH)
    try:
        yield _Target(fd)
    finally:
        os.close(fd)


def _mount_new(op: MountOp, root_fd: int) -> None:
    links = op.kind not in {"proc", "sysfs"}  # CVE-2019-19921: never through an image's symlink
    if links:
        os.close(make_directories(root_fd, op.destination))
    else:
        _plain_directory(root_fd, op.destination)
    with _opened(root_fd, op.destination, links=links) as target:
        if op.kind != "proc":
            _keep_off_proc(op, target)
        try:
            syscalls.mount(op.source, target.path, op.kind, op.flags, op.data or None)
        except OSError as err:
            # A user namespace with a single id has no group 5 for terminals.
            if err.errno != errno.EINVAL or "gid=5" not in op.data:
                raise
            data = ",".join(each for each in op.data.split(",") if each != "gid=5")
            syscalls.mount(op.source, target.path, op.kind, op.flags, data or None)


def _plain_directory(root_fd: int, path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path.strip("/"), 0o755, dir_fd=root_fd)


def _keep_off_proc(op: MountOp, target: _Target) -> None:
    """Refuse to cover any of /proc (CVE-2019-16884, CVE-2023-27561).

    An image may have a symlink that leads a volume there; what is masked, written and looked
    up below /proc from then on would be the volume's files.
    """
    if syscalls.file_system_magic(target.fd) == syscalls.PROC_SUPER_MAGIC:
        raise StartFailed(
            f"cannot mount on {op.destination}",
            why="it lies in /proc, which shows the kernel's own files",
            hint="choose another directory of the container",
        )


def _bind(op: MountOp, root_fd: int) -> None:
    recursive = bool(op.flags & syscalls.MS_REC)
    try:
        tree = syscalls.open_tree(_HERE, op.source, recursive=recursive)
    except OSError as err:
        raise StartFailed(
            f"cannot mount {op.source} on {op.destination}",
            why=f"{op.source}: {err.strerror}",
            hint="make it first, or correct the path before the colon of -v",
        ) from err
    try:
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        make = make_directories if is_directory else make_file
        target = _Target(make(root_fd, op.destination))
        try:
            _keep_off_proc(op, target)
            _attach(tree, target, op.flags & ~(syscalls.MS_BIND | syscalls.MS_REC))
        finally:
            os.close(target.fd)
        if op.propagation:
            syscalls.mount(None, _Target(tree).path, None, op.propagation)
    finally:
        os.close(tree)


def _attach(tree: int, target: _Target, flags: int) -> None:
    """Restrict a detached tree, then make it visible exactly at ``target``.

    No name is resolved twice: whoever swaps directories meanwhile (CVE-2021-30465) can have
    the mount neither elsewhere nor without its flags.
    """
    late = 0
    if flags:
        try:
            syscalls.restrict_tree(tree, flags)
        except OSError as err:
            if err.errno != errno.ENOSYS:  # Linux before 5.12 restricts the topmost mount only
                raise
            late = flags
    syscalls.move_mount(tree, target.fd)
    if late:
        _remount(_Target(tree).path, late)


def _remount(target: str, flags: int) -> None:
    held = os.statvfs(target).f_flag
    locked = sum(ms for st, ms in _LOCKED.items() if held & st)
    syscalls.mount(None, target, None, syscalls.MS_REMOUNT | syscalls.MS_BIND | flags | locked)


def _make_readonly(op: MountOp, root_fd: int) -> None:
    with _opened(root_fd, op.destination) as target:
        tree = syscalls.open_tree(target.fd, "", recursive=True)
        try:
            _attach(tree, target, syscalls.MS_RDONLY)
        finally:
            os.close(tree)


def _mask(op: MountOp, root_fd: int) -> None:
    with _opened(root_fd, op.destination) as target:
        if stat.S_ISDIR(os.fstat(target.fd).st_mode):
            flags = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
            syscalls.mount("tmpfs", target.path, "tmpfs", flags, "nr_blocks=1,nr_inodes=1")
            return
        # CVE-2025-31133: the image's /dev/null may be anything; the host's is checked.
        null = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            found = os.fstat(null)
            if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
                raise StartFailed("/dev/null of this machine is not the null device")
            tree = syscalls.open_tree(null, "", recursive=False)
            try:
                # Read-only, or chmod of a masked file would be chmod of the machine's /dev/null.
                _attach(tree, target, syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NOEXEC)
            finally:
                os.close(tree)
        finally:
            os.close(null)


def remount_root_readonly() -> None:
    """Make ``/`` of this mount namespace read-only."""
    _remount("/", syscalls.MS_RDONLY)
