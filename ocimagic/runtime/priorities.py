"""How urgent a process is, and what kind of machine it sees; set by itself, for itself.

Spec: runtime-spec config.md, "Process" (scheduler, ioPriority); config-linux.md, "Personality".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import StartFailed
from ocimagic.linux import process as calls
from ocimagic.spec.process import IO_PRIORITY_CLASSES, SCHEDULER_FLAGS, SCHEDULER_POLICIES

if TYPE_CHECKING:
    from ocimagic.spec.process import IoPriority, Process, Scheduler

_PERSONAS = {"LINUX": calls.PER_LINUX, "LINUX32": calls.PER_LINUX32}


def apply_priorities(process: Process) -> None:
    """Set scheduler and I/O priority.

    Raises:
        StartFailed: the kernel does not give them.
    """
    try:
        if process.scheduler:
            _schedule(process.scheduler)
        if process.io_priority:
            _set_io_priority(process.io_priority)
    except OSError as err:
        what = "scheduler" if process.scheduler else "ioPriority"
        raise StartFailed(f"cannot set process.{what}", why=err.strerror) from err


def _schedule(wanted: Scheduler) -> None:
    calls.set_scheduler(
        SCHEDULER_POLICIES.index(wanted.policy),
        sum(1 << SCHEDULER_FLAGS.index(flag) for flag in set(wanted.flags)),
        wanted.nice,
        wanted.priority,
        (wanted.runtime, wanted.deadline, wanted.period),
    )


def _set_io_priority(wanted: IoPriority) -> None:
    calls.set_io_priority(IO_PRIORITY_CLASSES.index(wanted.io_class), wanted.priority)


def apply_personality(domain: str) -> None:
    """Set the execution domain, "" for none.

    Raises:
        StartFailed: the kernel does not have it.
    """
    if domain:
        try:
            calls.set_personality(_PERSONAS[domain])
        except OSError as err:
            raise StartFailed(f"cannot set personality {domain}", why=err.strerror) from err
