"""The build cache: the same step on the same file system need not be done again.

A key is a digest over everything that goes into a step.  The file system below a step is
named by its chain_id, so an earlier build of any image counts, whatever its labels were.

Source: facts/build.md section 2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.spec.codec import rfc3339
from ocimagic.spec.digest import Digest
from ocimagic.store.images import LayerRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.store.store import Store

_VERSION = 1


def cache_key(kind: str, **parts: object) -> Digest:
    """Name a step by everything that goes into it; ``parts`` are JSON values."""
    # Escaped, since names of files may hold bytes that are no text.
    text = json.dumps([_VERSION, kind, parts], sort_keys=True, separators=(",", ":"))
    return Digest.of(text.encode())


@dataclass(frozen=True, slots=True)
class Made:
    """What a step made.

    Attributes:
        layer: None for a step that found nothing to change.
        created: when it was made first.
    """

    layer: LayerRecord | None
    created: datetime


class StepCache:
    """Looks steps up and remembers them.

    Args:
        store: where.
        enabled: False finds nothing, and still remembers.
    """

    def __init__(self, store: Store, *, enabled: bool) -> None:
        self._store = store
        self._enabled = enabled

    def find(self, key: Digest) -> Made | None:
        """Return what was made under a key, if it is still here whole."""
        document = self._store.steps.find(key) if self._enabled else None
        if document is None:
            return None
        created = datetime.fromisoformat(str(document["created"]))
        diff_id = document["layer"]
        if diff_id is None:
            return Made(None, created)
        record = self._layer(Digest(str(diff_id)))
        return Made(record, created) if record else None

    def _layer(self, diff_id: Digest) -> LayerRecord | None:
        record = self._store.images.layer(diff_id)
        if record is None or not self._store.blobs.has(diff_id):
            return None
        # A built layer is stored plain; the row may be of a compressed copy somebody pulled.
        size = record.tar_bytes
        return LayerRecord(diff_id, diff_id, size, size, record.unpacked_bytes)

    def remember(self, key: Digest, made: Made, needs: Sequence[Digest] = ()) -> None:
        """Keep what was made; it is dropped with any of the layers it needs."""
        layer = made.layer.diff_id if made.layer else None
        document = {"layer": layer, "created": rfc3339(made.created)}
        self._store.steps.put(key, document, [*needs, *([layer] if layer else [])])

    def seen(self, key: Digest, needs: Sequence[Digest], now: datetime) -> bool:
        """Say whether a step that makes nothing was seen before, and remember it."""
        if self.find(key):
            return True
        self.remember(key, Made(None, now), needs)
        return False


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
