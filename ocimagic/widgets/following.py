"""A container's log as it grows, for a page that can only take so much."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError
from ocimagic.model.moment import nanoseconds
from ocimagic.render.escape import visible
from ocimagic.widgets.terminal import plain_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.model.containers import ContainersAPI

KEPT = 1000  # lines that wait to be sent; of more, the oldest are left out
_TAIL = 200
_LINE = 4000


class Follow:
    """Reads one container's log in a thread of its own until the container or this ends.

    Args:
        containers: the engine's verbs.
        container_id: whose log.
        on_lines: is called in that thread when there are lines to take.
    """

    def __init__(
        self, containers: ContainersAPI, container_id: str, on_lines: Callable[[], None]
    ) -> None:
        self._containers = containers
        self._id = container_id
        self._on_lines = on_lines
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._left_out = 0
        self._is_first = True
        self._rest = b""
        self._last_ns: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def goes_on(self) -> bool:
        """Say whether the log is being read."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Read from the last lines on; when it was read before, from where that ended."""
        self._thread = threading.Thread(
            target=self._read, name=f"logs-{self._id[:12]}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Let the reading end soon; ``join`` waits for it."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Wait until the reading has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def take(self) -> tuple[list[str], int, bool]:
        """Return new lines, how many older ones had to be left out, and if it is the first time."""
        with self._lock:
            taken = (list(self._lines), self._left_out, self._is_first)
            self._lines.clear()
            self._left_out, self._is_first = 0, False
        return taken

    def _read(self) -> None:
        again = self._last_ns is not None
        try:
            entries = self._containers.logs(
                self._id,
                follow=True,
                tail=None if again else _TAIL,
                since_ns=self._last_ns + 1 if self._last_ns is not None else None,
                cancelled=self._stop,
            )
            for when, _, data in entries:
                self._last_ns = nanoseconds(when)
                self._add(data)
                if self._stop.is_set():
                    return
        except OcimagicError as err:
            self._put([str(err)])
        if self._rest:
            self._add(b"\n")

    def _add(self, data: bytes) -> None:
        """Cut into lines; one without an end goes on in the next record."""
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest
        if len(self._rest) > _LINE:
            whole, newline, self._rest = self._rest, b"\n", b""
        if newline:
            lines = (line.removesuffix(b"\r") for line in whole.split(b"\n"))  # a terminal's
            self._put([plain_text(line[:_LINE]) for line in lines])

    def _put(self, lines: list[str]) -> None:
        with self._lock:
            self._left_out += max(len(self._lines) + len(lines) - KEPT, 0)
            self._lines.extend(visible(line, lines=True) for line in lines)
        self._on_lines()
