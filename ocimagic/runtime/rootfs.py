"""The root of a container: stacked, furnished with devices, then pivoted into.

Spec: runtime-spec config.md, "Root"; config-linux.md, "Default Devices", "Default Filesystems".
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import StartFailed
from ocimagic.linux import syscalls
from ocimagic.linux.paths import open_beneath

if TYPE_CHECKING:
    from ocimagic.model.rootfs import OverlayRootfs

DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
    "core": "/proc/kcore",
}

_MAX_LOWERS = 500  # OVL_MAX_STACK
_OPTION_BYTES = 4096  # mount(2) silently cuts what is longer


def make_private() -> None:
    """Cut the mount namespace off: nothing mounted from here on is seen outside."""
    syscalls.mount(None, "/", None, syscalls.MS_PRIVATE | syscalls.MS_REC)


def overlay_options(rootfs: OverlayRootfs) -> str:
    """Return the options for mount(2), paths relative to ``rootfs.base``."""
    words = [
        "lowerdir=" + ":".join(rootfs.lowers),
        "upperdir=" + os.path.relpath(rootfs.upper, rootfs.base),
        "workdir=" + os.path.relpath(rootfs.work, rootfs.base),
    ]
    # Whatever the machine's defaults are, the upper directory must say in plain whiteouts
    # what changed: diff reads it.
    words += ["userxattr"] if rootfs.userxattr else ["redirect_dir=off", "metacopy=off"]
    words += ["volatile"] if rootfs.volatile else []
    return ",".join(words)


def mount_overlay(rootfs: OverlayRootfs, target: str) -> None:
    """Mount the stack on ``target``.

    Raises:
        StartFailed: the kernel refuses, with what it said.
    """
    options = overlay_options(rootfs)
    if len(rootfs.lowers) > _MAX_LOWERS or len(os.fsencode(options)) >= _OPTION_BYTES:
        raise StartFailed(
            f"this image has too many layers to stack: {len(rootfs.lowers)}",
            why=f"overlayfs takes {_MAX_LOWERS}, and one page of options",
            hint="build it again with fewer steps, for example joined with &&",
        )
    # A work directory left by a mount that did not wait for the disk forbids the next mount.
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(f"{rootfs.work}/work/incompat/volatile")
    home = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.chdir(rootfs.base)
        syscalls.mount("overlay", target, "overlay", syscalls.MS_NODEV, options)
    except OSError as err:
        raise StartFailed(
            "cannot stack the image's layers",
            why=f"overlay: {err.strerror}",
            hint="the data root must be on a file system that overlayfs can write to "
            "(ext4, xfs, btrfs, tmpfs), not on another overlay or NFS",
        ) from err
    finally:
        os.fchdir(home)
        os.close(home)


def make_devices(root_fd: int, *, is_own: bool = True) -> None:
    """Fill /dev by its directory descriptor, never by path (CVE-2026-41579).

    Every file system of a container forbids devices (``mounts``); each of these few is mounted
    on itself and allowed there.

    Args:
        root_fd: the container's root.
        is_own: /dev is the container's; a directory of the machine gets nothing made in it.

    Raises:
        StartFailed: /dev of the image is no directory, or a node is not what it should be.
    """
    try:
        dev = open_beneath(root_fd, "dev", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as err:
        raise StartFailed("/dev of this image is not a directory", why=str(err.strerror)) from err
    try:
        for name, (major, minor) in DEVICES.items():
            if is_own or name in os.listdir(dev):
                _make_device(dev, name, os.makedev(major, minor), is_own=is_own)
        for name, target in LINKS.items() if is_own else ():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=dev)
            os.symlink(target, name, dir_fd=dev)
    finally:
        os.close(dev)


def _make_device(dev: int, name: str, rdev: int, *, is_own: bool) -> None:
    source = ""
    if is_own:
        try:
            os.mknod(name, stat.S_IFCHR | 0o666, rdev, dir_fd=dev)
            os.chmod(name, 0o666, dir_fd=dev)  # noqa: S103  as on every machine
        except FileExistsError:
            pass
        except PermissionError:
            # A user namespace may not make devices, but may bind the machine's.
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o666, dir_fd=dev))
            source = f"/dev/{name}"
    spot = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev)
    tree = -1
    try:
        tree = syscalls.open_tree(spot, source, recursive=False)
        found = os.fstat(tree)
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != rdev:
            raise StartFailed(f"/dev/{name} is not the device it should be")
        syscalls.move_mount(tree, spot)
        if os.statvfs(f"/proc/self/fd/{tree}").f_flag & os.ST_NODEV:
            flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_NOSUID | syscalls.MS_NOEXEC
            syscalls.mount(None, f"/proc/self/fd/{tree}", None, flags)
    finally:
        os.close(spot)
        if tree >= 0:
            os.close(tree)


def forbid_devices(root_fd: int) -> None:
    """Let nothing else in a furnished /dev be a device, whoever makes it there."""
    dev = open_beneath(root_fd, "dev", os.O_PATH | os.O_DIRECTORY)
    try:
        flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_NOSUID | syscalls.MS_NODEV
        syscalls.mount(None, f"/proc/self/fd/{dev}", None, flags)
    finally:
        os.close(dev)


def pivot(root_fd: int) -> None:
    """Make ``root_fd`` the root and let go of the machine's, leaving no way back."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(root_fd)
        syscalls.pivot_root(".", ".")
        # The old root now lies over the new one at "/": step onto it, cut it off, drop it.
        os.fchdir(old)
        syscalls.mount(None, ".", None, syscalls.MS_SLAVE | syscalls.MS_REC)
        syscalls.umount(".", syscalls.MNT_DETACH)
        os.chdir("/")
    finally:
        os.close(old)
