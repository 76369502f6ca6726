"""What the last build of a cell did, line by line, also when it came to no end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.event import StepDone, StepStarted
from ocimagic.render.units import human_seconds, human_size

if TYPE_CHECKING:
    from ocimagic.model.event import Event


class LastBuild:
    """Listens to a build whose Dockerfile is the body of a cell."""

    def __init__(self) -> None:
        self._started: dict[int, StepStarted] = {}
        self._done: dict[int, StepDone] = {}

    def see(self, event: Event) -> None:
        """Take note of an event; lines are those of the cell."""
        match event:
            case StepStarted():
                self._started[event.number] = event
            case StepDone():
                self._done[event.number] = event

    def about(self, text: str) -> tuple[str, ...]:
        """Say what the build did with an instruction, in sentences; nothing if it met none such.

        Args:
            text: the instruction as it stands now, on one line.
        """
        wanted = text.split()
        for number, step in sorted(self._started.items()):
            if step.text.split() == wanted:
                return self._said(step, self._done.get(number))
        return ()

    def _said(self, step: StepStarted, done: StepDone | None) -> tuple[str, ...]:
        where = f"In the last build: step {step.number} of {step.total}, stage {step.stage}"
        if done is None:
            return (f"{where}. It did not come to its end.",)
        took = "taken from the cache" if done.cached else f"done in {human_seconds(done.seconds)}"
        if done.layer is None:
            made = "it made no layer"
        else:
            made = f"its layer is {str(done.layer)[:19]}…, {human_size(done.size_bytes)}"
        said = [f"{where}: {took}; {made}."]
        if done.why:
            said.append(f"It was not taken from the cache: {done.why}.")
        return tuple(said)
