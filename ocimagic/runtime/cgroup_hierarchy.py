"""Where cgroups are on this machine, and where a container's shall be.

Spec: runtime-spec config-linux.md, "Cgroups Path"; proc(5), /proc/pid/mountinfo; cgroups(7),
/proc/pid/cgroup.
"""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = "/sys/fs/cgroup"
VERSION2 = ""  # what /proc/pid/cgroup calls the hierarchy of version 2, and what paths do
_MAX_NAME_BYTES = 255
_MOUNT_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup hierarchy.

    Attributes:
        controllers: those of version 1 mounted together, or only ``VERSION2``.
        mount: absolute path of the directory that is the topmost to be had.
        mount_root: which directory of the hierarchy that is.
        own: where this process is, below ``mount``: "" or "a/b".
    """

    controllers: tuple[str, ...]
    mount: str
    mount_root: str
    own: str


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """All cgroup hierarchies that this process sees.

    It says what was true when it was made: make it once per process, and again if it moved.
    """

    all: tuple[Hierarchy, ...]

    @classmethod
    def discover(cls, root: str = ROOT) -> Self:
        """Look at what is mounted at ``root`` and below it, and where this process is."""
        with open("/proc/self/mountinfo", "rb") as file:
            mounts = _cgroup_mounts(file.read(), root)
        own = process_cgroups("self")
        found: dict[str, Hierarchy] = {}
        for controllers, mount, mount_root in mounts:
            known = [each for each in controllers if each in own]
            if known and known[0] not in found:
                below = _below(own[known[0]], mount_root)
                found[known[0]] = Hierarchy(tuple(known), mount, mount_root, below)
        return cls(tuple(found.values()))

    @property
    def is_pure_version2(self) -> bool:
        """Say whether version 2 has all there is."""
        return [each.controllers for each in self.all] == [(VERSION2,)]

    def paths_of(self, pid: int) -> dict[str, str]:
        """Return where a process is: controller to absolute directory.

        Raises:
            OSError: there is no such process.
        """
        places = process_cgroups(pid)
        found: dict[str, str] = {}
        for each in self.all:
            below = _below(places[each.controllers[0]], each.mount_root)
            if below:  # not in the topmost one, which is nobody's own
                found |= dict.fromkeys(each.controllers, f"{each.mount}/{below}")
        return found


def process_cgroups(pid: int | str) -> dict[str, str]:
    """Return where a process is in each hierarchy: controller to absolute path in it.

    Raises:
        OSError: there is no such process.
    """
    with open(f"/proc/{pid}/cgroup", "rb") as file:
        text = file.read().decode(errors="surrogateescape")
    lines = (line.split(":", 2) for line in text.splitlines())
    return {each: path for _, names, path in lines for each in names.split(",")}


@functools.lru_cache(maxsize=1)
def _cgroup_mounts(mountinfo: bytes, root: str) -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """Return (controllers, mount point, what of the hierarchy is mounted there) for each.

    Remembered as long as nothing is mounted: a launcher's forks all look at the same.
    """
    return tuple(_read_mounts(mountinfo.decode(errors="surrogateescape"), root))


def _read_mounts(mountinfo: str, root: str) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for line in mountinfo.splitlines():
        # Not all the lines are taken apart: a host with many containers has thousands.
        if " - cgroup" not in line:
            continue
        words = line.split(" ")
        kind, _, options = words[words.index("-", 6) + 1 :][:3]
        point = _unescaped(words[4])
        if kind in ("cgroup", "cgroup2") and (point == root or point.startswith(f"{root}/")):
            names = (VERSION2,) if kind == "cgroup2" else tuple(options.split(","))
            yield names, point, _unescaped(words[3])


def _unescaped(text: str) -> str:
    return _MOUNT_ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def _below(own: str, mount_root: str) -> str:
    """Return where a process is below what is mounted; "" if it is not below it."""
    prefix = mount_root.rstrip("/") + "/"
    if not own.startswith(prefix) or ".." in own.split("/"):
        return ""
    return own.removeprefix(prefix)


@dataclass(frozen=True, slots=True)
class CgroupsPath:
    """A cgroups path, understood.

    Attributes:
        parts: names, one below the other.
        absolute: below the topmost directory, not below this process's own.
        notice: what the user should know, or "".
    """

    parts: tuple[str, ...]
    absolute: bool
    notice: str = ""

    @classmethod
    def parse(cls, cgroups_path: str, container_id: str) -> Self:
        """Read ``linux.cgroupsPath``; without one the container's ID is the name.

        Raises:
            InvalidDocument: a path that leaves its place, names none, or no name Linux takes.
        """
        systemd = _systemd_words(cgroups_path)
        if systemd is None:
            path = cgroups_path or container_id
            return cls(checked_parts(path), path.startswith("/"))
        parts = (*_slice_path(systemd[0], cgroups_path), _scope_name(*systemd[1:]))
        path = "/".join(parts)
        notice = f"systemd is not asked for {cgroups_path!r}: the cgroup is made as {path}"
        return cls(checked_parts(path), absolute=True, notice=notice)

    def directory_in(self, hierarchy: Hierarchy, *, pure_version2: bool) -> str:
        """Return the absolute path of the directory in a hierarchy."""
        if self.absolute:
            return "/".join((hierarchy.mount, *self.parts))
        base = hierarchy.own
        if pure_version2 and base:
            # Beside this process, not below it: where processes are no limits can be given
            # to what is below ("no internal processes"), except in the real root.
            beside = os.path.dirname(base)
            if can_make("/".join((hierarchy.mount, *filter(None, (beside,)), "new"))):
                base = beside
        return "/".join(part for part in (hierarchy.mount, base, *self.parts) if part)


def checked_parts(path: str) -> tuple[str, ...]:
    """Return the names in a path, one below the other.

    Raises:
        InvalidDocument: it leaves its place, has no name, or one that Linux does not take.
    """
    parts = tuple(part for part in path.split("/") if part)
    for part in parts:
        if part in (".", ".."):
            raise _invalid(path, f"{part!r} would leave the place it is for")
        if "\0" in part or "\n" in part:
            raise _invalid(path, "a cgroup's name cannot hold a NUL or a new line")
        if len(os.fsencode(part)) > _MAX_NAME_BYTES:
            raise _invalid(path, f"a name of more than {_MAX_NAME_BYTES} bytes")
    if not parts:
        raise _invalid(path, "the topmost cgroup is everybody's")
    return parts


def can_make(path: str) -> bool:
    """Say whether a cgroup may be made at a path, as far as permissions tell."""
    above = os.path.dirname(path)
    # effective_ids: a launcher that became root in its user namespace asks for that root.
    while not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        if os.path.exists(above):
            # Asked again: another container's start may just have made it.
            return os.access(above, os.W_OK | os.X_OK, effective_ids=True)
        above = os.path.dirname(above)
    return True


def _systemd_words(path: str) -> tuple[str, str, str] | None:
    """Take ``slice:prefix:name`` apart; None if it is not of that form."""
    words = path.split(":")
    if len(words) != 3 or "/" in path or not words[2]:
        return None
    is_slice = words[0] in ("", "-") or words[0].endswith(".slice")
    return (words[0], words[1], words[2]) if is_slice else None


def _scope_name(prefix: str, name: str) -> str:
    if name.endswith(".slice"):
        return name
    return f"{prefix}-{name}.scope" if prefix else f"{name}.scope"


def _slice_path(name: str, said: str) -> list[str]:
    """Return the directories of a slice: a-b.slice is below a.slice (systemd.slice(5))."""
    if name in ("-", "-.slice"):
        return []
    words = (name or "system.slice").removesuffix(".slice").split("-")
    if "" in words:
        raise _invalid(said, f"{name!r} is not the name of a slice")
    return ["-".join(words[:count]) + ".slice" for count in range(1, len(words) + 1)]


def _invalid(path: str, why: str) -> InvalidDocument:
    return InvalidDocument(f"linux.cgroupsPath {path!r} cannot be used", why=why)
