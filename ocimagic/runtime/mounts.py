"""The mounts of a container: planned as values, then applied one by one.

The plan is made before the first process exists, where it can be shown and where a source can
be opened that the process will not be allowed to reach.  Each operation knows how it is done:
``filesystem_mount``, ``bind_mount``, ``cgroup_mount``, ``devices``, ``protection``.

Spec: runtime-spec config.md, "Mounts"; config-linux.md, "Default Filesystems".
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Protocol

from ocimagic.errors import InvalidDocument, StartFailed
from ocimagic.linux import mounting, syscalls
from ocimagic.linux.paths import open_in_root
from ocimagic.runtime.bind_mount import Bind
from ocimagic.runtime.cgroup_hierarchy import VERSION2
from ocimagic.runtime.cgroup_mount import CgroupMount
from ocimagic.runtime.devices import DEV, DefaultDevices, Node
from ocimagic.runtime.filesystem_mount import NewFileSystem
from ocimagic.runtime.mount_attributes import change
from ocimagic.runtime.mount_idmap import IdMap
from ocimagic.runtime.mount_options import MountOptions, parse_options
from ocimagic.runtime.mount_target import PROC, path_of
from ocimagic.runtime.protection import MaskedPaths, ReadOnlyMount, ReadOnlyPath
from ocimagic.spec.record import dataclass, replace
from ocimagic.spec.runtime import PART

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ocimagic.spec.runtime import Device, Mount, RuntimeConfig


_CAP_SYS_ADMIN = 21


class Operation(Protocol):
    """One thing to do below the new root; its text says what, for people."""

    @property
    def destination(self) -> str:
        """Return where in the container."""

    def apply(self, root_fd: int) -> None:
        """Do it below the root.

        Raises:
            OSError: the kernel refuses.
            OcimagicError: it must not be done, with the reason.
        """


@dataclass(frozen=True, slots=True)
class Remount:
    """Change what is mounted there already.

    Attributes:
        destination: absolute, in the container.
    """

    destination: str
    kind: str
    source: str
    options: MountOptions

    def __str__(self) -> str:
        return f"remount {self.destination}"

    def apply(self, root_fd: int) -> None:
        """Do it below the root."""
        fd = open_in_root(root_fd, self.destination, os.O_PATH)
        try:
            if not self.options.bind:
                flags = self.options.mount_flags | mounting.MS_REMOUNT
                data = self.options.data or None
                mounting.mount(self.source, path_of(fd), self.kind, flags, data)
            change(fd, self.options)
        finally:
            os.close(fd)


def plan_mounts(
    config: RuntimeConfig,
    *,
    bundle_path: str = "/",
    cgroup_paths: Mapping[str, str] | None = None,
    forbid_devices: bool = True,
) -> list[Operation]:
    """List everything to mount and all devices to make below the new root, in order.

    Args:
        config: valid.
        bundle_path: what a relative source is relative to.
        cgroup_paths: the container's cgroup, controller ("" for version 2) to absolute path;
            without one it sees none.
        forbid_devices: nothing else keeps the container from opening a device it makes:
            no file system but the few nodes it is given may have any.

    Raises:
        InvalidDocument: a mount that cannot be.
    """
    planner = _Planner(config, bundle_path, cgroup_paths or {}, forbid_devices)
    for mount in config.mounts:
        planner.add(mount)
    if not any(isinstance(each, DefaultDevices) for each in planner.plan):
        planner.plan.append(DefaultDevices(is_mount=False, forbid_devices=forbid_devices))
    planner.plan += (
        Node(each, forbid_devices) for each in config.devices if planner.may_have(each)
    )
    return planner.plan


def plan_protection(config: RuntimeConfig) -> list[Operation]:
    """List what to make read-only and what to hide, once all is mounted."""
    late = [each for each in config.mounts if _is_filled_first(each)]
    plan: list[Operation] = [ReadOnlyMount(_place(each)) for each in late]
    plan += (ReadOnlyPath(path) for path in config.readonly_paths)
    plan += [MaskedPaths(config.masked_paths)] if config.masked_paths else []
    return plan


def open_sources(plan: Sequence[Operation], config: RuntimeConfig) -> list[Operation]:
    """Open what the first process will not be able to reach, and return the plan with it.

    To be called in the machine's mount namespace, before a user namespace is entered; the
    first process inherits the descriptors.  ``close_sources`` lets go of them.

    Raises:
        StartFailed: a source is not there.
        HostLacks: a mapping of owners cannot be had.
    """
    apart = "user" in config.namespaces and _may_mount()
    # What the machine mounts later may come through, never the other way round; unless volumes
    # are to be shared: their sources must be had before the root's surroundings are not.
    shared = _shares(config)
    propagation = 0 if shared else mounting.MS_SLAVE
    done: list[Operation] = []
    try:
        for each in plan:
            if isinstance(each, Bind) and (apart or each.idmap or (shared and each.is_propagated)):
                done.append(each.opened(propagation=propagation))
            else:
                done.append(each)
    except BaseException:
        close_sources(done)
        raise
    return done


def close_sources(plan: Iterable[Operation]) -> None:
    """Let go of what ``open_sources`` opened."""
    for each in plan:
        if isinstance(each, Bind):
            each.close()


def apply_mount(op: Operation, root_fd: int) -> None:
    """Do one planned operation below ``root_fd``.

    Raises:
        StartFailed: says what and why.
        HostLacks: this machine cannot do it.
    """
    try:
        op.apply(root_fd)
    except OSError as err:
        raise StartFailed(f"cannot {op}", why=err.strerror or str(err)) from err


class _Planner:
    """Turns entries of the config into operations, each knowing what is there before it."""

    def __init__(
        self,
        config: RuntimeConfig,
        bundle_path: str,
        cgroup_paths: Mapping[str, str],
        forbid_devices: bool,
    ) -> None:
        self.plan: list[Operation] = []
        self._config = config
        self._bundle_path = bundle_path
        self._cgroup_paths = cgroup_paths
        self._forbid_devices = forbid_devices
        self._before_proc = True

    def add(self, mount: Mount) -> None:
        options, place = parse_options(mount.options), _place(mount)
        if place == "/":
            raise _invalid("a mount cannot cover the root of the container")
        if options.remount:
            self.plan.append(Remount(place, mount.type, mount.source, options))
            return
        is_bind = options.bind or mount.type == "bind"
        if (mount.uid_mappings or options.idmap) and not is_bind:
            raise _invalid(f"{place}: only a bind mount can show other owners")
        if is_bind:
            self.plan.append(self._bind(mount, place, options))
        elif mount.type in ("cgroup", "cgroup2"):
            self.plan.append(self._cgroup(mount, place, options))
        else:
            self.plan.append(self._new(mount, place, options))
        if place == PROC:
            self._before_proc = False
        if place == DEV:
            is_own = not is_bind and mount.type == "tmpfs"
            self.plan.append(DefaultDevices(is_own=is_own, forbid_devices=self._forbid_devices))

    def may_have(self, device: Device) -> bool:
        """Say whether a device can be made there: nothing is made in the machine's own /dev."""
        own = all(each.is_own for each in self.plan if isinstance(each, DefaultDevices))
        return own or not posixpath.normpath(device.path).startswith(f"{DEV}/")

    def _bind(self, mount: Mount, place: str, options: MountOptions) -> Bind:
        if not mount.source:
            raise _invalid(f"{place}: a bind mount needs a source")
        if not options.propagation and _shares(self._config):
            # Or what the container mounts there would be mounted on the machine, unasked.
            options = replace(options, propagation=(mounting.MS_SLAVE | mounting.MS_REC,))
        words = (word for word in mount.options if word.startswith(PART))
        part = next(words, "").removeprefix(PART)
        return Bind(
            place,
            os.path.join(self._bundle_path, mount.source),
            options,
            self._forbid_devices,
            self._idmap(mount, options),
            self._before_proc,
            part=part,
        )

    def _idmap(self, mount: Mount, options: MountOptions) -> IdMap | None:
        if mount.uid_mappings:
            return IdMap(mount.uid_mappings, mount.gid_mappings)
        if not options.idmap:
            return None
        joined = self._config.namespaces.get("user", "")
        if joined:
            return IdMap(namespace=joined)
        if not self._config.uid_mappings:
            raise _invalid(
                f"{mount.destination}: idmap without a mapping of its own needs a "
                "user namespace of the container"
            )
        return IdMap(self._config.uid_mappings, self._config.gid_mappings)

    def _cgroup(self, mount: Mount, place: str, options: MountOptions) -> CgroupMount:
        paths, version2 = self._cgroup_paths, mount.type == "cgroup2"
        if version2:
            paths = {name: path for name, path in paths.items() if name == VERSION2}
        own = "cgroup" in self._config.namespaces
        return CgroupMount(place, options, paths, own, version2, self._before_proc)

    def _new(self, mount: Mount, place: str, options: MountOptions) -> NewFileSystem:
        if _is_filled_first(mount):
            top = options.top.turned(mounting.MOUNT_ATTR_RDONLY, on=False)
            options = replace(options, top=top)
        # Terminals are devices; and /dev is shut when it is furnished.
        if self._forbid_devices and mount.type != "devpts" and place != DEV:
            top = options.top.turned(mounting.MOUNT_ATTR_NODEV, on=True)
            options = replace(options, top=top)
        return NewFileSystem(
            place, mount.type, mount.source or mount.type, options, self._before_proc
        )


def _place(mount: Mount) -> str:
    return posixpath.normpath("/" + mount.destination.lstrip("/"))


def _is_filled_first(mount: Mount) -> bool:
    """Say whether a file system is made read-only only when all in it has its place."""
    if mount.type != "tmpfs" and _place(mount) != DEV:
        return False
    options = parse_options(mount.options)
    return bool(options.top.on & mounting.MOUNT_ATTR_RDONLY) and not options.bind


def _shares(config: RuntimeConfig) -> bool:
    return config.rootfs_propagation in ("shared", "rshared")


def _may_mount() -> bool:
    return bool(syscalls.capget()[0] >> _CAP_SYS_ADMIN & 1)


def _invalid(why: str) -> InvalidDocument:
    return InvalidDocument("this runtime config is not valid", why=why)
