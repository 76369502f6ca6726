"""Find out what the machine contributes to a container: its kernel, its limits, its devices."""

from __future__ import annotations

import os
import platform
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.bundle.place import HostDevice, Place
from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.model.options import RunOptions
    from ocimagic.model.resources import ResourceOptions

CGROUPS = Path("/sys/fs/cgroup")
_MAX_NODES = 10_000
# Not devices of the machine but file systems of their own, or what other programs keep there.
_PASSED_OVER = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})

# Terminals are a container's own.
_OWN_NODES = frozenset({"/dev/console", "/dev/ptmx"})


def find_place(  # noqa: PLR0913  each is a fact that its caller knows
    options: RunOptions,
    *,
    rootless: bool,
    container_id: str,
    shares_processes: bool = False,
    bare: bool = False,
    tracer: str = "",
    hostname: str = "",
    files: tuple[tuple[str, str], ...] = (),
    shm_path: str = "",
) -> Place:
    """Look at the machine, as far as a container of these options needs it.

    Raises:
        InvalidOption: a device that was asked for is not there, or is none.
    """
    unified = is_unified()
    return Place(
        machine=platform.machine(),
        rootless=rootless,
        shares_processes=shares_processes,
        bare=bare,
        tracer=tracer,
        hostname=hostname,
        files=files,
        container_id=container_id,
        shm_path=shm_path,
        devices={path: tuple(_nodes(path)) for path in _device_paths(options)},
        all_devices=tuple(_all(rootless=rootless)) if options.privileged else (),
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        apparmor=_read("/sys/module/apparmor/parameters/enabled") == "Y",
        kernel=_kernel(),
        cgroup_v2=unified,
        swap_limit=not options.resources.memory_bytes or _counts_swap(unified=unified),
        cpus=len(os.sched_getaffinity(0)) if options.resources.nano_cpus else 0,
        **_cpusets(options.resources, unified=unified),
    )


def is_unified() -> bool:
    """Say whether the machine has cgroup v2 only."""
    return (CGROUPS / "cgroup.controllers").exists()


def _kernel() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _counts_swap(*, unified: bool) -> bool:
    if not unified:
        return (CGROUPS / "memory" / "memory.memsw.limit_in_bytes").exists()
    # The root of the hierarchy has no limits; what a kernel cannot do is missing everywhere.
    own = _read("/proc/self/cgroup").rpartition("::")[2].strip("/")
    return (CGROUPS / own / "memory.swap.max").exists() or not (
        CGROUPS / own / "memory.max"
    ).exists()


def _cpusets(resources: ResourceOptions, *, unified: bool) -> dict[str, str]:
    """Return the processors and memory nodes there are, if some were asked for."""
    root = CGROUPS if unified else CGROUPS / "cpuset"
    suffix = ".effective" if unified else ""
    found = {}
    if resources.cpuset_cpus:
        found["cpuset_cpus"] = _read(f"{root}/cpuset.cpus{suffix}") or _read(
            "/sys/devices/system/cpu/online"
        )
    if resources.cpuset_mems:
        found["cpuset_mems"] = _read(f"{root}/cpuset.mems{suffix}") or _read(
            "/sys/devices/system/node/online"
        )
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _device_paths(options: RunOptions) -> set[str]:
    """Return every path on the host that names a device in these options."""
    limits = options.resources
    throttled = (
        *limits.device_read_bps,
        *limits.device_write_bps,
        *limits.device_read_iops,
        *limits.device_write_iops,
    )
    return {
        *(each.source for each in options.devices),
        *(each.path for each in limits.blkio_weight_devices),
        *(each.path for each in throttled),
    }


def _nodes(path: str) -> Iterator[HostDevice]:
    """Yield the node at a path, or all nodes in a directory.

    Raises:
        InvalidOption: neither is there.
    """
    hint = f"ls -l {path} shows what it is"
    try:
        told = os.stat(path)
    except (OSError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else str(err)
        raise InvalidOption(f"there is no device {path} on this machine", why=why) from err
    if stat.S_ISDIR(told.st_mode):
        found = list(_below(path, frozenset()))
        if not found:
            raise InvalidOption(f"there is no device in {path}", hint=hint)
        yield from found
        return
    node = _device(path, told)
    if node is None:
        raise InvalidOption(f"{path} is not a device", hint=hint)
    yield node


def _all(*, rootless: bool) -> Iterator[HostDevice]:
    """Yield the nodes in /dev; for an ordinary user those that it may open."""
    for node in _below("/dev", _PASSED_OVER):
        if not rootless or os.access(node.path, os.R_OK) or os.access(node.path, os.W_OK):
            yield node


def _below(directory: str, passed_over: frozenset[str]) -> Iterator[HostDevice]:
    """Yield the nodes in a directory and below it, links left out."""
    count = 0
    for parent, names, files in os.walk(directory):
        names[:] = sorted(set(names) - passed_over)
        for name in sorted(files):
            path = os.path.join(parent, name)
            try:
                told = os.lstat(path)
            except OSError:
                continue  # it went meanwhile
            node = _device(path, told)
            if node is None or path in _OWN_NODES:
                continue
            count += 1
            if count > _MAX_NODES:
                raise InvalidOption(f"{directory} has more than {_MAX_NODES} devices")
            yield node


def _device(path: str, told: os.stat_result) -> HostDevice | None:
    kind = {stat.S_IFBLK: "b", stat.S_IFCHR: "c"}.get(stat.S_IFMT(told.st_mode))
    if kind is None:
        return None
    return HostDevice(
        path=path,
        type=kind,
        major=os.major(told.st_rdev),
        minor=os.minor(told.st_rdev),
        mode=stat.S_IMODE(told.st_mode),
        uid=told.st_uid,
        gid=told.st_gid,
    )
