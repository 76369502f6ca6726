"""Live events on a terminal: progress on standard error, output where it belongs.

On a real terminal a pull is redrawn in place; elsewhere each layer and step says one line
when it is done, which is what a log file wants.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from ocimagic.model.event import (
    ENDED,
    LayerProgress,
    Notice,
    Output,
    Refreshed,
    StepDone,
    StepStarted,
    TransferStarted,
)
from ocimagic.render.display import as_text
from ocimagic.render.escape import visible
from ocimagic.render.progress import PullProgress, ended_amount
from ocimagic.render.side_by_side import Labels
from ocimagic.render.units import human_seconds

if TYPE_CHECKING:
    from ocimagic.model.event import Event

REDRAW_S = 0.1
_HOME = "\x1b[2J\x1b[H"  # clear the screen, go to its first line: what docker stats does


class Terminal:
    """A listener for events.

    Args:
        stdout: gets what containers write there.
        stderr: gets the rest.
        redraws: standard error is a terminal that understands cursor movement.

    Attributes:
        refreshed: the result that was drawn last while its command ran.
    """

    def __init__(self, stdout: BinaryIO, stderr: BinaryIO, *, redraws: bool) -> None:
        self._stdout = stdout
        self._labels = Labels()
        self._stderr = stderr
        self._redraws = redraws
        self._pull = PullProgress()
        self._drawn_lines = 0
        self._drawn_at = 0.0
        self.refreshed: object = None
        # Layers are fetched by several threads, and each reports for itself.
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        with self._lock:
            self._show(event)

    def end(self) -> None:
        """Leave the progress of a pull as it is now."""
        with self._lock:
            self._settle()

    def _show(self, event: Event) -> None:
        self._labels.hear(event)
        match event:
            case TransferStarted() | LayerProgress():
                self._progress(event)
            case Output(stream, _, step):
                self._settle()
                # A build's steps talk beside its result, which is what stdout is for.
                out = self._stdout if stream == "stdout" and step is None else self._stderr
                out.write(self._labels.labelled(event))
                out.flush()
            case StepStarted(number, total, _, text, _):
                self._settle()
                self._say(f"[{number}/{total}] {text}")
            case StepDone(number, cached, seconds):
                self._settle()
                why = f": {event.why}" if event.why else ""
                # docker's arrow: what the step came to can be run by this ID.
                arrow = f" ---> {event.image_id.short}" if event.image_id else ""
                said = "cached" if cached else human_seconds(seconds)
                self._say(f"[{number}] {said}{why}{arrow}")
            case Notice(text, line):
                self._settle()
                self._say(f"warning: line {line}: {text}" if line else text)
            case Refreshed(value):
                self._refresh(value)

    def _refresh(self, value: object) -> None:
        """Draw a result anew, over the one before where that can be done."""
        self.refreshed = value
        text = as_text(value, datetime.now(UTC))
        clear = _HOME if self._stdout.isatty() else ""
        self._stdout.write(f"{clear}{text}\n".encode(errors="backslashreplace"))
        self._stdout.flush()

    def _progress(self, event: TransferStarted | LayerProgress) -> None:
        if isinstance(event, TransferStarted):
            self._settle()
            self._say(f"{event.verb} {event.reference}")
        self._pull = self._pull.update(event)
        ended = isinstance(event, LayerProgress) and event.phase in ENDED
        if self._redraws:
            if ended or time.monotonic() - self._drawn_at >= REDRAW_S:
                self._redraw()
        elif ended and isinstance(event, LayerProgress):
            self._say(f"{event.label}  {event.phase.value}{_speed(event)}")

    def _redraw(self) -> None:
        """Write the layers over what was drawn before: cursor up, clear to the end."""
        lines = self._pull.text().splitlines()[1:]
        up = f"\x1b[{self._drawn_lines}F\x1b[J" if self._drawn_lines else ""
        self._write(up + "".join(f"{line}\n" for line in lines))
        self._drawn_lines = len(lines)
        self._drawn_at = time.monotonic()

    def _settle(self) -> None:
        """Draw the last state and begin anew below it."""
        if self._drawn_lines:
            self._redraw()
            self._drawn_lines = 0
            self._pull = PullProgress()

    def _say(self, text: str) -> None:
        self._write(visible(text) + "\n")

    def _write(self, text: str) -> None:
        self._stderr.write(text.encode(errors="backslashreplace"))
        self._stderr.flush()


def _speed(event: LayerProgress) -> str:
    return f", {ended_amount(event)}" if event.bytes_per_s else ""
