"""System calls about processes: limits, priorities, personality, other processes' descriptors.

Source: prlimit(2), sched_setattr(2), ioprio_set(2), personality(2), pidfd_getfd(2),
ioctl_ns(2).
"""

from __future__ import annotations

import fcntl
import struct
from array import array

from ocimagic.linux.syscalls import call

# By the name without RLIMIT_; <asm-generic/resource.h>, the same on x86_64 and aarch64.
RLIMITS = {
    "CPU": 0,
    "FSIZE": 1,
    "DATA": 2,
    "STACK": 3,
    "CORE": 4,
    "RSS": 5,
    "NPROC": 6,
    "NOFILE": 7,
    "MEMLOCK": 8,
    "AS": 9,
    "LOCKS": 10,
    "SIGPENDING": 11,
    "MSGQUEUE": 12,
    "NICE": 13,
    "RTPRIO": 14,
    "RTTIME": 15,
}
PER_LINUX, PER_LINUX32 = 0, 8
_NS_GET_NSTYPE = 0xB703
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_SHIFT = 13
_PAIR = struct.Struct("=QQ")


def set_limit(pid: int, resource: int, soft: int, hard: int) -> None:
    """Set a resource limit of a process, 0 for this one; 2**64-1 is no limit."""
    call("prlimit64", pid, resource, _PAIR.pack(soft, hard), None)


def limit(pid: int, resource: int) -> tuple[int, int]:
    """Return the soft and hard limit of a process, 0 for this one."""
    answer = array("B", bytes(_PAIR.size))
    call("prlimit64", pid, resource, None, answer.buffer_info()[0])
    soft, hard = _PAIR.unpack(answer)
    return soft, hard


def set_scheduler(
    policy: int, flags: int, nice: int, priority: int, deadline: tuple[int, int, int]
) -> None:
    """Say how this thread is scheduled.

    Args:
        policy: SCHED_ number.
        flags: SCHED_FLAG_ bits.
        nice: -20 to 19.
        priority: 1 to 99 for the real-time policies, else 0.
        deadline: runtime, deadline and period in nanoseconds, for SCHED_DEADLINE.
    """
    # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
    attributes = struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, *deadline)
    call("sched_setattr", 0, attributes, 0)


def set_io_priority(io_class: int, priority: int) -> None:
    """Say how urgent this thread's input and output is."""
    call("ioprio_set", _IOPRIO_WHO_PROCESS, 0, io_class << _IOPRIO_CLASS_SHIFT | priority)


def set_personality(persona: int) -> None:
    """Change what kind of machine this process sees."""
    call("personality", persona)


def descriptor_of(pidfd: int, number: int) -> int:
    """Return a duplicate of another process's descriptor."""
    return call("pidfd_getfd", pidfd, number, 0)


def namespace_kind(fd: int) -> int:
    """Return the CLONE_NEW flag of a namespace.

    Raises:
        OSError: ENOTTY, it is no namespace.
    """
    return fcntl.ioctl(fd, _NS_GET_NSTYPE)
