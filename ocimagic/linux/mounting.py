"""The system calls about mounts, old and new; what has a call's name is that call.

A *tree* is a mount, with or without those below it, that an open descriptor holds and that is
attached nowhere yet: it can be restricted before anybody sees it, and is gone with the last
descriptor unless ``move_mount`` attached it.

Source: <linux/mount.h>.  Linux 5.6 is needed, and 5.12 for ``set_attributes``.
"""

from __future__ import annotations

import os
import struct

from ocimagic.linux.syscalls import call, encode_path

# Flags of mount(2).
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25
MNT_DETACH = 2

# Attributes of one mount, for mount_setattr(2) and fsmount(2).
MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

_HERE = -100  # AT_FDCWD
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_BOTH_ARE_DESCRIPTORS = 0x04 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
_CLOEXEC = 1  # FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6  # fsconfig(2)
_LOG_LINE_BYTES = 4096


def mount(
    source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None
) -> None:
    """Mount a file system or change a mount."""
    texts = [None if text is None else encode_path(text) for text in (source, target, kind, data)]
    try:
        call("mount", texts[0], texts[1], texts[2], flags, texts[3])
    except OSError as err:
        raise OSError(err.errno, err.strerror, target) from None


def umount(target: str, flags: int = 0) -> None:
    """Detach what is mounted."""
    try:
        call("umount2", encode_path(target), flags)
    except OSError as err:
        raise OSError(err.errno, err.strerror, target) from None


def pivot_root(new_root: str, put_old: str) -> None:
    """Change the root mount."""
    call("pivot_root", encode_path(new_root), encode_path(put_old))


def open_tree(path: str, *, dir_fd: int = _HERE, recursive: bool = False) -> int:
    """Return a copy of what is mounted there as a tree.

    Args:
        path: symlinks are followed; "" copies what ``dir_fd`` means.
        dir_fd: what ``path`` is relative to.
        recursive: with all mounts below it.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH
    return call("open_tree", dir_fd, encode_path(path), flags | (recursive and _AT_RECURSIVE))


def move_mount(tree_fd: int, target_fd: int) -> None:
    """Attach a tree exactly on what ``target_fd`` means."""
    call("move_mount", tree_fd, b"", target_fd, b"", _BOTH_ARE_DESCRIPTORS)


def set_attributes(
    mount_fd: int,
    attributes: int = 0,
    *,
    clear: int = 0,
    propagation: int = 0,
    user_namespace: int = 0,
    recursive: bool = False,
) -> None:
    """Change a mount, or everything of a tree or nothing of it, see mount_setattr(2).

    Args:
        mount_fd: the root of a mount.
        attributes: MOUNT_ATTR_ bits to set.
        clear: those to clear first; MOUNT_ATTR__ATIME as a whole where any of it is set.
        propagation: MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, or 0 to leave it.
        user_namespace: descriptor of the one whose mapping MOUNT_ATTR_IDMAP applies.
        recursive: also all that is mounted below.
    """
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
    fields = struct.pack("4Q", attributes, clear, propagation, user_namespace)
    how = _AT_EMPTY_PATH | (recursive and _AT_RECURSIVE)
    call("mount_setattr", mount_fd, b"", how, fields, len(fields))


def new_tree(kind: str, source: str, options: str = "", attributes: int = 0) -> int:
    """Return a new file system as a tree: fsopen(2), fsconfig(2), fsmount(2).

    Args:
        kind: as in /proc/filesystems.
        source: what is to be mounted; for kernel file systems only a name.
        options: as mount(8) writes them, with commas between.
        attributes: MOUNT_ATTR_ bits.

    Raises:
        OSError: with the file system's own words where it has any.
    """
    context = call("fsopen", encode_path(kind), _CLOEXEC)
    try:
        _configure(context, f"source={source}", *filter(None, options.split(",")))
        call("fsconfig", context, _CREATE, None, None, 0)
        return call("fsmount", context, _CLOEXEC, attributes)
    except OSError as err:
        raise OSError(err.errno, _complaint(context) or err.strerror) from None
    finally:
        os.close(context)


def _configure(context: int, *options: str) -> None:
    for option in options:
        name, equals, value = option.partition("=")
        if equals:
            call("fsconfig", context, _SET_STRING, encode_path(name), encode_path(value), 0)
        else:
            call("fsconfig", context, _SET_FLAG, encode_path(name), None, 0)


def _complaint(context: int) -> str:
    """Return what the file system said was wrong, "" for nothing."""
    said = []
    try:
        while line := os.read(context, _LOG_LINE_BYTES):
            # "e " begins an error, "w " a warning, "i " an information.
            said.append(line[2:].decode(errors="replace").strip())
    except OSError:
        pass  # ENODATA: that was all
    return "; ".join(said)
