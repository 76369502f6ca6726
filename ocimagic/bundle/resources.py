"""Limits: from what is asked for to ``linux.resources``, with docker's checks and warnings.

Spec: runtime-spec config-linux.md, "Control groups"; Documentation/scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.spec.resources import (
    BlockIO,
    Cpu,
    DeviceRule,
    Memory,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.bundle.place import Place
    from ocimagic.model import resources as asked
    from ocimagic.model.resources import ResourceOptions

# What a container needs to start at all.
MIN_MEMORY_BYTES = 6 << 20
_NANO = 1_000_000_000
_PERIOD_US = 100_000
_MIN_SHARES, _MAX_SHARES = 2, 262_144


def linux_resources(
    options: ResourceOptions, place: Place, devices: Sequence[DeviceRule] = ()
) -> Resources:
    """Return the limits; what was not asked for stays out.

    Raises:
        InvalidOption: a limit makes no sense, alone or with another one.
    """
    check_resources(options, place)
    return Resources(
        devices=tuple(devices),
        memory=_memory(options, place),
        cpu=_cpu(options),
        pids_limit=_pids(options.pids_limit),
        block_io=_block_io(options, place),
    )


def _pids(limit: int | None) -> int | None:
    return None if not limit else max(limit, -1)


def _memory(options: ResourceOptions, place: Place) -> Memory:
    swap = options.memory_swap_bytes
    if options.memory_bytes and not swap and place.swap_limit:
        swap = 2 * options.memory_bytes
    usable = place.swap_limit or swap == -1
    return Memory(
        limit=options.memory_bytes or None,
        reservation=options.memory_reservation_bytes or None,
        swap=(swap or None) if usable else None,
        swappiness=None if place.cgroup_v2 else options.memory_swappiness,
        disable_oom_killer=(options.oom_kill_disable and not place.cgroup_v2) or None,
    )


def _cpu(options: ResourceOptions) -> Cpu:
    shares = options.cpu_shares and min(max(options.cpu_shares, _MIN_SHARES), _MAX_SHARES)
    period, quota = options.cpu_period_us, options.cpu_quota_us
    if options.nano_cpus:
        period, quota = _PERIOD_US, options.nano_cpus * _PERIOD_US // _NANO
    return Cpu(
        shares=shares or None,
        period=period or None,
        quota=quota or None,
        realtime_period=options.cpu_realtime_period_us or None,
        realtime_runtime=options.cpu_realtime_runtime_us or None,
        cpus=options.cpuset_cpus,
        mems=options.cpuset_mems,
    )


def _block_io(options: ResourceOptions, place: Place) -> BlockIO:
    def throttle(devices: Sequence[asked.ThrottleDevice]) -> tuple[ThrottleDevice, ...]:
        return tuple(
            ThrottleDevice(major=node.major, minor=node.minor, rate=each.rate)
            for each in devices
            for node in place.devices[each.path]
        )

    return BlockIO(
        weight=options.blkio_weight or None,
        weight_device=tuple(
            WeightDevice(major=node.major, minor=node.minor, weight=each.weight)
            for each in options.blkio_weight_devices
            for node in place.devices[each.path]
        ),
        throttle_read_bps_device=throttle(options.device_read_bps),
        throttle_write_bps_device=throttle(options.device_write_bps),
        throttle_read_iops_device=throttle(options.device_read_iops),
        throttle_write_iops_device=throttle(options.device_write_iops),
    )


def check_resources(options: ResourceOptions, place: Place) -> None:
    """Refuse limits that no kernel would take, or that contradict each other.

    Raises:
        InvalidOption: says which.
    """
    _check_memory(options)
    _check_cpu(options, place)
    _check_list("cpuset CPUs", options.cpuset_cpus, place.cpuset_cpus)
    _check_list("memory nodes", options.cpuset_mems, place.cpuset_mems)
    if options.blkio_weight and not 10 <= options.blkio_weight <= 1000:
        raise InvalidOption(f"block IO weight {options.blkio_weight} is not between 10 and 1000")


def _check_memory(options: ResourceOptions) -> None:
    memory, swap = options.memory_bytes, options.memory_swap_bytes
    reservation = options.memory_reservation_bytes
    least = f"{MIN_MEMORY_BYTES >> 20} MiB"
    if memory and memory < MIN_MEMORY_BYTES:
        raise InvalidOption(
            f"a memory limit of {memory} bytes is too small",
            why=f"a container needs {least} to start",
            hint="write for example --memory 64m",
        )
    if reservation and reservation < MIN_MEMORY_BYTES:
        raise InvalidOption(f"a memory reservation below {least} is too small")
    if memory and reservation > memory:
        raise InvalidOption("the memory reservation is above the memory limit")
    if swap > 0 and not memory:
        raise InvalidOption(
            "a limit of memory and swap needs a memory limit", hint="write --memory too"
        )
    if 0 < swap < memory:
        raise InvalidOption(
            "the limit of memory and swap is below the memory limit",
            why="--memory-swap counts both together",
            hint="make it larger, -1 for unlimited swap, or leave it out for as much again",
        )
    if options.memory_swappiness is not None and not 0 <= options.memory_swappiness <= 100:
        raise InvalidOption(f"swappiness {options.memory_swappiness} is not between 0 and 100")


def _check_cpu(options: ResourceOptions, place: Place) -> None:
    for name, value in (("--cpu-period", options.cpu_period_us),
                        ("--cpu-quota", max(options.cpu_quota_us, 0))):  # fmt: skip
        if options.nano_cpus and value:
            raise InvalidOption(f"--cpus and {name} contradict each other", hint="leave one out")
    most = place.cpus * _NANO
    if options.nano_cpus < 0 or (most and options.nano_cpus > most):
        raise InvalidOption(
            f"{options.nano_cpus / _NANO:g} CPUs are not to be had",
            why=f"this machine has {place.cpus}",
            hint=f"write a number from 0.01 to {place.cpus}",
        )
    if options.cpu_shares < 0:
        raise InvalidOption(f"CPU shares cannot be negative: {options.cpu_shares}")
    if options.cpu_period_us and not 1000 <= options.cpu_period_us <= 1_000_000:
        raise InvalidOption(
            f"a CPU period of {options.cpu_period_us} us is not possible",
            why="it takes 1000 (1 ms) to 1000000 (1 s)",
        )
    if 0 < options.cpu_quota_us < 1000:
        raise InvalidOption(
            f"a CPU quota of {options.cpu_quota_us} us is not possible", why="1000 (1 ms) is least"
        )


def _check_list(what: str, text: str, there: str) -> None:
    """Check ``0-3,5`` against the list of what is there."""
    wanted = set(_numbers(what, text))
    known = set(_numbers(what, there))
    if known and not wanted <= known:
        raise InvalidOption(f"{what} {text} are not to be had", why=f"this machine has {there}")


def _numbers(what: str, text: str) -> Iterator[int]:
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) <= 4 for end in ends):
            raise InvalidOption(f"invalid list of {what}: {text!r}", hint="for example 0-3,5")
        yield from range(int(ends[0]), int(ends[1]) + 1)


def resource_warnings(options: ResourceOptions, place: Place) -> Iterator[str]:
    """Yield what is asked for and cannot be kept here, a sentence each, as docker warns."""
    if options.oom_kill_disable and place.cgroup_v2:
        yield "cgroup v2 cannot keep the OOM killer off; --oom-kill-disable was left out"
    elif options.oom_kill_disable and not options.memory_bytes:
        yield "the OOM killer is off without a memory limit: this machine may run out of memory"
    if options.memory_swap_bytes > 0 and not place.swap_limit:
        yield "this kernel does not count swap for containers; memory is limited without it"
    if options.memory_swappiness is not None and place.cgroup_v2:
        yield "cgroup v2 has no swappiness of its own; --memory-swappiness was left out"
    if options.cpu_shares and not _MIN_SHARES <= options.cpu_shares <= _MAX_SHARES:
        yield f"CPU shares go from {_MIN_SHARES} to {_MAX_SHARES}; the nearest one was taken"
