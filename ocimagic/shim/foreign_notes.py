"""What can be known of another runtime's work: it tells nothing itself, so the kernel is asked."""

from __future__ import annotations

import contextlib
import json
import os

from ocimagic.linux.notes import are_taken, note
from ocimagic.runtime.program import NAMESPACE_FILES

_STATUS = ("Name", "PPid", "Threads", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
# What runc and crun keep of a container in a file of their own, as far as it is small.
_KEPT = {
    "state.json": ("created", "init_process_pid", "init_process_start", "rootless", "cgroup_paths"),
    "status": ("created", "pid", "process-start-time", "rootfs", "cgroup-path", "systemd-cgroup"),
}


def note_namespaces(pid: int) -> None:
    """Note where a process of another runtime is."""
    if not are_taken():
        return
    found: list[str] = []
    for kind in NAMESPACE_FILES:
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/ns/{kind}"))
    note("namespaces", found)


def note_made(pid: int, kept: str) -> None:
    """Note what another runtime made: a process that waits, its mounts, and what it wrote down.

    Args:
        pid: of the container's first process, which waits to become the command.
        kept: directory of the runtime's own files about it.
    """
    if not are_taken():
        return
    note_namespaces(pid)
    with contextlib.suppress(OSError), open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        lines = [line.split() for line in file]
        # Field 5 is where, the one after the dash which kind; see proc_pid_mountinfo(5).
        note("mounts", [f"{each[each.index('-') + 1]} on {each[4]}" for each in lines])
    with contextlib.suppress(OSError):
        note("waits", _status(pid))
    for name, keys in _KEPT.items():
        path = os.path.join(kept, name)
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            document = json.load(file)
            said = {key: document[key] for key in keys if key in document}
            note("runtime's own file", {"path": path, **said})


def _status(pid: int) -> dict[str, str]:
    """Return what the kernel says of a process: fields of proc_pid_status(5) and its words."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        found = {key: value.strip() for key, _, value in pairs if key in _STATUS}
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        found["cmdline"] = file.read().replace("\0", " ").strip()
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        found["start_ticks"] = file.read().rpartition(")")[2].split()[19]
    return found
