"""The streams of a process behind an API, in the hands of whoever attached.

Spec: Docker Engine API v1.41, ContainerAttach, "Stream format": without a terminal each piece
has eight bytes before it, of which stream it is and how long.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from ocimagic.client.connection import Stopped, never
from ocimagic.engine.attachment import TerminalHandle
from ocimagic.errors import NeighbourError
from ocimagic.model.event import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocimagic.client.connection import Connection
    from ocimagic.model.event import OnEvent
    from ocimagic.model.result import ExitStatus

_HEAD = struct.Struct(">BxxxI")
_NAMES = {0: "stdout", 1: "stdout", 2: "stderr"}
_CHUNK = 1 << 16
_MAX_FRAME_BYTES = 64 << 20


class Frames:
    """Takes a stream of docker's apart; half a piece is kept until its rest comes."""

    def __init__(self, *, tty: bool) -> None:
        self._tty = tty
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield the name of a stream and bytes of it.

        Raises:
            NeighbourError: that is no such stream.
        """
        if self._tty:
            yield "stdout", data
            return
        self._held += data
        while len(self._held) >= _HEAD.size:
            number, size = _HEAD.unpack_from(self._held)
            if number not in _NAMES or size > _MAX_FRAME_BYTES:
                raise NeighbourError("this is no stream of a container", why=f"head {number}")
            if len(self._held) < _HEAD.size + size:
                return
            piece = bytes(self._held[_HEAD.size : _HEAD.size + size])
            del self._held[: _HEAD.size + size]
            if piece:
                yield _NAMES[number], piece


class RemoteAttachment:
    """A live connection to one process; the process does not notice when it is closed.

    Args:
        connection: that the API gave away.
        once: its standard input ends with this client's.
        ended: waits for the end of the process, and says how it was.
        resized: tells its terminal how large the window is.
        stop: ends the process; None where the API cannot.

    Attributes:
        exec_id: of a command; "" for the container's first process.
        network: that the container got; "" of a command.
        pid: of a command, on the API's machine; 0 for a container's own.
        exit: how it ended; None while it lives, and after letting go of it.
    """

    def __init__(  # noqa: PLR0913  each is another part of the API
        self,
        connection: Connection,
        *,
        container_id: str,
        name: str,
        tty: bool,
        once: bool = True,
        exec_id: str = "",
        ended: Callable[[Callable[[], bool]], ExitStatus],
        resized: Callable[[int, int], None],
        stop: Callable[[], None] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._connection = connection
        self._frames = Frames(tty=tty)
        self._once = once and not tty
        self._ended = ended
        self._resized = resized
        self._stop = stop
        self._close = close
        self.container_id = container_id
        self.name = name
        self.tty = tty
        self.network = ""
        self.exec_id = exec_id
        self.pid = 0
        self.exit: ExitStatus | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go; the process goes on."""
        self._connection.close()
        if self._close is not None:
            self._close()

    def chunks(
        self, *, cancelled: threading.Event | None = None, deadline: float | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield ``(stdout or stderr, bytes)`` until the process ends.

        Args:
            cancelled: ends it too, when set.
            deadline: ends it too, in time.monotonic() seconds.
        """

        def is_over() -> bool:
            late = deadline is not None and time.monotonic() > deadline
            return late or (cancelled is not None and cancelled.is_set())

        self._connection.is_over = is_over
        try:
            while not is_over() and (data := self._connection.receive()):
                yield from self._frames.feed(data)
            if not is_over():
                self.exit = self._ended(is_over)
        except Stopped:
            return
        finally:
            self._connection.is_over = never

    def send(self, data: bytes) -> None:
        """Send bytes to its standard input."""
        if data:
            self._connection.send(data)

    def close_input(self) -> None:
        """Let its standard input end, where docker lets it end with its client's.

        Elsewhere docker would let go of the output as well.
        """
        if self._once:
            self._connection.close_sending()

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal how large the window is."""
        self._resized(rows, columns)

    def end(self) -> None:
        """End the process for somebody who will not see the end of it, if the API can."""
        if self._stop is not None:
            self._stop()

    def terminal(self, detach_keys: str = "") -> TerminalHandle:
        """Return it as a terminal drives it.

        Raises:
            InvalidOption: no such keys.
        """
        return TerminalHandle(self, detach_keys)

    def feed(self, stdin: int | bytes | None) -> None:
        """Send bytes, or copy a descriptor until its end, beside the reading."""
        threading.Thread(
            target=self.copy_input, args=(stdin,), name="ocimagic-client-stdin", daemon=True
        ).start()

    def copy_input(self, stdin: int | bytes | None) -> None:
        """Send bytes, or copy a descriptor until its end, and let its standard input end."""
        # The process may go first.
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
