"""What every container gets unless it says otherwise: docker's mounts, paths, capabilities.

Spec: runtime-spec config-linux.md, "Default Filesystems"; the masked and read-only paths, the
capabilities and the tmpfs sizes are docker's.
"""

from __future__ import annotations

from ocimagic.spec.runtime import Mount

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
NAMESPACES = ("mount", "pid", "ipc", "uts")
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
_QUIET = ("nosuid", "noexec", "nodev")


def default_mounts(*, own_network: bool, rootless: bool) -> tuple[Mount, ...]:
    """List what is mounted in every container, in order.

    Args:
        own_network: the container has a network namespace of its own.
        rootless: in a user namespace, which may show the machine's /sys but not mount one for
            a network namespace that is not its own.
    """
    sysfs = Mount(destination="/sys", type="sysfs", source="sysfs", options=(*_QUIET, "ro"))
    if rootless and not own_network:
        options = ("rbind", "rprivate", *_QUIET, "ro")
        sysfs = Mount(destination="/sys", type="none", source="/sys", options=options)
    return (
        Mount(destination="/proc", type="proc", source="proc", options=_QUIET),
        Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "strictatime", "mode=755", "size=65536k"),
        ),
        Mount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        sysfs,
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_QUIET),
        Mount(
            destination="/dev/shm",  # noqa: S108  the container's own
            type="tmpfs",
            source="shm",
            options=(*_QUIET, "mode=1777", "size=65536k"),
        ),
    )
