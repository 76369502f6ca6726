"""The limits of ``run``, ``create`` and ``update``: from words to ``ResourceOptions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from ocimagic.cli.quantities import (
    BYTES,
    BYTES_OR_UNLIMITED,
    CPUS,
    WHOLE,
    Reader,
    within,
)
from ocimagic.model.resource_words import (
    bytes_device,
    device_rule,
    operations_device,
    weight_device,
)
from ocimagic.model.resources import ResourceOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

F = TypeVar("F", bound="Callable[..., Any]")


_BPS, _IOPS = Reader("device", bytes_device), Reader("device", operations_device)
# What ``update`` can change in a container that is there already.
_LIMITS = (
    click.option("-m", "--memory", type=BYTES, metavar="BYTES", help="Memory limit"),
    click.option("--memory-reservation", type=BYTES, metavar="BYTES", help="Memory soft limit"),
    click.option("--memory-swap", type=BYTES_OR_UNLIMITED, metavar="BYTES",
                 help="Limit of memory and swap together: -1 for unlimited swap"),
    click.option("--cpus", type=CPUS, metavar="DECIMAL", help="Number of CPUs, such as 1.5"),
    click.option("-c", "--cpu-shares", type=Reader("int", within(0)), metavar="INT",
                 help="Share of the CPUs when they are short (1024 is usual)"),
    click.option("--cpu-period", type=WHOLE, metavar="US", help="Period of the CPU limit"),
    click.option("--cpu-quota", type=WHOLE, metavar="US", help="CPU time in each period"),
    click.option("--cpu-rt-period", type=WHOLE, metavar="US",
                 help="Period of the real-time CPU limit"),
    click.option("--cpu-rt-runtime", type=WHOLE, metavar="US",
                 help="Real-time CPU time in each period"),
    click.option("--cpuset-cpus", metavar="LIST", default="", help="CPUs to run on (0-3, 0,1)"),
    click.option("--cpuset-mems", metavar="LIST", default="",
                 help="Memory nodes to use (0-3, 0,1)"),
    click.option("--pids-limit", type=WHOLE, metavar="INT",
                 help="Limit of processes and threads: -1 for unlimited"),
    click.option("--blkio-weight", type=Reader("int", within(0, 65535)), metavar="INT",
                 help="Share of the disks, 10 to 1000, or 0 for the usual one"),
)  # fmt: skip
_CREATE_LIMITS = (
    *_LIMITS,
    click.option("--memory-swappiness", type=Reader("int", within(-1, 100)), metavar="INT",
                 help="How readily memory is swapped out (0 to 100)"),
    click.option("--oom-kill-disable", is_flag=True,
                 help="Let processes wait instead of killing one when memory is full"),
    click.option("--blkio-weight-device", multiple=True, type=Reader("device", weight_device),
                 metavar="DEVICE:WEIGHT", help="Share of one disk"),
    click.option("--device-read-bps", multiple=True, type=_BPS, metavar="DEVICE:RATE",
                 help="Limit of bytes read per second from a device"),
    click.option("--device-write-bps", multiple=True, type=_BPS, metavar="DEVICE:RATE",
                 help="Limit of bytes written per second to a device"),
    click.option("--device-read-iops", multiple=True, type=_IOPS, metavar="DEVICE:RATE",
                 help="Limit of reads per second from a device"),
    click.option("--device-write-iops", multiple=True, type=_IOPS, metavar="DEVICE:RATE",
                 help="Limit of writes per second to a device"),
    click.option("--device-cgroup-rule", multiple=True, type=Reader("rule", device_rule),
                 metavar="RULE", help="Add a rule to the list of allowed devices"),
    click.option("--cgroup-parent", default="", metavar="CGROUP",
                 help="Cgroup above the container's own"),
)  # fmt: skip

# click's name of a parameter: the field it fills.
_FIELDS = {
    "memory": "memory_bytes",
    "memory_reservation": "memory_reservation_bytes",
    "memory_swap": "memory_swap_bytes",
    "cpus": "nano_cpus",
    "cpu_shares": "cpu_shares",
    "cpu_period": "cpu_period_us",
    "cpu_quota": "cpu_quota_us",
    "cpu_rt_period": "cpu_realtime_period_us",
    "cpu_rt_runtime": "cpu_realtime_runtime_us",
    "cpuset_cpus": "cpuset_cpus",
    "cpuset_mems": "cpuset_mems",
    "pids_limit": "pids_limit",
    "blkio_weight": "blkio_weight",
    "oom_kill_disable": "oom_kill_disable",
    "blkio_weight_device": "blkio_weight_devices",
    "device_read_bps": "device_read_bps",
    "device_write_bps": "device_write_bps",
    "device_read_iops": "device_read_iops",
    "device_write_iops": "device_write_iops",
    "device_cgroup_rule": "device_cgroup_rules",
    "cgroup_parent": "cgroup_parent",
}


def limit_parameters(function: F) -> F:
    """Decorate a verb with the limits that can be changed later: ``update``."""
    return _decorated(function, _LIMITS)


def resource_parameters(function: F) -> F:
    """Decorate a verb with all limits that a new container can have."""
    return _decorated(function, _CREATE_LIMITS)


def resource_options(given: Mapping[str, Any]) -> ResourceOptions:
    """Collect the limits among click's values; what was not given keeps its default."""
    values = {field: given[name] for name, field in _FIELDS.items() if given.get(name) is not None}
    swappiness = given.get("memory_swappiness")
    if swappiness is not None and swappiness >= 0:
        values["memory_swappiness"] = swappiness
    return ResourceOptions(**values)


def _decorated(function: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(options):
        function = option(function)
    return function
