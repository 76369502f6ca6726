"""How a container began, for whoever asks later: one small file beside its state.

``timeline.json``: what the engine, the shim and the container's first process noted
(``linux.notes``), and what the kernel said of that process just
after its execve, or as long as nobody has waited for it.  ``exec-N.json``: the same of a command
that was executed later.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING

from ocimagic.linux import notes
from ocimagic.linux.identity import boot_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.shim.monitor import Monitor

_VERSION = 1


def make(monitor: Monitor, told: str) -> str:
    """Return what is to be told of the start of a container, as JSON, and note no more.

    Args:
        monitor: of the container.
        told: what the first process noted.
    """
    told_all = _all(monitor, told, monitor.task.engine, monitor.life.pid)
    return json.dumps(told_all | {"restarts": monitor.life.restart_count})


def make_exec(
    monitor: Monitor, told: str, *, engine: str, ids: tuple[str, int], process: Mapping[str, object]
) -> dict[str, object]:
    """Return what is to be told of a command that was executed, and note no more.

    Args:
        monitor: of the container.
        told: what the process noted that became the command.
        engine: what the engine noted.
        ids: of the exec, and of its process.
        process: what was asked for, as in config.json; values of its variables are not kept.
    """
    exec_id, pid = ids
    env = process.get("env")
    names = [str(each).partition("=")[0] for each in env] if isinstance(env, list | tuple) else []
    more = {
        "exec_id": exec_id,
        "first_pid": monitor.life.pid,
        "process": dict(process) | {"env": names},
    }
    return _all(monitor, told, engine, pid) | more


def _all(monitor: Monitor, told: str, engine: str, pid: int) -> dict[str, object]:
    return {
        "version": _VERSION,
        "boot_id": boot_id(),
        # The same instant by both clocks.
        "clock": [time.time_ns(), time.monotonic_ns()],
        "engine": engine,
        "shim": notes.end(),
        "init": told,
        "status": _status(pid),
        "pid": pid,
        "shim_pid": os.getpid(),
        "holder_pid": os.getppid(),
        "holder_parent": monitor.keeper.holders_parent,
        "runtime": monitor.task.runtime or "",
    }


def _status(pid: int) -> str:
    """Return /proc/PID/status, "" where it cannot be seen."""
    with contextlib.suppress(OSError):
        fd = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 1 << 12).decode(errors="replace")
        finally:
            os.close(fd)
    return ""
