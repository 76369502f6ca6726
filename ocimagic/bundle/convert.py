"""From an image's config and a request to a runtime config: the "OCI bundle" of the notes.

Pure: the same values always give the same config.json.

Spec: image-spec conversion.md; runtime-spec config.md.
"""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING

from ocimagic.bundle.capabilities import resolve_capabilities
from ocimagic.bundle.checks import check_options, check_sysctls
from ocimagic.bundle.defaults import SYSCTLS
from ocimagic.bundle.devices import device_nodes, device_rules
from ocimagic.bundle.mounts import mounts
from ocimagic.bundle.namespaces import namespaces
from ocimagic.bundle.place import Place
from ocimagic.bundle.resources import linux_resources
from ocimagic.bundle.security import apparmor_profile, hidden_paths, seccomp, selinux_label
from ocimagic.errors import InvalidOption
from ocimagic.model.resources import ULIMIT_NAMES
from ocimagic.spec.config import DEFAULT_PATH
from ocimagic.spec.process import Rlimit
from ocimagic.spec.runtime import (
    CAPABILITY_SETS,
    CONFINE_ANNOTATION,
    GROUPS_ANNOTATION,
    OWN_ANNOTATION,
    TRACER_ANNOTATION,
    USER_ANNOTATION,
    Device,
    Process,
    RuntimeConfig,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocimagic.model.options import RunOptions
    from ocimagic.spec.config import ContainerConfig

__all__ = ["Place", "command_line", "environment", "runtime_config", "working_dir"]

ENGINE_CGROUP = "/ocimagic"
_WAYS_OUT = ("CAP_SYS_CHROOT", "CAP_MKNOD")  # of a root that was only changed
_LARGEST_ID = (1 << 32) - 2
_UNLIMITED = (1 << 64) - 1


def runtime_config(config: ContainerConfig, options: RunOptions, place: Place) -> RuntimeConfig:
    """Combine what the image says and what the user asks, as docker does.

    Raises:
        InvalidOption: there is nothing to run, or an option makes no sense.
        InvalidDocument: a seccomp profile that is none.
        HostLacks: an option needs a newer kernel, or another machine.
    """
    check_options(options, place)
    spaces = namespaces(options, place)
    capabilities = resolve_capabilities(
        options.cap_add, options.cap_drop, privileged=options.privileged
    )
    if place.bare:
        held = () if place.tracer else capabilities
        capabilities = tuple(each for each in held if each not in _WAYS_OUT)
    masked, readonly = ((), ()) if place.bare else hidden_paths(options)
    return RuntimeConfig(
        process=_process(config, options, place, capabilities),
        root_readonly=options.read_only,
        hostname=place.hostname if "uts" in spaces else "",
        domainname=options.domainname if "uts" in spaces else "",
        mounts=mounts(options, place, spaces),
        namespaces=spaces,
        masked_paths=masked,
        readonly_paths=readonly,
        seccomp=seccomp(options, capabilities, place),
        sysctl=_sysctls(options, place, spaces),
        cgroups_path=_cgroups_path(options, place),
        resources=linux_resources(options.resources, place, device_rules(options, place)),
        devices=tuple(
            Device(
                path=each.path,
                type=each.type,
                major=each.major,
                minor=each.minor,
                file_mode=each.mode,
                uid=each.uid,
                gid=each.gid,
            )
            for each in device_nodes(options, place)
        ),
        rootfs_propagation=_propagation(options),
        mount_label=selinux_label(options, place),
        annotations={
            **options.annotations,
            **_who(config, options),
            **_confined(place),
            **_owned(options, place),
        },
    )


def _process(
    config: ContainerConfig, options: RunOptions, place: Place, capabilities: Sequence[str]
) -> Process:
    held = ("bounding", "effective", "permitted")
    environ = environment(config.env, options.env, hostname=place.hostname, tty=options.tty)
    return Process(
        args=command_line(config, options),
        env=environ,
        cwd=working_dir(config, options),
        user=_numeric(options.user if options.user is not None else config.user, options.groups),
        terminal=options.tty,
        console_size=options.console_size if options.tty else None,
        capabilities={
            name: tuple(capabilities) if name in held else () for name in CAPABILITY_SETS
        },
        rlimits=tuple(_rlimits(options)),
        # Without a privilege nobody is confined who could have more than he has.
        no_new_privileges=options.no_new_privileges or place.bare,
        oom_score_adj=options.oom_score_adj or None,
        apparmor_profile=apparmor_profile(options, place),
        selinux_label=selinux_label(options, place),
    )


def _rlimits(options: RunOptions) -> Iterator[Rlimit]:
    for limit in options.ulimits:
        if limit.name not in ULIMIT_NAMES:
            raise InvalidOption(f"there is no resource limit {limit.name!r}")
        soft, hard = (_UNLIMITED if each == -1 else each for each in (limit.soft, limit.hard))
        if not 0 <= soft <= hard:
            raise InvalidOption(f"the soft limit of {limit.name} is above the hard one")
        yield Rlimit(type=f"RLIMIT_{limit.name.upper()}", soft=soft, hard=hard)


def _sysctls(options: RunOptions, place: Place, namespaces: Mapping[str, str]) -> dict[str, str]:
    """Return docker's settings of a new network, then what was asked for."""
    check_sysctls(options, namespaces)
    usual = {}
    # Where /proc is that of a container around this one, its settings are read-only.
    if namespaces.get("network") == "" and not place.shares_processes:
        usual = {
            # A group that is not in the user namespace cannot be written.
            name: value
            for name, value in SYSCTLS.items()
            if not (place.rootless and name.endswith("ping_group_range"))
        }
    return {**usual, **options.sysctls}


def _cgroups_path(options: RunOptions, place: Place) -> str:
    if not place.container_id:
        return ""
    parent = options.resources.cgroup_parent or ENGINE_CGROUP
    return posixpath.join("/", parent, place.container_id)


def _propagation(options: RunOptions) -> str:
    """Return what the root must be for the mounts in it to pass changes on, "" if none does."""
    words = {volume.propagation.removeprefix("r") for volume in options.volumes}
    return "shared" if "shared" in words else "rslave" if "slave" in words else ""


def _who(config: ContainerConfig, options: RunOptions) -> dict[str, str]:
    """Return USER and the groups as written: their names are in the container's own files."""
    who = {USER_ANNOTATION: options.user if options.user is not None else config.user}
    if options.groups:
        who[GROUPS_ANNOTATION] = ",".join(options.groups)
    return who


def _owned(options: RunOptions, place: Place) -> dict[str, str]:
    """Return which mounts are to belong to the container's user, who is found out inside."""
    targets = [each.target for each in options.volumes if each.own and not place.bare]
    return {OWN_ANNOTATION: json.dumps(targets)} if targets else {}


def _confined(place: Place) -> dict[str, str]:
    if place.tracer:
        return {TRACER_ANNOTATION: place.tracer}
    return {CONFINE_ANNOTATION: "root"} if place.bare else {}


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


def environment(
    image: Sequence[str], asked: Sequence[str], *, hostname: str, tty: bool = False
) -> tuple[str, ...]:
    """Merge the environment: docker's defaults, then the image's, then what was asked."""
    merged = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if tty:
        merged["TERM"] = "xterm"
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


def _numeric(user: str, groups: Sequence[str]) -> User:
    """Return the numbers in USER for other runtimes; ours looks names up in the image."""
    uid, _, gid = user.partition(":")
    numbers = [number for each in groups if (number := _id(each)) is not None]
    return User(uid=_id(uid) or 0, gid=_id(gid) or 0, additional_gids=tuple(dict.fromkeys(numbers)))


def _id(text: str) -> int | None:
    """Return a number that the kernel takes; the runtime refuses the others in words."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):  # more is no int for Python
        return None
    return number if (number := int(text)) <= _LARGEST_ID else None
