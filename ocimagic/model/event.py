"""What rises while something takes time: plain values for ``on_event``.

Lower rooms make them, front rooms show them; nobody in between prints.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.spec.digest import Digest


class LayerPhase(Enum):
    """What is happening to one layer of a pull or a push."""

    WAITING = "waiting"
    DOWNLOADING = "downloading"
    EXTRACTING = "extracting"
    COMPRESSING = "compressing"
    UPLOADING = "uploading"
    DONE = "done"
    EXISTS = "already exists"
    MOUNTED = "mounted from another repository"


ENDED = frozenset({LayerPhase.DONE, LayerPhase.EXISTS, LayerPhase.MOUNTED})


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """The manifest is known; its layers come next.

    Attributes:
        digest: of what is pulled; None for a push, whose manifest comes last, and a load.
        layers: digest and size in bytes, bottom first: as they are where they come from.
        verb: ``pulling``, ``pushing``, ``copying``, ``importing``, ``adopting``, ``loading``,
            ``fetching`` or ``writing``.
    """

    reference: str
    digest: Digest | None
    layers: tuple[tuple[Digest, int], ...]
    verb: str = "pulling"


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """One layer moved on.

    Attributes:
        done_bytes: compressed bytes fetched or sent so far.
        total_bytes: compressed size; 0 while nobody has said it.
        bytes_per_s: over the network, in the last seconds; of a layer that is done, over all of
            the time it took.  0 when nothing moved, or that is not known.
        name: of what is no layer yet; ``digest`` only tells it from others then.
    """

    digest: Digest
    phase: LayerPhase
    done_bytes: int
    total_bytes: int
    bytes_per_s: float = 0.0
    name: str = ""

    @property
    def label(self) -> str:
        """Return what to call it in a list of such."""
        return self.name or self.digest.short


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A build step begins.

    Attributes:
        number: 1-based among ``total`` steps of the plan.
        stage: name or number of its stage.
        text: the instruction as written, on one line.
        line: 1-based line in the Dockerfile.
    """

    number: int
    total: int
    stage: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """A build step ended well.

    Attributes:
        cached: nothing was run or copied.
        seconds: wall time.
        layer: diff_id of the layer it made, None for none.
        size_bytes: size of that layer's tar.
        why: it was not cached, in words; "" if it was, or was never built before.
        image_id: what the step came to can be run by it, as long as the build cache has it;
            None where there are no files yet.
    """

    number: int
    cached: bool
    seconds: float
    layer: Digest | None
    size_bytes: int
    why: str = ""
    image_id: Digest | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that a container or a RUN step wrote.

    Attributes:
        stream: ``stdout`` or ``stderr``.
        step: the build step, or None for a container.
    """

    stream: str
    data: bytes
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the user: a warning or a lint finding.

    Attributes:
        line: 1-based line of the Dockerfile, if it is about one.
    """

    text: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A result as it is now; it takes the place of the one before.

    Attributes:
        value: what a command would return if it ended here.
    """

    value: object


Event = TransferStarted | LayerProgress | StepStarted | StepDone | Output | Notice | Refreshed
OnEvent = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Take an event and do nothing: the default listener."""
