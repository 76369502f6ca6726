"""What a daemon streams while it pulls, pushes, loads and builds: the inverse of ``progress``.

Spec: Docker Engine API v1.41, CreateImageInfo, PushImageInfo, BuildInfo; moby's own words.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDigest
from ocimagic.model.built import BuildStep
from ocimagic.model.event import (
    ENDED,
    Event,
    LayerPhase,
    LayerProgress,
    Output,
    StepDone,
    StepStarted,
    TransferStarted,
)
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.spec.codec import Fields

_PHASES = {
    "Pulling fs layer": LayerPhase.WAITING,
    "Waiting": LayerPhase.WAITING,
    "Preparing": LayerPhase.WAITING,
    "Downloading": LayerPhase.DOWNLOADING,
    "Download complete": LayerPhase.DOWNLOADING,
    "Extracting": LayerPhase.EXTRACTING,
    "Loading layer": LayerPhase.EXTRACTING,
    "Pull complete": LayerPhase.DONE,
    "Pushing": LayerPhase.UPLOADING,
    "Pushed": LayerPhase.DONE,
    "Already exists": LayerPhase.EXISTS,
    "Layer already exists": LayerPhase.EXISTS,
}
_MOUNTED = "Mounted from"
_STEP = re.compile(r"(?:Step (\d+)/(\d+) |STEP (\d+)/(\d+)): (.*)", re.DOTALL)  # or podman's
_MADE = re.compile(r" ---> ([0-9a-f]{12,64})\s*")
_CACHED = " ---> Using cache"
_LOADED = re.compile(r"Loaded image(?: ID)?: (\S+)")


class TransferReader:
    """Reads a pull, a push or a load; one object for one of them.

    Args:
        reference: of what.
        verb: ``pulling``, ``pushing`` or ``loading``.

    Attributes:
        digest: of the manifest, None while nobody has said it.
        manifest_bytes: size of it, for a push.
        up_to_date: everything was there already.
        loaded: names and IDs that a load brought.
        imported: the last line that is an image's ID.
    """

    def __init__(self, reference: str, verb: str) -> None:
        self._reference = reference
        self._verb = verb
        self._has_begun = False
        self._layers: dict[str, LayerProgress] = {}
        self.digest: Digest | None = None
        self.manifest_bytes = 0
        self.up_to_date = False
        self.loaded: list[str] = []
        self.imported = ""

    @property
    def layers(self) -> tuple[LayerProgress, ...]:
        """Return what is known of each layer."""
        return tuple(self._layers.values())

    @property
    def moved_bytes(self) -> int:
        """Return how much went over the network, as far as the daemon said."""
        return sum(
            each.total_bytes for each in self._layers.values() if each.phase is LayerPhase.DONE
        )

    def events(self, line: Fields) -> Iterator[Event]:
        """Yield what a line comes to."""
        if not self._has_begun:
            self._has_begun = True
            yield TransferStarted(self._reference, None, (), self._verb)
        status, name = line.text("status", ""), line.text("id", "")
        self._note(line, status)
        phase = LayerPhase.MOUNTED if status.startswith(_MOUNTED) else _PHASES.get(status)
        if phase is not None and name:
            yield self._moved(line, phase, name, is_whole=status == "Download complete")

    def _note(self, line: Fields, status: str) -> None:
        if status.startswith("Digest: "):
            with suppress(InvalidDigest):
                self.digest = Digest.parse(status.removeprefix("Digest: ").strip())
        elif status.startswith("Status: Image is up to date"):
            self.up_to_date = True
        elif status.startswith("sha256:"):
            self.imported = status.strip()
        if found := _LOADED.match(line.text("stream", "")):
            self.loaded.append(found[1])
        aux = line.child("aux")
        if text := aux.text("Digest", ""):
            self.digest, self.manifest_bytes = Digest.parse(text), aux.number("Size", 0)

    def _moved(
        self, line: Fields, phase: LayerPhase, name: str, *, is_whole: bool
    ) -> LayerProgress:
        detail, before = line.child("progressDetail"), self._layers.get(name)
        known = before.total_bytes if before else 0
        # While it unpacks the numbers may be of the same bytes; the size stays the first one.
        total = known or detail.integer("total", 0, least=-1)
        done = detail.number("current", 0)
        if phase in ENDED or is_whole:
            done = total = max(total, done, 0)
        digest = Digest.of(name.encode())  # the daemon says only the first digits of its own
        made = LayerProgress(digest, phase, done, max(total, 0), name=name)
        self._layers[name] = made
        return made


class BuildReader:
    """Reads a build of docker's classic builder.

    Attributes:
        image_id: of the result, None while nobody has said it.
    """

    def __init__(self) -> None:
        self.image_id: Digest | None = None
        self._started: StepStarted | None = None
        self._began = 0.0
        self._cached = False
        self.steps: list[BuildStep] = []
        self._pull = TransferReader("", "pulling")

    @property
    def running(self) -> str:
        """Return the instruction of the step that goes on, "" for none."""
        return self._started.text if self._started else ""

    def events(self, line: Fields) -> Iterator[Event]:
        """Yield what a line comes to."""
        if text := line.child("aux").text("ID", ""):
            self.image_id = Digest.parse(text)
        stream = line.text("stream", "")
        if not stream:
            if "status" in line:
                yield from self._pull.events(line)
            return
        if found := _STEP.match(stream):
            yield from self.ended()
            number, count = found[1] or found[3], found[2] or found[4]
            self._started = StepStarted(int(number), int(count), "", found[5].strip(), 0)
            self._began = time.monotonic()
            yield self._started
        elif stream.startswith(_CACHED):
            self._cached = True
        elif _MADE.fullmatch(stream) or stream.startswith((" ---> ", "Removing intermediate")):
            pass
        elif self._started is not None and stream.strip() and not stream.startswith("Successfully"):
            yield Output("stdout", stream.encode(), self._started.number)

    def ended(self) -> Iterator[Event]:
        """Yield the end of the step that goes on, if one does."""
        step, self._started = self._started, None
        if step is None:
            return
        seconds = time.monotonic() - self._began
        yield StepDone(step.number, self._cached, seconds, None, 0)
        self.steps.append(
            BuildStep(
                number=step.number,
                stage="",
                text=step.text,
                line=0,
                cached=self._cached,
                seconds=seconds,
                layer=None,
                size_bytes=0,
            )
        )
        self._cached = False
