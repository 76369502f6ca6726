"""The state of a running pull or build, folded from its events.

``update`` returns a new state, so a front room may keep, compare and throttle states as it
likes; drawing is apart from folding.  When the work ends, the front room shows the result
instead, or ``stopped()`` of the last state: a saved notebook must not say "downloading".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.event import (
    ENDED,
    LayerPhase,
    LayerProgress,
    Notice,
    Output,
    StepDone,
    StepStarted,
    TransferStarted,
)
from ocimagic.render.escape import markup, shorten, visible
from ocimagic.render.html import paragraph, preformatted, table_html
from ocimagic.render.table import INSTRUCTION_WIDTH, Table
from ocimagic.render.units import count, human_rate, human_seconds, human_size
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.model.event import Event

BAR_WIDTH = 24
TAIL_LINES = 8
_LINE_LENGTH = 200
_MOVING = frozenset({LayerPhase.DOWNLOADING, LayerPhase.UPLOADING})


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull or a load is.

    Attributes:
        layers: bottom first.
        is_over: no event will follow; what is not done stays undone.
    """

    reference: str = ""
    layers: tuple[LayerProgress, ...] = ()
    is_over: bool = False

    def update(self, event: Event) -> PullProgress:
        """Return the state after an event; events of other work change nothing."""
        if isinstance(event, TransferStarted):
            waiting = [
                LayerProgress(digest, LayerPhase.WAITING, 0, size) for digest, size in event.layers
            ]
            return PullProgress(event.reference, tuple(waiting))
        if isinstance(event, LayerProgress):
            return replace(self, layers=_with(self.layers, event))
        return self

    def stopped(self) -> PullProgress:
        """Return the state as it stays when the pull broke off."""
        return replace(self, is_over=True)

    def without_tail(self) -> PullProgress:
        """Return the state itself: a pull writes nothing."""
        return self

    @property
    def done_bytes(self) -> int:
        """Return the compressed bytes that are here."""
        return sum(
            layer.total_bytes if layer.phase in ENDED else layer.done_bytes for layer in self.layers
        )

    @property
    def bytes_per_s(self) -> float:
        """Return how fast all layers move together now; 0 when none does."""
        return sum(layer.bytes_per_s for layer in self.layers if layer.phase in _MOVING)

    @property
    def is_whole(self) -> bool:
        """Say whether every layer has come to its end."""
        return bool(self.layers) and all(layer.phase in ENDED for layer in self.layers)

    @property
    def total_bytes(self) -> int:
        """Return the compressed size of all layers."""
        return sum(layer.total_bytes for layer in self.layers)

    def text(self) -> str:
        """Draw one line per layer."""
        if not self.layers:
            return ""
        lines = [_layer_line(layer, is_over=self.is_over) for layer in self.layers]
        return "\n".join([f"{visible(self.reference)}: {self.summary()}", *lines])

    def html(self) -> str:
        """Draw a bar per layer."""
        if not self.layers:
            return ""
        rows = "".join(_layer_row(layer, is_over=self.is_over) for layer in self.layers)
        return (
            '<table style="border-collapse:collapse"><caption style="text-align:left">'
            f"{markup(self.reference)}: {self.summary()}</caption><thead><tr>"
            '<th scope="col" style="text-align:left">LAYER</th>'
            '<th scope="col" style="text-align:left">STATE</th>'
            '<th scope="col" style="text-align:left">PROGRESS</th>'
            f"</tr></thead><tbody>{rows}</tbody></table>"
        )

    def summary(self) -> str:
        """Say in a few words how far it is, and how fast."""
        said = human_size(self.done_bytes)
        if self.total_bytes or not self.done_bytes:
            said += f" of {human_size(self.total_bytes)}"
        if self.bytes_per_s and not self.is_over:
            said += f", {human_rate(self.bytes_per_s)}"
        unfinished = sum(layer.phase not in ENDED for layer in self.layers)
        return f"{said}, stopped before the end" if self.is_over and unfinished else said


@dataclass(frozen=True, slots=True)
class StepProgress:
    """One step of a running build; ``done`` is None while it runs."""

    started: StepStarted
    done: StepDone | None = None


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is.

    Attributes:
        steps: in the order they began.
        pull: the base image on its way, if one is.
        tail: the last lines that the running step wrote.
        is_over: no event will follow.
    """

    steps: tuple[StepProgress, ...] = ()
    pull: PullProgress | None = None
    tail: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    is_over: bool = False

    def update(self, event: Event) -> BuildProgress:
        """Return the state after an event."""
        match event:
            case StepStarted():
                steps = (*self.steps, StepProgress(event))
                return replace(self, steps=steps, tail=(), pull=None)
            case StepDone():
                steps = tuple(
                    replace(step, done=event) if step.started.number == event.number else step
                    for step in self.steps
                )
                return replace(self, steps=steps, tail=(), pull=None)
            case Output():
                return replace(self, tail=_grown(self.tail, event.data))
            case Notice():
                return replace(self, notices=(*self.notices, event))
            case TransferStarted() | LayerProgress():
                return replace(self, pull=(self.pull or PullProgress()).update(event))
            case _:  # nothing else happens in a build
                return self

    def stopped(self) -> BuildProgress:
        """Return the state as it stays when the build broke off."""
        pull = self.pull and self.pull.stopped()
        return replace(self, is_over=True, pull=pull)

    def without_tail(self) -> BuildProgress:
        """Return the state without what the step wrote, for whoever reads that elsewhere."""
        return replace(self, tail=())

    def text(self) -> str:
        """Draw one line per step, then what the running one says."""
        lines = [
            f"{_number(step)} {_word(step, self)}  {_instruction(step)}{_arrow(step)}"
            for step in self.steps
        ]
        lines += [f"warning: {_notice(notice)}" for notice in self.notices]
        if self.pull and self.pull.layers:
            lines.append(self.pull.text())
        return "\n".join(visible(line, lines=True) for line in [*lines, *self._said()])

    def html(self) -> str:
        """Draw the steps as a table, then what the running one says."""
        rows = tuple(
            (_number(step), _instruction(step), _word(step, self), _image(step))
            for step in self.steps
        )
        heads = ("STEP", "INSTRUCTION", "STATE", "IMAGE")
        parts = [table_html(Table(self._caption(), heads, rows))] if rows else []
        parts += [paragraph(f"Warning: {_notice(notice)}") for notice in self.notices]
        if self.pull:
            parts.append(self.pull.html())
        if self.tail:
            parts.append(preformatted("\n".join(self.tail)))
        return "".join(parts)

    def _caption(self) -> str:
        """Say how far it is, or came."""
        done = sum(step.done is not None for step in self.steps)
        return f"Build: {done} of {count(self.steps[-1].started.total, 'step')} done"

    def _said(self) -> list[str]:
        return [f"    {visible(line)}" for line in self.tail]


def _with(layers: Sequence[LayerProgress], event: LayerProgress) -> tuple[LayerProgress, ...]:
    """Put a layer's news in its place; workers may report out of order, bytes never shrink."""
    known = {layer.digest: layer for layer in layers}
    before = known.get(event.digest)
    if before and _later(before, event):
        return tuple(layers)
    return tuple((known | {event.digest: event}).values())


_ORDER = {phase: number for number, phase in enumerate(LayerPhase)}


def _later(one: LayerProgress, other: LayerProgress) -> bool:
    return (_ORDER[one.phase], one.done_bytes) > (_ORDER[other.phase], other.done_bytes)


def _share(layer: LayerProgress) -> float:
    if layer.phase in ENDED or not layer.total_bytes:
        return 1.0 if layer.phase in ENDED else 0.0
    return min(layer.done_bytes / layer.total_bytes, 1.0)


def _phase(layer: LayerProgress, *, is_over: bool) -> str:
    return "not finished" if is_over and layer.phase not in ENDED else layer.phase.value


def _amount(layer: LayerProgress, *, is_over: bool) -> str:
    if layer.phase in ENDED:
        return ended_amount(layer)
    said = human_size(layer.done_bytes)
    if layer.total_bytes:
        said += f" of {human_size(layer.total_bytes)}"
    moves = layer.phase in _MOVING and layer.bytes_per_s and not is_over
    return f"{said}, {human_rate(layer.bytes_per_s)}" if moves else said


def ended_amount(layer: LayerProgress) -> str:
    """Say how large a layer is, and how fast it came or went."""
    size = human_size(layer.total_bytes)
    return f"{size} at {human_rate(layer.bytes_per_s)}" if layer.bytes_per_s else size


def _layer_line(layer: LayerProgress, *, is_over: bool) -> str:
    full = round(_share(layer) * BAR_WIDTH)
    bar = "=" * full + " " * (BAR_WIDTH - full)
    phase = _phase(layer, is_over=is_over)
    return f"{layer.label}  {phase:<14}  [{bar}]  {_amount(layer, is_over=is_over)}"


def _layer_row(layer: LayerProgress, *, is_over: bool) -> str:
    percent = f"{_share(layer):.0%}"
    cell = 'style="text-align:left;padding-right:1em;font-weight:normal"'
    return (
        f'<tr><th scope="row" {cell}><code>{markup(layer.label)}</code></th>'
        f"<td {cell}>{_phase(layer, is_over=is_over)}</td>"
        # The words inside are what a reader without <progress> shows.
        f'<td {cell}><progress max="1" value="{_share(layer):.3f}">{percent}</progress> '
        f"{_amount(layer, is_over=is_over)}</td></tr>"
    )


def _grown(tail: tuple[str, ...], data: bytes) -> tuple[str, ...]:
    lines = data.decode(errors="replace").splitlines()
    return (*tail, *(shorten(line, _LINE_LENGTH) for line in lines))[-TAIL_LINES:]


def _number(step: StepProgress) -> str:
    return f"{step.started.number}/{step.started.total}"


def _instruction(step: StepProgress) -> str:
    return shorten(step.started.text, INSTRUCTION_WIDTH)


def _word(step: StepProgress, build: BuildProgress) -> str:
    if step.done:
        if step.done.cached:
            return "cached"
        took = human_seconds(step.done.seconds)
        return f"{took}: {step.done.why}" if step.done.why else took
    return "not finished" if build.is_over else "running"


def _image(step: StepProgress) -> str:
    """Return the ID by which what a step came to can be run, once it is known."""
    return step.done.image_id.short if step.done and step.done.image_id else ""


def _arrow(step: StepProgress) -> str:
    return f"  ---> {_image(step)}" if _image(step) else ""


def _notice(notice: Notice) -> str:
    return f"line {notice.line}: {notice.text}" if notice.line else notice.text
