"""The only door to launcher and shims: what the rooms above know of them."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ocimagic.errors import (
    HostLacks,
    InvalidState,
    NotBuiltYet,
    OcimagicError,
    StartFailed,
    unpack,
)
from ocimagic.shim import protocol
from ocimagic.shim.identity import ProcessIdentity
from ocimagic.shim.launcher_start import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_POLL_S = 0.1
_ABORT_S = 10.0
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.EBADF)


@dataclass(frozen=True, slots=True)
class Started:
    """What a shim wrote when its container began.

    Attributes:
        init: the container's first process, as seen from the machine.
        started: RFC 3339 with nanoseconds.
    """

    init: ProcessIdentity
    shim: ProcessIdentity
    started: str

    @classmethod
    def from_message(cls, state: Mapping[str, object]) -> Self:
        """Read a shim's state."""
        boot = str(state["boot_id"])
        pids = [int(str(state[key])) for key in ("pid", "start_ticks")]
        shim = [int(str(state[key])) for key in ("shim_pid", "shim_start_ticks")]
        return cls(
            ProcessIdentity(pids[0], pids[1], boot),
            ProcessIdentity(shim[0], shim[1], boot),
            str(state["started"]),
        )


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container's first process ended; ``finished`` is RFC 3339."""

    code: int
    signal: int | None
    finished: str

    @classmethod
    def from_message(cls, record: Mapping[str, object]) -> Self:
        """Read an exit record."""
        number = record["signal"]
        return cls(
            int(str(record["code"])),
            None if number is None else int(str(number)),
            str(record["finished"]),
        )


class Connection:
    """A conversation with one shim; close it with ``close`` or a with-block."""

    def __init__(self, door: socket.socket) -> None:
        self._door = door
        self._frames = protocol.Frames()
        self._sending = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go; the container does not notice."""
        self._door.close()

    def attach(self) -> None:
        """Ask for output from now on."""
        self._say({"op": "attach"})

    def kill(self, number: int) -> None:
        """Ask for a signal to the first process."""
        self._say({"op": "kill", "signal": number})

    def abort(self) -> None:
        """Kill the container and wait until its shim has seen it off."""
        self.kill(signal.SIGKILL)
        for _ in self.frames(deadline=time.monotonic() + _ABORT_S):
            continue

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal how large the window is."""
        raise _later(f"a terminal ({rows} by {columns})")

    def execute(self, exec_id: str, process: Mapping[str, object], **_: object) -> None:
        """Run another process in the container."""
        raise _later(f"exec of {process.get('args', exec_id)}")

    def pause(self) -> None:
        """Stop all processes where they are."""
        raise _later("pause")

    def resume(self) -> None:
        """Let paused processes go on."""
        raise _later("unpause")

    def update(self, resources: Mapping[str, object], restart: object = None) -> None:
        """Change limits of a running container."""
        raise _later(f"update of {', '.join(resources) or restart} while it runs")

    def stats(self) -> Mapping[str, object]:
        """Return what the container uses."""
        raise _later("stats")

    def processes(self) -> list[int]:
        """List the processes of the container."""
        raise _later("top")

    def send_stdin(self, data: bytes) -> None:
        """Send bytes for stdin; empty bytes close it."""
        pieces = [data[i : i + 65536] for i in range(0, len(data), 65536)] or [b""]
        for piece in pieces:
            self._send(protocol.frame(protocol.STDIN, piece))

    def _say(self, content: Mapping[str, object]) -> None:
        self._send(protocol.message(content))

    def _send(self, packet: bytes) -> None:
        # A shim that has just ended cannot listen: its last message says so to the reader.
        with self._sending, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._door.sendall(packet)

    def frames(
        self, *, cancelled: threading.Event | None = None, deadline: float | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield frames until the shim closes, ``cancelled`` is set or the deadline is over.

        Args:
            cancelled: looked at ten times a second.
            deadline: in time.monotonic() seconds.
        """
        # What came together with an earlier frame must not wait for the next bytes.
        yield from self._frames.feed(b"")
        while cancelled is None or not cancelled.is_set():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            patience = _POLL_S if cancelled is not None else left
            if left is not None and patience is not None:
                patience = min(left, patience)
            if not select.select([self._door], [], [], patience)[0]:
                continue
            try:
                data = self._door.recv(1 << 18)
            except ConnectionResetError:
                return
            if not data:
                return
            yield from self._frames.feed(data)

    def started(self) -> Started:
        """Wait until the container's command began.

        Raises:
            OcimagicError: why it did not.
        """
        for kind, payload in self.frames():
            if kind == protocol.MESSAGE:
                content = protocol.parse_message(payload)
                if "error" in content:
                    raise unpack(_mapping(content["error"]))
                if "started" in content:
                    return Started.from_message(_mapping(content["started"]))
        raise StartFailed(
            "the shim ended before the container began",
            why="it was killed, or it has a defect",
            hint="look into launcher.log in the run root",
        )


def _later(what: str) -> NotBuiltYet:
    why = "it needs the next version of the shim"
    return NotBuiltYet(f"{what} is not built yet", why=why)


def end_lost(directory: Path) -> None:
    """End a container whose shim was killed: nobody reads its streams or will tell its end.

    Args:
        directory: where the shim wrote its state.
    """
    from ocimagic.shim.monitor import STATE_NAME

    try:
        state = json.loads((directory / STATE_NAME).read_bytes())
    except (OSError, ValueError):
        return
    Started.from_message(state).init.kill()


def exit_of(payload: bytes) -> Exit | None:
    """Return the exit record in a JSON frame, None for another message."""
    content = protocol.parse_message(payload)
    return Exit.from_message(_mapping(content["exit"])) if "exit" in content else None


def connect(run_directory: Path) -> Connection:
    """Connect to the shim of a running container.

    Raises:
        InvalidState: nobody answers there.
    """
    from ocimagic.shim.clients import SOCKET_NAME

    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        directory = os.open(run_directory, os.O_PATH | os.O_CLOEXEC)
        try:
            door.connect(f"/proc/self/fd/{directory}/{SOCKET_NAME}")
        finally:
            os.close(directory)
    except OSError as err:
        door.close()
        raise InvalidState("the container is not running", why=str(err)) from err
    return Connection(door)


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)
    return value


class Launcher:
    """The engine's end of its launcher; started at the first need, ended by ``close``."""

    def __init__(self, log_path: Path) -> None:
        self._log_path = log_path
        self._lock = threading.Lock()
        self._door: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ids = 0

    @property
    def ids(self) -> int:
        """Return how many ids containers have: 0 means all of the machine's, as for root."""
        self._connected()
        return self._ids

    @property
    def pid(self) -> int:
        """Return the launcher's process id; it holds the user namespace of an ordinary user."""
        self._connected()
        assert self._process is not None
        return self._process.pid

    def close(self) -> None:
        """Let the launcher end and wait for it."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
        if self._process is not None:
            self._process.wait()
            self._process = None

    def launch(self, request: Mapping[str, object]) -> Connection:
        """Start a container under a shim; the connection is its first client."""
        mine, theirs = socket.socketpair()
        with theirs:
            self._ask({"op": "container"} | dict(request), [theirs.fileno()])
        return Connection(mine)

    def work(
        self,
        request: Mapping[str, object],
        fds: Sequence[int] = (),
        *,
        on_progress: Callable[[Mapping[str, object]], None] | None = None,
    ) -> Mapping[str, object]:
        """Have a worker do one job.

        Raises:
            OcimagicError: what the worker reported.
        """
        mine, theirs = socket.socketpair()
        with theirs:
            self._ask(request, [theirs.fileno(), *fds])
        with Connection(mine) as answer:
            for _, payload in answer.frames():
                content = protocol.parse_message(payload)
                if "progress" in content and on_progress:
                    on_progress(_mapping(content["progress"]))
                elif "error" in content:
                    raise unpack(_mapping(content["error"]))
                elif "result" in content:
                    return _mapping(content["result"])
        raise OcimagicError("a worker ended without an answer", hint=f"look into {self._log_path}")

    def _ask(self, request: Mapping[str, object], fds: list[int]) -> None:
        packet = json.dumps(request).encode()
        for attempt in (1, 2):
            door = self._connected()
            try:
                with self._lock:
                    socket.send_fds(door, [packet], fds)
            except OSError as err:
                # Somebody killed it, perhaps while another thread was noticing the same;
                # nothing is lost, since it remembers nothing.
                if err.errno not in _GONE:
                    raise
                self._forget(door)
                if attempt == 2:
                    raise
            else:
                return

    def _forget(self, door: socket.socket) -> None:
        """Let go of a launcher that is gone, unless another thread has started the next."""
        with self._lock:
            if self._door is door:
                self._end()

    def _connected(self) -> socket.socket:
        with self._lock:
            if self._door is None:
                self._start()
            assert self._door is not None
            return self._door

    def _start(self) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, open(self._log_path, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", START, str(theirs.fileno()), *_search_path()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            )
        try:
            answer = json.loads(mine.recv(1 << 16) or b"{}")
        except OSError:
            answer = {}
        if "ready" in answer:
            self._door, self._ids = mine, answer["ready"]["ids"]
            return
        mine.close()
        self._process.wait()
        self._process = None
        if "error" in answer:
            raise unpack(answer)
        raise HostLacks(
            "the launcher does not start",
            hint=f"look into {self._log_path}, its last lines say why",
        )


def _search_path() -> list[str]:
    """Return the directories that hold ocimagic and the codecs, and no others."""
    found = []
    for name in ("ocimagic", "isal", "zstandard"):
        spec = importlib.util.find_spec(name)
        if spec and spec.submodule_search_locations:
            parent = os.path.dirname(os.path.abspath(next(iter(spec.submodule_search_locations))))
            if parent not in found:
                found.append(parent)
    return found


def signal_number(text: str) -> int:
    """Return the number of ``TERM``, ``SIGTERM``, ``15`` or ``RTMIN+3``.

    Raises:
        InvalidOption: no such signal.
    """
    from ocimagic.errors import InvalidOption

    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    if found := re.fullmatch(r"SIGRT(MIN\+|MAX-)([0-9]{1,2})", name):  # systemd's stop signal
        first, last = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
        number = first + int(found[2]) if found[1] == "MIN+" else last - int(found[2])
        if first <= number <= last:
            return number
    if text.isascii() and text.isdigit() and 0 < int(text) < signal.NSIG:
        return int(text)
    if name in signal.Signals.__members__:
        return int(signal.Signals[name])
    raise InvalidOption(f"invalid signal: {text!r}", hint="for example TERM, KILL or 15")
