"""Digests: the names of bytes.

Spec: image-spec descriptor.md, "Digests".
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDigest

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_SHAPE = re.compile(r"(sha256|sha512):([0-9a-f]+)")


class Digest(str):
    """``algorithm:hex`` of bytes, checked once and then safe to use in a path.

    Spec: image-spec descriptor.md, "Registered algorithms".
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check a digest from outside.

        Raises:
            InvalidDigest: another algorithm, upper case, or the wrong number of digits.
        """
        found = _SHAPE.fullmatch(text)
        if not found or len(found[2]) != _HEX_LENGTH[found[1]]:
            shown = text if len(text) <= 80 else text[:77] + "..."
            raise InvalidDigest(
                f"invalid digest: {shown!r}",
                hint="a digest is sha256: and 64 lower-case hex digits",
            )
        return cls(text)

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Name these bytes (sha256)."""
        return cls("sha256:" + hashlib.sha256(content).hexdigest())

    @classmethod
    def of_hash(cls, hasher: hashlib._Hash) -> Self:
        """Name what a hashlib object has read so far."""
        return cls(f"{hasher.name}:{hasher.hexdigest()}")

    @property
    def algorithm(self) -> str:
        """Return ``sha256`` or ``sha512``."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """Return the digits."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """Return the first 12 digits, as docker shows IDs."""
        return self.hex[:12]


def chain_ids(diff_ids: Iterable[Digest]) -> list[Digest]:
    """Name each stack of layers, bottom first.

    Returns one chain_id per diff_id, in the same order; the first equals its diff_id.

    Spec: image-spec config.md, "Layer ChainID".
    """
    chains: list[Digest] = []
    for diff_id in diff_ids:
        chains.append(Digest.of(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id)
    return chains
