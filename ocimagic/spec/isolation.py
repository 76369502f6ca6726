"""What sets a container apart: namespaces, id mappings, devices, kernel settings.

Spec: runtime-spec config-linux.md (1.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.spec.codec import Fields

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
CLOCKS = ("monotonic", "boottime")
_UINT32 = (1 << 32) - 1
_NANOSECONDS = 1_000_000_000

# Settings that a namespace has of its own.  Any other would be the machine's.
_IPC_NAMES = "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced"
_IPC_SETTINGS = frozenset(f"kernel.{name}" for name in _IPC_NAMES.split())


class IdMapping(NamedTuple):
    """A range of ids: what the container calls ``container_id`` the machine calls ``host_id``."""

    container_id: int
    host_id: int
    size: int

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of ``uidMappings`` or ``gidMappings``."""
        keys = ("containerID", "hostID", "size")
        found = cls(*(fields.integer(key, most=_UINT32) for key in keys))
        if not found.size or max(found[:2]) + found.size - 1 > _UINT32:
            raise _invalid(f"{fields.what}: the range is empty, or goes beyond 32 bits")
        return found

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {"containerID": self.container_id, "hostID": self.host_id, "size": self.size}

    def covers(self, number: int) -> bool:
        """Say whether an id of the container is in the range."""
        return 0 <= number - self.container_id < self.size


def mappings(fields: Fields, key: str) -> tuple[IdMapping, ...]:
    """Read a list of mappings."""
    return tuple(IdMapping.parse(each) for each in fields.children(key))


class TimeOffset(NamedTuple):
    """What a clock of a time namespace is ahead."""

    secs: int = 0
    nanosecs: int = 0

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of ``timeOffsets``."""
        most = (1 << 63) - 1
        return cls(
            fields.integer("secs", 0, least=-most, most=most),
            fields.integer("nanosecs", 0, most=_NANOSECONDS - 1),
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {"secs": self.secs, "nanosecs": self.nanosecs}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node to make.

    Attributes:
        path: absolute, in the container.
        type: "c", "u" (the same), "b", or "p" for a pipe.
        file_mode: permission bits, None for 0666.
        uid: in the container's user namespace; None for its root.  ``gid`` likewise.
    """

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of ``devices``."""
        kind, path = fields.text("type"), fields.text("path")
        if kind not in ("c", "b", "u", "p"):
            raise _invalid(f"device {path!r} has the unknown type {kind!r}")
        if not path.startswith("/"):
            raise _invalid(f"device path {path!r} is not absolute")
        default = 0 if kind == "p" else None
        optional = {
            name: fields.integer(key, most=_UINT32) if key in fields else None
            for name, key in (("file_mode", "fileMode"), ("uid", "uid"), ("gid", "gid"))
        }
        return cls(
            path=path,
            type=kind,
            major=fields.integer("major", default, most=_UINT32),
            minor=fields.integer("minor", default, most=_UINT32),
            **optional,
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        found: dict[str, object] = {"path": self.path, "type": self.type}
        if self.type != "p":
            found |= {"major": self.major, "minor": self.minor}
        optional = {"fileMode": self.file_mode, "uid": self.uid, "gid": self.gid}
        return found | {key: value for key, value in optional.items() if value is not None}


def namespaces(linux: Fields) -> dict[str, str]:
    """Read ``namespaces`` as type to path, "" for a new one."""
    found: dict[str, str] = {}
    for entry in linux.children("namespaces"):
        kind, path = entry.text("type"), entry.text("path", "")
        if kind not in NAMESPACES:
            raise _invalid(f"namespace type {kind!r} is unknown")
        if kind in found:
            raise _invalid(f"namespace {kind} is given twice")
        if path and not path.startswith("/"):
            raise _invalid(f"the path of namespace {kind} is not absolute: {path!r}")
        found[kind] = path
    return found


def time_offsets(linux: Fields) -> dict[str, TimeOffset]:
    """Read ``timeOffsets`` by clock."""
    fields = linux.child("timeOffsets")
    for clock in fields.value:
        if clock not in CLOCKS:
            raise _invalid(f"there is no offset of a clock {clock!r}")
    return {clock: TimeOffset.parse(fields.child(clock)) for clock in fields.value}


def personality(linux: Fields) -> str:
    """Read the domain of ``personality``, "" for none."""
    fields = linux.child("personality")
    if not fields.value:
        return ""
    domain = fields.text("domain")
    if domain not in ("LINUX", "LINUX32"):
        raise _invalid(f"personality {domain!r} is unknown")
    if fields.texts("flags"):
        raise _invalid("personality has flags, and there are none")
    return domain


def check_sysctls(names: Iterable[str], namespaces: Mapping[str, str]) -> None:
    """Refuse a kernel setting that would be the machine's.

    Raises:
        InvalidDocument: the namespace that the setting belongs to is not the container's.
    """
    for name in names:
        owner = sysctl_namespace(name)
        if not owner:
            raise _invalid(f"sysctl {name} belongs to no namespace: it would be the machine's")
        if owner not in namespaces:
            raise _invalid(f"sysctl {name} needs a {owner} namespace of its own")


def sysctl_namespace(name: str) -> str:
    """Return the namespace type that a setting belongs to, "" for the machine's."""
    dotted = sysctl_path(name).replace("/", ".")
    if dotted in _IPC_SETTINGS or dotted.startswith("fs.mqueue."):
        return "ipc"
    if dotted.startswith("net."):
        return "network"
    if dotted == "kernel.domainname":
        return "uts"
    return ""


def sysctl_path(name: str) -> str:
    """Return the file below /proc/sys; whichever of ``.`` and ``/`` comes first separates.

    Raises:
        InvalidDocument: it would lead out of there.
    """
    if name.partition("/")[0] == name.partition(".")[0] or "." in name.partition("/")[0]:
        name = name.translate({ord("."): "/", ord("/"): "."})
    if not all(part not in ("", ".", "..") for part in name.split("/")):
        raise _invalid(f"{name!r} is no name of a kernel setting")
    return name


def _invalid(why: str) -> InvalidDocument:
    return InvalidDocument("this runtime config is not valid", why=why)
