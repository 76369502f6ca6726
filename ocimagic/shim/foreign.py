"""A container under another runtime: runc, crun, or whatever has runc's command line.

It gets a bundle of its own beside ours: names of users as numbers, nothing that only our runtime
understands, and the root mounted where it looks for it, in a mount namespace that only it and
the container see.

Spec: the OCI runtime command line; runc(8), crun(1).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import termios
from typing import TYPE_CHECKING

from ocimagic.errors import (
    CommandNotExecutable,
    CommandNotFound,
    HostLacks,
    OcimagicError,
    StartFailed,
    pack,
    unpack,
)
from ocimagic.linux import syscalls
from ocimagic.linux.identity import identify, wait_end
from ocimagic.linux.notes import note
from ocimagic.runtime.cgroup import Cgroup, place
from ocimagic.runtime.program import identity_of
from ocimagic.runtime.rootfs import make_private, mount_overlay
from ocimagic.runtime.state import ContainerState
from ocimagic.shim.foreign_notes import note_made, note_namespaces
from ocimagic.shim.forks import fork_child
from ocimagic.shim.own import Made, OwnRuntime
from ocimagic.spec.codec import Fields
from ocimagic.spec.process import Process
from ocimagic.spec.runtime import GROUPS_ANNOTATION, INIT_ANNOTATION, USER_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from resource import struct_rusage
    from typing import NoReturn

    from ocimagic.linux.identity import ProcessIdentity

_PATIENCE_MS = 30_000
_CONSOLE_S = 10.0
_OCI_VERSION = "1.0.2"  # what all of them know
_OURS = "dev.ocimagic."
_NOT_FOUND = ("executable file", "no such file or directory")
_NOT_EXECUTABLE = ("permission denied", "is a directory", "exec format error")
_OVER = ("running", "paused", "stopped")
_DOOR = "console.sock"

Streams = tuple[int, int, int]
_NOTHING: Streams = (-1, -1, -1)


class ForeignRuntime(OwnRuntime):
    """What the shim asks of a runtime, done by another program.

    What can be asked of the kernel is, as with our own: figures and processes.
    """

    # -- making ------------------------------------------------------------------

    def create(
        self,
        stdio: Streams,
        meanwhile: Callable[[], None],  # noqa: ARG002  there is nobody to wait for
        on_born: Callable[[int], None],
    ) -> Made:
        """Make the container; its command waits.

        Raises:
            OcimagicError: why it cannot be made.
        """
        bundle = self._bundle
        if INIT_ANNOTATION in bundle.config.annotations:
            raise HostLacks(
                "--init needs a static docker-init or tini with another runtime",
                why="none is installed",
                hint="apt install tini (it brings tini-static), or leave --init out",
            )
        os.makedirs(self._directory, exist_ok=True)
        words = ("create", "--bundle", self._directory)
        size = self._task.console_size
        pid, console = self._begin(words, stdio, self._prepare, (bundle.config.process, size))
        on_born(pid)
        note_made(pid, os.path.join(self._directory, "root", self._task.container_id))
        self._adopted = None
        self._state = ContainerState(
            container_id=self._task.container_id,
            directory="",
            bundle_path=bundle.path,
            root_path=bundle.root_path,
            config=bundle.document,
            process=identify(pid),
            cgroup_paths=self._cgroup_paths(pid),
            is_created=True,
        )
        note("cgroup", dict(self._state.cgroup_paths))
        return self._made(pid, console, self._start)

    def adopt_executed(self, channel_fd: int) -> Callable[[], None]:
        """Return what starts a process that an earlier shim made: it runs already."""
        return lambda: os.close(channel_fd)

    def _start(self) -> None:
        self._call("start", self._task.container_id)
        self._state = self.state.changed(is_started=True)

    def _start_again(self) -> None:
        """Start what an earlier shim has perhaps started just before it was killed."""
        try:
            self._start()
        except OcimagicError:
            if self._status() not in _OVER:
                raise

    def _prepare(self) -> None:
        """In the child that becomes the runtime: mount the root, and write its config.json."""
        bundle = self._bundle
        root = bundle.root_path
        if bundle.rootfs is not None:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            make_private()
            mount_overlay(bundle.rootfs, root)
        document = bundle.config.to_json()
        notes = bundle.config.annotations
        config = document | {
            "ociVersion": _OCI_VERSION,
            "root": {"path": root, "readonly": bundle.config.root_readonly},
            "annotations": {
                name: text for name, text in notes.items() if not name.startswith(_OURS)
            },
            "process": _in_numbers(
                document["process"],
                notes.get(USER_ANNOTATION),
                notes.get(GROUPS_ANNOTATION, ""),
                root,
            ),
        }
        linux = config["linux"]
        assert isinstance(linux, dict)
        if not place(bundle.config.cgroups_path, self._task.container_id).paths:
            # Asked for a cgroup that cannot be made runc refuses; not asked it does without.
            linux.pop("cgroupsPath", None)
        with open(os.path.join(self._directory, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)

    # -- what runs ---------------------------------------------------------------

    def adopt(
        self, identity: ProcessIdentity, cgroup_paths: dict[str, str], channel_fd: int = -1
    ) -> Callable[[], None]:
        """Take over a container that an earlier shim made; return what starts it."""
        super().adopt(identity, cgroup_paths)

        def start() -> None:
            os.close(channel_fd)
            self._start_again()

        return start

    def execute(
        self,
        document: Mapping[str, object],
        stdio: Streams,
        console_size: tuple[int, int] | None,
    ) -> Made:
        """Execute another process in the container; it runs at once.

        Raises:
            OcimagicError: why it cannot be.
        """
        process = Process.parse(Fields(document, "process"))
        root = f"/proc/{self.state.process.pid}/root"
        in_numbers = _in_numbers(document, process.user.username or None, "", root)
        path = os.path.join(self._directory, "process.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(in_numbers, file)
        words = ("exec", "--process", path, "--detach")
        pid, console = self._begin(words, stdio, None, (process, console_size))
        note_namespaces(pid)
        return self._made(pid, console, lambda: None)

    def pause(self) -> None:
        """Freeze all processes."""
        self._call("pause", self._task.container_id)

    def resume(self) -> None:
        """Let all processes go on."""
        self._call("resume", self._task.container_id)

    def update(self, resources: Mapping[str, object]) -> list[str]:
        """Change limits; another runtime tells no warnings."""
        path = os.path.join(self._directory, "resources.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(resources, file)
        self._call("update", "--resources", path, self._task.container_id)
        return []

    # -- the end -----------------------------------------------------------------

    def undo_attempt(self) -> None:
        """Take away what a shim had made of the container when it was killed."""
        self._delete()

    def clean_up(self) -> None:
        """Take away what is left of a container that has ended; again does nothing."""
        if self._state is not None or self._adopted is not None:
            self._delete()
            self._state = self._adopted = None

    def _delete(self) -> None:
        with contextlib.suppress(OcimagicError, OSError):  # it never came to be
            self._call("delete", "--force", self._task.container_id)

    # -- the program -------------------------------------------------------------

    @property
    def _directory(self) -> str:
        """Return where the runtime's own files are; removed with the run directory."""
        return os.path.join(self._task.run_directory, "runtime")

    @property
    def _program(self) -> str:
        assert self._task.runtime is not None
        return self._task.runtime

    def _made(self, pid: int, console: int, start: Callable[[], None]) -> Made:
        # The runtime's process waits at a door in the file system; there is no channel to close.
        channel = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

        def start_once() -> None:
            start()
            os.close(channel)

        return Made(pid, os.pidfd_open(pid), console, channel, start_once)

    def _begin(
        self,
        words: tuple[str, ...],
        stdio: Streams,
        prepare: Callable[[], None] | None,
        wanted: tuple[Process, tuple[int, int] | None],
    ) -> tuple[int, int]:
        """Make a process; return its pid and the master of its terminal or -1."""
        process, size = wanted
        pid_file = os.path.join(self._directory, "pid")
        with _console_door(self._directory, wanted=process.terminal) as door:
            flags = ("--console-socket", os.path.join(self._directory, _DOOR)) if door else ()
            more = ("--pid-file", pid_file, *flags, self._task.container_id)
            self._call(*words, *more, stdio=stdio, prepare=prepare, name=process.args[0])
            console = _take_console(door, size or process.console_size) if door else -1
        with open(pid_file, encoding="ascii") as file:
            return int(file.read()), console

    def _status(self) -> str:
        output = os.memfd_create("state", os.MFD_CLOEXEC)
        try:
            self._call("state", self._task.container_id, stdio=(-1, output, -1))
            return str(json.loads(os.pread(output, 1 << 20, 0))["status"])
        except (OcimagicError, ValueError, KeyError):
            return ""
        finally:
            os.close(output)

    def _call(
        self,
        *words: str,
        stdio: Streams = _NOTHING,
        prepare: Callable[[], None] | None = None,
        name: str = "",
    ) -> None:
        """Run the runtime with one command and wait for it.

        Args:
            words: the command line after the flags that all commands share.
            stdio: its streams, which a new process inherits; -1 for /dev/null.
            prepare: done by the child before it becomes the runtime.
            name: of the program that a new process is to execute.

        Raises:
            CommandNotFound, CommandNotExecutable, StartFailed: what it wrote into its log.
        """
        log, told = (os.path.join(self._directory, each) for each in ("log", "refusal"))
        for path in (log, told):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        me = os.getpid()
        command = [self._program, "--root", os.path.join(self._directory, "root")]
        command += ["--log", log, "--log-format", "json", *words]

        def become() -> None:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:
                return
            try:
                if prepare is not None:
                    prepare()
            except OcimagicError as err:
                _tell(told, err)
            except OSError as err:
                _tell(told, StartFailed("the runtime's bundle cannot be made", why=str(err)))
            _execute(command, stdio)

        verb = f"{os.path.basename(self._program)} {words[0]}"
        note(f"calls {verb}", command)
        pid = fork_child(become)
        code, used = _wait(pid)
        note(verb, [pid, code, used.ru_utime + used.ru_stime, used.ru_maxrss])
        if code == 0:
            return
        with contextlib.suppress(FileNotFoundError), open(told, encoding="utf-8") as file:
            raise unpack(json.load(file))
        raise _failure(os.path.basename(self._program), name, _last_words(log), code)

    def _cgroup_paths(self, pid: int) -> dict[str, str]:
        """Return where the container is, as far as that is its own."""
        with contextlib.suppress(OSError):
            found = Cgroup.of_process(pid).paths
            own = self._task.container_id
            return {name: path for name, path in found.items() if own in path}
        return {}


def _tell(path: str, err: OcimagicError) -> NoReturn:
    """End the child; the shim reads why."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(pack(err), file)
    os._exit(1)


def _execute(command: list[str], stdio: Streams) -> None:
    """Become a program with these streams, and with nothing else of ours."""
    null = os.open(os.devnull, os.O_RDWR)
    for number, fd in enumerate(stdio):
        os.dup2(fd if fd >= 0 else null, number)
    syscalls.close_range(3)
    syscalls.reset_signals()
    os.execve(command[0], command, {"PATH": os.defpath + ":/usr/sbin:/sbin"})  # noqa: S606  no shell


def _wait(pid: int) -> tuple[int, struct_rusage]:
    """Wait for a runtime; return its exit code and what it used."""
    pidfd = os.pidfd_open(pid)
    try:
        if not wait_end(pidfd, _PATIENCE_MS):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _, status, used = os.wait4(pid, 0)
        return os.waitstatus_to_exitcode(status), used
    finally:
        os.close(pidfd)


def _in_numbers(
    process: object, said_user: str | None, said_groups: str, root: str
) -> dict[str, object]:
    """Return ``process`` with its user as numbers, and HOME as that user's."""
    assert isinstance(process, dict)
    parsed = Process.parse(Fields(process, "process"))
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    own_proc = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        who = identity_of(parsed.user, said_user, said_groups, root_fd, own_proc)
    finally:
        os.close(own_proc)
        os.close(root_fd)
    user = {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups)}
    if parsed.user.umask is not None:
        user["umask"] = parsed.user.umask
    env = list(parsed.env)
    if not any(each.startswith("HOME=") for each in env):
        env.append(f"HOME={who.home}")
    return dict(process) | {"user": user, "env": env}


@contextlib.contextmanager
def _console_door(directory: str, *, wanted: bool) -> Iterator[socket.socket | None]:
    """Listen for the master of a terminal, where one is wanted."""
    if not wanted:
        yield None
        return
    path = os.path.join(directory, _DOOR)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        try:
            door.bind(path)
        except OSError as err:
            raise StartFailed("no terminal can be asked for", why=f"{path}: {err}") from err
        door.listen(1)
        door.settimeout(_CONSOLE_S)
        yield door


def _take_console(door: socket.socket, size: tuple[int, int] | None) -> int:
    try:
        connection, _ = door.accept()
        with connection:
            connection.settimeout(_CONSOLE_S)
            _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
    except OSError as err:
        raise StartFailed("the runtime gave no terminal", why=str(err)) from err
    (master,) = fds
    os.set_inheritable(master, False)
    if size:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
    return int(master)


def _last_words(log: str) -> str:
    """Return the last message in a log of JSON lines, "" if there is none."""
    message = ""
    with contextlib.suppress(FileNotFoundError), open(log, encoding="utf-8") as file:
        for line in file:
            with contextlib.suppress(ValueError, AttributeError):
                message = str(json.loads(line).get("msg", message))
    return message


def _failure(program: str, name: str, message: str, code: int) -> OcimagicError:
    """Return what a runtime said as one of our errors; docker tells them apart by words, too."""
    said = message.lower()
    why = f"{program}: {message or f'exit code {code}'}"
    if "exec" in said and any(each in said for each in _NOT_EXECUTABLE):
        return CommandNotExecutable(f"cannot run {name!r}", why=why)
    if "exec" in said and any(each in said for each in _NOT_FOUND):
        return CommandNotFound(f"cannot run {name!r}: no such file or directory", why=why)
    return StartFailed(f"{program} refuses", why=why)
