"""The streams of a task: between its shim and the FIFOs that a client made for it.

Spec: fifo(7).  As containerd's shims do, both ends are held open, so that a client may come back.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import threading
from typing import TYPE_CHECKING

from ocimagic.engine.exits import exit_in
from ocimagic.errors import BadInput, NotBuiltYet
from ocimagic.shim import protocol
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from ocimagic.model.result import ExitStatus
    from ocimagic.shim.client import Connection

_CHUNK = 1 << 16
_TICK_MS = 200
_FILE = "file://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stdio:
    """Where the streams are: paths of FIFOs, or ``file://`` for output; "" for nowhere.

    Attributes:
        terminal: the process has one: all it writes goes to ``stdout``.
    """

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False

    @property
    def is_heard(self) -> bool:
        """Say whether anybody wants the output."""
        return bool(self.stdout or self.stderr)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        names = ("stdin", "stdout", "stderr", "terminal")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Self:
        """Read it back."""
        words = {name: str(document[name]) for name in ("stdin", "stdout", "stderr")}
        return cls(**words, terminal=bool(document["terminal"]))

    def check(self) -> None:
        """Look whether there are such streams.

        Raises:
            BadInput: a path that is no FIFO.
            NotBuiltYet: another program was to take them.
        """
        for path in filter(None, (self.stdin, self.stdout, self.stderr)):
            if path.startswith(_FILE):
                continue
            if "://" in path:
                raise NotBuiltYet(f"output cannot go to {path}", hint="a FIFO, or file:///PATH")
            try:
                is_fifo = stat.S_ISFIFO(os.stat(path).st_mode)
            except OSError as err:
                raise BadInput(f"no stream at {path}", why=err.strerror) from err
            if not is_fifo:
                raise BadInput(f"{path} is no FIFO")


class Pump:
    """Leads the streams of one process until it has ended.

    Args:
        connection: attached, if anybody wants the output.
        stdio: where the streams are.
        on_end: is told how it ended, when all it wrote is where it goes; None: nobody knows.
    """

    def __init__(
        self,
        connection: Connection,
        stdio: Stdio,
        on_end: Callable[[ExitStatus | None], None],
    ) -> None:
        self.connection = connection
        self._stdio = stdio
        self._on_end = on_end
        self._closing = threading.Event()
        self._over = threading.Event()
        self._outputs = {
            protocol.STDOUT: _opened(stdio.stdout),
            protocol.STDERR: _opened(stdio.stdout if stdio.terminal else stdio.stderr),
        }
        targets = (self._lead_output, *([self._lead_input] if stdio.stdin else []))
        self._threads = [
            threading.Thread(target=each, name="ocimagic-task", daemon=True) for each in targets
        ]
        for thread in self._threads:
            thread.start()

    def close_stdin(self) -> None:
        """Let the process know that no more comes than is on its way."""
        self._closing.set()

    def let_go(self) -> None:
        """Stop; the process does not notice."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _lead_output(self) -> None:
        ended = None
        for kind, payload in self.connection.frames(cancelled=self._over):
            if kind == protocol.MESSAGE:
                ended = exit_in(payload)
                if ended is not None:  # all it wrote came before
                    break
            elif kind in self._outputs:
                self._write(self._outputs[kind], payload)
        is_known = not self._over.is_set()
        self._over.set()
        for fd in self._outputs.values():
            if fd >= 0:
                os.close(fd)
        self.connection.close()
        if is_known:
            self._on_end(ended)

    def _write(self, fd: int, data: bytes) -> None:
        view = memoryview(data)
        while view and fd >= 0 and not self._over.is_set():
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                poll.poll(_TICK_MS)
            except OSError:  # a full disk, for a file: what is lost is output
                return

    def _lead_input(self) -> None:
        try:
            fd = os.open(self._stdio.stdin, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # the client is gone
            return
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        try:
            while not self._over.is_set():
                events = poll.poll(_TICK_MS)
                data = b""
                if events:
                    with contextlib.suppress(BlockingIOError):
                        data = os.read(fd, _CHUNK)
                is_last = not data and (bool(events) or self._closing.is_set())
                if data or is_last:
                    with contextlib.suppress(OSError):  # it has ended
                        self.connection.send_stdin(data)
                if is_last:
                    return
        finally:
            os.close(fd)


def _opened(place: str) -> int:
    """Open where output goes, -1 for nowhere."""
    if not place:
        return -1
    if place.startswith(_FILE):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(place.removeprefix(_FILE), flags, 0o600)
    try:
        # Open for both: it neither waits for a reader nor ends when one goes.
        return os.open(place, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # the client is gone
        return -1
