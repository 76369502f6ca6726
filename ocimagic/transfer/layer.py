"""A layer as an image means it, and how far one may unpack."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from ocimagic.errors import InvalidDocument
from ocimagic.spec.record import dataclass
from ocimagic.store.blobs import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.spec.descriptor import Descriptor
    from ocimagic.spec.digest import Digest
    from ocimagic.store.images import StoredImage

_LEAST_LIMIT = 1 << 30
_RATIO_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as an image means it.

    Attributes:
        blob: how it is stored.
        diff_id: digest of its uncompressed tar.
        chain_id: of the stack up to and including it.
    """

    blob: Descriptor
    diff_id: Digest
    chain_id: Digest

    @property
    def max_bytes(self) -> int:
        """Return how far it may unpack: the guard against a bomb."""
        return most_unpacked(self.blob.size)


def most_unpacked(size: int) -> int:
    """Return how far what is ``size`` bytes long may unpack."""
    return max(_LEAST_LIMIT, _RATIO_LIMIT * size)


def layers_of(image: StoredImage) -> list[Layer]:
    """Pair an image's layer blobs with their diff_ids, bottom first.

    Raises:
        InvalidDocument: manifest and config disagree on how many there are.
    """
    blobs, diff_ids = image.manifest.layers, image.config.diff_ids
    if len(blobs) != len(diff_ids):
        raise InvalidDocument(
            "this image is not valid",
            why=f"its manifest has {len(blobs)} layers, its config {len(diff_ids)} diff_ids",
        )
    return [
        Layer(blob, diff_id, chain_id)
        for blob, diff_id, chain_id in zip(blobs, diff_ids, image.chain_ids, strict=True)
    ]


def chunks_of(blob: BinaryIO) -> Iterator[bytes]:
    """Read a binary file a mebibyte at a time."""
    while chunk := blob.read(CHUNK):
        yield chunk
