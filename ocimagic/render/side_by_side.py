"""Whose output it is, while several steps of a build run at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.event import Output, StepDone, StepStarted

if TYPE_CHECKING:
    from ocimagic.model.event import Event


class Labels:
    """Hears of all steps, and puts the number of its own before a line where it is needed."""

    def __init__(self) -> None:
        self._running: set[int] = set()

    def hear(self, event: Event) -> None:
        """Learn what runs."""
        if isinstance(event, StepStarted):
            self._running.add(event.number)
        elif isinstance(event, StepDone):
            self._running.discard(event.number)

    def labelled(self, output: Output) -> bytes:
        """Return what was written, line by line with its step if others run beside it."""
        if output.step is None or len(self._running) < 2:
            return output.data
        label = f"[{output.step}] ".encode()
        lines = output.data.splitlines(keepends=True)
        text = b"".join(label + line for line in lines)
        return text if text.endswith(b"\n") else text + b"\n"
