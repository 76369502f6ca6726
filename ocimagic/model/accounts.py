"""What the layers of an image ship, and how much of it is still to be seen at the end."""

from __future__ import annotations

from ocimagic.spec.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wasted:
    """Content of one file that a layer ships and the image does not show.

    Attributes:
        path: the file's, in the layer that ships it.
        size_bytes: of the content.
        by: number of the layer that hides it, the lowest being 0; the layer's own when it
            ships two files of one name.
    """

    path: str
    size_bytes: int
    by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAccount:
    """What one layer does to those below it; paths are relative to the root and sorted.

    Attributes:
        created_by: the instruction, "" if nobody wrote it down.
        added: files that were not there before.
        changed: files with other content, owner or mode than before.
        deleted: files that were there before, those in deleted directories too.
        shipped_bytes: content of its files, each once, however many hard links it has.
        wasted: what of it the image does not show, with who hides it.
    """

    created_by: str = ""
    added: tuple[str, ...]
    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    shipped_bytes: int
    wasted: tuple[Wasted, ...]

    @property
    def wasted_bytes(self) -> int:
        """Return how much of what it ships is not shown."""
        return sum(each.size_bytes for each in self.wasted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLine:
    """One line of how an image was made, and what came of it.

    Attributes:
        number: in the history, from 1: the oldest.
        layer: number of the layer that it made, the lowest being 0; None for none.
        size_bytes: of that layer's files.
        account: what that layer does to those below it.
    """

    number: int
    created_by: str
    from_base: bool
    layer: int | None = None
    size_bytes: int = 0
    account: LayerAccount | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The accounts of an image, lowest layer first.

    Attributes:
        image: its name.
    """

    image: str = ""
    layers: tuple[LayerAccount, ...]

    @property
    def shipped_bytes(self) -> int:
        """Return what all layers ship."""
        return sum(each.shipped_bytes for each in self.layers)

    @property
    def wasted_bytes(self) -> int:
        """Return what of it is not shown."""
        return sum(each.wasted_bytes for each in self.layers)

    @property
    def efficiency(self) -> float:
        """Return the shown bytes over the shipped ones, 1.0 for an image without content."""
        shipped = self.shipped_bytes
        return 1.0 if not shipped else (shipped - self.wasted_bytes) / shipped
