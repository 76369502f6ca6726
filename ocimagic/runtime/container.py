"""What can be done to a container that is there: signal, stop, pause, limit, look at, delete.

Spec: runtime-spec runtime.md, "Kill", "Delete"; the rest is runc's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState, OcimagicError
from ocimagic.linux.identity import wait_end
from ocimagic.linux.processes import descendants, namespace_pids
from ocimagic.runtime.beginning import destroy, ignore

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.runtime.cgroup_stats import Stats
    from ocimagic.runtime.state import ContainerState
    from ocimagic.spec.resources import Resources

_DEATH_MS = 10_000


def kill(
    state: ContainerState,
    number: int,
    *,
    all: bool = False,  # noqa: A002  runc's word
) -> None:
    """Send a signal to the first process, or to all.

    Raises:
        InvalidState: the container is not running.
    """
    if all:
        # Its first process may be over while others, in a shared pid namespace, are not.
        state.cgroup.kill(number)
        return
    try:
        state.process.send(number)
    except ProcessLookupError as err:
        raise InvalidState(f"container {state.container_id} is not running") from err
    if number == signal.SIGKILL:
        if not state.has_own_pids:
            with contextlib.suppress(OcimagicError):  # without a cgroup nobody knows the others
                state.cgroup.kill(number)
        state.cgroup.thaw()  # frozen by version 1 it could not even die


def delete(
    state: ContainerState,
    *,
    force: bool = False,
    on_warning: Callable[[str], None] = ignore,
) -> None:
    """Undo what creating a container did.

    Args:
        state: of the container.
        force: kill it first if it is not stopped.
        on_warning: hears of poststop hooks that fail.

    Raises:
        InvalidState: it is not stopped, or a process cannot be killed.
    """
    status = state.status()
    if status != "stopped" and not force:
        raise InvalidState(
            f"cannot delete container {state.container_id} that is not stopped: {status}",
            hint="kill it first, or say --force",
        )
    end(state)
    destroy(state, on_warning)


def end(state: ContainerState) -> None:
    """Kill all processes of a container and wait until the first one is over.

    Raises:
        InvalidState: it does not end.
    """
    with contextlib.suppress(OcimagicError):  # without a cgroup nobody knows the others
        state.cgroup.kill(signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        pidfd = state.process.open()
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            state.cgroup.thaw()
            if not wait_end(pidfd, _DEATH_MS):
                raise InvalidState(
                    f"container {state.container_id} does not end",
                    why=f"process {state.process.pid} is stuck in the kernel",
                )
        finally:
            os.close(pidfd)


def pause(state: ContainerState) -> None:
    """Stop all processes until ``resume``.

    Raises:
        InvalidState: it is neither running nor created.
        HostLacks: there is no freezer.
    """
    status = state.status()
    if status not in ("running", "created"):
        raise InvalidState(f"cannot pause container {state.container_id}: it is {status}")
    state.cgroup.freeze()


def resume(state: ContainerState) -> None:
    """Let all processes go on.

    Raises:
        InvalidState: it is not paused.
    """
    status = state.status()
    if status != "paused":
        raise InvalidState(f"cannot resume container {state.container_id}: it is {status}")
    state.cgroup.thaw()


def update(
    state: ContainerState, resources: Resources, on_warning: Callable[[str], None] = ignore
) -> None:
    """Change limits; what is not said stays.

    Raises:
        InvalidState: the container is stopped.
        HostLacks, InvalidOption: a limit that cannot be kept.
    """
    if state.status() == "stopped":
        raise InvalidState(f"cannot update container {state.container_id}: it is stopped")
    for warning in state.cgroup.apply(resources, update=True):
        on_warning(warning)


def processes(state: ContainerState) -> list[int]:
    """Return the pids of a container, as this pid namespace sees them.

    Raises:
        InvalidState: it is stopped.
    """
    if state.status() == "stopped":
        raise InvalidState(f"container {state.container_id} is not running")
    if state.cgroup_paths:
        return state.cgroup.processes()
    pid = state.process.pid
    return namespace_pids(pid) if state.has_own_pids else [pid, *descendants(pid)]


def stats(state: ContainerState) -> Stats:
    """Return what a container uses now.

    Raises:
        InvalidState: it is stopped.
    """
    if state.status() == "stopped":
        raise InvalidState(f"container {state.container_id} is not running")
    return state.cgroup.stats()
