"""What the machine contributes to a runtime config, as plain values.

``bundle.machine`` finds them out; all other files of this room are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDevice:
    """A device node of the host.

    Attributes:
        path: its own, links followed.
        type: ``b`` or ``c``.
        mode: permission bits.
    """

    path: str
    type: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a container is to run.

    Attributes:
        machine: platform.machine().
        rootless: in a user namespace.
        shares_processes: nobody here may mount a /proc, so there is no pid namespace to be had.
        bare: nor make any other namespace, nor mount: a container is a changed root, no more.
        tracer: nor change the root: this program shows a container its own.
        hostname: of the container.
        files: container path to a file of the host that is shown there.
        container_id: names its cgroup; "" asks for none.
        kernel: the two first numbers of its version.
        cgroup_v2: the unified hierarchy is the machine's only one.
        swap_limit: the kernel counts swap for cgroups.
        cpus: how many there are; 0 is unknown, and so is an empty list of them.
        cpuset_cpus: such as ``0-3``; ``cpuset_mems`` are memory nodes.
        selinux: the kernel enforces labels.
        apparmor: the kernel enforces profiles.
        devices: path asked for to the node, or the nodes below it.
        all_devices: every node of the host, if they were asked for.
        shm_path: directory of the host that is shown as /dev/shm, "" for memory of its own.
    """

    machine: str
    rootless: bool
    shares_processes: bool = False
    bare: bool = False
    tracer: str = ""
    hostname: str
    files: tuple[tuple[str, str], ...] = ()
    container_id: str = ""
    kernel: tuple[int, int] = (5, 12)
    cgroup_v2: bool = False
    swap_limit: bool = True
    cpus: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    selinux: bool = False
    apparmor: bool = False
    devices: Mapping[str, tuple[HostDevice, ...]] = field(default_factory=dict)
    all_devices: tuple[HostDevice, ...] = ()
    shm_path: str = ""
