"""Whose a file is meant to be, where the account that keeps it has one id only.

Its real owner is that account then, whatever was asked for.  The meant one is kept in an
attribute of the file itself, which overlayfs carries along when it copies a file up; a file
without it is root's.  Linux allows such attributes to files and directories.  What cannot have
any, a symlink or a FIFO, is listed in a file beside the snapshot's tree; and a device, which
such an account cannot make at all, is an empty file whose attribute says what it stands for.

The name is ours on purpose: ``user.containers.override_stat`` of containers/storage also holds
the mode, which is real here, and who mounts with fuse-overlayfs would obey it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.layers.tarheader import MAX_ID, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.layers.tarheader import Entry

XATTR = "user.ocimagic.owner"
LEAVES_NAME = "owners"  # beside a snapshot's tree: paths of what cannot have attributes
_FORM = re.compile(rb"(\d{1,10}):(\d{1,10})(?::([bc]):(\d{1,8}):(\d{1,8}))?")
# getxattr(2), removexattr(2): none, no such attributes on this file or file system.
_NONE = (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EINVAL)


class Ownership(NamedTuple):
    """Whose a file is, and which device it stands for.

    Attributes:
        device: ``b`` or ``c``; "" for what really is what it looks like.
    """

    uid: int = 0
    gid: int = 0
    device: str = ""
    major: int = 0
    minor: int = 0

    def to_bytes(self) -> bytes:
        """Return the attribute's value."""
        words = [f"{self.uid}:{self.gid}"]
        if self.device:
            words.append(f"{self.device}:{self.major}:{self.minor}")
        return ":".join(words).encode()

    @classmethod
    def of_bytes(cls, value: bytes) -> Ownership | None:
        """Understand the attribute's value; None for what nobody here has written."""
        found = _FORM.fullmatch(value)
        if not found:
            return None
        uid, gid = int(found[1]), int(found[2])
        if max(uid, gid) > MAX_ID:
            return None
        if found[3] is None:
            return cls(uid, gid)
        return cls(uid, gid, found[3].decode(), int(found[4]), int(found[5]))


ROOT = Ownership()


def find_record(file: int | str | bytes, *, follow: bool = True) -> Ownership | None:
    """Return what is recorded of a file, None for nothing.

    Args:
        file: a path, or a descriptor that is not opened with O_PATH.
        follow: a symlink at the end of the path.

    Raises:
        OSError: the file is not there.
    """
    try:
        if isinstance(file, int):
            return Ownership.of_bytes(os.getxattr(file, XATTR))
        return Ownership.of_bytes(os.getxattr(file, XATTR, follow_symlinks=follow))
    except OSError as err:
        if err.errno in _NONE:
            return None
        raise


def record(file: int | str | bytes, owner: Ownership) -> None:
    """Record whose a file or directory is; what is root's has no record.

    Raises:
        OSError: the file system keeps no attributes, or not on such a file.
    """
    if owner != ROOT:
        os.setxattr(file, XATTR, owner.to_bytes())
        return
    try:
        os.removexattr(file, XATTR)
    except OSError as err:
        if err.errno not in _NONE:
            raise


def as_recorded(entry: Entry, owner: Ownership | None) -> Entry:
    """Return a file's or directory's entry as its record says; without one it stays as it is."""
    if owner is None:
        return entry
    entry = entry._replace(uid=owner.uid, gid=owner.gid)
    if owner.device and entry.kind is Kind.FILE:
        devices = {"c": Kind.CHAR, "b": Kind.BLOCK}
        return entry._replace(
            kind=devices[owner.device], size=0, dev_major=owner.major, dev_minor=owner.minor
        )
    return entry


Leaves = dict[str, Ownership]  # by path below a snapshot's root, without a slash in front


def leaves_to_bytes(leaves: Mapping[str, Ownership]) -> bytes:
    """Write the list of what cannot have attributes; the same bytes for the same list."""
    kept = {path: owner.to_bytes().decode() for path, owner in sorted(leaves.items())}
    return json.dumps(kept, separators=(",", ":")).encode()


def read_leaves(snapshot: str) -> Leaves | None:
    """Read the list of a snapshot; None for one that was made without recording owners.

    Args:
        snapshot: the directory that holds its tree.
    """
    try:
        with open(f"{snapshot}/{LEAVES_NAME}", "rb") as file:
            content = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    found: Leaves = {}
    for path, value in content.items():
        owner = Ownership.of_bytes(str(value).encode())
        if owner is not None:
            found[path] = owner
    return found
