"""Which processes belong together: by their pid namespace, or by descent: proc(5)."""

from __future__ import annotations

import contextlib
import os


def namespace_pids(pid: int) -> list[int]:
    """Return all processes of the pid namespace that a process is in."""
    found = []
    with contextlib.suppress(OSError):
        wanted = os.stat(f"/proc/{pid}/ns/pid")
        for other in _all():
            with contextlib.suppress(OSError):  # it has just ended, or is not ours
                if os.path.samestat(os.stat(f"/proc/{other}/ns/pid"), wanted):
                    found.append(other)
    return sorted(found)


def children(pid: int) -> list[int]:
    """Return the processes whose parent one is."""
    return _families().get(pid, [])


def descendants(pid: int) -> list[int]:
    """Return all processes below one."""
    families = _families()
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = families.get(waiting.pop(), [])
        found += below
        waiting += below
    return sorted(found)


def _families() -> dict[int, list[int]]:
    """Return the children of each process that has any."""
    found: dict[int, list[int]] = {}
    for other in _all():
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{other}/stat", "rb") as file:
            parent = int(file.read().rpartition(b")")[2].split()[1])
            found.setdefault(parent, []).append(other)
    return found


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
