"""The streams of a container, or of a command in one, over the connection to its shim."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from ocimagic.engine.exits import exit_in
from ocimagic.engine.streaming import Streaming
from ocimagic.errors import InvalidState
from ocimagic.shim import protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ocimagic.shim.client import Connection

_GRACE_S = 0.5


class Attachment(Streaming):
    """Streams that a shim passes on.

    Attributes:
        interactive: the process reads what is sent.
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
        super().__init__(container_id=container_id, name=name, tty=tty, exec_id=exec_id, pid=pid)
        self._connection = connection
        self.interactive = interactive

    def _let_go(self) -> None:
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
