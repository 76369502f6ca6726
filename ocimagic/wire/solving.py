"""A build as BuildKit tells it: vertices that begin and end, what they write, how far they are.

Source: moby/buildkit api/services/control/control.proto, StatusResponse; the words are those of
dockerd 20.10, measured.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from typing import TYPE_CHECKING

from ocimagic.errors import Cancelled, DockerfileError, StepFailed
from ocimagic.model.event import (
    LayerPhase,
    LayerProgress,
    Notice,
    Output,
    StepDone,
    StepStarted,
    TransferStarted,
)
from ocimagic.spec.reference import Reference
from ocimagic.wire.buildkit import messages
from ocimagic.wire.vertices import is_shown
from ocimagic.wire.words import docker_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace
    from typing import Any

    from ocimagic.errors import OcimagicError
    from ocimagic.model.built import BuildResult
    from ocimagic.model.event import Event
    from ocimagic.wire.vertices import StepNames

CANCELED = "context canceled"  # docker's client looks for it
_STREAMS = {"stdout": 1, "stderr": 2}
_LINE = re.compile(r"line (\d+)")
_MISSING = re.compile(r'"/?([^"]*)": not found')
_UNREAD = re.compile(r"failed to read dockerfile|the files that the client sends")
_LACKING = re.compile(r"secret (\S+): not found")


class Vertex:
    """One thing that is done: it is told when it begins and when it ends.

    Attributes:
        document: its message, as it was told last.
        line: of the Dockerfile; 0 for what is of none.
    """

    def __init__(self, progress: SolveProgress, document: Any, line: int) -> None:  # noqa: ANN401
        self.document = document
        self.line = line
        self._progress = progress

    def moved(
        self, what: str, done: int = 0, total: int = 0, *, ended: bool = True, since_ns: int = 0
    ) -> None:
        """Tell how far a part of it is.

        Args:
            what: ``transferring context:``.
            done: bytes, 0 for what has none.
            total: bytes; 0 if it is not known.
            ended: nothing more comes of it.
            since_ns: when it began; 0 for with the whole.
        """
        kind = self._progress.kinds.VertexStatus
        status = kind(ID=what, vertex=self.document.digest, current=done, total=total)
        status.started.CopyFrom(self.document.started)
        if since_ns:
            status.started.FromNanoseconds(since_ns)
        status.timestamp.FromNanoseconds(time.time_ns())
        if ended:
            status.completed.CopyFrom(status.timestamp)
        self._progress.send(statuses=[status])

    def wrote(self, data: bytes, stream: str = "stderr") -> None:
        """Tell what it wrote."""
        kind = self._progress.kinds.VertexLog
        log = kind(vertex=self.document.digest, stream=_STREAMS[stream], msg=data)
        log.timestamp.FromNanoseconds(time.time_ns())
        self._progress.send(logs=[log])

    def done(self, *, cached: bool = False, error: str = "") -> None:
        """Tell that it has ended."""
        if self.document.HasField("completed"):
            return
        self.document.cached, self.document.error = cached, error
        self.document.completed.FromNanoseconds(time.time_ns())
        self._progress.send(vertexes=[self.document])

    def __enter__(self) -> Vertex:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.done(error=_said(error) if error else "")


class SolveProgress:
    """Tells one build; safe to be used by many threads.

    Args:
        tell: takes each StatusResponse.

    Raises:
        HostLacks: the libraries of ``[grpc]`` are not installed.
    """

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.kinds: SimpleNamespace = messages()["moby.buildkit.v1"]
        self._tell = tell
        self._lock = threading.Lock()
        self._count = 0
        self._names: StepNames | None = None
        self._steps: dict[int, Vertex] = {}
        self._bases: dict[str, Vertex] = {}
        self._pulled: Vertex | None = None
        self._first: Vertex | None = None
        self._last_ns = time.time_ns()

    def send(self, **fields: Any) -> None:  # noqa: ANN401
        """Tell a part of a StatusResponse."""
        with self._lock:
            self._tell(self.kinds.StatusResponse(**fields))

    def begin(self, name: str, line: int = 0, since_ns: int = 0) -> Vertex:
        """Tell that something begins."""
        with self._lock:
            self._count += 1
            number = self._count
        digest = f"sha256:{hashlib.sha256(f'{number} {name}'.encode()).hexdigest()}"
        document = self.kinds.Vertex(digest=digest, name=name)
        document.started.FromNanoseconds(since_ns or time.time_ns())
        self.send(vertexes=[document])
        vertex = Vertex(self, document, line)
        self._first = self._first or vertex
        return vertex

    def plan(self, names: StepNames, images: list[Reference]) -> None:
        """Know what the steps are called, and look for the images they begin from."""
        self._names = names
        for each in images:
            name = f"[internal] load metadata for {each}"
            self._bases[each.familiar] = self.begin(name)

    def hear(self, event: Event) -> None:
        """Tell what happens in the build."""
        match event:
            case StepStarted():
                self._found_bases()
                if name := self._name_of(event):
                    self._steps[event.number] = self.begin(name, event.line)
            case StepDone():
                self._last_ns = time.time_ns()
                if step := self._steps.get(event.number):
                    step.done(cached=event.cached)
            case Output(step=int(number)):
                if step := self._steps.get(number):
                    step.wrote(event.data, event.stream)
            case TransferStarted(verb="pulling"):
                name = Reference.parse(event.reference).familiar
                self._pulled = self._bases.get(name) or next(iter(self._bases.values()), None)
            case LayerProgress() if self._pulled is not None:
                ended = event.phase in (LayerPhase.DONE, LayerPhase.EXISTS)
                self._pulled.moved(event.label, event.done_bytes, event.total_bytes, ended=ended)
            case Notice() if self._first is not None:
                warning = self.kinds.VertexWarning(
                    vertex=self._first.document.digest, level=1, short=event.text.encode()
                )
                self.send(warnings=[warning])

    @property
    def has_begun(self) -> bool:
        """Say whether a step of the Dockerfile was begun."""
        return bool(self._steps)

    def _name_of(self, event: StepStarted) -> str:
        if self._names is not None:
            return self._names.of(event)
        # Nobody has read the Dockerfile here: it came with its context.
        return f"[{event.number}/{event.total}] {event.text}" if is_shown(event.text) else ""

    def exported(self, result: BuildResult) -> None:
        """Tell that the image is there."""
        self._found_bases()
        vertex = self.begin("exporting to image", since_ns=self._last_ns)
        with vertex:
            vertex.moved("exporting layers")
            now_ns = time.time_ns()
            vertex.moved(f"writing image {result.image_id}", since_ns=now_ns)
            for tag in result.tags:
                vertex.moved(f"naming to {Reference.parse(tag)}", since_ns=now_ns)

    def failed(self, error: OcimagicError) -> None:
        """Tell what did not come to its end, and which of it is why."""
        line = _line_of(error)
        left = [*self._steps.values(), *self._bases.values()]
        left = [each for each in left if not each.document.HasField("completed")]
        guilty = [each for each in left if each.line and each.line == line] or left
        for each in left:
            is_why = each in guilty and not isinstance(error, Cancelled)
            if is_why and isinstance(error, StepFailed) and error.why:
                each.wrote(f"{error.why}\n".encode())
            each.done(error=_said(error) if is_why else CANCELED)

    def _found_bases(self) -> None:
        for each in self._bases.values():
            each.done()


def solve_message(error: OcimagicError, *, has_begun: bool) -> str:
    """Return the sentence that a build of BuildKit's ends with.

    Args:
        error: why.
        has_begun: a step was begun.
    """
    said = _said(error)
    if isinstance(error, StepFailed | Cancelled) or _LACKING.fullmatch(error.what):
        return said
    if isinstance(error, DockerfileError):
        if _MISSING.fullmatch(error.what):
            return f"failed to compute cache key: {said}"
        if not has_begun:
            said = f"dockerfile parse error line {error.line}: {error.what}"
    doing = "" if has_begun or _UNREAD.match(said) else "failed to create LLB definition: "
    return f"failed to solve with frontend dockerfile.v0: {doing}{said}"


def _said(error: BaseException) -> str:
    """Return what is wrong, in BuildKit's words where it has some."""
    if isinstance(error, Cancelled):
        return CANCELED
    if isinstance(error, StepFailed) and error.command:
        return f"executor failed running [{error.command}]: exit code: {error.command_exit_code}"
    what, why = getattr(error, "what", str(error)), getattr(error, "why", "")
    if found := _MISSING.fullmatch(what):
        return f'"/{found[1]}" not found: not found'
    if found := _LACKING.fullmatch(what):
        return f"secret {found[1]} not found: not found"
    return docker_words(" ".join((f"{what}: {why}" if why else what).split()))


def _line_of(error: OcimagicError) -> int:
    if isinstance(error, DockerfileError):
        return error.line
    found = _LINE.search(error.where or "")
    return int(found[1]) if found else 0
