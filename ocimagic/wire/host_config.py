"""What a container may have of its host, as docker's ``HostConfig``.

Spec: Docker Engine API v1.41, HostConfig and Resources; keys that only Windows has are there,
as they are in docker's own documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.options import DEFAULT_SHM_BYTES
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

_OURS = "ocimagic"


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
    """Return docker's ``HostConfig`` object."""
    options = container.options
    linux = Fields(container.runtime_config, "runtime config").child("linux")
    return {
        "Binds": [bind(each) for each in options.volumes if not (each.anonymous or each.inherited)]
        or None,
        "ContainerIDFile": options.cidfile or "",
        "LogConfig": {"Type": options.log.driver, "Config": _log_config(options)},
        "NetworkMode": container.summary.network,
        "PortBindings": _port_bindings(options),
        "RestartPolicy": {
            "Name": options.restart.name.value,
            "MaximumRetryCount": options.restart.maximum_retry_count,
        },
        "AutoRemove": options.remove,
        "VolumeDriver": "",
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
        "IpcMode": options.ipc or "private",
        "Cgroup": "",
        "Links": None,
        "OomScoreAdj": options.oom_score_adj,
        "PidMode": options.pid,
        "Privileged": options.privileged,
        "PublishAllPorts": options.publish_all,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": _security(options),
        "Tmpfs": {each.target: ",".join(each.options) for each in options.tmpfs} or None,
        "UTSMode": options.uts,
        "UsernsMode": options.userns,
        "ShmSize": options.shm_size_bytes or DEFAULT_SHM_BYTES,
        "Sysctls": dict(options.sysctls) or None,
        "Runtime": options.runtime or _OURS,
        "ConsoleSize": list(options.console_size or (0, 0)),
        "Isolation": "",
        **_resources(options.resources, options.devices),
        "Ulimits": [_ulimit(each) for each in options.ulimits] or None,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": list(linux.texts("maskedPaths")) or None,
        "ReadonlyPaths": list(linux.texts("readonlyPaths")) or None,
        "Init": options.init or None,
        "Annotations": dict(options.annotations) or None,
    }


def _log_config(options: RunOptions) -> dict[str, str]:
    given: dict[str, str] = {}
    if options.log.max_size_bytes is not None:
        given["max-size"] = str(options.log.max_size_bytes)
    if options.log.max_files != 1:
        given["max-file"] = str(options.log.max_files)
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
    swap = resources.memory_swap_bytes
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
        "KernelMemory": 0,
        "KernelMemoryTCP": 0,
        "MemoryReservation": resources.memory_reservation_bytes,
        # Without a word about it a container may swap as much again as its memory.
        "MemorySwap": swap or 2 * resources.memory_bytes,
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


def bind(volume: VolumeMount) -> str:
    """Return a volume as ``-v`` takes it."""
    words = [
        word
        for word in (
            "ro" if volume.read_only else "",
            volume.relabel,
            volume.propagation,
            "nocopy" if volume.no_copy else "",
        )
        if word
    ]
    return f"{volume.name or volume.source}:{volume.target}" + (
        f":{','.join(words)}" if words else ""
    )
