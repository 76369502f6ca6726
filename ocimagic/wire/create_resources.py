"""``Resources`` of a request to create or to update: limits, devices, ulimits.

Spec: Docker Engine API v1.41, ``Resources``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.errors import NotBuiltYet
from ocimagic.model.mount_words import device
from ocimagic.model.resource_words import device_rule, operations_device, weight_device
from ocimagic.model.resources import ResourceOptions, ThrottleDevice
from ocimagic.model.security_words import ulimits

if TYPE_CHECKING:
    from ocimagic.model.resources import DeviceMapping, Ulimit
    from ocimagic.wire.reading import Asked

# docker: our field of it.
_SIZES = {
    "MemoryReservation": "memory_reservation_bytes",
    "NanoCpus": "nano_cpus",
    "CpuShares": "cpu_shares",
    "CpuPeriod": "cpu_period_us",
    "CpuRealtimePeriod": "cpu_realtime_period_us",
    "CpuRealtimeRuntime": "cpu_realtime_runtime_us",
}
_SPEEDS = {
    "BlkioDeviceReadBps": "device_read_bps",
    "BlkioDeviceWriteBps": "device_write_bps",
    "BlkioDeviceReadIOps": "device_read_iops",
    "BlkioDeviceWriteIOps": "device_write_iops",
}
_NOT_BUILT = {
    "KernelMemory": "the kernel gave this limit up; Memory counts its memory too",
    "KernelMemoryTCP": "the kernel gave this limit up; Memory counts its memory too",
}


def resources(host: Asked) -> ResourceOptions:
    """Return the limits that are asked for.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: a limit that docker has and this version has not.
    """
    _refuse_others(host)
    found: dict[str, Any] = {field: host.size(key) for key, field in _SIZES.items()}
    found |= {field: _speeds(host, key) for key, field in _SPEEDS.items()}
    swappiness = host.size("MemorySwappiness", least=-1, most=100)
    if "MemorySwappiness" in host and swappiness >= 0:
        found["memory_swappiness"] = swappiness
    if pids := host.size("PidsLimit", least=-1):
        found["pids_limit"] = pids
    return ResourceOptions(
        # -1 is docker's word for no limit, as 0 is.
        memory_bytes=max(host.size("Memory", least=-1), 0),
        cpu_quota_us=host.size("CpuQuota", least=-1),
        memory_swap_bytes=host.size("MemorySwap", least=-1),
        oom_kill_disable=host.flag("OomKillDisable"),
        cpuset_cpus=host.text("CpusetCpus", ""),
        cpuset_mems=host.text("CpusetMems", ""),
        blkio_weight=host.size("BlkioWeight", most=65535),
        blkio_weight_devices=tuple(
            weight_device("BlkioWeightDevice", f"{each.text('Path')}:{each.size('Weight')}")
            for each in host.children("BlkioWeightDevice")
        ),
        device_cgroup_rules=tuple(
            device_rule("DeviceCgroupRules", text) for text in host.texts("DeviceCgroupRules")
        ),
        cgroup_parent=host.text("CgroupParent", ""),
        **found,
    )


def _refuse_others(host: Asked) -> None:
    for key, why in _NOT_BUILT.items():
        if host.size(key, least=-1) > 0:
            raise NotBuiltYet(f"{key} is not built yet", why=why)
    if host.children("DeviceRequests"):
        raise NotBuiltYet(
            "DeviceRequests are not built yet",
            why="what a graphics card needs besides its node comes with a later version",
        )


def _speeds(host: Asked, key: str) -> tuple[ThrottleDevice, ...]:
    return tuple(
        operations_device(key, f"{each.text('Path')}:{each.size('Rate')}")
        for each in host.children(key)
    )


def devices(host: Asked) -> tuple[DeviceMapping, ...]:
    """Return the devices of the machine that are asked for."""
    found = []
    for each in host.children("Devices"):
        source = each.text("PathOnHost", "")
        target = each.text("PathInContainer", "") or source
        permissions = each.text("CgroupPermissions", "") or "rwm"
        found.append(device(f"{source}:{target}:{permissions}"))
    return tuple(found)


def limits(host: Asked) -> tuple[Ulimit, ...]:
    """Return the limits of processes that are asked for, by name."""
    return ulimits(
        f"{each.text('Name', '')}={each.size('Soft', least=-1)}:{each.size('Hard', least=-1)}"
        for each in host.children("Ulimits")
    )
