"""The streams of a container, or of a command in one, in the hands of whoever attached."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from ocimagic.engine.exits import exit_in
from ocimagic.errors import InvalidState
from ocimagic.model.event import Output
from ocimagic.model.keys import KeyWatch, parse_keys
from ocimagic.shim import protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.model.containers import AttachmentAPI
    from ocimagic.model.event import OnEvent
    from ocimagic.model.result import ExitStatus
    from ocimagic.shim.client import Connection

_CHUNK = 1 << 16
_GRACE_S = 0.5


class Attachment:
    """A live connection to one process; the process does not notice when it is closed.

    Attributes:
        name: of the container.
        tty: the process has a terminal: one stream, and keys instead of lines.
        interactive: it reads what is sent.
        exec_id: of a command that was executed; "" for the container's first process.
        pid: of a command that began with this, 0 for a container's own.
        exit: how it ended; None while it lives, and after letting go of it.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        container_id: str,
        name: str,
        tty: bool,
        interactive: bool,
        exec_id: str = "",
        pid: int = 0,
    ) -> None:
        self._connection = connection
        self.container_id = container_id
        self.name = name
        self.tty = tty
        self.interactive = interactive
        self.exec_id = exec_id
        self.pid = pid
        self.exit: ExitStatus | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go; the process goes on."""
        self._connection.close()

    def chunks(
        self, *, cancelled: threading.Event | None = None, deadline: float | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield ``(stdout or stderr, bytes)`` until the process ends.

        Args:
            cancelled: ends it too, when set.
            deadline: ends it too, in time.monotonic() seconds.

        Raises:
            InvalidState: the shim is gone, and nobody saw the end.
        """
        for kind, payload in self._connection.frames(cancelled=cancelled, deadline=deadline):
            if kind in protocol.STREAMS:
                yield protocol.STREAMS[kind], payload
            elif ended := exit_in(payload):
                self.exit = ended
                return
        over = deadline is not None or (cancelled is not None and cancelled.is_set())
        if not over:
            raise InvalidState(
                f"the shim of container {self.name} is gone",
                why="it was killed; nobody saw the exit code",
                hint=f"%container_logs {self.name} shows what was written until then",
            )

    def send(self, data: bytes) -> None:
        """Send bytes to its standard input."""
        if data:
            self._connection.send_stdin(data)

    def close_input(self) -> None:
        """Let its standard input end."""
        self._connection.send_stdin(b"")

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal how large the window is."""
        self._connection.resize(rows, columns)

    def kill(self, number: int) -> None:
        """Send it a signal."""
        self._connection.kill(number)

    def end(self) -> None:
        """End the process for somebody who will not see the end of it: SIGTERM, then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.kill(number)
            for _ in self.chunks(deadline=time.monotonic() + _GRACE_S):
                continue
            if self.exit is not None:
                return

    def terminal(self, detach_keys: str = "") -> TerminalHandle:
        """Return it as a terminal drives it.

        Raises:
            InvalidOption: no such keys.
        """
        return TerminalHandle(self, detach_keys)

    def feed(self, stdin: int | bytes | None) -> None:
        """Do what ``copy_input`` does, beside the reading.

        A process that writes as much as it reads would wait for us, and we for it.
        """
        threading.Thread(
            target=self.copy_input, args=(stdin,), name="ocimagic-stdin", daemon=True
        ).start()

    def copy_input(self, stdin: int | bytes | None) -> None:
        """Send bytes, or copy a descriptor until its end, and let its standard input end."""
        # The process or the terminal may go first.
        with suppress(OSError):
            if isinstance(stdin, int):
                while data := os.read(stdin, _CHUNK):
                    self.send(data)
            elif stdin:
                self.send(stdin)
            self.close_input()

    def follow(
        self, on_event: OnEvent, cancelled: threading.Event | None = None
    ) -> tuple[bytes, bytes]:
        """Pass on what the process writes until it ends, and return all of it, both streams."""
        collected = {"stdout": bytearray(), "stderr": bytearray()}
        for stream, data in self.chunks(cancelled=cancelled):
            collected[stream] += data
            on_event(Output(stream, data))
        return bytes(collected["stdout"]), bytes(collected["stderr"])


class TerminalHandle:
    """An attachment as a terminal drives it: keys in, one stream of bytes out.

    Args:
        attachment: to a process with a terminal.
        detach_keys: what typed in a row lets go of it; "" is docker's.

    Raises:
        InvalidOption: no such keys.
    """

    def __init__(self, attachment: AttachmentAPI, detach_keys: str = "") -> None:
        self.attachment = attachment
        self._watch = KeyWatch(parse_keys(detach_keys))
        self._over = threading.Event()

    @property
    def detached(self) -> bool:
        """Say whether the keys for letting go were typed."""
        return self._watch.detached

    def write(self, data: bytes) -> None:
        """Send what was typed; the keys for letting go end ``output``."""
        self.attachment.send(self._watch.feed(data))
        if self.detached:
            self._over.set()

    def resize(self, rows: int, columns: int) -> None:
        """Tell how large the window is."""
        self.attachment.resize(rows, columns)

    def output(self) -> Iterator[bytes]:
        """Yield what is written until the process ends, or is let go of."""
        for _, data in self.attachment.chunks(cancelled=self._over):
            yield data

    def leave(self) -> None:
        """Let go of it, as the keys do."""
        self._over.set()

    def ending(self) -> str:
        """Say in a few words how it ended."""
        ended = self.attachment.exit
        if ended is None:
            return f"detached: {self.attachment.name} goes on"
        signal = f", killed by signal {ended.signal}" if ended.signal else ""
        return f"exit {ended.code}{signal}"
