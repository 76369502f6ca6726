"""What is done with the streams of a process by whoever attached, over whichever connection."""

from __future__ import annotations

import os
import select
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Self, cast

from ocimagic.engine.terminal import TerminalHandle
from ocimagic.errors import Cancelled
from ocimagic.model.event import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ocimagic.model.event import OnEvent
    from ocimagic.model.result import ExitStatus

STREAMS = ("stdout", "stderr")
_CHUNK = 1 << 16
_INTERRUPT_S = 1.0  # for a process to end by an interrupt
_LAST_S = 5.0  # for a thread to see that nobody listens to it any more


class Streaming(ABC):
    """A live connection to one process, which does not notice when it is closed.

    Attributes:
        container_id: of its container.
        name: of its container.
        tty: the process has a terminal: one stream, and keys instead of lines.
        exec_id: of a command that was executed; "" for the container's first process.
        pid: of a command that began with this; 0 for a container's own.
        exit: how it ended; None while it lives, and after letting go of it.
    """

    def __init__(
        self, *, container_id: str, name: str, tty: bool, exec_id: str = "", pid: int = 0
    ) -> None:
        self.container_id = container_id
        self.name = name
        self.tty = tty
        self.exec_id = exec_id
        self.pid = pid
        self.exit: ExitStatus | None = None
        self._feeding: Feeding | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go, and take no more of its input from where that comes from; it goes on."""
        feeding, self._feeding = self._feeding, None
        if feeding is not None:
            feeding.stop()
        self._let_go()
        if feeding is not None:
            feeding.close()

    # -- what a connection is asked for -----------------------------------------------

    @abstractmethod
    def chunks(
        self, *, cancelled: threading.Event | None = None, deadline: float | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield ``(stdout or stderr, bytes)`` until the process ends.

        Args:
            cancelled: ends it too, when set.
            deadline: ends it too, in time.monotonic() seconds.
        """

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send bytes to its standard input.

        Raises:
            OSError: nobody is there.
        """

    @abstractmethod
    def close_input(self) -> None:
        """Let its standard input end."""

    @abstractmethod
    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal how large the window is."""

    @abstractmethod
    def end(self) -> None:
        """End the process for somebody who will not see the end of it."""

    @abstractmethod
    def _let_go(self) -> None:
        """Close the connection, also for a thread that is sending."""

    # -- what is done with it -----------------------------------------------------------

    def terminal(self, detach_keys: str = "") -> TerminalHandle:
        """Return it as a terminal drives it.

        Raises:
            InvalidOption: no such keys.
        """
        return TerminalHandle(self, detach_keys)

    def feed(self, stdin: int | bytes | None) -> None:
        """Do what ``copy_input`` does, beside the reading; once.

        A process that writes as much as it reads would wait for us, and we for it.
        """
        assert self._feeding is None
        self._feeding = Feeding(stdin, self._copy)

    def copy_input(self, stdin: int | bytes | None) -> None:
        """Send bytes, or copy a descriptor until its end, and let its standard input end."""
        whole = iter((stdin or b"",)) if not isinstance(stdin, int) else None
        self._copy(whole or iter(lambda: os.read(cast("int", stdin), _CHUNK), b""))

    def _copy(self, pieces: Iterator[bytes]) -> None:
        # The process or the terminal may go first.
        with suppress(OSError):
            for data in pieces:
                self.send(data)
            self.close_input()

    def follow(
        self,
        on_event: OnEvent,
        cancelled: threading.Event | None = None,
        *,
        streams: Collection[str] = STREAMS,
    ) -> tuple[bytes, bytes]:
        """Pass on what the process writes until it ends, and return all of it, both streams.

        Args:
            on_event: is given ``Output``.
            cancelled: ends it too, when set.
            streams: nothing of others.
        """
        collected = {each: bytearray() for each in STREAMS}
        for stream, data in self.chunks(cancelled=cancelled):
            if stream in streams:
                collected[stream] += data
                on_event(Output(stream, data))
        return bytes(collected["stdout"]), bytes(collected["stderr"])

    def attend(
        self,
        on_event: OnEvent,
        cancelled: threading.Event | None,
        interrupt: Callable[[], object] | None,
    ) -> ExitStatus:
        """Pass on what the process writes until it ends, and keep none of it.

        Args:
            on_event: is given ``Output``.
            cancelled: lets go of it when set.
            interrupt: is called first then, and the process may end by that.

        Raises:
            Cancelled: it goes on without us.
        """
        for stream, data in self.chunks(cancelled=cancelled):
            on_event(Output(stream, data))
        if self.exit is None and interrupt is not None:
            interrupt()
            for stream, data in self.chunks(deadline=time.monotonic() + _INTERRUPT_S):
                on_event(Output(stream, data))
        if self.exit is None:
            raise Cancelled(
                f"detached by you: container {self.name} goes on",
                hint=f"%container_attach {self.name} comes back to it, "
                f"%container_stop {self.name} ends it",
            )
        return self.exit


class Feeding:
    """Input that a thread of its own copies, until its end or until it is closed.

    Args:
        stdin: bytes, or a descriptor, which stays its owner's: a copy of it is read, since its
            number may be another file's by the time.
        copy: sends the pieces; an OSError among them says that nobody wants more.
    """

    def __init__(
        self, stdin: int | bytes | None, copy: Callable[[Iterator[bytes]], object]
    ) -> None:
        self._stop = os.eventfd(0)
        pieces = self._read(os.dup(stdin)) if isinstance(stdin, int) else iter((stdin or b"",))
        self._thread = threading.Thread(
            target=copy, args=(pieces,), name="ocimagic-stdin", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Have nothing more read."""
        os.eventfd_write(self._stop, 1)

    def close(self) -> None:
        """Wait for the thread, whose connection is closed by now."""
        self._thread.join(_LAST_S)
        if not self._thread.is_alive():
            os.close(self._stop)

    def _read(self, source: int) -> Iterator[bytes]:
        """Yield what comes from a descriptor, which is closed at its end."""
        try:
            ready = select.poll()
            ready.register(source, select.POLLIN)
            ready.register(self._stop, select.POLLIN)
            while True:
                if any(each == self._stop for each, _ in ready.poll()):
                    raise BrokenPipeError("nobody listens any more")
                if not (data := os.read(source, _CHUNK)):
                    return
                yield data
        finally:
            os.close(source)
