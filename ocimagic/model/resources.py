"""How much of the machine a container may use, as it is asked for.

Spec: Docker Engine API, "Resources"; the kernel's own words are in runtime-spec config-linux.md.
"""

from __future__ import annotations

from ocimagic.spec.record import dataclass

# What setrlimit(2) limits, in docker's words.
ULIMIT_NAMES = ("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
                "nproc", "rss", "rtprio", "rttime", "sigpending", "stack")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """A resource limit of processes: ``--ulimit name=soft:hard``.

    Attributes:
        name: as ``nofile``, the setrlimit(2) word in lower case.
        soft: what holds; -1 is unlimited.
        hard: how far the process itself may raise it; -1 is unlimited.
    """

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMapping:
    """A device of the host inside the container: ``--device source:target:permissions``.

    Attributes:
        source: a node, or a directory of nodes, on the host.
        target: where it is shown.
        permissions: some of ``r``, ``w`` and ``m`` (mknod).
    """

    source: str
    target: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightDevice:
    """A share of one disk; ``path`` is its node on the host."""

    path: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleDevice:
    """A speed limit for one disk; ``path`` is its node on the host.

    Attributes:
        rate: bytes or operations per second.
    """

    path: str
    rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceOptions:
    """Limits that the kernel's cgroups keep; a zero or None asks for none.

    Attributes:
        memory_swap_bytes: memory and swap together; -1 is unlimited, 0 twice the memory.
        memory_swappiness: 0 to 100.
        nano_cpus: 1_000_000_000 is one CPU.
        cpuset_cpus: a list such as ``0-3,5``.
        pids_limit: -1 is unlimited.
        blkio_weight: 10 to 1000.
        device_cgroup_rules: ``TYPE MAJOR:MINOR PERMISSIONS``, what else may be opened.
        cgroup_parent: the cgroup above the container's own; "" is the engine's.
    """

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    memory_reservation_bytes: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpu_realtime_period_us: int = 0
    cpu_realtime_runtime_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
    blkio_weight: int = 0
    blkio_weight_devices: tuple[WeightDevice, ...] = ()
    device_read_bps: tuple[ThrottleDevice, ...] = ()
    device_write_bps: tuple[ThrottleDevice, ...] = ()
    device_read_iops: tuple[ThrottleDevice, ...] = ()
    device_write_iops: tuple[ThrottleDevice, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    cgroup_parent: str = ""
