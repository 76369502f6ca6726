"""The streams of a process behind an API, in the hands of whoever attached.

Spec: Docker Engine API v1.41, ContainerAttach, "Stream format": without a terminal each piece
has eight bytes before it, of which stream it is and how long.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from ocimagic.client.connection import Stopped, never
from ocimagic.engine.streaming import Streaming
from ocimagic.errors import NeighbourError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from ocimagic.client.connection import Connection, IsOver
    from ocimagic.model.result import ExitStatus

_HEAD = struct.Struct(">BxxxI")
_NAMES = {0: "stdout", 1: "stdout", 2: "stderr"}
_ERROR = 3  # what went wrong in the middle of a log
_MAX_FRAME_BYTES = 64 << 20


class Frames:
    """Takes a stream of docker's apart; half a piece is kept until its rest comes."""

    def __init__(self, *, tty: bool) -> None:
        self._tty = tty
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield the name of a stream and bytes of it.

        Raises:
            NeighbourError: that is no such stream, or the API says in it what went wrong.
        """
        if self._tty:
            yield "stdout", data
            return
        self._held += data
        while len(self._held) >= _HEAD.size:
            number, size = _HEAD.unpack_from(self._held)
            if number not in (*_NAMES, _ERROR) or size > _MAX_FRAME_BYTES:
                raise NeighbourError("this is no stream of a container", why=f"head {number}")
            if len(self._held) < _HEAD.size + size:
                return
            piece = bytes(self._held[_HEAD.size : _HEAD.size + size])
            del self._held[: _HEAD.size + size]
            if number == _ERROR:
                raise NeighbourError(piece.decode(errors="replace").strip())
            if piece:
                yield _NAMES[number], piece


class RemoteAttachment(Streaming):
    """Streams that an API passes on.

    Args:
        connection: that the API gave away.
        once: its standard input ends with this client's.
        ended: waits for the end of the process, and says how it was.
        resized: tells its terminal how large the window is.
        stop: ends the process; None where the API cannot.
        close: lets go of what ``ended`` waits with.

    Attributes:
        network: that the container got; "" of a command.
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
        ended: Callable[[IsOver], ExitStatus],
        resized: Callable[[int, int], None],
        stop: Callable[[], None] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(container_id=container_id, name=name, tty=tty, exec_id=exec_id)
        self._connection = connection
        self._frames = Frames(tty=tty)
        self._once = once and not tty
        self._ended = ended
        self._resized = resized
        self._stop = stop
        self._close = close
        self.network = ""

    def _let_go(self) -> None:
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

        Raises:
            NeighbourError: the API babbles, or does not say how it ended.
        """

        def is_over() -> bool:
            late = deadline is not None and time.monotonic() > deadline
            return late or (cancelled is not None and cancelled.is_set())

        self._connection.is_over = is_over
        try:
            while data := self._connection.receive():
                yield from self._frames.feed(data)
            self.exit = self._ended(is_over)
        except Stopped:
            return
        finally:
            self._connection.is_over = never

    def send(self, data: bytes) -> None:
        """Send bytes to its standard input.

        Raises:
            OSError: nobody is there.
        """
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
