"""Which limits this account can set: where it can make control groups of its own.

Spec: cgroups(7).
"""

from __future__ import annotations

import os
import stat

_V2 = "cgroup.controllers"


def settable() -> list[str]:
    """Name the controllers in whose hierarchy a group of our own can be made."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    found: list[str] = []
    for _number, controllers, path in lines:
        for name in controllers.split(",") if controllers else [""]:
            root = _hierarchy(name)
            if root and not name.startswith("name=") and _may_make_group(root + path):
                found += [name] if name else _v2_controllers(root + path)
    return sorted(set(found))


def _hierarchy(controller: str) -> str:
    if controller:
        path = f"/sys/fs/cgroup/{controller}"
        return path if os.path.isdir(path) else ""
    roots = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    return next((each for each in roots if os.path.exists(f"{each}/{_V2}")), "")


def _v2_controllers(directory: str) -> list[str]:
    with open(f"{directory}/{_V2}", encoding="ascii") as file:
        return file.read().split()


def _may_make_group(directory: str) -> bool:
    try:
        is_directory = stat.S_ISDIR(os.stat(directory).st_mode)
    except OSError:
        return False
    return is_directory and os.access(directory, os.W_OK) and not _is_read_only(directory)


def _is_read_only(directory: str) -> bool:
    return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
