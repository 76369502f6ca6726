"""The first process of a container: what it does between clone and execve, in order.

Read ``PHASES`` from top to bottom: it is the table of contents.  Each phase is a function of
the context; the first that raises is reported through ``report_fd`` and the container never
starts.

Spec: runtime-spec runtime.md, "Lifecycle" steps 2-8; config-linux.md.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from ocimagic.errors import (
    CommandNotExecutable,
    CommandNotFound,
    HostLacks,
    OcimagicError,
    StartFailed,
    pack,
)
from ocimagic.linux import syscalls
from ocimagic.linux.paths import make_directories, open_in_root
from ocimagic.runtime import capabilities, mounts, rootfs, user
from ocimagic.runtime.command import find_command
from ocimagic.spec.runtime import USER_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.runtime.bundle import Bundle

_SMALL_FILE = 1 << 20
_KERNELS_OWN = (syscalls.PROC_SUPER_MAGIC, syscalls.SYSFS_MAGIC)
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


@dataclass(slots=True)
class Context:
    """What the phases share.

    Attributes:
        stdio: descriptors that become 0, 1 and 2; -1 for /dev/null.
        report_fd: where a failure is told; close-on-exec, so its end means success.
        root_fd: the new root, from ``mount_root`` on.
    """

    bundle: Bundle
    container_id: str
    stdio: tuple[int, int, int]
    report_fd: int
    root_fd: int = -1
    identity: user.Identity = field(default_factory=lambda: user.Identity(0, 0, (), "/"))
    environment: dict[str, str] = field(default_factory=dict)
    command: str = ""


def forbid_imports(_context: Context) -> None:
    """Load no more code: after the pivot Python would look for it in the image.

    A module, a codec or a plugin found there would run with the runtime's privileges
    (CVE-2019-14271 is that mistake in another program).
    """
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()


def new_session(context: Context) -> None:
    """Leave the shim's session, keys and signal settings behind."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Python ignores some, and whoever started us may have; a command would inherit that.
    syscalls.reset_signals()
    os.umask(0)
    with contextlib.suppress(OSError):  # keyrings may be filtered: container in a container
        syscalls.join_session_keyring(f"_ses.{context.container_id[:12]}")


def mount_root(context: Context) -> None:
    """Stack the layers, in this mount namespace only."""
    rootfs.make_private()
    target = context.bundle.root_path
    if context.bundle.rootfs:
        rootfs.mount_overlay(context.bundle.rootfs, target)
    else:
        syscalls.mount(target, target, None, syscalls.MS_BIND | syscalls.MS_REC)
    # Opened after the mount: a descriptor from before would mean the empty directory below.
    context.root_fd = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def mount_all(context: Context) -> None:
    """Apply the mount plan; devices come as soon as /dev is there."""
    furnished = False
    for op in mounts.plan_mounts(context.bundle.config):
        mounts.apply_mount(op, context.root_fd)
        if op.destination == mounts.DEV:
            # A directory of the machine shown as /dev is not ours to change.
            is_own = op.action is mounts.Action.MOUNT
            rootfs.make_devices(context.root_fd, is_own=is_own)
            if is_own:
                rootfs.forbid_devices(context.root_fd)
            furnished = True
    if not furnished:
        os.close(make_directories(context.root_fd, "dev"))
        rootfs.make_devices(context.root_fd)


def name_host(context: Context) -> None:
    """Set the hostname, only in a UTS namespace of its own."""
    config = context.bundle.config
    if "uts" in config.namespaces:
        if config.hostname:
            socket.sethostname(config.hostname)
        if config.domainname:
            syscalls.setdomainname(config.domainname)


def raise_loopback(context: Context) -> None:
    """Bring ``lo`` up in a network namespace of its own."""
    if context.bundle.config.namespaces.get("network") == "":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            fcntl.ioctl(door, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def write_sysctls(context: Context) -> None:
    """Write kernel settings through the container's own procfs (CVE-2025-52881)."""
    if not context.bundle.config.sysctl:
        return
    proc = open_in_root(context.root_fd, "proc", os.O_PATH)
    try:
        for name, value in context.bundle.config.sysctl.items():
            path = "sys/" + name.replace(".", "/")
            fd = open_in_root(proc, path, os.O_WRONLY)
            try:
                _write_proc(fd, value)
            finally:
                os.close(fd)
    finally:
        os.close(proc)


def protect_paths(context: Context) -> None:
    """Make paths read-only and hide others; after the sysctls, which are among them."""
    for op in mounts.plan_protection(context.bundle.config):
        mounts.apply_mount(op, context.root_fd)


def prepare_working_dir(context: Context) -> None:
    """Make the working directory inside the root, as docker does."""
    try:
        os.close(make_directories(context.root_fd, context.bundle.config.process.cwd))
    except OSError as err:
        cwd = context.bundle.config.process.cwd
        raise StartFailed(f"cannot use working directory {cwd}", why=err.strerror) from err


def enter_root(context: Context) -> None:
    """Pivot, and hold the root as seen from inside."""
    rootfs.pivot(context.root_fd)
    os.close(context.root_fd)
    context.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def protect_root(context: Context) -> None:
    """Make the root read-only if the config says so."""
    if context.bundle.config.root_readonly:
        mounts.remount_root_readonly()


def identify(context: Context) -> None:
    """Find out who the process is, by the container's own files."""
    process = context.bundle.config.process
    said = context.bundle.config.annotations.get(USER_ANNOTATION)
    passwd = _small_file(context.root_fd, "etc/passwd")
    group = _small_file(context.root_fd, "etc/group")
    if said is not None:
        context.identity = user.resolve(said, passwd, group)
    else:
        who = user.resolve(str(process.user.uid), passwd, "")
        groups = process.user.additional_gids
        context.identity = user.Identity(process.user.uid, process.user.gid, groups, who.home)
    context.environment = dict(each.partition("=")[::2] for each in process.env)
    if not context.environment.get("HOME"):
        context.environment["HOME"] = context.identity.home


def _small_file(root_fd: int, path: str) -> str:
    """Read a regular file, at most 1 MiB of it; anything else counts as absent.

    Looked at before it is opened: opening a device, or reading what is no file but the
    kernel's voice (/proc/kmsg), changes things.
    """
    try:
        found = open_in_root(root_fd, path, os.O_PATH)
    except OSError:
        return ""
    try:
        is_kernels = syscalls.file_system_magic(found) in _KERNELS_OWN
        if not stat.S_ISREG(os.fstat(found).st_mode) or is_kernels:
            return ""
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(fd, _SMALL_FILE).decode(errors="replace")
        finally:
            os.close(fd)
    finally:
        os.close(found)


def find_program(context: Context) -> None:
    """Look the command up while this still is root, so that "not found" is not "forbidden"."""
    process = context.bundle.config.process
    context.command = find_command(
        process.args[0], context.environment, process.cwd, context.root_fd
    )


def connect_stdio(context: Context) -> None:
    """Put the three streams in place and give them to the user."""
    null = _open_null() if -1 in context.stdio else -1
    for number, fd in enumerate(context.stdio):
        os.dup2(fd if fd >= 0 else null, number, inheritable=True)
        if fd >= 0:
            with contextlib.suppress(OSError):  # a stream that cannot be owned still works
                os.fchown(number, context.identity.uid, -1)


def _open_null() -> int:
    fd = os.open("/dev/null", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(*rootfs.DEVICES["null"]):
        raise StartFailed("/dev/null of this container is not the null device")
    return fd


def limit_privileges(context: Context) -> None:
    """Shrink the bounding set and forbid set-uid gains where asked; then the early filter."""
    process = context.bundle.config.process
    if process.oom_score_adj is not None:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            _write_proc(fd, str(process.oom_score_adj))
        finally:
            os.close(fd)
    if process.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    elif context.bundle.seccomp_filter:
        # Without no_new_privs only CAP_SYS_ADMIN may load a filter, and that goes next.
        syscalls.load_seccomp_filter(context.bundle.seccomp_filter)
    capabilities.limit_bounding_set(capabilities.mask(process.capabilities.get("bounding", ())))


def _write_proc(fd: int, text: str) -> None:
    """Write to the kernel, and to nothing that a container put in its place."""
    if syscalls.file_system_magic(fd) != syscalls.PROC_SUPER_MAGIC:
        raise StartFailed("cannot write a setting of the kernel", why="it is not on procfs")
    os.write(fd, text.encode())


def become_user(context: Context) -> None:
    """Change groups, group and user, keeping capabilities over the change."""
    who = context.identity
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    try:
        if _may_set_groups(context):
            os.setgroups(who.groups)
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        raise HostLacks(
            f"user {who.uid}:{who.gid} does not exist in this user namespace",
            why="this account may use only the ids that /proc/self/uid_map lists",
            hint="ask for a range in /etc/subuid and /etc/subgid (package uidmap), or run as root",
        ) from err
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 0)
    capabilities.apply_sets(context.bundle.config.process.capabilities)
    os.umask(0o022 if (mask := context.bundle.config.process.user.umask) is None else mask)


def _may_set_groups(context: Context) -> bool:
    fd = open_in_root(context.root_fd, "proc/self/setgroups", os.O_RDONLY)
    try:
        return not os.read(fd, 8).startswith(b"deny")
    finally:
        os.close(fd)


def enter_working_dir(context: Context) -> None:
    """Change into the working directory and make sure it is inside (CVE-2024-21626)."""
    cwd = context.bundle.config.process.cwd
    try:
        os.chdir(cwd)
        here = os.getcwd()
    except OSError as err:
        raise StartFailed(f"cannot use working directory {cwd}", why=err.strerror) from err
    if not here.startswith("/") or here.startswith("(unreachable)"):
        raise StartFailed(f"cannot use working directory {cwd}", why="it is outside the container")


def execute(context: Context) -> NoReturn:
    """Become the command; nothing but the three streams is left open."""
    process = context.bundle.config.process
    if process.no_new_privileges and context.bundle.seccomp_filter:
        syscalls.load_seccomp_filter(context.bundle.seccomp_filter)
    syscalls.close_range(3, flags=syscalls.CLOSE_RANGE_CLOEXEC)
    try:
        os.execve(context.command, process.args, context.environment)  # noqa: S606  no shell is the point
    except OSError as err:
        raise _exec_failure(context.command, process.args[0], err) from err


def _exec_failure(path: str, name: str, err: OSError) -> StartFailed:
    if err.errno == errno.ENOENT:
        return CommandNotFound(
            f"cannot run {name!r}: no such file or directory",
            why=f"{path} is there, but the interpreter or loader it names is not",
            hint="a script needs its #! program, a dynamic program its libraries, in the image",
        )
    reasons = {
        errno.ENOEXEC: "exec format error: made for another processor, or a script without #!",
        errno.EACCES: "permission denied",
    }
    return CommandNotExecutable(
        f"cannot run {name!r}: {reasons.get(err.errno or 0, err.strerror)}", why=path
    )


PHASES: tuple[Callable[[Context], None], ...] = (
    forbid_imports,
    new_session,
    mount_root,
    mount_all,
    raise_loopback,
    write_sysctls,
    protect_paths,
    prepare_working_dir,
    name_host,
    enter_root,
    protect_root,
    identify,
    find_program,
    connect_stdio,
    limit_privileges,
    become_user,
    enter_working_dir,
    execute,
)


def run_phases(context: Context) -> NoReturn:
    """Run all phases; never returns: the command takes over, or the failure is told."""
    phase = ""
    try:
        for step in PHASES:
            phase = step.__name__
            step(context)
    except OcimagicError as err:
        _report(context.report_fd, phase, err)
    except OSError as err:
        where = f" ({os.fsdecode(err.filename)})" if err.filename else ""
        failure = StartFailed("cannot start the container", why=f"{phase}: {err.strerror}{where}")
        _report(context.report_fd, phase, failure)
    except BaseException as err:  # noqa: BLE001  the last frame before _exit must not unwind
        _report(context.report_fd, phase, StartFailed("cannot start the container", why=repr(err)))
    os._exit(125)


def _report(fd: int, phase: str, err: OcimagicError) -> None:
    if isinstance(err, StartFailed):
        err.phase = phase
    os.write(fd, json.dumps(pack(err)).encode())
