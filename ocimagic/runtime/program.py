"""What every process of a container does on its way to execve, the first one and any other.

Each phase is a function of the context; ``init.PHASES`` and ``execute.PHASES`` put them in
order.  The first that raises is told over the channel, and the command never runs.

Spec: runtime-spec config.md, "Process"; runtime.md, "Lifecycle".
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ocimagic.errors import (
    HostLacks,
    OcimagicError,
    StartFailed,
    pack,
)
from ocimagic.linux import syscalls
from ocimagic.linux.notes import are_taken, note
from ocimagic.linux.paths import open_in_root
from ocimagic.runtime import terminal, user
from ocimagic.runtime.command import find_command
from ocimagic.spec.record import dataclass, field
from ocimagic.spec.runtime import TRACER_ANNOTATION

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from ocimagic.runtime.cgroup_processes import Entrance
    from ocimagic.runtime.channel import Channel, Message
    from ocimagic.runtime.seccomp_filter import SeccompFilter
    from ocimagic.spec.process import Process, User
    from ocimagic.spec.runtime import RuntimeConfig

_SMALL_FILE = 1 << 20
_KERNELS_OWN = (syscalls.PROC_SUPER_MAGIC, syscalls.SYSFS_MAGIC)
_NULL = (1, 3)
NAMESPACE_FILES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
PROC_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(slots=True)
class Context:
    """What the phases share.

    Attributes:
        channel: to who creates the process; from ``birth.bear`` on.
        said_user: ``name[:group]`` as written, instead of the numbers in ``process.user``.
        said_groups: further groups as written, with commas between.
        stdio: descriptors that become 0, 1 and 2; -1 for /dev/null.
        preserve_fds: how many descriptors after those the command keeps.
        entrance: open doors into the cgroup.
        is_born_inside: it is in version 2's cgroup already.
        door: where somebody else may start the process, once the creator has let it go.
        new_keyring: the caller's session keys are not the container's.
        stays: the process itself stays pid 1 and the command is its child.
        root_path: where the container's root is, for a tracer.
        root_fd: the container's root, once it is known.
        proc: /proc of the machine, opened before its mounts are left behind; -1 if they are not.
        own_proc: /proc/self of the machine's procfs, which nobody in the container can fake.
        slave: of the process's terminal.
        machine_root: while its terminal is to be one of the machine's, else -1.
        may_set_groups: its user namespace allows that.
        null: the machine's null device, opened with O_PATH, if a stream needs one.
        state: the container's, for hooks; as the creator last told it.
    """

    container_id: str
    config: RuntimeConfig
    process: Process
    stdio: tuple[int, int, int]
    channel: Channel = field(init=False)
    said_user: str | None = None
    said_groups: str = ""
    seccomp: SeccompFilter | None = None
    preserve_fds: int = 0
    console_size: tuple[int, int] | None = None
    entrance: Entrance | None = None
    is_born_inside: bool = False
    door: socket.socket | None = None
    new_keyring: bool = True
    stays: bool = False
    root_path: str = ""
    root_fd: int = -1
    proc: int = -1
    own_proc: int = -1
    slave: int = -1
    machine_root: int = -1
    may_set_groups: bool = True
    identity: user.Identity = field(default_factory=lambda: user.Identity(0, 0, (), "/"))
    environment: dict[str, str] = field(default_factory=dict)
    command: str = ""
    null: int = -1
    state: dict[str, object] = field(default_factory=dict)

    @property
    def borrows_terminal(self) -> bool:
        """Say whether its terminal is one of the machine's, for no devpts can be mounted."""
        if not self.process.terminal or "mount" in self.config.namespaces:
            return False
        return all(each.type != "devpts" for each in self.config.mounts)

    @property
    def tracer(self) -> str:
        """Return the program that shows the command its root; "" where it really is changed."""
        return self.config.annotations.get(TRACER_ANNOTATION, "")

    def warn(self, text: str) -> None:
        """Tell the creator what could not be had in full."""
        self.channel.say("warning", text=text)


Ctx = TypeVar("Ctx", bound=Context)


def forbid_imports(_context: Context) -> None:
    """Load no more code: after the pivot Python would look for it in the image.

    A module, a codec or a plugin found there would run with the runtime's privileges
    (CVE-2019-14271 is that mistake in another program).
    """
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()


def hold_own_proc(context: Context) -> None:
    """Keep a way to this process's own files that no mount of the container can lead astray."""
    proc = context.proc if context.proc >= 0 else os.open("/proc", PROC_FLAGS)
    if context.borrows_terminal:
        context.machine_root = os.open("/", PROC_FLAGS)
    # By its number: "self" would be whoever asks.
    context.own_proc = os.open(os.readlink("self", dir_fd=proc), PROC_FLAGS, dir_fd=proc)
    os.close(proc)
    context.proc = -1


def note_namespaces(context: Context) -> None:
    """Note which namespaces this process is in: later phases give up the way to look."""
    if not are_taken():
        return
    found: list[str] = []
    for kind in NAMESPACE_FILES:
        with contextlib.suppress(OSError):  # a kernel without that kind
            found.append(os.readlink(f"ns/{kind}", dir_fd=context.own_proc))
    note("namespaces", found)


def enter_cgroup(context: Context) -> None:
    """Go into the cgroup before anything can be forked outside of it."""
    if context.entrance:
        try:
            context.entrance.enter(cloned_into=context.is_born_inside)
        except OSError as err:
            raise HostLacks("the cgroup takes no process", why=err.strerror) from err
        context.entrance = None
    if context.config.resources.cpu.cpus:
        # Whoever started us may be tied to some processors; the cgroup's are those asked for.
        os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))


def new_session(context: Context) -> None:
    """Leave the creator's session, keys and signal settings behind."""
    os.setsid()
    note("setsid")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Python ignores some, and whoever started us may have; a command would inherit that.
    syscalls.reset_signals()
    os.umask(0)
    if not context.new_keyring:
        return
    with contextlib.suppress(OSError):  # keyrings may be filtered: container in a container
        syscalls.join_session_keyring(f"_ses.{context.container_id[:12]}")


def identify(context: Context) -> None:
    """Find out who the process is, by the container's own files."""
    process = context.process
    context.identity = identity_of(
        process.user, context.said_user, context.said_groups, context.root_fd, context.own_proc
    )
    context.environment = dict(each.partition("=")[::2] for each in process.env)
    if not context.environment.get("HOME"):
        context.environment["HOME"] = context.identity.home


def identity_of(
    numbers: User, said_user: str | None, said_groups: str, root_fd: int, own_proc: int
) -> user.Identity:
    """Return who a process is: as said in words, or else by the numbers.

    Args:
        numbers: ``process.user``.
        said_user: ``name[:group]``, or None.
        said_groups: more of them, with commas between.
        root_fd: the container's root.
        own_proc: /proc/self of the machine.

    Raises:
        StartFailed: a name that the container does not know.
    """
    passwd = _small_file(root_fd, own_proc, "etc/passwd")
    if said_user is None:
        home = user.resolve(str(numbers.uid), passwd, "").home
        return user.Identity(numbers.uid, numbers.gid, numbers.additional_gids, home)
    group = _small_file(root_fd, own_proc, "etc/group")
    who = user.resolve(said_user, passwd, group)
    more = user.resolve_groups(said_groups, group)
    return user.Identity(who.uid, who.gid, tuple(sorted({*who.groups, *more})), who.home)


def _small_file(root_fd: int, own_proc: int, path: str) -> str:
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
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(f"fd/{found}", flags, dir_fd=own_proc)
        try:
            return os.read(fd, _SMALL_FILE).decode(errors="replace")
        finally:
            os.close(fd)
    finally:
        os.close(found)


def find_program(context: Context) -> None:
    """Look the command up while this still is root, so that "not found" is not "forbidden"."""
    if context.process.args:
        context.command = find_command(
            context.process.args[0], context.environment, context.process.cwd, context.root_fd
        )


def open_terminal(context: Context) -> None:
    """Make a terminal if one is asked for; the creator gets its master."""
    process = context.process
    if process.terminal:
        size = context.console_size or process.console_size
        own_fds = os.open("fd", os.O_PATH | os.O_CLOEXEC, dir_fd=context.own_proc)
        try:
            root_fd = context.machine_root if context.borrows_terminal else context.root_fd
            context.slave = terminal.offer(context.channel, root_fd, own_fds, size)
        finally:
            os.close(own_fds)
            if context.machine_root >= 0:
                os.close(context.machine_root)
                context.machine_root = -1


def connect_stdio(context: Context) -> None:
    """Put the three streams in place and give them to the user."""
    if context.slave >= 0:
        terminal.take_control(context.slave)
        if not context.tracer:
            os.fchown(0, context.identity.uid, -1)
        return
    null = _open_null(context) if -1 in context.stdio else -1
    for number, fd in enumerate(context.stdio):
        os.dup2(fd if fd >= 0 else null, number, inheritable=True)
        if fd >= 0 and not _is_null(number):
            with contextlib.suppress(OSError):  # a stream that cannot be owned still works
                os.fchown(number, context.identity.uid, -1)


def _open_null(context: Context) -> int:
    """Open the container's null device; the machine's where its /dev is a directory without."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open("/dev/null", flags)
    except FileNotFoundError:
        fd = os.open(f"fd/{context.null}", os.O_RDWR | os.O_CLOEXEC, dir_fd=context.own_proc)
    except PermissionError as err:
        raise StartFailed(
            "/dev/null of this container cannot be opened",
            why="its file system forbids devices (mount option nodev)",
            hint="set OCIMAGIC_ROOT to a directory on another one",
        ) from err
    if not _is_null(fd):
        raise StartFailed("/dev/null of this container is not the null device")
    return fd


def _is_null(fd: int) -> bool:
    found = os.fstat(fd)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(*_NULL)


def leave_descriptors(context: Context) -> None:
    """Have execve close all but the streams and what is to be preserved.

    Before a filter, which may know no close_range(2); what is opened later closes by itself.
    """
    syscalls.close_range(3 + context.preserve_fds, flags=syscalls.CLOSE_RANGE_CLOEXEC)


def wait_for(context: Context, answer: str) -> Message:
    """Wait until the creator says one thing; without a creator there is nothing to live for."""
    heard = context.channel.hear()
    if heard is None:
        os._exit(125)
    if heard.type != answer:
        raise StartFailed("the creator of this process said something else", why=heard.type)
    return heard


def run_phases(phases: Sequence[Callable[[Ctx], None]], context: Ctx) -> NoReturn:
    """Run all phases; never returns: the command takes over, or the failure is told."""
    phase = ""
    try:
        for step in phases:
            phase = step.__name__
            step(context)
            note(f"{phase}()")
    except OcimagicError as err:
        report(context.channel, phase, err)
    except OSError as err:
        where = f" ({os.fsdecode(err.filename)})" if err.filename else ""
        failure = StartFailed("cannot start the container", why=f"{phase}: {err.strerror}{where}")
        report(context.channel, phase, failure)
    except BaseException as err:  # noqa: BLE001  the last frame before _exit must not unwind
        report(context.channel, phase, StartFailed("cannot start the container", why=repr(err)))
    os._exit(125)


def report(channel: Channel, phase: str, err: OcimagicError) -> None:
    """Tell the creator what went wrong."""
    if isinstance(err, StartFailed):
        err.phase = phase
    with contextlib.suppress(OSError):  # nobody is left to tell
        channel.say("error", **pack(err))
