"""Have a controller at hand in a container's directory, which the kernel gives level by level.

Spec: kernel Documentation/admin-guide/cgroup-v2.rst, "Controlling Controllers";
cgroup-v1/cpusets.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.runtime.cgroup_files import Directory

# What version 2 may be asked to give to a container; perf_event needs not be asked.
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")


def enable(directory: Directory, controllers: Iterable[str]) -> dict[str, str]:
    """Have version 2's controllers given down the path to a directory.

    What cannot be given stays out, for somebody may live without it.

    Returns:
        why a controller could not be given, for people; those that this machine does not have
        at all are not in it.
    """
    wanted = set(controllers) - set(directory.read("cgroup.controllers").split())
    above = _directories_above(directory) if wanted else []
    refused: dict[str, str] = {}
    for each in above:
        there = set(each.read("cgroup.controllers").split())
        given = set(each.read("cgroup.subtree_control").split())
        refused |= _give(each, sorted(wanted & there - given))
    return refused


def _give(directory: Directory, controllers: list[str]) -> dict[str, str]:
    if not controllers:
        return {}
    if _has_processes(directory):
        # The kernel would give some of them (cpu, cpuset, pids), but then what is below takes
        # threads only: it would be of no use to a container any more.
        return dict.fromkeys(controllers, f"{directory.path}: it has processes of its own")
    try:
        directory.write("cgroup.subtree_control", " ".join(f"+{each}" for each in controllers))
    except OSError as err:
        if len(controllers) == 1:
            return {controllers[0]: f"{directory.path}: {err.strerror}"}
        # One that is refused takes all the others with it.
        answers = [_give(directory, [each]) for each in controllers]
        return {key: why for answer in answers for key, why in answer.items()}
    return {}


def _has_processes(directory: Directory) -> bool:
    """Say whether a cgroup other than the real root, which alone has no type, has any."""
    is_root = directory.find("cgroup.type") is None
    return not is_root and bool(directory.find("cgroup.procs"))


def _directories_above(directory: Directory) -> list[Directory]:
    """Return the cgroups above one, the topmost to be had first."""
    found: list[Directory] = []
    above = directory.parent
    while above.find("cgroup.subtree_control") is not None:
        found.insert(0, above)
        above = above.parent
    return found


def inherit_cpuset(directory: Directory) -> None:
    """Give a version 1 cpuset what the one above it has: no process may enter an empty one."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        value = directory.parent.read(name)
        if not value.strip():
            inherit_cpuset(directory.parent)
            value = directory.parent.read(name)
        directory.write(name, value)
