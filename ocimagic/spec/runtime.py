"""The runtime configuration: a bundle's config.json.

Spec: runtime-spec config.md and config-linux.md (1.2).  Only what this runtime acts on is
typed; seccomp stays a JSON object for its compiler.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec.codec import decode, encode, without_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.spec.codec import Fields

OCI_VERSION = "1.2.0"
NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
USER_ANNOTATION = "dev.ocimagic.user"  # USER as written; the runtime looks names up
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One entry of ``mounts``, in order.

    Attributes:
        destination: absolute, in the container.
        options: fstab words; ``bind`` or ``rbind`` makes it a bind mount.
    """

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return without_none(
            {
                "destination": self.destination,
                "type": self.type,
                "source": self.source,
                "options": list(self.options),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who the process is.

    Attributes:
        umask: octal bits, or None for 022.
    """

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What is executed.

    Attributes:
        args: at least one word.
        env: ``NAME=value``.
        cwd: absolute.
        capabilities: set name to capability names.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User = field(default_factory=User)
    terminal: bool = False
    capabilities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    no_new_privileges: bool = False
    oom_score_adj: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """A bundle's config.json.

    Attributes:
        root_path: relative to the bundle, or absolute.
        namespaces: type to the path to join, "" for a new one.
        seccomp: ``linux.seccomp`` as JSON, None for no filter.
    """

    process: Process
    root_path: str = "rootfs"
    root_readonly: bool = False
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    namespaces: Mapping[str, str] = field(default_factory=dict)
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    seccomp: Mapping[str, object] | None = None
    sysctl: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a config.json.

        Raises:
            InvalidDocument: breaks the spec.
        """
        fields = decode(raw, what="runtime config")
        linux = fields.child("linux")
        root = fields.child("root", required=True)
        return cls(
            process=_process(fields.child("process", required=True)),
            root_path=root.text("path"),
            root_readonly=root.flag("readonly"),
            hostname=fields.text("hostname", ""),
            domainname=fields.text("domainname", ""),
            mounts=tuple(_mount(each) for each in fields.children("mounts")),
            namespaces=_namespaces(linux),
            masked_paths=linux.texts("maskedPaths"),
            readonly_paths=linux.texts("readonlyPaths"),
            seccomp=linux.child("seccomp").value or None,
            sysctl=linux.text_map("sysctl"),
            annotations=fields.text_map("annotations"),
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        process = self.process
        return {
            "ociVersion": OCI_VERSION,
            "process": without_none(
                {
                    "terminal": process.terminal or None,
                    "args": list(process.args),
                    "env": list(process.env),
                    "capabilities": {k: list(v) for k, v in process.capabilities.items()},
                    "noNewPrivileges": process.no_new_privileges or None,
                    "oomScoreAdj": process.oom_score_adj,
                }
            )
            | {"cwd": process.cwd, "user": _user_json(process.user)},
            "root": {"path": self.root_path, "readonly": self.root_readonly},
            "mounts": [each.to_json() for each in self.mounts],
            "linux": without_none(
                {
                    "namespaces": [
                        without_none({"type": kind, "path": path})
                        for kind, path in self.namespaces.items()
                    ],
                    "maskedPaths": list(self.masked_paths),
                    "readonlyPaths": list(self.readonly_paths),
                    "seccomp": self.seccomp,
                    "sysctl": dict(self.sysctl),
                }
            ),
        } | without_none(
            {
                "hostname": self.hostname,
                "domainname": self.domainname,
                "annotations": dict(self.annotations),
            }
        )

    def encode(self) -> bytes:
        """Write config.json."""
        return encode(self.to_json())


def _user_json(user: User) -> dict[str, object]:
    return {"uid": user.uid, "gid": user.gid} | without_none(
        {"additionalGids": list(user.additional_gids), "umask": user.umask}
    )


def _process(fields: Fields) -> Process:
    user = fields.child("user")
    capabilities = fields.child("capabilities")
    process = Process(
        args=fields.texts("args"),
        env=fields.texts("env"),
        cwd=fields.text("cwd"),
        user=User(
            uid=user.number("uid", 0),
            gid=user.number("gid", 0),
            additional_gids=tuple(_numbers(user, "additionalGids")),
            umask=user.number("umask") if "umask" in user else None,
        ),
        terminal=fields.flag("terminal"),
        capabilities={
            name: found for name in CAPABILITY_SETS if (found := capabilities.texts(name))
        },
        no_new_privileges=fields.flag("noNewPrivileges"),
        oom_score_adj=_signed(fields, "oomScoreAdj"),
    )
    if not process.args:
        raise _invalid("process.args is empty")
    if not process.cwd.startswith("/"):
        raise _invalid("process.cwd must be an absolute path")
    return process


def _mount(fields: Fields) -> Mount:
    return Mount(
        destination=fields.text("destination"),
        type=fields.text("type", ""),
        source=fields.text("source", ""),
        options=fields.texts("options"),
    )


def _namespaces(linux: Fields) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in linux.children("namespaces"):
        kind = entry.text("type")
        if kind not in NAMESPACES:
            raise _invalid(f"namespace type {kind!r} is unknown")
        if kind in found:
            raise _invalid(f"namespace {kind} is given twice")
        found[kind] = entry.text("path", "")
    return found


def _numbers(fields: Fields, key: str) -> list[int]:
    found = fields.value.get(key) or []
    if not isinstance(found, list) or not all(type(each) is int and each >= 0 for each in found):
        raise _invalid(f"{key} must be a list of whole numbers")
    return found


def _signed(fields: Fields, key: str) -> int | None:
    found = fields.value.get(key)
    if found is None:
        return None
    if type(found) is not int:
        raise _invalid(f"{key} must be a whole number")
    return found


def _invalid(why: str) -> InvalidDocument:
    return InvalidDocument("this runtime config is not valid", why=why)
