"""The words in a mount's ``options``, as what they ask of the kernel.

Of two words that contradict each other the later one holds.  A word that is not in the
specification's table belongs to the file system.

Spec: runtime-spec config.md, "Linux mount options"; mount(8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.linux import mounting
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Change:
    """Which attributes of a mount to set and which to clear; what is in neither is kept.

    Attributes:
        on: MOUNT_ATTR_ bits; so is ``off``.
    """

    on: int = 0
    off: int = 0

    def __bool__(self) -> bool:
        return bool(self.on | self.off)

    def turned(self, bit: int, *, on: bool) -> Change:
        """Return this change with one bit decided."""
        if on:
            return Change(self.on | bit, self.off & ~bit)
        return Change(self.on & ~bit, self.off | bit)

    def timed(self, policy: int) -> Change:
        """Return this change with the policy for access times, of which a mount has just one."""
        # The kernel wants the whole field cleared where any of it is set.
        return Change(self.on & ~_ATIME | policy, self.off | _ATIME)

    def joined(self, other: Change) -> Change:
        """Return this change followed by another."""
        return Change(self.on & ~other.off | other.on, self.off & ~other.on | other.off)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What the words of one mount ask for.

    Attributes:
        top: what to change on the mount itself.
        all: what to change, after that, on it and on everything mounted below it.
        file_system: MS_ bits that are the file system's and not one mount's.
        propagation: MS_ bits, in order, each with MS_REC where it goes for all below too.
        bind: show what is at ``source``.
        recursive: a bind with all that is mounted below the source.
        remount: change what is mounted there already.
        copy_up: fill a tmpfs with what it covers.
        idmap: show other owners; ``idmap_recursive`` likewise for all below.
        data: words for the file system, with commas between.
    """

    top: Change = Change()
    all: Change = Change()
    file_system: int = 0
    propagation: tuple[int, ...] = ()
    bind: bool = False
    recursive: bool = False
    remount: bool = False
    copy_up: bool = False
    idmap: bool = False
    idmap_recursive: bool = False
    data: str = ""

    @property
    def mount_flags(self) -> int:
        """Return ``top`` and ``file_system`` as mount(2) takes them."""
        flags = self.file_system
        for attribute, flag in AS_FLAGS.items():
            flags |= flag if self.top.on & attribute else 0
        return flags


_ATIME = mounting.MOUNT_ATTR__ATIME
AS_FLAGS = {
    mounting.MOUNT_ATTR_RDONLY: mounting.MS_RDONLY,
    mounting.MOUNT_ATTR_NOSUID: mounting.MS_NOSUID,
    mounting.MOUNT_ATTR_NODEV: mounting.MS_NODEV,
    mounting.MOUNT_ATTR_NOEXEC: mounting.MS_NOEXEC,
    mounting.MOUNT_ATTR_NOATIME: mounting.MS_NOATIME,
    mounting.MOUNT_ATTR_STRICTATIME: mounting.MS_STRICTATIME,
    mounting.MOUNT_ATTR_NODIRATIME: mounting.MS_NODIRATIME,
    mounting.MOUNT_ATTR_NOSYMFOLLOW: mounting.MS_NOSYMFOLLOW,
}
# Each of these words has a twin with an "r" before it that goes for all below too.
_ATTRIBUTES = {
    "ro": (mounting.MOUNT_ATTR_RDONLY, True),
    "rw": (mounting.MOUNT_ATTR_RDONLY, False),
    "nosuid": (mounting.MOUNT_ATTR_NOSUID, True),
    "suid": (mounting.MOUNT_ATTR_NOSUID, False),
    "nodev": (mounting.MOUNT_ATTR_NODEV, True),
    "dev": (mounting.MOUNT_ATTR_NODEV, False),
    "noexec": (mounting.MOUNT_ATTR_NOEXEC, True),
    "exec": (mounting.MOUNT_ATTR_NOEXEC, False),
    "nodiratime": (mounting.MOUNT_ATTR_NODIRATIME, True),
    "diratime": (mounting.MOUNT_ATTR_NODIRATIME, False),
    "nosymfollow": (mounting.MOUNT_ATTR_NOSYMFOLLOW, True),
    "symfollow": (mounting.MOUNT_ATTR_NOSYMFOLLOW, False),
}
# What takes a policy back leaves the kernel's own choice, which is relatime.
_ACCESS_TIMES = {
    "relatime": mounting.MOUNT_ATTR_RELATIME,
    "norelatime": mounting.MOUNT_ATTR_RELATIME,
    "atime": mounting.MOUNT_ATTR_RELATIME,
    "noatime": mounting.MOUNT_ATTR_NOATIME,
    "strictatime": mounting.MOUNT_ATTR_STRICTATIME,
    "nostrictatime": mounting.MOUNT_ATTR_RELATIME,
}
_FILE_SYSTEM = {
    "sync": (mounting.MS_SYNCHRONOUS, True),
    "async": (mounting.MS_SYNCHRONOUS, False),
    "dirsync": (mounting.MS_DIRSYNC, True),
    "mand": (mounting.MS_MANDLOCK, True),
    "nomand": (mounting.MS_MANDLOCK, False),
    "iversion": (mounting.MS_I_VERSION, True),
    "noiversion": (mounting.MS_I_VERSION, False),
    "lazytime": (mounting.MS_LAZYTIME, True),
    "nolazytime": (mounting.MS_LAZYTIME, False),
    "silent": (mounting.MS_SILENT, True),
    "loud": (mounting.MS_SILENT, False),
}
PROPAGATION = {
    f"{prefix}{word}": flag | recursive
    for prefix, recursive in (("", 0), ("r", mounting.MS_REC))
    for word, flag in {
        "private": mounting.MS_PRIVATE,
        "shared": mounting.MS_SHARED,
        "slave": mounting.MS_SLAVE,
        "unbindable": mounting.MS_UNBINDABLE,
    }.items()
}
_SWITCHES = {
    "defaults": (),
    "bind": ("bind",),
    "rbind": ("bind", "recursive"),
    "remount": ("remount",),
    "tmpcopyup": ("copy_up",),
    "idmap": ("idmap",),
    "ridmap": ("idmap", "idmap_recursive"),
}
KNOWN_WORDS = frozenset(
    {*_FILE_SYSTEM, *PROPAGATION, *_SWITCHES}
    | {f"{prefix}{word}" for word in (*_ATTRIBUTES, *_ACCESS_TIMES) for prefix in ("", "r")}
)  # what ``features`` lists


def parse_options(words: Iterable[str]) -> MountOptions:
    """Read the options of one mount."""
    top, everything, file_system = Change(), Change(), 0
    propagation: list[int] = []
    data: list[str] = []
    switches: set[str] = set()
    for word in words:
        if changed := _changed(top, word):
            top = changed
        elif word.startswith("r") and (changed := _changed(everything, word[1:])):
            everything = changed
        elif word in _FILE_SYSTEM:
            bit, on = _FILE_SYSTEM[word]
            file_system = file_system | bit if on else file_system & ~bit
        elif word in PROPAGATION:
            propagation.append(PROPAGATION[word])
        elif word in _SWITCHES:
            switches.update(_SWITCHES[word])
        else:
            data.append(word)
    return MountOptions(
        top,
        everything,
        file_system,
        tuple(propagation),
        data=",".join(data),
        **dict.fromkeys(switches, True),
    )


def _changed(change: Change, word: str) -> Change | None:
    """Return the change with this word; None if it is no attribute's."""
    if word in _ACCESS_TIMES:
        return change.timed(_ACCESS_TIMES[word])
    if word in _ATTRIBUTES:
        bit, on = _ATTRIBUTES[word]
        return change.turned(bit, on=on)
    return None
