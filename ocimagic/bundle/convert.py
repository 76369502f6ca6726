"""From an image's config and a request to a runtime config: the "OCI bundle" of the notes.

Pure: the same values always give the same config.json.

Spec: image-spec conversion.md; runtime-spec config.md.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.bundle.defaults import (
    CAPABILITIES,
    MASKED_PATHS,
    NAMESPACES,
    READONLY_PATHS,
    SYSCTLS,
    default_mounts,
)
from ocimagic.bundle.seccomp_default import default_seccomp
from ocimagic.errors import InvalidOption
from ocimagic.model.options import NetworkMode
from ocimagic.spec.capability import CAPABILITY_NAMES
from ocimagic.spec.config import DEFAULT_PATH
from ocimagic.spec.runtime import (
    CAPABILITY_SETS,
    USER_ANNOTATION,
    Mount,
    Process,
    RuntimeConfig,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.model.options import RunOptions, VolumeMount
    from ocimagic.spec.config import ContainerConfig

ALL = "ALL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the machine contributes.

    Attributes:
        machine: platform.machine().
        rootless: in a user namespace.
        hostname: of the container.
        files: container path to a file of the host that is shown there.
    """

    machine: str
    rootless: bool
    hostname: str
    files: tuple[tuple[str, str], ...] = ()


def runtime_config(config: ContainerConfig, options: RunOptions, place: Place) -> RuntimeConfig:
    """Combine what the image says and what the user asks, as docker does.

    Raises:
        InvalidOption: there is nothing to run, or an option makes no sense.
    """
    capabilities = resolve_capabilities(options.cap_add, options.cap_drop)
    own_network = options.network is NetworkMode.NONE
    user = options.user if options.user is not None else config.user
    sets = {
        name: capabilities if name in ("bounding", "effective", "permitted") else ()
        for name in CAPABILITY_SETS
    }
    return RuntimeConfig(
        process=Process(
            args=command_line(config, options),
            env=environment(config.env, options.env, hostname=place.hostname),
            cwd=working_dir(config, options),
            user=_numeric(user),
            capabilities=sets,
            no_new_privileges=options.no_new_privileges,
        ),
        root_readonly=options.read_only,
        hostname=place.hostname,
        mounts=(
            *default_mounts(own_network=own_network, rootless=place.rootless),
            *(_file_mount(target, source) for target, source in place.files),
            *(_volume_mount(volume) for volume in _outermost_first(options.volumes)),
        ),
        namespaces=dict.fromkeys((*NAMESPACES, *(("network",) if own_network else ())), ""),
        masked_paths=MASKED_PATHS,
        readonly_paths=READONLY_PATHS,
        seccomp=default_seccomp(frozenset(capabilities), place.machine),
        sysctl=SYSCTLS if own_network and not place.rootless else {},
        annotations={USER_ANNOTATION: user},
    )


def command_line(config: ContainerConfig, options: RunOptions) -> tuple[str, ...]:
    """Join entrypoint and command: a new entrypoint drops the image's CMD.

    Raises:
        InvalidOption: both are empty.
    """
    entrypoint, cmd = config.entrypoint or (), config.cmd or ()
    if options.entrypoint is not None:
        entrypoint, cmd = options.entrypoint, ()
    words = (*entrypoint, *(options.command or cmd))
    if not words:
        raise InvalidOption(
            "no command specified",
            why="the image has neither ENTRYPOINT nor CMD",
            hint="write a command after the image, for example sh",
        )
    if any("\0" in word for word in words):
        raise InvalidOption("a command cannot hold a NUL byte")
    return words


def environment(image: Sequence[str], asked: Sequence[str], *, hostname: str) -> tuple[str, ...]:
    """Merge the environment: docker's defaults, then the image's, then what was asked."""
    merged = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    for entry in (*image, *asked):
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise InvalidOption(f"invalid environment variable: {entry!r}", hint="write NAME=value")
        if equals:
            merged[name] = value
        else:
            merged.pop(name, None)
    return tuple(f"{name}={value}" for name, value in merged.items())


def working_dir(config: ContainerConfig, options: RunOptions) -> str:
    """Return the absolute working directory.

    Raises:
        InvalidOption: ``-w`` is relative.
    """
    chosen = options.working_dir or config.working_dir or "/"
    if options.working_dir and not chosen.startswith("/"):
        raise InvalidOption(
            f"the working directory {chosen!r} is invalid", why="it needs to be an absolute path"
        )
    return posixpath.normpath("/" + chosen.lstrip("/"))


def resolve_capabilities(add: Sequence[str], drop: Sequence[str]) -> tuple[str, ...]:
    """Return the capability names after ``--cap-add`` and ``--cap-drop``.

    Raises:
        InvalidOption: an unknown name.
    """
    added, dropped = [_capability(each) for each in add], [_capability(each) for each in drop]
    held = set(CAPABILITY_NAMES) if ALL in added else set(CAPABILITIES)
    if ALL in dropped:
        held = set()
    held = (held | set(added)) - set(dropped) - {ALL}
    return tuple(name for name in CAPABILITY_NAMES if name in held)


def _capability(text: str) -> str:
    name = text.upper()
    if name == ALL:
        return name
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in CAPABILITY_NAMES:
        raise InvalidOption(f"unknown capability: {text!r}", hint="see capabilities(7), or ALL")
    return name


def _numeric(user: str) -> User:
    """Return the numbers in USER for other runtimes; ours looks names up in the image."""
    uid, _, gid = user.partition(":")
    return User(uid=_id(uid), gid=_id(gid))


def _id(text: str) -> int:
    # What is out of range the runtime refuses; thousands of digits are no number for Python.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0


def _file_mount(target: str, source: str) -> Mount:
    return Mount(destination=target, type="bind", source=source, options=("rbind", "rprivate"))


def _volume_mount(volume: VolumeMount) -> Mount:
    access = "ro" if volume.read_only else "rw"
    options = ("rbind", "rprivate", access)
    return Mount(destination=volume.target, type="bind", source=volume.source, options=options)


def _outermost_first(volumes: Sequence[VolumeMount]) -> list[VolumeMount]:
    """Order volumes so that one inside another is not hidden by it."""
    return sorted(volumes, key=lambda volume: volume.target.rstrip("/").count("/"))
