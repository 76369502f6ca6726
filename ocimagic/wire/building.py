"""A build as the lines that docker's daemon streams, in its classic builder's words.

Spec: Docker Engine API v1.41, ImageBuild and BuildInfo; moby's builder/dockerfile for the words.
The classic builder tells one step after the other; ours does several at once, so that what the
others say is kept back until their turn comes.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.model.event import (
    LayerProgress,
    Notice,
    Output,
    StepDone,
    StepStarted,
    TransferStarted,
)
from ocimagic.spec.reference import Reference
from ocimagic.wire.progress import PullLines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.model.built import BuildResult
    from ocimagic.model.event import Event
    from ocimagic.wire.progress import Line

# Findings of the linter, and what concerns a context that docker's client has filtered already:
# the classic builder knows neither.
_UNTOLD = re.compile(r"[A-Z][A-Za-z]+: |the \.dockerignore of ")
_UNUSED = re.compile(r"build argument (\S+) is not used")
_RED, _PLAIN = "\x1b[91m", "\x1b[0m"


class BuildLines:
    """Writes a build; one object for one build.

    Args:
        quiet: only the image's ID is told.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._pull = PullLines()
        self._kept: dict[int, list[Line]] = {}
        self._ended: set[int] = set()
        self._current: int | None = None
        self._bases: set[int] = set()
        self._unused: list[str] = []

    def lines(self, event: Event) -> Iterator[Line]:
        """Yield what may be told now that an event came."""
        if self._quiet:
            return
        match event:
            case StepStarted() | StepDone() | Output(step=int()):
                yield from self._step(event)
            case Output():
                yield _written(event)
            case TransferStarted() | LayerProgress():
                yield from self._pull.lines(event)
            case Notice():
                yield from self._noticed(event.text)

    def _noticed(self, text: str) -> Iterator[Line]:
        if found := _UNUSED.match(text):
            self._unused.append(found[1])
        elif not _UNTOLD.match(text):
            yield {"stream": f" ---> [Warning] {text}\n"}

    def _step(self, event: StepStarted | StepDone | Output) -> Iterator[Line]:
        number = event.step if isinstance(event, Output) else event.number
        assert number is not None
        if isinstance(event, StepStarted) and event.text[:5].upper() == "FROM ":
            self._bases.add(number)
        if isinstance(event, StepDone) and number in self._bases:
            event = replace(event, cached=False)  # an image is there, or is not
        said = list(_lines(event))
        if self._current is None:
            self._current = number
        if number == self._current:
            yield from said
        else:
            self._kept.setdefault(number, []).extend(said)
        if isinstance(event, StepDone):
            self._ended.add(number)
            if number == self._current:
                yield from self._next()

    def _next(self) -> Iterator[Line]:
        """Tell what was kept back: all of steps that are over, then one that is not."""
        self._current = None
        for number in sorted(self._kept):
            yield from self._kept.pop(number)
            if number not in self._ended:
                self._current = number
                return

    def rest(self) -> Iterator[Line]:
        """Yield what is still kept back, in a build that ends early."""
        for number in sorted(self._kept):
            yield from self._kept.pop(number)

    def done(self, result: BuildResult) -> Iterator[Line]:
        """Yield the last lines."""
        yield from self.rest()
        image_id = result.image_id
        if self._quiet:
            yield {"stream": f"{image_id}\n"}
            return
        if self._unused:
            names = " ".join(self._unused)
            yield {"stream": f"[Warning] One or more build-args [{names}] were not consumed\n"}
        yield {"aux": {"ID": str(image_id)}}
        yield {"stream": f"Successfully built {image_id.short}\n"}
        for tag in result.tags:
            yield {"stream": f"Successfully tagged {Reference.parse(tag).familiar}\n"}


def _lines(event: StepStarted | StepDone | Output) -> Iterator[Line]:
    match event:
        case StepStarted():
            yield {"stream": f"Step {event.number}/{event.total} : {event.text}"}
            yield {"stream": "\n"}
        case StepDone():
            if event.cached:
                yield {"stream": " ---> Using cache\n"}
            if event.image_id:
                yield {"stream": f" ---> {event.image_id.short}\n"}
        case Output():
            yield _written(event)


def _written(event: Output) -> Line:
    text = event.data.decode(errors="replace")
    return {"stream": f"{_RED}{text}{_PLAIN}" if event.stream == "stderr" else text}
