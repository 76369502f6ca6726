"""How much of the machine a service may use: its own keys, and those of ``deploy``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.compose.quantity import bytes_of, bytes_or_unlimited, nano_cpus_of
from ocimagic.model.resources import ResourceOptions, ThrottleDevice, WeightDevice

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.compose.tree import Node

_RATES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")


def _whole(node: Node) -> int:
    return node.whole()


def _text(node: Node) -> str:
    return node.text()


# The key, the field, and how it is read.
_OWN: tuple[tuple[str, str, Callable[[Node], object]], ...] = (
    ("mem_limit", "memory_bytes", bytes_of),
    ("mem_reservation", "memory_reservation_bytes", bytes_of),
    ("memswap_limit", "memory_swap_bytes", bytes_or_unlimited),
    ("mem_swappiness", "memory_swappiness", _whole),
    ("cpus", "nano_cpus", nano_cpus_of),
    ("cpu_shares", "cpu_shares", _whole),
    ("cpu_period", "cpu_period_us", _whole),
    ("cpu_quota", "cpu_quota_us", _whole),
    ("cpu_rt_period", "cpu_realtime_period_us", _whole),
    ("cpu_rt_runtime", "cpu_realtime_runtime_us", _whole),
    ("cpuset", "cpuset_cpus", _text),
    ("pids_limit", "pids_limit", _whole),
    ("cgroup_parent", "cgroup_parent", _text),
)
_LIMITS: tuple[tuple[str, str, Callable[[Node], object]], ...] = (
    ("cpus", "nano_cpus", nano_cpus_of),
    ("memory", "memory_bytes", bytes_of),
    ("pids", "pids_limit", _whole),
)


def resources_of(node: Node) -> ResourceOptions:
    """Return the limits of a service.

    Raises:
        InvalidDocument: a value that cannot be understood, or two that differ.
    """
    given: dict[str, Any] = {
        field: read(each) for key, field, read in _OWN if (each := node.get(key))
    }
    if kill := node.get("oom_kill_disable"):
        given["oom_kill_disable"] = kill.truth()
    if rules := node.get("device_cgroup_rules"):
        given["device_cgroup_rules"] = rules.texts()
    deploy = node.get("deploy")
    resources = deploy.get("resources") if deploy else None
    if resources and (limits := resources.get("limits")):
        for key, field, read in _LIMITS:
            if each := limits.get(key):
                _same(each, given.get(field), value := read(each))
                given[field] = value
    reservations = resources.get("reservations") if resources else None
    if reservations and (memory := reservations.get("memory")):
        given["memory_reservation_bytes"] = bytes_of(memory)
    return ResourceOptions(**given, **_disks(node))


def _same(node: Node, there: object, value: object) -> None:
    if there is not None and there != value:
        raise node.wrong("the service has another limit of its own", hint="say it once")


def _disks(node: Node) -> dict[str, Any]:
    found = node.get("blkio_config")
    if found is None:
        return {}
    given: dict[str, Any] = {}
    if weight := found.get("weight"):
        given["blkio_weight"] = weight.whole(least=0)
    if devices := found.get("weight_device"):
        given["blkio_weight_devices"] = tuple(
            WeightDevice(path=each.at("path").text(), weight=each.at("weight").whole())
            for each in devices.items()
        )
    for key in _RATES:
        read = bytes_of if key.endswith("bps") else _whole
        if devices := found.get(key):
            given[key] = tuple(
                ThrottleDevice(path=each.at("path").text(), rate=read(each.at("rate")))
                for each in devices.items()
            )
    return given
