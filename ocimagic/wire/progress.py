"""Pull, push, load and import as the lines that docker's daemon streams while they go on.

Each line is one JSON object.  Spec: Docker Engine API v1.41, CreateImageInfo, PushImageInfo;
moby's jsonmessage (the bar in ``progress``), distribution and image/tarexport for the words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import StepFailed
from ocimagic.model.event import LayerPhase, LayerProgress, Notice, TransferStarted
from ocimagic.spec.reference import Reference
from ocimagic.wire.words import docker_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.errors import OcimagicError
    from ocimagic.model.archive import Imported, Loaded
    from ocimagic.model.event import Event
    from ocimagic.model.result import PullResult, PushResult
    from ocimagic.spec.digest import Digest

Line = dict[str, object]
_BAR = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


class PullLines:
    """Writes a pull; one object for one pull."""

    def __init__(self) -> None:
        self._fetched: set[Digest] = set()
        self._ended: set[Digest] = set()

    def lines(self, event: Event) -> Iterator[Line]:
        """Yield what an event comes to; nothing for most that are not about layers."""
        match event:
            case TransferStarted(verb="pulling"):
                reference = Reference.parse(event.reference)
                yield {"status": f"Pulling from {reference.repository}", "id": _tag(reference)}
                for digest, _ in event.layers:
                    yield status("Pulling fs layer", digest.short)
            case LayerProgress():
                yield from self._layer(event)
            case Notice():
                yield {"status": event.text}

    def _layer(self, event: LayerProgress) -> Iterator[Line]:
        digest, name = event.digest, event.label
        if digest in self._ended:
            return
        if event.phase is LayerPhase.WAITING:
            yield status("Waiting", name)
        elif event.phase is LayerPhase.DOWNLOADING:
            yield moving("Downloading", name, event.done_bytes, event.total_bytes)
        elif event.phase is LayerPhase.EXISTS:
            self._ended.add(digest)
            yield status("Already exists", name)
        else:
            if digest not in self._fetched:
                self._fetched.add(digest)
                yield status("Verifying Checksum", name)
                yield status("Download complete", name)
            if event.phase is LayerPhase.EXTRACTING:
                yield moving("Extracting", name, event.done_bytes, event.total_bytes)
            elif event.phase is LayerPhase.DONE:
                self._ended.add(digest)
                yield status("Pull complete", name)

    def done(self, result: PullResult) -> Iterator[Line]:
        """Yield the last lines."""
        yield {"status": f"Digest: {result.digest}"}
        said = "Image is up to date for" if result.up_to_date else "Downloaded newer image for"
        yield {"status": f"Status: {said} {Reference.parse(result.reference).familiar}"}


class PushLines:
    """Writes a push of one or more tags; one object for one push."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._ended: set[Digest] = set()

    def lines(self, event: Event) -> Iterator[Line]:
        """Yield what an event comes to."""
        match event:
            case TransferStarted(verb="pushing"):
                name = Reference.parse(event.reference).name
                if name not in self._told:
                    self._told.add(name)
                    yield {"status": f"The push refers to repository [{name}]"}
                self._ended.clear()
                for digest, _ in reversed(event.layers):
                    yield status("Preparing", digest.short)
            case LayerProgress() if event.digest not in self._ended:
                yield from self._layer(event)
            case Notice():
                yield {"status": event.text}

    def _layer(self, event: LayerProgress) -> Iterator[Line]:
        ends = {
            LayerPhase.DONE: "Pushed",
            LayerPhase.EXISTS: "Layer already exists",
            LayerPhase.MOUNTED: "Mounted from another repository",
        }
        if event.phase in ends:
            self._ended.add(event.digest)
            yield status(ends[event.phase], event.label)
        elif event.phase is LayerPhase.UPLOADING:
            yield moving("Pushing", event.label, event.done_bytes, event.total_bytes)
        elif event.phase is LayerPhase.WAITING:
            yield status("Waiting", event.label)

    def done(self, result: PushResult) -> Iterator[Line]:
        """Yield the last lines of one tag."""
        tag = _tag(Reference.parse(result.reference))
        digest, size = str(result.digest), result.manifest_bytes
        yield {"status": f"{tag}: digest: {digest} size: {size}"}
        yield {"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest, "Size": size}}


def load_lines(event: Event) -> Iterator[Line]:
    """Yield what an event of a load comes to; a quiet load has none of them."""
    match event:
        case LayerProgress(phase=LayerPhase.WAITING | LayerPhase.EXISTS):
            return
        case LayerProgress():
            total = event.total_bytes
            done = total if event.phase is LayerPhase.DONE else event.done_bytes
            yield moving("Loading layer", event.label, done, total)
        case Notice():
            yield {"stream": f"{event.text}\n"}


def loaded_lines(result: Loaded) -> Iterator[Line]:
    """Yield what a load came to."""
    for image in result.images:
        for tag, before in image.replaced:
            said = f"The image {tag} already exists, renaming the old one with ID {before}"
            yield {"stream": f"{said} to empty string\n"}
        for tag in image.tags:
            yield {"stream": f"Loaded image: {tag}\n"}
        if not image.tags:
            yield {"stream": f"Loaded image ID: {image.image_id}\n"}


def imported_lines(result: Imported) -> Iterator[Line]:
    """Yield what an import came to."""
    yield {"status": str(result.image_id)}


def failure(error: OcimagicError) -> Line:
    """Return the line of what went wrong after the answer's status was sent.

    ``code`` is a RUN's exit code, which becomes that of docker's command line.
    """
    if isinstance(error, StepFailed) and error.command:
        code = error.command_exit_code
        message = f"The command '{error.command}' returned a non-zero code: {code}"
        return {"errorDetail": {"code": code, "message": message}, "error": message}
    message = docker_words(f"{error.what}: {error.why}" if error.why else error.what)
    return {"errorDetail": {"message": message}, "error": message}


def status(text: str, name: str) -> Line:
    """Return a line about one layer that does not move."""
    return {"status": text, "progressDetail": {}, "id": name}


def moving(text: str, name: str, done: int, total: int) -> Line:
    """Return a line about one layer that moves, with docker's bar.

    Args:
        text: what happens.
        name: of the layer.
        done: bytes.
        total: bytes, 0 if it is not known.
    """
    detail = {key: value for key, value in (("current", done), ("total", total)) if value}
    said: Line = {"status": text, "progressDetail": detail}
    if drawn := bar(done, total):
        said["progress"] = drawn
    return said | {"id": name}


def bar(done: int, total: int) -> str:
    """Draw a bar as docker's daemon does; "" for nothing done of nothing known."""
    if done <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{_size(done):>8}"
    full = min(int(done / total * 100) // 2, _BAR)
    numbers = f"{_size(done):>8}" + ("" if done > total else f"/{_size(total)}")
    return f"[{'=' * full}>{' ' * (_BAR - full)}] {numbers}"


def _size(size_bytes: int) -> str:
    """Write a size as Go's units.HumanSize does: four digits, powers of 1000."""
    value, unit = float(size_bytes), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.4g}{_UNITS[unit]}"


def _tag(reference: Reference) -> str:
    return str(reference.digest or reference.tag or "latest")
