"""Clone a process into its namespaces, where need be by way of a stage that joins them.

What is here runs on both sides of the clone; the child never comes back from ``bear``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, OcimagicError, StartFailed
from ocimagic.linux import notes, syscalls
from ocimagic.runtime import program
from ocimagic.runtime.channel import Channel
from ocimagic.runtime.namespaces import write_offsets
from ocimagic.runtime.protection import open_null

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ocimagic.runtime.namespaces import Namespaces
    from ocimagic.runtime.program import Ctx

_NAME = "ocimagic-init"


def bear(
    spaces: Namespaces,
    context: Ctx,
    phases: Sequence[Callable[[Ctx], None]],
    become_mapped: Callable[[Ctx], None] | None = None,
) -> tuple[int, int, Channel]:
    """Clone a process that runs its phases; return pid, pidfd and the channel to it.

    Where there is a stage, pid and pidfd are the stage's, until it says "born".

    Args:
        spaces: where it is to be.
        context: what it knows.
        phases: what it does.
        become_mapped: gets the ids of a new user namespace mapped.

    Raises:
        HostLacks: namespaces are not to be had here.
    """
    if -1 in context.stdio:
        context.null = open_null()
    mine, context.channel = Channel.pair()
    try:
        home = _way_home() if "pid" in spaces.joined and not spaces.needs_stage else -1
        needs_stage = spaces.needs_stage or ("pid" in spaces.joined and home < 0)
        if needs_stage:
            pid, pidfd = _clone(context, 0, is_stage=True)
        elif spaces.joined:
            pid, pidfd = _clone_beside(context, spaces, home)
        else:
            pid, pidfd = _clone(context, spaces.flags("cgroup"), is_stage=False)
    except BaseException:
        mine.close()
        _let_go(context)
        raise
    if pid == 0:
        mine.close()
        if notes.are_taken():  # by who creates it: these are its own
            notes.begin()
            notes.note("born")
        syscalls.set_process_name(_NAME)
        if needs_stage:
            _pass_stage(spaces, context, become_mapped)
        elif spaces.joined:
            _join(spaces, context)
        program.run_phases(phases, context)
    _let_go(context)
    return pid, pidfd, mine


def _let_go(context: program.Context) -> None:
    """Close what only the child needs."""
    context.channel.close()
    if context.null >= 0:
        os.close(context.null)


def _clone(context: program.Context, flags: int, *, is_stage: bool) -> tuple[int, int]:
    """Clone, into the cgroup where the kernel can do that; the stage stays outside."""
    cgroup_fd = context.entrance.cgroup_fd if context.entrance and not is_stage else -1
    if cgroup_fd >= 0:
        # Not to be had in a threaded cgroup, or before Linux 5.7: then it goes in by itself.
        with contextlib.suppress(OSError):
            context.is_born_inside = True
            return syscalls.clone3(flags | syscalls.CLONE_INTO_CGROUP, cgroup_fd=cgroup_fd)
    context.is_born_inside = False
    try:
        return syscalls.clone3(flags)
    except OSError as err:
        if err.errno == errno.ENOMEM and not flags & syscalls.CLONE_NEWPID:
            # What the kernel says of a pid namespace without its first process.
            raise StartFailed(
                "no process can be made there",
                why="the container has ended, or the machine has no memory left",
            ) from err
        raise HostLacks(
            "this machine does not allow containers",
            why=f"clone3 into new namespaces: {err.strerror}",
            hint="%system_info says what it allows; run as root, or allow user namespaces",
        ) from err


def _way_home() -> int:
    """Open this process's own pid namespace, to have its later children back; -1 if it cannot.

    Who is root of a user namespace only is not allowed to: the machine's owns the way home.
    """
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(home, syscalls.CLONE_NEWPID)
    except OSError:
        os.close(home)
        return -1
    return home


def _clone_beside(context: program.Context, spaces: Namespaces, home: int) -> tuple[int, int]:
    """Clone, where there is one to join, into a pid namespace; the child joins the others.

    Args:
        context: what it knows.
        spaces: where it is to be.
        home: of ``_way_home``, closed here; -1 without a pid namespace to join.
    """
    # Nobody in there may look at what is open here (CVE-2016-9962), from the first moment on.
    is_dumpable = syscalls.prctl(syscalls.PR_GET_DUMPABLE) == 1
    pid = -1
    try:
        if is_dumpable:
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        if home >= 0:
            _enter_pid_namespace(spaces.joined["pid"])
        pid, pidfd = _clone(context, spaces.flags("cgroup"), is_stage=False)
    finally:
        if home >= 0 and pid != 0:
            _return_to(home)
        if home >= 0:
            os.close(home)
        if is_dumpable and pid != 0:
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    return pid, pidfd


def _enter_pid_namespace(door: int) -> None:
    try:
        syscalls.setns(door, syscalls.CLONE_NEWPID)
    except OSError as err:
        raise HostLacks("cannot enter the container", why=f"setns: {err.strerror}") from err


def _return_to(home: int) -> None:
    """Have later children here again; who cannot must end, or they were the container's."""
    try:
        syscalls.setns(home, syscalls.CLONE_NEWPID)
    except OSError:
        os._exit(125)


def _join(spaces: Namespaces, context: Ctx) -> None:
    """Go where the others are; the pid namespace is the right one already."""
    with _reported(context):
        context.proc = os.open("/proc", program.PROC_FLAGS)
        spaces.join()
    spaces.close()


@contextlib.contextmanager
def _reported(context: program.Context) -> Iterator[None]:
    """Tell the creator what goes wrong, and end."""
    try:
        yield
    except OcimagicError as err:
        program.report(context.channel, "join", err)
        os._exit(125)
    except OSError as err:
        failure = StartFailed("cannot enter the namespaces", why=err.strerror)
        program.report(context.channel, "join", failure)
        os._exit(125)


def _pass_stage(
    spaces: Namespaces, context: Ctx, become_mapped: Callable[[Ctx], None] | None
) -> None:
    """Join, then clone the process itself as a child of this one's parent; returns in it only."""
    with _reported(context):
        pid, pidfd = _from_stage(spaces, context, become_mapped)
    if pid:
        context.channel.say("born", pidfd, pid=pid)
        os._exit(0)
    program.wait_for(context, "known")  # or its creator would take the stage for it


def _from_stage(
    spaces: Namespaces, context: Ctx, become_mapped: Callable[[Ctx], None] | None
) -> tuple[int, int]:
    context.proc = os.open("/proc", program.PROC_FLAGS)
    if spaces.joined:
        # Before the first step inside: nobody there may look at what is open here
        # (CVE-2016-9962).
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        spaces.join()
        if "user" in spaces.joined:
            with contextlib.suppress(OSError):  # its root may have no id
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
    if "user" in spaces.new:
        assert become_mapped is not None
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        become_mapped(context)
    if "time" in spaces.new:
        syscalls.unshare(syscalls.CLONE_NEWTIME)
        write_offsets(spaces.offsets)
    if spaces.joined:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    spaces.close()
    flags = spaces.flags("cgroup", "user", "time")
    return _clone(context, flags | syscalls.CLONE_PARENT, is_stage=False)
