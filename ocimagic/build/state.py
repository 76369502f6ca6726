"""What a stage has come to after an instruction: an image that is not written yet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ocimagic.spec import mediatype
from ocimagic.spec.config import HistoryEntry
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import chain_ids
from ocimagic.transfer.layer import Layer

if TYPE_CHECKING:
    from datetime import datetime

    from ocimagic.dockerfile.scope import Scope
    from ocimagic.spec.config import ContainerConfig
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform
    from ocimagic.store.images import LayerRecord

HISTORY_COMMENT = "ocimagic.dockerfile.v0"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The image that a stage goes back to, by way of other stages perhaps.

    Attributes:
        name: full reference, "" for scratch and for an image that has no name here.
        digest: what the name points at; None for scratch.
        layers: how many layers came with it.
        history: its history, one entry without ``empty_layer`` for each of its layers.
    """

    name: str = ""
    digest: Digest | None = None
    layers: int = 0
    history: tuple[HistoryEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Begun:
    """What a stage began from: its FROM, an image or another stage.

    Attributes:
        layers: how many came with it.
        lines: how many history lines of this build did.
        image_id: None for scratch.
    """

    layers: int = 0
    lines: int = 0
    image_id: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """A stage between two instructions; each instruction makes a new one.

    Attributes:
        config_key: names the config, by the base's and all lines since.
        room: bytes by which the config may grow before it has to be measured again.
        layers: bottom first, those of the base included.
        made: history of what the build added; ``created`` is None where no layer was made, or
            nobody knows when.
        has_own_cmd: CMD was set in this stage, so that ENTRYPOINT leaves it alone.
        image_id: under which it can be run; None where that is not known yet, or there are no
            files.
    """

    config: ContainerConfig
    scope: Scope
    platform: Platform
    origin: Origin
    config_key: str = ""
    room: int = 0
    author: str = ""
    layers: tuple[Layer, ...] = ()
    made: tuple[HistoryEntry, ...] = ()
    has_own_cmd: bool = False
    image_id: Digest | None = None
    begun: Begun = field(default_factory=Begun)

    @property
    def chain_id(self) -> str:
        """Name the file system; "" is the empty one."""
        return self.layers[-1].chain_id if self.layers else ""

    @property
    def shell(self) -> tuple[str, ...]:
        """Return what shell forms are handed to."""
        return self.config.shell or DEFAULT_SHELL

    def with_layer(self, record: LayerRecord, created: datetime, text: str) -> StageState:
        """Return the state with one more layer and the history line that made it."""
        blob = Descriptor(mediatype.OCI_LAYER, record.digest, record.blob_bytes)
        diff_ids = [layer.diff_id for layer in self.layers]
        chain_id = chain_ids([*diff_ids, record.diff_id])[-1]
        entry = HistoryEntry(created=created, created_by=text, comment=HISTORY_COMMENT)
        return replace(
            self,
            layers=(*self.layers, Layer(blob, record.diff_id, chain_id)),
            made=(*self.made, entry),
        )

    def with_line(self, text: str) -> StageState:
        """Return the state with one more history line that made no layer."""
        entry = HistoryEntry(created_by=text, comment=HISTORY_COMMENT, empty_layer=True)
        return replace(self, made=(*self.made, entry))
