"""Run another process in a container that is there already.

It goes where the first process is: its namespaces, its cgroup; and gives up as much as that
one did before its command began.

Spec: runtime-spec config.md, "Process"; the command is runc's ``exec``.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, InvalidState
from ocimagic.linux.notes import note
from ocimagic.runtime import departure, privileges, program, terminal
from ocimagic.runtime.beginning import ignore
from ocimagic.runtime.birth import bear
from ocimagic.runtime.cgroup import Cgroup
from ocimagic.runtime.cgroup_files import Directory
from ocimagic.runtime.cgroup_hierarchy import VERSION2
from ocimagic.runtime.create import Init
from ocimagic.runtime.creation import Creation
from ocimagic.runtime.labels import check_labels
from ocimagic.runtime.namespaces import Namespaces
from ocimagic.runtime.rootfs import change_root
from ocimagic.runtime.seccomp_filter import make_filter
from ocimagic.spec.process import cpus

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from ocimagic.runtime.cgroup_processes import Entrance
    from ocimagic.runtime.channel import Channel
    from ocimagic.runtime.state import ContainerState
    from ocimagic.spec.process import Process


def execute(  # noqa: PLR0913  each is a word of the command line
    state: ContainerState,
    process: Process,
    stdio: tuple[int, int, int],
    *,
    user: str | None = None,
    console_socket: str | None = None,
    console_size: tuple[int, int] | None = None,
    preserve_fds: int = 0,
    cgroup_path: str | None = None,
    ignore_paused: bool = False,
    unconfined: bool = False,
    filters: MutableMapping[bytes, bytes] | None = None,
    on_warning: Callable[[str], None] = ignore,
) -> Init:
    """Make a process in a running container; it waits for ``start``.

    The caller must have one thread only.  If it dies before ``start``, the process ends by
    itself.

    Args:
        state: of the container.
        process: what to execute; its capabilities and limits are its own.
        stdio: descriptors for its streams, -1 for /dev/null; the caller keeps its copies.
        user: ``name[:group]`` as ``process.user`` by the container's own files.
        console_socket: path of the socket that gets the master of the terminal.
        console_size: rows and columns.
        preserve_fds: how many descriptors after stderr the command keeps.
        cgroup_path: ``[controller,...:]path`` below the container's own cgroup.
        ignore_paused: do it even if it will only begin when the container is resumed.
        unconfined: without the container's seccomp filter, for a privileged one.
        filters: compiled seccomp filters by their JSON, kept by the caller.
        on_warning: hears what the machine could not give in full.

    Raises:
        InvalidState: the container does not run.
        OcimagicError: what could not be had.
    """
    _check(state, process, ignore_paused=ignore_paused)
    config = state.runtime_config
    with contextlib.ExitStack() as held:
        pidfd = _open(state)
        held.callback(os.close, pidfd)
        spaces = Namespaces(frozenset())
        if config.namespaces:
            spaces = Namespaces.of_process(state.process.pid, pidfd)
        held.callback(spaces.close)
        console_door = None
        if console_socket:
            console_door = held.enter_context(terminal.connect_console(console_socket))
        compiled = {} if filters is None else filters
        context = program.Context(
            state.container_id,
            config,
            process,
            stdio,
            said_user=user or process.user.username or None,
            seccomp=None if unconfined else make_filter(config.seccomp, compiled),
            preserve_fds=preserve_fds,
            console_size=console_size,
            root_path=state.root_path,
        )
        if not state.has_own_mounts:
            context.root_fd = _open_root(state)
            held.callback(os.close, context.root_fd)
        cgroup = _choose_cgroup(state, cgroup_path)
        context.entrance = _entrance(cgroup)
        note("cgroup", dict(cgroup.paths))
        held.callback(context.entrance.close)
        pid, child, channel = _bear(context, spaces)
        creation = Creation(
            config,
            process,
            state,
            cgroup,
            channel,
            pid,
            child,
            on_warning,
            seccomp=context.seccomp,
            console_door=console_door,
            is_first=False,
        )
        creation.see_through()
        return Init.of(creation)


def _check(state: ContainerState, process: Process, *, ignore_paused: bool) -> None:
    status = state.status()
    if status not in ("running", "created") and not (status == "paused" and ignore_paused):
        raise InvalidState(f"cannot exec in a {status} container")
    process.check()
    check_labels(process)


def _open(state: ContainerState) -> int:
    try:
        return state.process.open()
    except ProcessLookupError as err:
        raise InvalidState("cannot exec in a stopped container") from err


def _open_root(state: ContainerState) -> int:
    """Open the root of a container without a mount namespace of its own."""
    if "mount" not in state.runtime_config.namespaces:
        return os.open(state.root_path, program.PROC_FLAGS)
    found = os.open(f"/proc/{state.process.pid}/root", program.PROC_FLAGS)
    os.close(_open(state))  # it still is the same process
    return found


def _choose_cgroup(state: ContainerState, said: str | None) -> Cgroup:
    """Return where the process goes: the container's cgroup, or one below it.

    Args:
        state: of the container.
        said: ``[controller,...:]path``, or None.
    """
    cgroup = state.cgroup
    if not said:
        unified = cgroup.paths.get(VERSION2)
        if unified and Directory(unified).find("cgroup.subtree_control"):
            # No process can be there any more; the first one made itself a place below.
            return Cgroup.of_process(state.process.pid)
        return cgroup
    controllers, _, path = said.rpartition(":")
    below = cgroup.below(path).paths
    for name in controllers.split(",") if controllers else ():
        if name not in below:
            raise InvalidOption(f"the container has no cgroup of controller {name!r}")
    wanted = controllers.split(",") if controllers else list(below)
    return Cgroup({name: (below if name in wanted else cgroup.paths)[name] for name in below})


def _entrance(cgroup: Cgroup) -> Entrance:
    try:
        return cgroup.entrance()
    except OSError as err:
        raise InvalidState(
            "cannot enter the cgroup of the container", why=f"{err.filename}: {err.strerror}"
        ) from err


def _bear(context: program.Context, spaces: Namespaces) -> tuple[int, int, Channel]:
    affinity = context.process.exec_cpu_affinity
    before = os.sched_getaffinity(0)
    try:
        if affinity.initial:
            os.sched_setaffinity(0, cpus(affinity.initial))
        return bear(spaces, context, PHASES)
    finally:
        if affinity.initial:
            os.sched_setaffinity(0, before)


def set_affinity(context: program.Context) -> None:
    """Stay on the processors that the document says, now that the cgroup allows some."""
    wanted = context.process.exec_cpu_affinity.final
    if wanted:
        os.sched_setaffinity(0, cpus(wanted))


def find_root(context: program.Context) -> None:
    """Go to the root of the container, and hold it."""
    if context.tracer:
        return
    if context.root_fd >= 0:
        # No mount namespace of its own: its root is only where its first process is.
        change_root(context.root_fd)
        os.close(context.root_fd)
    context.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


PHASES: tuple[Callable[[program.Context], None], ...] = (
    program.forbid_imports,
    program.enter_cgroup,
    set_affinity,
    program.new_session,
    program.hold_own_proc,
    program.note_namespaces,
    find_root,
    program.open_terminal,
    program.identify,
    program.find_program,
    program.connect_stdio,
    privileges.limit_privileges,
    privileges.limit_resources,
    privileges.become_user,
    privileges.check_working_dir,
    privileges.confine_files,
    program.leave_descriptors,
    privileges.load_asking_filter,
    departure.wait_for_start,
    departure.execute,
)
