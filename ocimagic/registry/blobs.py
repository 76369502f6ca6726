"""A blob on its way: where it starts, and its bytes as they come.

Spec: distribution-spec "Pulling blobs"; RFC 9110 section 14 (ranges).
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from ocimagic.errors import RegistryAnswered, RegistryUnreachable, SizeMismatch
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
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


def check_range(answer: Answer, descriptor: Descriptor, start: int, end: int) -> None:
    """Check that a 206 holds what was asked for: [start, end).

    Raises:
        RegistryAnswered: no Content-Range, or one of another part.
        SizeMismatch: the blob has another size.
    """
    said = answer.header("content-range")
    found = _CONTENT_RANGE.fullmatch(said)
    if not found or int(found[1]) != start or int(found[2]) != end - 1:
        raise RegistryAnswered(
            f"{answer.origin.shown} sends another part of the blob than asked for",
            why=f"asked for bytes {start} to {end - 1}, Content-Range is {said[:80]!r}",
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


def body_from(
    answer: Answer, descriptor: Descriptor, start: int, end: int | None = None
) -> Iterator[bytes]:
    """Yield a blob's bytes from ``start`` on, whether the answer has all of it or that part.

    Args:
        answer: 206 of [start, end), or 200.
        descriptor: of the blob.
        start: the first byte that is wanted.
        end: where the part ends; None for the blob's own end.

    Raises:
        SizeMismatch: there is more or less of it.
        RegistryUnreachable: the connection broke.
    """
    is_part = answer.status == 206
    reached = start if is_part else 0
    most = end if is_part and end is not None else descriptor.size
    for piece in answer.pieces():
        reached += len(piece)
        _check_not_longer(reached, most, descriptor)
        wanted = piece[max(0, len(piece) - max(0, reached - start)) :]
        if wanted:
            yield wanted
    _check_complete(reached, most, answer, descriptor)


def chunks_of(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces joined to about 1 MiB, or what came within a second."""
    buffer = bytearray()
    flushed = time.monotonic()
    try:
        for piece in pieces:
            buffer += piece
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


def _check_not_longer(reached: int, most: int, descriptor: Descriptor) -> None:
    if reached > most:
        raise SizeMismatch(f"blob {descriptor.digest.short}", expected=most, actual=reached)


def _check_complete(reached: int, most: int, answer: Answer, descriptor: Descriptor) -> None:
    if reached == most:
        return
    if answer.header("content-length") or answer.header("transfer-encoding"):
        raise SizeMismatch(f"blob {descriptor.digest.short}", expected=most, actual=reached)
    # Nothing said how long the body is, so its end and a break look the same.
    raise RegistryUnreachable(
        f"the connection to {answer.origin.shown} broke",
        why=f"it ended after {reached} of {most} bytes",
        where=descriptor.digest,
    )


def _check_size(actual: int, descriptor: Descriptor) -> None:
    if actual != descriptor.size:
        raise SizeMismatch(
            f"blob {descriptor.digest.short}", expected=descriptor.size, actual=actual
        )
