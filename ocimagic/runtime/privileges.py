"""What a process gives up on its way to the command: limits, privileges, its user.

Spec: runtime-spec config.md, "Process", "User", "Linux Process".
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, StartFailed
from ocimagic.linux import landlock, syscalls
from ocimagic.linux.notes import note
from ocimagic.runtime import capabilities
from ocimagic.runtime.channel import Channel
from ocimagic.runtime.labels import apply_labels
from ocimagic.runtime.priorities import apply_personality, apply_priorities
from ocimagic.runtime.program import wait_for
from ocimagic.runtime.user import Identity
from ocimagic.spec.runtime import CONFINE_ANNOTATION, PRETENCE_ANNOTATION

if TYPE_CHECKING:
    from ocimagic.runtime.program import Context

_ROOT = Identity(0, 0, (), "/")


def limit_resources(context: Context) -> None:
    """Have the creator set the resource limits, which it may and this process perhaps not.

    Late, for there may be none left to open a file with; and before the change of user, for
    without CAP_SYS_RESOURCE the creator may do so only to a process of its own user.
    """
    if context.process.rlimits or context.process.oom_score_adj is not None:
        context.channel.say("limits")
        wait_for(context, "limited")


def limit_privileges(context: Context) -> None:
    """Give up what execve and set-uid programs could bring back; apply labels and priorities."""
    process = context.process
    context.may_set_groups = _may_set_groups(context.own_proc)
    apply_labels(process, context.own_proc)
    apply_priorities(process)
    apply_personality(context.config.personality)
    if process.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if context.tracer:
        return  # an account without privileges has none to give up
    wanted = capabilities.mask(name for names in process.capabilities.values() for name in names)
    missing = capabilities.names(wanted & ~capabilities.bounding_set())
    if missing:
        context.warn(f"capabilities that cannot be had here: {' '.join(missing)}")
    capabilities.limit_bounding_set(capabilities.mask(process.capabilities.get("bounding", ())))
    capabilities.clear_ambient_set()


def become_user(context: Context) -> None:
    """Change groups, group and user, keeping capabilities over the change."""
    if context.tracer:
        _stay_who_it_is(context)
        return
    # Where one id has to do for all, its listener hears of another user when it listens.
    who = _ROOT if PRETENCE_ANNOTATION in context.config.annotations else context.identity
    is_inside = _try_working_dir(context)
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    try:
        if context.may_set_groups:
            os.setgroups(who.groups)
            note("setgroups", who.groups)
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
        note("setresgid", who.gid)
        note("setresuid", who.uid)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        raise HostLacks(
            f"user {who.uid}:{who.gid} does not exist in this user namespace",
            why="this account may use only the ids that /proc/self/uid_map lists",
            hint="ask for a range in /etc/subuid and /etc/subgid (package uidmap), or run as root",
        ) from err
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 0)
    # Loading a filter takes a privilege where no_new_privs is not set: kept until it is loaded.
    is_late = context.seccomp and not context.process.no_new_privileges
    more = capabilities.mask(["CAP_SYS_ADMIN"]) if is_late else 0
    capabilities.apply_sets(context.process.capabilities, more=more)
    _set_umask(context)
    if not is_inside:
        _enter(context.process.cwd)


def _stay_who_it_is(context: Context) -> None:
    os.close(context.own_proc)
    context.own_proc = -1
    _set_umask(context)


def _set_umask(context: Context) -> None:
    os.umask(0o022 if (mask := context.process.user.umask) is None else mask)


def _may_set_groups(own_proc: int) -> bool:
    fd = os.open("setgroups", os.O_RDONLY | os.O_CLOEXEC, dir_fd=own_proc)
    try:
        return not os.read(fd, 8).startswith(b"deny")
    finally:
        os.close(fd)


def _try_working_dir(context: Context) -> bool:
    """Enter the working directory as root; return False if only the user may."""
    os.close(context.own_proc)  # no way may lead out of the container any more
    context.own_proc = -1
    try:
        os.chdir(context.process.cwd)
    except PermissionError:
        return False
    except OSError as err:
        raise _unusable(context.process.cwd, str(err.strerror)) from err
    return True


def _enter(cwd: str) -> None:
    try:
        os.chdir(cwd)
    except OSError as err:
        raise _unusable(cwd, str(err.strerror)) from err


def check_working_dir(context: Context) -> None:
    """Make sure that the working directory is inside the container (CVE-2024-21626)."""
    if context.tracer:
        return
    try:
        here = os.getcwd()
    except OSError as err:
        raise _unusable(context.process.cwd, str(err.strerror)) from err
    if not here.startswith("/") or here.startswith("(unreachable)"):
        raise _unusable(context.process.cwd, "it is outside the container")


def confine_files(context: Context) -> None:
    """Give up every file outside the root, however it might be come by (Landlock)."""
    if CONFINE_ANNOTATION not in context.config.annotations:
        return
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not landlock.confine(root):
            context.warn("nothing keeps this container's root user from the machine's files")
    except OSError as err:
        raise HostLacks(
            "the container cannot be confined", why=f"Landlock: {err.strerror}"
        ) from err
    finally:
        os.close(root)


def _unusable(cwd: str, why: str) -> StartFailed:
    return StartFailed(f"cannot use working directory {cwd}", why=why)


def load_asking_filter(context: Context) -> None:
    """Load a filter that asks another process, now that the creator can pass the listener on."""
    if context.seccomp and context.seccomp.listener_path:
        listener = context.seccomp.load()
        # Not sendmsg, nor capset: the filter may ask about that, and nobody could answer yet.
        os.write(context.channel.fileno(), Channel.packet("listener", number=listener))
        wait_for(context, "handed over")
        os.close(listener)
        _give_up_right_to_load(context)


def pretend_user(context: Context) -> None:
    """Ask to be the user; the listener of the filter remembers it, the kernel does not."""
    if PRETENCE_ANNOTATION in context.config.annotations:
        who = context.identity
        os.setgroups(who.groups)
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)


def load_filter(context: Context) -> None:
    """Load a filter that asks nobody."""
    assert context.seccomp is not None
    context.seccomp.load()
    _give_up_right_to_load(context)


def _give_up_right_to_load(context: Context) -> None:
    if not context.process.no_new_privileges:
        capabilities.apply_sets(context.process.capabilities)
