"""Clone a process into its namespaces, where need be by way of a stage that joins them.

What is here runs on both sides of the clone; the child never comes back from ``bear``.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, OcimagicError, StartFailed
from ocimagic.linux import syscalls
from ocimagic.runtime import program
from ocimagic.runtime.channel import Channel
from ocimagic.runtime.namespaces import write_offsets
from ocimagic.runtime.protection import open_null

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
    flags = 0 if spaces.needs_stage else spaces.flags("cgroup")
    mine, context.channel = Channel.pair()
    try:
        pid, pidfd = _clone(context, flags, is_stage=spaces.needs_stage)
    except BaseException:
        mine.close()
        context.channel.close()
        raise
    if pid == 0:
        mine.close()
        syscalls.set_process_name(_NAME)
        if spaces.needs_stage:
            _pass_stage(spaces, context, become_mapped)
        program.run_phases(phases, context)
    context.channel.close()
    if context.null >= 0:
        os.close(context.null)
    return pid, pidfd, mine


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
        raise HostLacks(
            "this machine does not allow containers",
            why=f"clone3 into new namespaces: {err.strerror}",
            hint="%system_info says what it allows; run as root, or allow user namespaces",
        ) from err


def _pass_stage(
    spaces: Namespaces, context: Ctx, become_mapped: Callable[[Ctx], None] | None
) -> None:
    """Join, then clone the process itself as a child of this one's parent; returns in it only."""
    try:
        pid, pidfd = _from_stage(spaces, context, become_mapped)
    except OcimagicError as err:
        program.report(context.channel, "join", err)
        os._exit(125)
    except OSError as err:
        failure = StartFailed("cannot enter the namespaces", why=err.strerror)
        program.report(context.channel, "join", failure)
        os._exit(125)
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
