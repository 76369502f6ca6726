"""Learn that the kernel killed for want of memory.

Spec: kernel Documentation/admin-guide/cgroup-v2.rst, "memory.events"; cgroup-v1/memory.rst,
"OOM Control".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.linux import syscalls

if TYPE_CHECKING:
    from ocimagic.runtime.cgroup_files import Directory

_IN_MODIFY = 2  # <linux/inotify.h>


def count_kills(version1: Directory | None, version2: Directory | None) -> int:
    """Return how many processes were killed in a cgroup and below it; 0 if nobody counts."""
    if version1:
        return _count_version1(version1)
    return version2.table("memory.events").get("oom_kill", 0) if version2 else 0


def _count_version1(directory: Directory) -> int:
    """Count in all below too: version 1 counts each cgroup alone."""
    count = directory.table("memory.oom_control").get("oom_kill", 0)
    return count + sum(_count_version1(child) for child in directory.children())


def watch(version1: Directory | None, version2: Directory | None) -> int:
    """Return a new descriptor that gets readable when ``count_kills`` may have risen, else -1."""
    if version1:
        return _watch_version1(version1)
    if version2 is None or version2.find("memory.events") is None:
        return -1
    path = os.fsencode(f"{version2.path}/memory.events")
    found = syscalls.call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        syscalls.call("inotify_add_watch", found, path, _IN_MODIFY)
    except OSError:
        os.close(found)
        raise
    return found


def _watch_version1(memory: Directory) -> int:
    found = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    control = memory.open_file("memory.oom_control", os.O_RDONLY)
    try:
        memory.write("cgroup.event_control", f"{found} {control}")
    except OSError:
        os.close(found)
        raise
    finally:
        os.close(control)
    return found
