"""A container's terminal in a cell: a widget where one can be shown, else line by line.

``NotebookConsole.drive`` is the one place that decides which.
"""

from __future__ import annotations

import queue
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from ocimagic.model.event import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.model.containers import AttachmentAPI, TerminalAPI
    from ocimagic.model.event import OnEvent

    # Runs a function in the thread of the cell and returns what it returns.
    InCell = Callable[[Callable[[], Any]], Any]

QUIET_S = 0.25  # so long nothing is written: it waits for a line
_TICK_S = 0.05
_INTERRUPT = b"\x03"
# What moves cursors and sets colours; a cell's text has neither.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_()].?)")


class NotebookConsole:
    """Somebody at a notebook.

    Args:
        in_cell: runs a function in the thread of the cell, where IPython can display and ask.
        on_event: shows output in the cell.
        cancelled: is set when the stop button was pressed.
        has_widget: says whether a terminal can be shown that goes on by itself; asked when
            there is one, as an answer loads all widgets.
    """

    def __init__(
        self,
        in_cell: InCell,
        on_event: OnEvent,
        cancelled: threading.Event,
        *,
        has_widget: Callable[[], bool],
    ) -> None:
        self._in_cell = in_cell
        self._on_event = on_event
        self._cancelled = cancelled
        self._has_widget = has_widget

    def size(self) -> tuple[int, int] | None:
        """Return nothing: a cell has no rows, and a widget tells its own."""
        return None

    def drive(self, attachment: AttachmentAPI, terminal: TerminalAPI) -> bool:
        """Show the terminal in a widget that goes on, or ask for line after line."""
        if self._has_widget():
            self._in_cell(lambda: show_widget(attachment, terminal))
            return True
        _Lines(self._in_cell, self._on_event, self._cancelled, terminal).run()
        return False


class _Lines:
    """A terminal used line by line: what it writes, then a box to type into."""

    def __init__(
        self,
        in_cell: InCell,
        on_event: OnEvent,
        cancelled: threading.Event,
        terminal: TerminalAPI,
    ) -> None:
        self._in_cell = in_cell
        self._on_event = on_event
        self._cancelled = cancelled
        self._terminal = terminal
        self._written: queue.Queue[bytes | None] = queue.Queue()
        self._asking = threading.Event()
        self._echo = b""

    def run(self) -> None:
        """Go on until the process ends, or the user stops."""
        reader = threading.Thread(target=self._read, name="ocimagic-terminal", daemon=True)
        reader.start()
        interrupts = 0
        while self._show_until_quiet():
            line = self._ask()
            if line is None:
                interrupts += 1
                if interrupts > 1:
                    break
                self._terminal.write(_INTERRUPT)
            else:
                interrupts = 0
                self._echo = line.encode()
                self._terminal.write(line.encode() + b"\n")
        self._terminal.leave()
        reader.join()
        self._show_rest()

    def _read(self) -> None:
        try:
            for data in self._terminal.output():
                if self._asking.is_set():
                    # The cell's thread waits for the user: nobody would show an event.
                    sys.stdout.write(self._plain(data))
                    sys.stdout.flush()
                else:
                    self._written.put(data)
        finally:
            self._written.put(None)

    def _show_until_quiet(self) -> bool:
        """Show what is written; False when the process has ended or the user stopped."""
        last = time.monotonic()
        while time.monotonic() - last < QUIET_S:
            if self._cancelled.is_set():
                return False
            try:
                data = self._written.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            if data is None:
                return False
            self._on_event(Output("stdout", self._plain(data).encode()))
            last = time.monotonic()
        return True

    def _show_rest(self) -> None:
        while not self._written.empty():
            if data := self._written.get_nowait():
                self._on_event(Output("stdout", self._plain(data).encode()))

    def _ask(self) -> str | None:
        """Return a line that was typed, None when the user pressed stop instead."""

        def ask() -> str | None:
            try:
                return input()
            except (KeyboardInterrupt, EOFError):
                return None

        self._asking.set()
        try:
            answer = self._in_cell(ask)
        finally:
            self._asking.clear()
        return None if answer is None else str(answer)

    def _plain(self, data: bytes) -> str:
        """Return output as a cell shows it, without the echo of what was typed into the box."""
        plain = _ESCAPES.sub(b"", data).replace(b"\r\n", b"\n").replace(b"\r", b"")
        if self._echo and plain.startswith(self._echo):
            plain = plain[len(self._echo) :].removeprefix(b"\n")
            self._echo = b""
        return plain.decode(errors="replace")


def show_widget(attachment: AttachmentAPI, terminal: TerminalAPI) -> None:
    """Show a terminal that goes on by itself, on its transcript, which is what stays."""
    from IPython.display import DisplayHandle

    from ocimagic.widgets.terminal import Terminal, transcript_html

    handle = DisplayHandle()

    def bundle(transcript: str, ending: str) -> dict[str, str]:
        html = transcript_html(attachment.name, transcript, ending)
        return {"text/plain": f"{transcript}\n{ending}".strip(), "text/html": html}

    def so_far(transcript: str) -> dict[str, str]:
        drawn = bundle(transcript, "it went on when this was saved")
        return drawn | {"text/html": widget.mark(drawn["text/html"])}

    def ended(transcript: str) -> None:
        attachment.close()
        handle.update(bundle(transcript, terminal.ending()), raw=True)
        widget.close()

    widget = Terminal(
        terminal,
        attachment.name,
        ended,
        on_more=lambda transcript: handle.update(so_far(transcript), raw=True),
    )
    handle.display(so_far(""), raw=True)
    widget.serve()
