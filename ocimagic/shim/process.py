"""A process of a container and its streams: the container's first, or one executed in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
from typing import TYPE_CHECKING, Protocol

from ocimagic.linux.identity import ProcessIdentity, identify, wait_end
from ocimagic.shim.ending import ending_of
from ocimagic.shim.loop import READ
from ocimagic.shim.memory import Cell
from ocimagic.shim.stdin import FORM, Stdin
from ocimagic.shim.tape import STREAMS, Tape
from ocimagic.shim.tracee import Tracee

if TYPE_CHECKING:
    from ocimagic.shim.ending import Ending
    from ocimagic.shim.holder import Keeper
    from ocimagic.shim.loop import Loop
    from ocimagic.shim.memory import Buffer

_PIPE = os.O_CLOEXEC
_DEATH_MS = 2000
_PROCESS, _STDIN, _TAPE = "process", "stdin", "tape"


class Owner(Protocol):
    """Who is told what a process does."""

    def on_output(self, process: Process, stream: int, data: bytes) -> None:
        """Take what it wrote; it is on the tape already."""

    def on_stdin(self, process: Process) -> None:
        """Hear that its stdin has moved on."""

    def on_quiet(self, process: Process) -> None:
        """Hear that it has ended, or that nobody can write to its streams any more."""


class Process:
    """One process with its streams, kept safe with the holder.

    Args:
        exec_id: "" for the container's first process.
        loop: of the shim.
        keeper: where descriptors are safe.
        owner: is told what happens.
        buffer: shared memory: zeros, or what an earlier shim left there.
        offset: where in it.
        traced: the process is a tracer, and its child is what counts.

    Attributes:
        tape: what it wrote last.
        stdin: the way to its stdin; None if it has none.
        ending: how it ended; None while it runs.
        identity: who it is; pid 0 before it is there.
        told: what it noted of its making, as long as nobody wrote it down.
    """

    def __init__(
        self,
        exec_id: str,
        loop: Loop,
        keeper: Keeper,
        owner: Owner,
        buffer: Buffer,
        offset: int = 0,
        *,
        traced: bool = False,
    ) -> None:
        self.exec_id = exec_id
        self._loop = loop
        self._keeper = keeper
        self._owner = owner
        self._suffix = f":{exec_id}" if exec_id else ""
        if self._named(_TAPE) not in keeper.groups:
            keeper.groups[self._named(_TAPE)] = dict(zip("rw", os.pipe2(_PIPE), strict=True))
        sieve = keeper.groups[self._named(_TAPE)]
        self.tape = Tape(buffer, offset, (sieve["r"], sieve["w"]))
        self._stdin_cell = Cell(buffer, offset + Tape.size(), FORM)
        self._readers: dict[int, int] = {}
        self._is_held = False
        self._traced = traced
        self._tracee: Tracee | None = None
        self._console = -1
        self._theirs: list[int] = []
        self.pidfd = -1
        self.identity = ProcessIdentity(0, 0, "")
        self.told = ""
        self.stdin: Stdin | None = None
        self.ending: Ending | None = None

    @staticmethod
    def size() -> int:
        """Return how many bytes of shared memory a process takes."""
        return Tape.size() + Cell.size(FORM)

    # -- beginning -------------------------------------------------------------

    def open_streams(self, *, interactive: bool, terminal: bool) -> tuple[int, int, int]:
        """Make its streams; return the ends for the process, -1 where it has none.

        The ends are ours to close, with ``close_theirs``; a terminal makes its own.
        """
        if terminal:
            return -1, -1, -1
        stdin = -1
        mine: dict[str, int] = {}
        if interactive:
            stdin, writer = os.pipe2(_PIPE)
            self._theirs.append(stdin)
            self._keep_stdin(writer)
        for name in STREAMS:
            mine[name], theirs = os.pipe2(_PIPE)
            self._theirs.append(theirs)
        self._keeper.groups[self._named(_PROCESS)] = mine
        return stdin, self._theirs[-2], self._theirs[-1]

    def close_theirs(self) -> None:
        """Close the ends that the process has now, so that their end can be seen."""
        while self._theirs:
            os.close(self._theirs.pop())

    def made(self, pid: int, pidfd: int, console: int, *, interactive: bool) -> None:
        """Take in hand what was made; the holder does not know of it yet."""
        names = self._keeper.groups.setdefault(self._named(_PROCESS), {})
        names["pidfd"] = pidfd
        if console >= 0:
            names["console"] = console
            if interactive:
                self._keep_stdin(os.dup(console))
        self._adopt(identify(pid))

    def found(self, identity: ProcessIdentity) -> None:
        """Take in hand what the holder kept for us."""
        self._adopt(identity)

    def kept(self) -> dict[str, dict[str, int]]:
        """Return the descriptors that are to be safe."""
        names = map(self._named, (_PROCESS, _STDIN, _TAPE))
        return {name: self._keeper.groups[name] for name in names if name in self._keeper.groups}

    def _keep_stdin(self, fd: int) -> None:
        reader, writer = os.pipe2(_PIPE)
        group = {"fd": fd, "r": reader, "w": writer}
        self._keeper.groups[self._named(_STDIN)] = group

    def _adopt(self, identity: ProcessIdentity) -> None:
        names = self._keeper.groups[self._named(_PROCESS)]
        self.identity = identity
        self.pidfd = names["pidfd"]
        self.ending = None
        self._console = names.get("console", -1)
        if self._console >= 0:
            self._readers = {self._console: 0}
        else:
            self._readers = {
                names[name]: stream for stream, name in enumerate(STREAMS) if name in names
            }
        for fd in self._readers:
            os.set_blocking(fd, False)
        self._adopt_stdin()

    def _adopt_stdin(self) -> None:
        group = self._keeper.groups.get(self._named(_STDIN))
        self.stdin = None
        if group is not None:
            os.set_blocking(group["fd"], False)
            self.stdin = Stdin(
                self._loop,
                group["fd"],
                (group["r"], group["w"]),
                self._stdin_cell,
                is_terminal=self._console >= 0,
                on_progress=lambda: self._owner.on_stdin(self),
                close_all=lambda: self._keeper.drop(self._named(_STDIN)),
            )

    # -- running ---------------------------------------------------------------

    def watch(self) -> None:
        """Begin to listen to it."""
        for fd in self._readers:
            self._loop.watch(fd, READ, lambda _, fd=fd: self._read(fd))  # type: ignore[misc]
        self._loop.watch(self.pidfd, READ, lambda _: self._end())
        if self._traced and self._tracee is None:
            self._tracee = Tracee(self._loop, self.identity.pid, self.pidfd)
            self._tracee.watch()
        if self.stdin is not None:
            self.stdin.pump()

    @property
    def is_over(self) -> bool:
        """Say whether it has ended and all it wrote is on the tape."""
        return self.ending is not None and not self._readers

    def hold(self, *, held: bool) -> None:
        """Read no more, or again: somebody who must have its output is behind."""
        if held == self._is_held:
            return
        self._is_held = held
        for fd in self._readers:
            wanted = 0 if held else READ
            self._loop.watch(fd, wanted, lambda _, fd=fd: self._read(fd))  # type: ignore[misc]

    def signal(self, number: int) -> None:
        """Send it a signal; nothing if it has ended."""
        if self.ending is None and self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                if self._tracee is not None:
                    self._tracee.signal(number)
                else:
                    signal.pidfd_send_signal(self.pidfd, number)

    def resize(self, size: tuple[int, int]) -> None:
        """Say how many rows and columns its terminal has; nothing if it has none."""
        if self._console >= 0:
            with contextlib.suppress(OSError):
                packed = struct.pack("4H", *size, 0, 0)
                fcntl.ioctl(self._console, termios.TIOCSWINSZ, packed)

    def _read(self, fd: int) -> None:
        stream = self._readers[fd]
        data = self.tape.take(stream, fd)
        if data:
            self._owner.on_output(self, stream, data)
        elif data is not None:
            self._loop.forget(fd)
            del self._readers[fd]
            self._owner.on_quiet(self)

    def _end(self) -> None:
        self._loop.forget(self.pidfd)
        self.ending = ending_of(self.pidfd, self.identity)
        if self._tracee is not None:
            self.ending = self._tracee.judge(self.ending)
        self._owner.on_quiet(self)

    # -- the end ---------------------------------------------------------------

    def kill(self) -> None:
        """Kill it and wait for that."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Wait a bounded time for a child that is about to end."""
        if wait_end(self.pidfd, _DEATH_MS):
            self.bury()

    def bury(self) -> None:
        """Wait for it, whoever is its parent; after its end has been written down."""
        try:
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            self._keeper.keep({}, reap=(self.identity.pid,))

    def silence(self) -> None:
        """Listen no more: what still has its streams was not started by it to be heard."""
        for fd in self._readers:
            self._loop.forget(fd)
        self._readers.clear()

    def close(self) -> None:
        """Let go of everything but the tape."""
        self.silence()
        self.close_theirs()
        if self._tracee is not None:
            self._tracee.close()
            self._tracee = None
        if self.pidfd >= 0:
            self._loop.forget(self.pidfd)
            self.pidfd = self._console = -1
        if self.stdin is not None:
            self.stdin.close()
            self.stdin = None
        self._keeper.drop(self._named(_PROCESS))

    def _named(self, group: str) -> str:
        return group + self._suffix
