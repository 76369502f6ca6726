"""The runtime configuration: a bundle's config.json.

Parts that are documents of their own are beside it: ``process``, ``hooks``, ``isolation``,
``resources``.  Seccomp stays a JSON object for its compiler.  What the specification does not
know is ignored, as it says.

Spec: runtime-spec config.md and config-linux.md (1.2).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument, NotBuiltYet
from ocimagic.spec.codec import decode, encode, without_none
from ocimagic.spec.hooks import Hook, Hooks
from ocimagic.spec.isolation import (
    NAMESPACES,
    Device,
    IdMapping,
    TimeOffset,
    check_sysctls,
    mappings,
    namespaces,
    personality,
    time_offsets,
)
from ocimagic.spec.process import (
    CAPABILITY_SETS,
    CpuAffinity,
    IoPriority,
    Process,
    Scheduler,
    User,
)
from ocimagic.spec.record import dataclass, field
from ocimagic.spec.resources import Resources
from ocimagic.spec.version import OCI_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.spec.codec import Fields

__all__ = [
    "CAPABILITY_SETS",
    "NAMESPACES",
    "CpuAffinity",
    "Device",
    "Hook",
    "Hooks",
    "IdMapping",
    "IoPriority",
    "Mount",
    "Process",
    "RuntimeConfig",
    "Scheduler",
    "TimeOffset",
    "User",
]

USER_ANNOTATION = "dev.ocimagic.user"  # USER as written; the runtime looks names up
GROUPS_ANNOTATION = "dev.ocimagic.groups"  # further groups as written, with commas between
CONFINE_ANNOTATION = "dev.ocimagic.confine"  # no file outside the root, by Landlock
TRACER_ANNOTATION = "dev.ocimagic.tracer"  # path of a program that shows the root, unchanged
PRETENCE_ANNOTATION = "dev.ocimagic.pretence"  # who asks the filter's listener has its one id
OWN_ANNOTATION = "dev.ocimagic.own"  # JSON list of mounts whose files the process's user gets
INIT_ANNOTATION = "dev.ocimagic.init"  # the runtime's process stays pid 1, the command is its child
_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"
)
_PROPAGATIONS = ("shared", "slave", "private", "unbindable")


NO_PROCESS = Process(args=())  # config.json may name one later than at its creation


PART = "subpath="  # a word of ours in a bind's options: show only this path of the source


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One entry of ``mounts``, in order.

    Attributes:
        destination: absolute, in the container.
        options: fstab words; ``bind`` or ``rbind`` makes it a bind mount.
        uid_mappings: whose files it shows as whose; ``gid_mappings`` likewise.
    """

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of ``mounts``."""
        destination = fields.text("destination")
        if not destination:
            raise _invalid("a mount has no destination")
        found = cls(
            destination=destination if destination.startswith("/") else f"/{destination}",
            type=fields.text("type", ""),
            source=fields.text("source", ""),
            options=fields.texts("options"),
            uid_mappings=mappings(fields, "uidMappings"),
            gid_mappings=mappings(fields, "gidMappings"),
        )
        if bool(found.uid_mappings) != bool(found.gid_mappings):
            raise _invalid(f"mount {destination} has mappings of only one kind of ids")
        return found

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return without_none(
            {
                "destination": self.destination,
                "type": self.type,
                "source": self.source,
                "options": list(self.options),
                "uidMappings": [each.to_json() for each in self.uid_mappings],
                "gidMappings": [each.to_json() for each in self.gid_mappings],
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """A bundle's config.json.

    Attributes:
        root_path: relative to the bundle, or absolute.
        namespaces: type to the path to join, "" for a new one.
        uid_mappings: of a new user namespace; ``gid_mappings`` likewise.
        time_offsets: by clock.
        cgroups_path: "" lets the runtime choose.
        rootfs_propagation: "" for the runtime's own choice.
        seccomp: ``linux.seccomp`` as JSON, None for no filter.
        personality: LINUX or LINUX32, "" to leave it.
        warnings: what was read in another way than it was written.
    """

    process: Process
    oci_version: str = OCI_VERSION
    root_path: str = "rootfs"
    root_readonly: bool = False
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks = field(default_factory=Hooks)
    annotations: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, str] = field(default_factory=dict)
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: Mapping[str, TimeOffset] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    cgroups_path: str = ""
    resources: Resources = field(default_factory=Resources)
    rootfs_propagation: str = ""
    seccomp: Mapping[str, object] | None = None
    sysctl: Mapping[str, str] = field(default_factory=dict)
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: str = ""
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a config.json.

        Raises:
            InvalidDocument: breaks the spec.
            NotBuiltYet: asks for what this runtime never does (intelRdt).
        """
        return cls.from_fields(decode(raw, what="runtime config"))

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read it from decoded JSON; raises as ``parse`` does."""
        linux = fields.child("linux")
        root = fields.child("root", required=True)
        if linux.child("intelRdt").value:
            raise NotBuiltYet("Intel's resource director (linux.intelRdt) is not supported")
        process = NO_PROCESS
        if "process" in fields:
            process = Process.parse(fields.child("process"))
        version = _version(fields)
        config = cls(
            process=process,
            oci_version=version,
            root_path=root.text("path"),
            root_readonly=root.flag("readonly"),
            hostname=fields.text("hostname", ""),
            domainname=fields.text("domainname", ""),
            mounts=tuple(Mount.parse(each) for each in fields.children("mounts")),
            hooks=Hooks.parse(fields.child("hooks")),
            annotations=fields.text_map("annotations"),
            namespaces=namespaces(linux),
            uid_mappings=mappings(linux, "uidMappings"),
            gid_mappings=mappings(linux, "gidMappings"),
            time_offsets=time_offsets(linux),
            devices=tuple(Device.parse(each) for each in linux.children("devices")),
            cgroups_path=linux.text("cgroupsPath", ""),
            resources=Resources.parse(linux.child("resources")),
            rootfs_propagation=_propagation(linux),
            seccomp=linux.child("seccomp").value if "seccomp" in linux else None,
            sysctl=linux.text_map("sysctl"),
            masked_paths=_absolute_paths(linux, "maskedPaths"),
            readonly_paths=_absolute_paths(linux, "readonlyPaths"),
            mount_label=linux.text("mountLabel", ""),
            personality=personality(linux),
            warnings=tuple(_warnings(fields, version, process)),
        )
        config.check()
        return config

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InvalidDocument: something needs a namespace that the container does not have.
        """
        if (self.hostname or self.domainname) and "uts" not in self.namespaces:
            raise _invalid("hostname and domainname need a uts namespace of their own")
        if self.time_offsets and self.namespaces.get("time") != "":
            raise _invalid("timeOffsets need a new time namespace")
        is_mapped = bool(self.uid_mappings and self.gid_mappings)
        if self.namespaces.get("user") == "" and not is_mapped:
            raise _invalid("a new user namespace needs uidMappings and gidMappings")
        if (self.uid_mappings or self.gid_mappings) and "user" not in self.namespaces:
            raise _invalid("uidMappings and gidMappings need a user namespace")
        check_sysctls(self.sysctl, self.namespaces)
        if "" in self.annotations:
            raise _invalid("an annotation has no name")

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        process = {} if self.process == NO_PROCESS else {"process": self.process.to_json()}
        return (
            process
            | {
                "ociVersion": self.oci_version,
                "root": {"path": self.root_path, "readonly": self.root_readonly},
                "mounts": [each.to_json() for each in self.mounts],
                "linux": self._linux_json(),
            }
            | without_none(
                {
                    "hostname": self.hostname,
                    "domainname": self.domainname,
                    "hooks": self.hooks.to_json(),
                    "annotations": dict(self.annotations),
                }
            )
        )

    def _linux_json(self) -> dict[str, object]:
        clocks = {clock: offset.to_json() for clock, offset in self.time_offsets.items()}
        return without_none(
            {
                "namespaces": [
                    without_none({"type": kind, "path": path})
                    for kind, path in self.namespaces.items()
                ],
                "uidMappings": [each.to_json() for each in self.uid_mappings],
                "gidMappings": [each.to_json() for each in self.gid_mappings],
                "timeOffsets": clocks,
                "devices": [each.to_json() for each in self.devices],
                "cgroupsPath": self.cgroups_path,
                "resources": self.resources.to_json(),
                "rootfsPropagation": self.rootfs_propagation,
                "seccomp": self.seccomp,
                "sysctl": dict(self.sysctl),
                "maskedPaths": list(self.masked_paths),
                "readonlyPaths": list(self.readonly_paths),
                "mountLabel": self.mount_label,
                "personality": without_none({"domain": self.personality}),
            }
        )

    def encode(self) -> bytes:
        """Write config.json."""
        return encode(self.to_json())


def _version(fields: Fields) -> str:
    """Read ``ociVersion``: the whole 1.x series is compatible with itself, says config.md."""
    said = fields.text("ociVersion")
    found = _VERSION.fullmatch(said)
    if not found:
        raise _invalid(f"ociVersion {said!r} is not a semantic version")
    if found[1] != "1":
        raise _invalid(f"ociVersion {said} is not supported: this runtime reads 1.0.0 to 1.2.x")
    return said


def _warnings(fields: Fields, version: str, process: Process) -> list[str]:
    said = []
    if int(version.split(".")[1]) > 2:
        said.append(f"ociVersion {version} is newer than 1.2: what is new in it is ignored")
    said += [
        f"mount destination {path!r} is not absolute, taken as /{path}"
        for each in fields.children("mounts")
        if not (path := each.text("destination")).startswith("/")
    ]
    said += [f"capability {name} is unknown and ignored" for name in process.unknown_capabilities()]
    return said


def _propagation(linux: Fields) -> str:
    said = linux.text("rootfsPropagation", "")
    if said and said.removeprefix("r") not in _PROPAGATIONS:
        raise _invalid(f"rootfsPropagation {said!r} is unknown")
    return said


def _absolute_paths(linux: Fields, key: str) -> tuple[str, ...]:
    paths = linux.texts(key)
    for path in paths:
        if not path.startswith("/"):
            raise _invalid(f"{key} has {path!r}, which is not absolute")
    return paths


def _invalid(why: str) -> InvalidDocument:
    return InvalidDocument("this runtime config is not valid", why=why)
