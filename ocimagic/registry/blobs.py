"""A blob on its way: where it starts, and its bytes as they come.

Spec: distribution-spec "Pulling blobs"; RFC 9110 section 14 (ranges).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.errors import RegistryAnswered, RegistryUnreachable, SizeMismatch
from ocimagic.registry.message import refuse_cancelled

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ocimagic.registry.message import Answer
    from ocimagic.spec.descriptor import Descriptor

CHUNK_BYTES = 1 << 20
_FLUSH_S = 1.0
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


@dataclass(frozen=True, slots=True)
class BlobStream:
    """The rest of a blob from ``start_offset`` on.

    Attributes:
        start_offset: where the first chunk belongs.  It is the offset that was asked for, or 0
            when the registry wants to start again: then throw away what you have.
        chunks: to be read once, inside the ``with`` block, each of about 1 MiB and less when
            the connection is slow or breaks.  Never more than the descriptor's size in all.
            Raises SizeMismatch when the blob is longer or shorter than that, and
            RegistryUnreachable when the connection broke: open again at the offset reached.
    """

    start_offset: int
    chunks: Iterator[bytes]


def check_range(answer: Answer, descriptor: Descriptor, offset: int) -> None:
    """Check that a 206 holds what was asked for.

    Raises:
        RegistryAnswered: no Content-Range, or one of another part.
        SizeMismatch: the blob has another size.
    """
    said = answer.header("content-range")
    found = _CONTENT_RANGE.fullmatch(said)
    if not found or int(found[1]) != offset or int(found[2]) != descriptor.size - 1:
        raise RegistryAnswered(
            f"{answer.origin.shown} sends another part of the blob than asked for",
            why=f"asked for bytes from {offset}, Content-Range is {said[:80]!r}",
            where=descriptor.digest,
        )
    if found[3] != "*":
        _check_size(int(found[3]), descriptor)


def check_length(answer: Answer, descriptor: Descriptor) -> None:
    """Refuse a whole blob whose announced length is not its descriptor's size.

    Raises:
        SizeMismatch: before a byte of it is read.
    """
    said = answer.header("content-length")
    if re.fullmatch(r"[0-9]{1,19}", said):
        _check_size(int(said), descriptor)


def chunks_of(
    answer: Answer,
    descriptor: Descriptor,
    *,
    start: int,
    skip: int,
    cancelled: threading.Event | None,
) -> Iterator[bytes]:
    """Yield a blob's bytes from ``start`` on, dropping ``skip`` bytes of the body first."""
    reached = start - skip
    buffer = bytearray()
    flushed = time.monotonic()
    try:
        for piece in answer.pieces():
            refuse_cancelled(cancelled, answer.request.url)
            reached += len(piece)
            _check_not_longer(reached, descriptor)
            buffer += piece[max(0, len(piece) - max(0, reached - start)) :]
            if len(buffer) >= CHUNK_BYTES or time.monotonic() - flushed > _FLUSH_S:
                yield bytes(buffer)
                buffer.clear()
                flushed = time.monotonic()
    except RegistryUnreachable:
        # What came before the break is good; without it a shaky line would never advance.
        if buffer:
            yield bytes(buffer)
        raise
    if buffer:
        yield bytes(buffer)
    _check_complete(reached, answer, descriptor)


def _check_not_longer(reached: int, descriptor: Descriptor) -> None:
    if reached > descriptor.size:
        _check_size(reached, descriptor)


def _check_complete(reached: int, answer: Answer, descriptor: Descriptor) -> None:
    if reached == descriptor.size:
        return
    if answer.header("content-length") or answer.header("transfer-encoding"):
        _check_size(reached, descriptor)
    # Nothing said how long the body is, so its end and a break look the same.
    raise RegistryUnreachable(
        f"the connection to {answer.origin.shown} broke",
        why=f"it ended after {reached} of {descriptor.size} bytes",
        where=descriptor.digest,
    )


def _check_size(actual: int, descriptor: Descriptor) -> None:
    if actual != descriptor.size:
        raise SizeMismatch(
            f"blob {descriptor.digest.short}", expected=descriptor.size, actual=actual
        )
