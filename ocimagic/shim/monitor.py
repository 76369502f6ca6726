"""The shim: parent of one container's first process, alive as long as it.

It keeps the streams open, writes the log and the exit record, passes signals on and tells
whoever is connected.  It is in a session of its own: kernels and launchers come and go.
Order at the end: drain, close the log, write the exit record, clean up, then tell.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError, StartFailed, pack
from ocimagic.linux import syscalls
from ocimagic.linux.paths import remove_tree
from ocimagic.runtime.create import Init, destroy
from ocimagic.shim import protocol
from ocimagic.shim.clients import Client, is_ours, listen
from ocimagic.shim.identity import identify
from ocimagic.shim.logs import LogWriter, timestamp

if TYPE_CHECKING:
    import socket

    from ocimagic.runtime.bundle import Bundle

_CHUNK = 1 << 16
_BACKLOG = 4 << 20
_DRAIN_S = 2.0
_MAX_CLIENTS = 128
STATE_NAME = "state.json"
EXIT_NAME = "exit.json"


@dataclass(frozen=True, slots=True)
class Task:
    """What a shim is asked to keep.

    Attributes:
        directory: the container's directory under the data root.
        run_directory: the container's directory under the run root.
        log_path: where the log goes.
        interactive: keep stdin open for clients.
        remove: take both directories away after the exit.
        tied: end the container when the client that started it goes away.
        attached: that client gets the output from the first byte on, and all of it.
    """

    container_id: str
    directory: str
    run_directory: str
    log_path: str
    interactive: bool
    remove: bool
    tied: bool
    attached: bool


class Monitor:
    """Keeps one container; ``run`` returns when it is over and everything is told."""

    def __init__(self, task: Task, bundle: Bundle, first: socket.socket) -> None:
        self._task = task
        self._bundle = bundle
        self._selector = selectors.DefaultSelector()
        self._clients: set[Client] = set()
        self._streams: dict[int, str] = {}
        self._stdin = -1
        self._stdin_data = bytearray()
        self._stdin_closing = False
        self._stdin_full = False
        self._init: Init | None = None
        # Attached before the container is made: a short command would be over before it asked.
        self._first = Client(first, attached=task.attached, patient=task.attached)
        self._paused = False
        self._started = ""

    def run(self) -> None:
        """Start the container, keep it, and see it off."""
        syscalls.set_process_name("ocimagic-shim")
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        self._admit(self._first)
        try:
            # Before the container is said to run: whoever follows its log must find one.
            log = LogWriter(self._task.log_path)
            init = self._start()
        except OcimagicError as err:
            self._fail(err)
            return
        except OSError as err:
            self._fail(StartFailed("cannot start the container", why=str(err)))
            return
        status = self._keep(init, log)
        log.close()
        with contextlib.suppress(OcimagicError):  # a process that is stuck keeps its cgroup
            destroy(init.state)
        record = _exit_record(status, self._started, log.dropped)
        self._write_exit(record)
        if self._task.remove:
            self._remove_all()
        self._tell(protocol.message({"exit": record}))
        self._flush_all()

    def _start(self) -> Init:
        ends: list[int] = []
        try:
            stdin, mine = -1, []
            if self._task.interactive:
                stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(self._stdin, False)
                ends.append(stdin)
            for name in ("stdout", "stderr"):
                reader, writer = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(reader, False)
                self._streams[reader] = name
                ends.append(writer)
                mine.append(writer)
            init = Init.create(self._bundle, self._task.container_id, (stdin, mine[0], mine[1]))
        finally:
            for fd in ends:
                os.close(fd)
        self._init = init
        # What lasts is written while the command still waits: a shim that dies here leaves a
        # process that ends by itself, or a state that names it.
        started = self._write_state(init)
        self._listen()
        init.start()
        self._send(self._first, protocol.message({"started": started}))
        return init

    def _fail(self, err: OcimagicError) -> None:
        if self._init is not None:
            # Its command may run already, when only the state could not be written.
            self._signal(signal.SIGKILL)
            os.waitid(os.P_PIDFD, self._init.pidfd, os.WEXITED)
            with contextlib.suppress(OcimagicError):
                destroy(self._init.state)
        with contextlib.suppress(OSError):
            remove_path(self._task.run_directory)
        self._send(self._first, protocol.message({"error": pack(err)}))
        self._flush_all()

    def _write_state(self, init: Init) -> dict[str, object]:
        me, it = identify(os.getpid()), identify(init.pid)
        state: dict[str, object] = {
            "version": protocol.VERSION,
            "pid": it.pid,
            "start_ticks": it.start_ticks,
            "boot_id": it.boot_id,
            "shim_pid": me.pid,
            "shim_start_ticks": me.start_ticks,
            "started": timestamp(),
            "run_directory": self._task.run_directory,
        }
        self._started = str(state["started"])
        _replace(os.path.join(self._task.directory, STATE_NAME), state, durable=False)
        return state

    def _listen(self) -> None:
        door = listen(self._task.run_directory)
        self._selector.register(door, selectors.EVENT_READ, self._accept)

    def _keep(self, init: Init, log: LogWriter) -> os.waitid_result:
        """Serve until the first process has ended and its streams are dry."""
        for fd in self._streams:
            self._selector.register(fd, selectors.EVENT_READ, self._read_output)
        self._selector.register(init.pidfd, selectors.EVENT_READ, None)
        self._log = log
        status: os.waitid_result | None = None
        deadline = 0.0
        while status is None or (self._streams and time.monotonic() < deadline):
            self._pace()
            timeout = None if status is None else max(0.0, deadline - time.monotonic())
            for key, events in self._selector.select(timeout):
                if key.fd == init.pidfd:
                    status = self._reap(init)
                    deadline = time.monotonic() + _DRAIN_S
                else:
                    key.data(key.fileobj, events)
        for fd in list(self._streams):
            self._close_stream(fd)
        self._close_stdin()
        return status

    def _reap(self, init: Init) -> os.waitid_result:
        self._selector.unregister(init.pidfd)
        status = os.waitid(os.P_PIDFD, init.pidfd, os.WEXITED)
        init.close()
        self._init = None
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        assert status is not None
        return status

    # -- streams ---------------------------------------------------------------

    def _read_output(self, fd: int, _events: int) -> None:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._close_stream(fd)
            return
        stream = self._streams[fd]
        self._log.write(stream, data)
        kind = protocol.STDOUT if stream == "stdout" else protocol.STDERR
        packet = protocol.frame(kind, data)
        for client in list(self._clients):
            if client.attached:
                self._send(client, packet)

    def _close_stream(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)
        del self._streams[fd]
        os.close(fd)

    def _pace(self) -> None:
        """Stop reading while the client that started the container is far behind.

        Its output is what the user is looking at: it must be whole.  Any other client that
        does not keep up is dropped, so it can hold up neither the log nor the others.
        """
        crowded = self._first.patient and len(self._first.out) > _BACKLOG
        if crowded == self._paused:
            return
        self._paused = crowded
        for fd in self._streams:
            if crowded:
                self._selector.unregister(fd)
            else:
                self._selector.register(fd, selectors.EVENT_READ, self._read_output)

    def _write_stdin(self, _fileobj: object = None, _events: int = 0) -> None:
        try:
            while self._stdin_data:
                del self._stdin_data[: os.write(self._stdin, self._stdin_data[:_CHUNK])]
        except BlockingIOError:
            self._watch_stdin(wanted=True)
            self._hold_back()
            return
        except BrokenPipeError:
            self._close_stdin()
            return
        self._watch_stdin(wanted=False)
        self._hold_back()
        if self._stdin_closing:
            self._close_stdin()

    def _watch_stdin(self, *, wanted: bool) -> None:
        watched = self._stdin in self._selector.get_map()
        if wanted and not watched:
            self._selector.register(self._stdin, selectors.EVENT_WRITE, self._write_stdin)
        elif watched and not wanted:
            self._selector.unregister(self._stdin)

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            self._watch_stdin(wanted=False)
            os.close(self._stdin)
            self._stdin = -1
        self._stdin_data.clear()
        self._hold_back()

    # -- clients ---------------------------------------------------------------

    def _accept(self, door: socket.socket, _events: int) -> None:
        with contextlib.suppress(OSError):
            connection = door.accept()[0]
            crowded = len(self._clients) >= _MAX_CLIENTS  # the exit record needs descriptors too
            if crowded or not is_ours(connection):
                connection.close()
                return
            self._admit(Client(connection))

    def _admit(self, client: Client) -> None:
        client.door.setblocking(False)
        self._clients.add(client)
        self._watch(client)

    def _watch(self, client: Client) -> None:
        """Wait for what is wanted of a client just now; it may be nothing."""
        wanted = selectors.EVENT_WRITE if client.out else 0
        if not (self._stdin_full and client.sends_stdin):
            wanted |= selectors.EVENT_READ
        key = self._selector.get_map().get(client.door)
        if key is not None and key.events != wanted:
            self._selector.unregister(client.door)
        if wanted and (key is None or key.events != wanted):
            self._selector.register(
                client.door, wanted, lambda _f, events: self._serve(client, events)
            )

    def _serve(self, client: Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(client)
        if events & selectors.EVENT_READ and client in self._clients:
            try:
                data = client.door.recv(_CHUNK)
                if not data:
                    self._drop(client)
                    return
                for kind, payload in client.frames.feed(data):
                    self._obey(client, kind, payload)
            except BlockingIOError:
                return
            except (OSError, protocol.ProtocolError):
                self._drop(client)

    def _obey(self, client: Client, kind: bytes, payload: bytes) -> None:
        if kind == protocol.STDIN:
            self._take_stdin(client, payload)
        elif kind == protocol.MESSAGE:
            request = protocol.parse_message(payload)
            if request.get("op") == "attach":
                client.attached = True
                # Whoever reads the log file besides now knows that nothing falls in between.
                self._send(client, protocol.message({"attached": {}}))
            elif request.get("op") == "kill":
                number = request.get("signal")
                if isinstance(number, int) and 0 < number < signal.NSIG:
                    self._signal(number)

    def _signal(self, number: int) -> None:
        if self._init is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init.pidfd, number)

    def _take_stdin(self, client: Client, payload: bytes) -> None:
        if self._stdin < 0:
            return
        client.sends_stdin = True
        self._stdin_data += payload
        self._stdin_closing |= not payload
        self._write_stdin()

    def _hold_back(self) -> None:
        """Listen no more to who writes faster than the container reads, as a pipe would."""
        full = len(self._stdin_data) > _BACKLOG
        if full != self._stdin_full:
            self._stdin_full = full
            for client in self._clients:
                if client.sends_stdin:
                    self._watch(client)

    def _send(self, client: Client, packet: bytes) -> None:
        if not client.patient and len(client.out) > _BACKLOG:
            self._drop(client)
            return
        client.out += packet
        self._flush(client)

    def _tell(self, packet: bytes) -> None:
        for client in list(self._clients):
            self._send(client, packet)

    def _flush(self, client: Client) -> None:
        try:
            while client.out:
                del client.out[: client.door.send(client.out)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        self._watch(client)

    def _flush_all(self) -> None:
        """Give slow clients a bounded time to take the rest."""
        for client in list(self._clients):
            client.door.settimeout(30.0 if client.patient else _DRAIN_S)
            with contextlib.suppress(OSError):
                client.door.sendall(client.out)
            client.door.close()

    def _drop(self, client: Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            client.attached = client.patient = False
            with contextlib.suppress(KeyError):
                self._selector.unregister(client.door)
            client.out.clear()
            client.door.close()
            if self._task.tied and client is self._first:
                self._signal(signal.SIGKILL)

    # -- the end ---------------------------------------------------------------

    def _write_exit(self, record: dict[str, object]) -> None:
        path = os.path.join(self._task.directory, EXIT_NAME)
        with contextlib.suppress(OSError):  # a full disk; clients are still told
            _replace(path, record, durable=not self._task.remove)
        with contextlib.suppress(OSError):
            remove_path(self._task.run_directory)

    def _remove_all(self) -> None:
        with contextlib.suppress(OSError):  # what is left is taken by the next engine
            # At once gone for whoever looks, then bit by bit.
            gone = f"{self._task.directory}.gone"
            os.rename(self._task.directory, gone)
            remove_path(gone)


def remove_path(path: str) -> None:
    """Remove a directory tree by its parent's descriptor.

    Raises:
        OSError: something in it cannot be removed.
    """
    head, tail = os.path.split(path)
    parent = os.open(head, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while _is_there(tail, parent):
            # Somebody else may be removing it as well.
            with contextlib.suppress(FileNotFoundError):
                remove_tree(tail, parent)
    finally:
        os.close(parent)


def _is_there(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _exit_record(status: os.waitid_result, started: str, dropped: int) -> dict[str, object]:
    killed = status.si_code != os.CLD_EXITED
    return {
        "code": 128 + status.si_status if killed else status.si_status,
        "signal": status.si_status if killed else None,
        "started": started,
        "finished": timestamp(),
        "dropped_log_records": dropped,
    }


def _replace(path: str, content: dict[str, object], *, durable: bool) -> None:
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(content).encode())
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
