"""What a cell shows while a command runs: output as text, progress as one changing picture."""

from __future__ import annotations

import codecs
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from ocimagic.errors import StepFailed
from ocimagic.magics.listing import Listing
from ocimagic.model.archive import Adopted, Loaded
from ocimagic.model.built import BuildResult
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
from ocimagic.model.report import Bootstrapped
from ocimagic.model.result import PullResult, PushResult
from ocimagic.render.html import paragraph

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.display import DisplayHandle

    from ocimagic.errors import OcimagicError
    from ocimagic.model.event import Event
    from ocimagic.render.progress import BuildProgress, PullProgress
    from ocimagic.widgets.progress import PullBars

    Bundle = dict[str, str]

_SUMMED_UP = PullResult | PushResult | BuildResult | Bootstrapped | Loaded | Adopted
INTERVAL_S = 0.1  # JupyterLab redraws a whole output; more often only makes it stutter


class Progress(Protocol):
    """One way to show that work moves on."""

    def show(self, event: Event) -> None:
        """Take an event."""
        ...

    def due_s(self) -> float | None:
        """Return the seconds until ``tick`` wants to be called, None for never."""
        ...

    def tick(self) -> None:
        """Draw."""
        ...

    def end(self, final: Bundle | None, *, is_told: bool = False) -> bool:
        """Leave ``final`` in place of the progress, or how far it came; tell if it is shown.

        Args:
            final: the summary; None if the work came to nothing.
            is_told: the last lines that were written follow anyway, in an error.
        """
        ...


class CellScreen:
    """The screen of one command."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._streams = Streams()
        self._live = Live()
        self._is_build = False

    def show(self, event: Event) -> None:
        """Show one event, now or at the next tick."""
        self._is_build = self._is_build or isinstance(event, StepStarted)
        match event:
            case Output(step=None):
                self._streams.write(event.stream, event.data)
            case Refreshed(value):
                self._live.show(value)
            case Notice() if not self._is_build:
                at = f"line {event.line}: " if event.line else ""
                self._streams.write("stderr", f"note: {at}{event.text}\n".encode())
            case _:
                self._progress.show(event)

    def due_s(self) -> float | None:
        """Return the seconds until the progress wants to be drawn, None for never."""
        return self._progress.due_s()

    def tick(self) -> None:
        """Draw the progress."""
        self._progress.tick()

    def end(
        self,
        value: object,
        draw: Callable[[object], Bundle],
        failure: OcimagicError | None = None,
    ) -> bool:
        """Write what is left; tell whether ``value`` is on the screen now.

        Args:
            value: what the command came to.
            draw: draws it.
            failure: why it came to nothing, which is shown next.
        """
        self._streams.end()
        is_told = isinstance(failure, StepFailed) and bool(failure.tail)
        if self._live.shows(value):
            self._progress.end(None, is_told=is_told)  # of a build within, say
            return True
        summed_up = isinstance(value, _SUMMED_UP)
        shown = self._progress.end(draw(value) if summed_up else None, is_told=is_told)
        return shown and summed_up


class Live:
    """A result that changes while its command runs, in one place of the cell."""

    def __init__(self) -> None:
        self._value: object = None
        self._handle: DisplayHandle | None = None

    def show(self, value: object) -> None:
        """Put a result in the place of the one before."""
        from IPython.display import DisplayHandle

        self._value = value
        drawn = Listing(value) if isinstance(value, tuple) else value
        if self._handle is None:
            self._handle = DisplayHandle()
            self._handle.display(drawn)
        else:
            self._handle.update(drawn)

    def shows(self, value: object) -> bool:
        """Tell whether this is what is shown now."""
        shown = value.items if isinstance(value, Listing) else value
        return self._handle is not None and shown is self._value


class Streams:
    """Bytes of a container's streams, to the cell's streams."""

    def __init__(self) -> None:
        # A character may be cut between two writes; what is no UTF-8 shows as U+FFFD.
        self._decoders = {
            stream: codecs.getincrementaldecoder("utf-8")("replace")
            for stream in ("stdout", "stderr")
        }
        self._last = "stdout"

    def write(self, stream: str, data: bytes) -> None:
        """Write what can be decoded so far."""
        self._say(stream, self._decoders[stream].decode(data))

    def end(self) -> None:
        """Write what was cut off."""
        for stream, decoder in self._decoders.items():
            self._say(stream, decoder.decode(b"", final=True))

    def _say(self, stream: str, text: str) -> None:
        if not text:
            return
        if stream != self._last:
            # Each stream has its own buffer in the kernel: without this, they swap order.
            (sys.stdout if self._last == "stdout" else sys.stderr).flush()
            self._last = stream
        (sys.stdout if stream == "stdout" else sys.stderr).write(text)


class NoProgress:
    """Shows nothing."""

    def show(self, event: Event) -> None:
        """Take an event."""

    def due_s(self) -> None:
        """Never want to draw."""

    def tick(self) -> None:
        """Draw nothing."""

    def end(self, final: Bundle | None, *, is_told: bool = False) -> bool:  # noqa: ARG002  nothing is left
        """Leave nothing."""
        return False


class TextProgress(NoProgress):
    """Says a line for each layer and step, for terminals and logs."""

    def __init__(self) -> None:
        from ocimagic.render.side_by_side import Labels

        self._labels = Labels()

    def show(self, event: Event) -> None:
        """Say what has begun or ended."""
        from ocimagic.render.progress import ended_amount

        self._labels.hear(event)
        match event:
            case TransferStarted():
                self._say(f"{event.verb} {event.reference}")
            case LayerProgress(phase=phase) if phase in ENDED:
                speed = f", {ended_amount(event)}" if event.bytes_per_s else ""
                self._say(f"{event.label}: {event.phase.value}{speed}")
            case StepStarted():
                self._say(f"[{event.number}/{event.total}] {event.text}")
            case StepDone(why=why, image_id=image_id):
                said = "  cached" if event.cached else f"  not cached: {why}" if why else ""
                arrow = f" ---> {image_id.short}" if image_id else ""
                if said or arrow:
                    self._say(f"{said}{arrow}")
            case Output():
                self._say(self._labels.labelled(event).decode(errors="replace").rstrip("\n"))
            case Notice():
                self._say(event.text)
            case _:
                pass

    def _say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")


def standing(now: datetime) -> str:
    """Say what is true of a state of work whenever it is read, and if nothing follows it, too.

    A kernel that is killed leaves the last state in the notebook as it was drawn.
    """
    return (
        f"This is how far it was at {now:%Y-%m-%d %H:%M:%S} UTC; its summary takes this place. "
        "Without one its kernel ended first: run the cell again."
    )


class HtmlProgress:
    """One display that changes at most ten times a second.

    Args:
        only_text: leave the HTML out.
    """

    def __init__(self, *, only_text: bool = False) -> None:
        self._only_text = only_text
        self._state: PullProgress | BuildProgress | None = None
        self._handle: DisplayHandle | None = None
        self._drawn_s = 0.0
        self._is_due = False

    def show(self, event: Event) -> None:
        """Fold an event into the state."""
        from ocimagic.render.progress import BuildProgress, PullProgress

        if self._state is None or (
            isinstance(event, StepStarted) and not isinstance(self._state, BuildProgress)
        ):
            self._state = BuildProgress() if isinstance(event, StepStarted) else PullProgress()
        before, self._state = self._state, self._state.update(event)
        self._is_due = self._is_due or self._state != before

    def due_s(self) -> float | None:
        """Return the seconds until the next drawing, None when nothing has changed."""
        if not self._is_due:
            return None
        return max(0.0, self._drawn_s + INTERVAL_S - time.monotonic())

    def tick(self) -> None:
        """Draw the state."""
        if self._state is not None and self._is_due:
            text, html = self._state.text(), self._state.html()
            if text:
                said = standing(datetime.now(UTC))
                text, html = f"{text}\n{said}", html + paragraph(said)
            self._put({"text/plain": text, "text/html": html})
            self._drawn_s, self._is_due = time.monotonic(), False

    def end(self, final: Bundle | None, *, is_told: bool = False) -> bool:
        """Leave the summary, or the state as one that is over."""
        if self._state is None:
            return False
        over = self._state.stopped()
        if is_told:
            over = over.without_tail()
        drawn = {"text/plain": over.text(), "text/html": over.html()}
        self._put(_with_layers(final, over) if final else drawn)
        return True

    def _put(self, bundle: Bundle) -> None:
        from IPython.display import DisplayHandle

        if not bundle["text/plain"]:
            return
        if self._only_text:
            bundle = {"text/plain": bundle["text/plain"]}
        if self._handle is None:
            self._handle = DisplayHandle()
            self._handle.display(bundle, raw=True)
        else:
            self._handle.update(bundle, raw=True)


def _with_layers(final: Bundle, over: PullProgress | BuildProgress) -> Bundle:
    """Fold what became of each layer below the summary of a pull, a push or a load."""
    from ocimagic.render.html import details
    from ocimagic.render.progress import PullProgress

    if not isinstance(over, PullProgress) or not over.is_whole or "text/html" not in final:
        return final
    return final | {"text/html": final["text/html"] + details("Layer by layer", over.html())}


class WidgetProgress(HtmlProgress):
    """Bars of ipywidgets while a pull lasts; anything else, and the end, as HTML."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: PullBars | None = None

    def tick(self) -> None:
        """Move the bars."""
        from ocimagic.render.progress import PullProgress

        if not isinstance(self._state, PullProgress):
            super().tick()
        elif self._is_due:
            if self._bars is None:
                self._start()
            assert self._bars is not None
            self._bars.draw(self._state)
            self._drawn_s, self._is_due = time.monotonic(), False

    def end(self, final: Bundle | None, *, is_told: bool = False) -> bool:
        """Put the static summary where the bars were: a saved notebook has no widgets."""
        shown = super().end(final, is_told=is_told)
        if self._bars is not None:
            self._bars.close()
        return shown

    def _start(self) -> None:
        from IPython.display import DisplayHandle

        from ocimagic.widgets.progress import PullBars

        self._bars, self._handle = PullBars(), DisplayHandle()
        self._handle.display(self._bars)
