"""The only door to launcher and shims: what the rooms above know of them."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, OcimagicError, unpack
from ocimagic.shim import protocol
from ocimagic.shim.connection import Connection, connect
from ocimagic.shim.launcher_start import START
from ocimagic.shim.lost import end_lost, is_kept
from ocimagic.shim.outcome import (
    EXEC_TIMELINES,
    TIMELINE_NAME,
    Exit,
    Started,
    exit_of,
    mapping,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_GONE = (errno.EPIPE, errno.ECONNRESET, errno.EBADF)
__all__ = [
    "EXEC_TIMELINES",
    "TIMELINE_NAME",
    "Connection",
    "Exit",
    "Launcher",
    "Started",
    "connect",
    "end_lost",
    "exit_of",
    "is_kept",
]


class Launcher:
    """The engine's end of its launcher; started at the first need, ended by ``close``.

    Args:
        log_path: where its defects are written.
        join: pid of a process in whose user namespace it shall be.
        room: the run directory of those who share one, as an ordinary user; else it has its own.
    """

    def __init__(
        self, log_path: Path, *, join: int | None = None, room: Path | None = None
    ) -> None:
        self._log_path = log_path
        self._join = join
        self._room = room
        self._lock = threading.Lock()
        self._door: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ids = 0
        self._has_own_processes = True
        self._may_mount = True
        self._tracer = ""
        self._known: dict[str, Mapping[str, object]] = {}

    @property
    def ids(self) -> int:
        """Return how many ids containers have: 0 means all of the machine's, as for root."""
        self._connected()
        return self._ids

    @property
    def has_own_processes(self) -> bool:
        """Say whether containers may have a pid namespace with a /proc that shows it."""
        self._connected()
        return self._has_own_processes

    @property
    def may_mount(self) -> bool:
        """Say whether containers may have mounts; without, they are changed roots and no more."""
        self._connected()
        return self._may_mount

    @property
    def tracer(self) -> str:
        """Return what shows containers their root, where it cannot even be changed; else ""."""
        self._connected()
        return self._tracer

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
        directory = Path(str(request["run_directory"]))
        connection = Connection(mine, directory, attached=bool(request.get("attached")))
        with theirs:
            mine_to_say = {"sender": connection.sender, "traced": bool(self.tracer)}
            whole = {"op": "container"} | mine_to_say | dict(request)
            self._ask(whole, [theirs.fileno()])
        return connection

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
                    on_progress(mapping(content["progress"]))
                elif "error" in content:
                    raise unpack(mapping(content["error"]))
                elif "result" in content:
                    return mapping(content["result"])
        raise OcimagicError("a worker ended without an answer", hint=f"look into {self._log_path}")

    def probe(self, op: str) -> Mapping[str, object]:
        """Return what a worker found out about this machine; the same as long as this lives.

        Raises:
            OcimagicError: what the worker reported.
        """
        if op not in self._known:
            self._known[op] = self.work({"op": op})
        return self._known[op]

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
        room = str(self._room) if self._room else ""
        door = json.dumps({"fd": theirs.fileno(), "join": self._join, "room": room})
        with theirs, open(self._log_path, "ab") as log, _program() as program:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", START, door, *_search_path()],
                executable=f"/proc/self/fd/{program}",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno(), program],
                start_new_session=True,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            )
        try:
            answer = json.loads(mine.recv(1 << 16) or b"{}")
        except OSError:
            answer = {}
        if "ready" in answer:
            ready = answer["ready"]
            self._door, self._ids = mine, ready["ids"]
            self._has_own_processes = ready["own_processes"]
            self._may_mount, self._tracer = ready["may_mount"], ready["tracer"]
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


@contextlib.contextmanager
def _program() -> Iterator[int]:
    """Open this Python's program so that nobody in a container can write it (CVE-2019-5736).

    An ordinary user's containers can write only what this account can.
    """
    from ocimagic.runtime.sealed import sealed_executable

    name = os.path.realpath("/proc/self/exe")
    is_safe = os.geteuid() != 0 and os.stat(name).st_uid != os.geteuid()
    fd = os.open(name, os.O_PATH | os.O_CLOEXEC) if is_safe else sealed_executable()
    try:
        yield fd
    finally:
        os.close(fd)


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
