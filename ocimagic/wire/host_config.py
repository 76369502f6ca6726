"""What a container may have of its host, as docker's ``HostConfig``.

Spec: Docker Engine API v1.41, HostConfig and Resources; keys that only Windows has are there,
as they are in docker's own documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.options import DEFAULT_SHM_BYTES, BindRecursion
from ocimagic.model.policy import LogOptions
from ocimagic.spec.codec import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.model.options import RunOptions, SecurityOptions, VolumeMount
    from ocimagic.model.resources import (
        DeviceMapping,
        ResourceOptions,
        ThrottleDevice,
        Ulimit,
        WeightDevice,
    )
    from ocimagic.model.result import ContainerDetails

OURS = "ocimagic"
# Of a bind mount: how docker's API says what its client calls ``bind-recursive``.
RECURSION_KEYS = {
    BindRecursion.DISABLED: "NonRecursive",
    BindRecursion.WRITABLE: "ReadOnlyNonRecursive",
    BindRecursion.READONLY: "ReadOnlyForceRecursive",
}


def _port_bindings(options: RunOptions) -> dict[str, list[dict[str, str]]]:
    """Return docker's ``PortMap`` of what was asked for."""
    found: dict[str, list[dict[str, str]]] = {}
    for each in options.ports:
        ports = str(each.host_port or "")
        ports += f"-{each.last_host_port}" if each.last_host_port else ""
        host = {"HostIp": each.host_address, "HostPort": ports}
        found.setdefault(f"{each.container_port}/{each.protocol}", []).append(host)
    return found


def host_config(container: ContainerDetails) -> dict[str, object]:
    """Return docker's ``HostConfig`` object of a container."""
    options = container.options
    linux = Fields(container.runtime_config, "runtime config").child("linux")
    own = [each.text("type") for each in linux.children("namespaces")]
    swap = options.resources.memory_swap_bytes
    return _wishes(options) | {
        "LogConfig": {"Type": options.log.driver, "Config": _log_config(options)},
        "NetworkMode": container.summary.network,
        "IpcMode": options.ipc or "private",
        "CgroupnsMode": options.cgroupns or ("private" if "cgroup" in own else "host"),
        "ShmSize": options.shm_size_bytes or DEFAULT_SHM_BYTES,
        "Runtime": options.runtime or OURS,
        # Without a word about it a container may swap as much again as its memory.
        "MemorySwap": swap or 2 * options.resources.memory_bytes,
        "MaskedPaths": list(linux.texts("maskedPaths")) or None,
        "ReadonlyPaths": list(linux.texts("readonlyPaths")) or None,
        "Init": options.init or None,
        "Annotations": dict(options.annotations) or None,
        "Links": [f"/{name}:/{container.summary.name}/{alias}" for name, alias in container.links]
        or None,
    }


def host_request(options: RunOptions, network: str) -> dict[str, object]:
    """Return the ``HostConfig`` that docker's client asks for; what it leaves open is empty.

    Args:
        options: what was asked for.
        network: ``default``, ``host``, ``none``, ``container:NAME`` or a network's name.
    """
    driver = options.log.driver
    log_type = driver if driver != LogOptions().driver else ""
    more: dict[str, object] = {"Runtime": options.runtime} if options.runtime else {}
    more |= {"Init": True} if options.init else {}
    more |= {"Annotations": dict(options.annotations)} if options.annotations else {}
    resources = options.resources
    swappiness = resources.memory_swappiness
    return _wishes(options) | {
        "LogConfig": {"Type": log_type, "Config": _log_config(options)},
        "NetworkMode": network,
        "IpcMode": options.ipc,
        "ShmSize": options.shm_size_bytes,
        "MemorySwap": resources.memory_swap_bytes,
        "MemorySwappiness": -1 if swappiness is None else swappiness,
        "PidsLimit": resources.pids_limit or 0,
        "Ulimits": [_ulimit(each) for each in options.ulimits],
        "MaskedPaths": [] if _shows_all(options) else None,
        "ReadonlyPaths": [] if _shows_all(options) else None,
        **more,
    }


def resources_request(resources: ResourceOptions) -> dict[str, object]:
    """Return limits as a request to update them has them; what is not asked for is empty."""
    return _resources(resources, ()) | {"MemorySwap": resources.memory_swap_bytes}


def _shows_all(options: RunOptions) -> bool:
    return options.security.unmask_paths


def _wishes(options: RunOptions) -> dict[str, object]:
    """Return what is the same in a request and in the document of what came of it."""
    return {
        "Binds": [bind(v) for v in options.volumes if not (is_nameless(v) or is_long(v))] or None,
        **_mounts(options.volumes),
        "ContainerIDFile": options.cidfile or "",
        "PortBindings": _port_bindings(options),
        "RestartPolicy": {
            "Name": options.restart.name.value,
            "MaximumRetryCount": options.restart.maximum_retry_count,
        },
        "AutoRemove": options.remove,
        "VolumeDriver": options.said.get("VolumeDriver", ""),
        "VolumesFrom": [
            each.container + (":ro" if each.read_only else "") for each in options.volumes_from
        ]
        or None,
        "CapAdd": _capabilities(options.cap_add),
        "CapDrop": _capabilities(options.cap_drop),
        "CgroupnsMode": options.cgroupns,
        "Dns": list(options.dns),
        "DnsOptions": list(options.dns_options),
        "DnsSearch": list(options.dns_search),
        "ExtraHosts": [f"{name}:{address}" for name, address in options.extra_hosts] or None,
        "GroupAdd": list(options.groups) or None,
        "Cgroup": "",
        "Links": [f"{name}:{alias}" for name, alias in options.links] or None,
        "OomScoreAdj": options.oom_score_adj,
        "PidMode": options.pid,
        "Privileged": options.privileged,
        "PublishAllPorts": options.publish_all,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": _security(options),
        "Tmpfs": {each.target: ",".join(each.options) for each in options.tmpfs} or None,
        "UTSMode": options.uts,
        "UsernsMode": options.userns,
        "Sysctls": dict(options.sysctls) or None,
        "ConsoleSize": list(options.console_size or (0, 0)),
        "Isolation": options.said.get("Isolation", ""),
        **_resources(options.resources, options.devices),
        "Ulimits": [_ulimit(each) for each in options.ulimits] or None,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }


def is_long(volume: VolumeMount) -> bool:
    """Say whether a volume is no business of ``Binds`` and ``Volumes``.

    That is so where only ``--mount`` can say it, and where it is another container's.
    """
    return (
        volume.inherited
        or volume.recursion is not BindRecursion.ENABLED
        or bool(volume.part or volume.labels or volume.options)
        or (is_nameless(volume) and (volume.read_only or volume.no_copy))
    )


def _mounts(volumes: Iterable[VolumeMount]) -> dict[str, object]:
    """Return docker's ``Mounts``, which is left out where there is none."""
    found = [_mount(each) for each in volumes if is_long(each) and not each.inherited]
    return {"Mounts": found} if found else {}


def _mount(volume: VolumeMount) -> dict[str, object]:
    kind = "volume" if volume.kept else "bind"
    wishes: dict[str, object] = {
        "NoCopy": volume.no_copy,
        "Labels": dict(volume.labels),
        "Subpath": volume.part,
        "Propagation": volume.propagation,
        RECURSION_KEYS.get(volume.recursion, ""): volume.recursion in RECURSION_KEYS,
    }
    wishes = {key: word for key, word in wishes.items() if word}
    if volume.kept and (wishes or volume.options):
        # docker's client sends a driver with any option of a volume, if only as nothing.
        wishes["DriverConfig"] = {"Options": dict(volume.options)} if volume.options else {}
    found: dict[str, object] = {
        "Type": kind,
        "Source": "" if is_nameless(volume) else volume.name or volume.source,
        "Target": volume.target,
        "ReadOnly": volume.read_only,
        f"{kind.capitalize()}Options": wishes,
    }
    return {key: value for key, value in found.items() if value}


def _log_config(options: RunOptions) -> dict[str, str]:
    given: dict[str, str] = {}
    if options.log.max_size_bytes is not None:
        given["max-size"] = str(options.log.max_size_bytes)
    if options.log.max_files != 1:
        given["max-file"] = str(options.log.max_files)
    if options.log.compress:
        given["compress"] = "true"
    return given


def _capabilities(names: Iterable[str]) -> list[str] | None:
    upper = (name.upper() for name in names)
    return [
        name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in upper
    ] or None


def _security(options: RunOptions) -> list[str] | None:
    said = ["no-new-privileges"] if options.no_new_privileges else []
    return [*said, *_security_words(options.security)] or None


def _security_words(security: SecurityOptions) -> list[str]:
    named = (("seccomp", security.seccomp), ("apparmor", security.apparmor))
    said = [f"{name}={value}" for name, value in named if value]
    said += [f"label={word}" for word in security.label]
    said += ["systempaths=unconfined"] if security.unmask_paths else []
    return said + (["writable-cgroups=true"] if security.writable_cgroups else [])


def _resources(resources: ResourceOptions, devices: Iterable[DeviceMapping]) -> dict[str, object]:
    return {
        "CpuShares": resources.cpu_shares,
        "Memory": resources.memory_bytes,
        "NanoCpus": resources.nano_cpus,
        "CgroupParent": resources.cgroup_parent,
        "BlkioWeight": resources.blkio_weight,
        "BlkioWeightDevice": [_weight(each) for each in resources.blkio_weight_devices],
        "BlkioDeviceReadBps": _throttles(resources.device_read_bps),
        "BlkioDeviceWriteBps": _throttles(resources.device_write_bps),
        "BlkioDeviceReadIOps": _throttles(resources.device_read_iops),
        "BlkioDeviceWriteIOps": _throttles(resources.device_write_iops),
        "CpuPeriod": resources.cpu_period_us,
        "CpuQuota": resources.cpu_quota_us,
        "CpuRealtimePeriod": resources.cpu_realtime_period_us,
        "CpuRealtimeRuntime": resources.cpu_realtime_runtime_us,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "Devices": [_device(each) for each in devices],
        "DeviceCgroupRules": list(resources.device_cgroup_rules) or None,
        "DeviceRequests": None,
        "MemoryReservation": resources.memory_reservation_bytes,
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "PidsLimit": resources.pids_limit,
    }


def _weight(device: WeightDevice) -> dict[str, object]:
    return {"Path": device.path, "Weight": device.weight}


def _throttles(devices: Iterable[ThrottleDevice]) -> list[dict[str, object]]:
    return [{"Path": each.path, "Rate": each.rate} for each in devices]


def _device(device: DeviceMapping) -> dict[str, object]:
    return {
        "PathOnHost": device.source,
        "PathInContainer": device.target,
        "CgroupPermissions": device.permissions,
    }


def _ulimit(limit: Ulimit) -> Mapping[str, object]:
    return {"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft}


def is_nameless(volume: VolumeMount) -> bool:
    """Say whether nobody named a volume, though the engine may have by now."""
    return volume.anonymous or (volume.kept and not volume.name)


def bind(volume: VolumeMount) -> str:
    """Return a volume as ``-v`` takes it."""
    words = [
        word
        for word in (
            "ro" if volume.read_only else "",
            volume.relabel,
            volume.propagation,
            "nocopy" if volume.no_copy else "",
            "U" if volume.own else "",
        )
        if word
    ]
    return f"{volume.name or volume.source}:{volume.target}" + (
        f":{','.join(words)}" if words else ""
    )
