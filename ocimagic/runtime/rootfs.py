"""The root of a container: stacked or shown from a directory, then made the only one there is.

Spec: runtime-spec config.md, "Root"; config-linux.md, "Rootfs Mount Propagation".
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, StartFailed
from ocimagic.linux import mounting
from ocimagic.linux.paths import open_in_root, remove_tree
from ocimagic.model.rootfs import IMAGE_SUFFIX
from ocimagic.runtime.mount_attributes import READONLY, attach, change, unescaped
from ocimagic.runtime.mount_options import PROPAGATION, Change, MountOptions
from ocimagic.runtime.mount_target import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.model.rootfs import Rootfs, View

_MAX_LOWERS = 500  # OVL_MAX_STACK
_OPTION_BYTES = 4096  # mount(2) silently cuts what is longer
_IMAGE_FLAGS = mounting.MS_RDONLY | mounting.MS_NODEV | mounting.MS_NOATIME
_KERNELS_OWN = ("proc", "sysfs")
# What the machine mounts there later may come through, never the other way round.
_ROOT = MountOptions(propagation=(mounting.MS_SLAVE | mounting.MS_REC,))
_ROOT_WITHOUT_DEVICES = MountOptions(
    all=Change(mounting.MOUNT_ATTR_NODEV), propagation=_ROOT.propagation
)


def make_private() -> None:
    """Cut the mount namespace off: nothing mounted from here on is seen outside."""
    mounting.mount(None, "/", None, mounting.MS_PRIVATE | mounting.MS_REC)


def prepare_namespace(propagation: str, root_path: str) -> None:
    """Keep what is mounted from here on out of the machine's sight, as far as the config wants.

    Args:
        propagation: ``linux.rootfsPropagation``.
        root_path: where the root will be mounted.
    """
    kind = propagation.removeprefix("r")
    if kind == "shared":
        # Volumes that are shared must stay in the machine's peer group; the root must not.
        _make_parent_private(root_path)
    elif kind in ("private", "unbindable"):
        make_private()
    else:
        mounting.mount(None, "/", None, mounting.MS_SLAVE | mounting.MS_REC)


def _make_parent_private(path: str) -> None:
    while True:
        path = os.path.dirname(path)
        try:
            mounting.mount(None, path, None, mounting.MS_PRIVATE)
        except OSError as err:
            if err.errno != errno.EINVAL or path == "/":  # EINVAL: nothing is mounted just here
                raise
        else:
            return


def overlay_options(rootfs: Rootfs) -> str:
    """Return the options for mount(2), paths relative to ``rootfs.base``."""
    words = [
        "lowerdir=" + ":".join(rootfs.lowers),
        "upperdir=" + os.path.relpath(rootfs.upper, rootfs.base),
        "workdir=" + os.path.relpath(rootfs.work, rootfs.base),
    ]
    # Whatever the machine's defaults are, the upper directory must say in plain whiteouts
    # what changed: diff reads it.
    # Not index=on, which would keep names of one lower file together when they are copied up:
    # in a user namespace the kernel turns it off (6.18: to decode file handles takes
    # CAP_DAC_READ_SEARCH of the machine), and for root docker has it off, too.
    words += ["userxattr"] if rootfs.userxattr else ["redirect_dir=off", "metacopy=off"]
    words += ["volatile"] if rootfs.volatile else []
    return ",".join(words)


def mount_images(rootfs: Rootfs) -> None:
    """Mount the layers that are images where the stack looks for them.

    In a mount namespace of one's own, whose mounts nobody else sees.

    Raises:
        StartFailed: the kernel refuses, with what it said.
    """
    for lower in rootfs.images:
        place = f"{rootfs.base}/{lower}"
        try:
            mounting.mount(place + IMAGE_SUFFIX, place, "erofs", _IMAGE_FLAGS)
        except OSError as err:
            raise StartFailed(
                "cannot mount a layer of the image",
                why=f"erofs: {err.strerror}",
                where=place + IMAGE_SUFFIX,
                hint="set OCIMAGIC_SNAPSHOTTER=overlay to unpack layers into directories again",
            ) from err


def mount_overlay(rootfs: Rootfs, target: str, *, forbid_devices: bool = True) -> None:
    """Mount the stack on ``target``.

    Args:
        rootfs: what to stack.
        target: a directory.
        forbid_devices: no device in it can be opened.

    Raises:
        StartFailed: the kernel refuses, with what it said.
    """
    mount_images(rootfs)
    options = overlay_options(rootfs)
    if len(rootfs.lowers) > _MAX_LOWERS or len(os.fsencode(options)) >= _OPTION_BYTES:
        raise StartFailed(
            f"this image has too many layers to stack: {len(rootfs.lowers)}",
            why=f"overlayfs takes {_MAX_LOWERS}, and one page of options",
            hint="build it again with fewer steps, for example joined with &&",
        )
    flags = mounting.MS_NODEV if forbid_devices else 0
    home = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.chdir(rootfs.base)
        try:
            mounting.mount("overlay", target, "overlay", flags, options)
        except OSError as err:
            if err.errno != errno.EINVAL or not _forget_volatile(rootfs.work):
                raise
            mounting.mount("overlay", target, "overlay", flags, options)
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


def show_view(view: View, bundle_path: str, *, forbid_devices: bool = True) -> None:
    """Stack another root in the bundle and show the part of it that is wanted.

    What layers hold is not trusted: their symlinks lead nowhere out of them.

    Raises:
        StartFailed: it cannot be stacked, or there is no such path in it.
    """
    shown = os.path.join(bundle_path, view.source)
    stacked = os.path.join(os.path.dirname(shown), "root")
    os.makedirs(stacked, 0o700)
    mount_overlay(view.rootfs, stacked, forbid_devices=forbid_devices)
    root = os.open(stacked, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = open_in_root(root, view.path or ".", os.O_PATH)
        try:
            if stat.S_ISDIR(os.fstat(found).st_mode):
                os.mkdir(shown)
            else:
                os.close(os.open(shown, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
            mounting.mount(path_of(found), shown, None, mounting.MS_BIND)
        finally:
            os.close(found)
    except OSError as err:
        raise StartFailed(f"cannot mount /{view.path}", why=err.strerror) from err
    finally:
        os.close(root)


def _forget_volatile(work: str) -> bool:
    """Remove the mark of a mount that did not wait for the disk, which forbids the next one."""
    try:
        marks = os.open(f"{work}/work/incompat", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        remove_tree("volatile", marks)
    except OSError:
        return False
    finally:
        os.close(marks)
    return True


def open_root(path: str) -> int:
    """Return the directory that is to be the root as a tree, with all that is mounted below it.

    For a process that may not go there by itself: the root user of a user namespace.

    Raises:
        HostLacks: this process may not copy mounts.
        StartFailed: it is not there.
    """
    try:
        return mounting.open_tree(path, recursive=True)
    except PermissionError as err:
        raise HostLacks("cannot use the root directory", why=f"{path}: {err.strerror}") from err
    except OSError as err:
        raise StartFailed("cannot use the root directory", why=f"{path}: {err.strerror}") from err


def mount_root(path: str, *, tree: int = -1, forbid_devices: bool = True) -> int:
    """Make a directory a mount of its own, as pivot_root(2) wants, and return it with O_PATH.

    Args:
        path: of the directory.
        tree: what ``open_root`` returned for it, or -1.
        forbid_devices: no device in it can be opened.

    Raises:
        StartFailed: it is not there.
    """
    if tree < 0:
        tree = open_root(path)
    try:
        target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        # Out of reach, but any place will do: here nobody sees it who is not told.
        target = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attach(tree, target, _ROOT_WITHOUT_DEVICES if forbid_devices else _ROOT)
    except OSError as err:
        raise StartFailed("cannot use the root directory", why=f"{path}: {err.strerror}") from err
    finally:
        os.close(target)
    return tree


def pivot(root_fd: int) -> None:
    """Make ``root_fd`` the root and let go of the machine's, leaving no way back."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(root_fd)
        mounting.pivot_root(".", ".")
        # The old root now lies over the new one at "/": step onto it, cut it off, drop it.
        os.fchdir(old)
        mounting.mount(None, ".", None, mounting.MS_SLAVE | mounting.MS_REC)
        mounting.umount(".", mounting.MNT_DETACH)
        os.chdir("/")
    finally:
        os.close(old)


def move_root(root_fd: int) -> None:
    """Do the same where pivot_root(2) cannot, on a machine whose root is its initramfs.

    The machine's root stays mounted below; procfs and sysfs elsewhere would be doors to it
    without what masks them here, so they are taken away or covered.
    """
    os.fchdir(root_fd)
    _cover_kernels_own(os.getcwd())
    mounting.mount(".", "/", None, mounting.MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def _cover_kernels_own(root: str) -> None:
    for point, kind in reversed(list(_mounts())):
        if kind not in _KERNELS_OWN or f"{point}/".startswith(f"{root}/"):
            continue
        try:
            mounting.umount(point, mounting.MNT_DETACH)
        except OSError as err:
            if err.errno not in (errno.EINVAL, errno.EPERM, errno.ENOENT):
                raise
            with contextlib.suppress(FileNotFoundError):  # it was below another one
                mounting.mount("tmpfs", point, "tmpfs")


def change_root(root_fd: int) -> None:
    """Change the root of this process alone, which has no mount namespace of its own."""
    os.fchdir(root_fd)
    os.chroot(".")
    os.chdir("/")


def propagate_root(propagation: str) -> None:
    """Say what happens with later mounts below ``/``; nothing where the config does not say.

    After the change of the root, or it would be the machine's.

    Args:
        propagation: ``linux.rootfsPropagation``.
    """
    if propagation:
        mounting.mount(None, "/", None, PROPAGATION[propagation])


def make_root_readonly() -> None:
    """Make ``/`` of this mount namespace read-only."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        change(root, READONLY)
    finally:
        os.close(root)


def unmount_below(root_path: str) -> None:
    """Unmount all that a container without a mount namespace of its own left on the machine.

    Also what somebody still looks into: its processes are over.
    """
    inside = os.path.realpath(root_path).rstrip("/") + "/"
    for point, _ in reversed(list(_mounts())):
        if point.startswith(inside):
            mounting.umount(point, mounting.MNT_DETACH)


def _mounts() -> Iterator[tuple[str, str]]:
    """Yield the mount point and kind of all there is in this namespace, oldest first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            yield unescaped(before.split(" ")[4]), after.split(" ")[0]
