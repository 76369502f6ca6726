"""The build cache: the same step on the same file system need not be done again.

A key is a digest over everything that goes into a step.  The file system below a step is
named by its chain_id, so an earlier build of any image counts, whatever its labels were.

Source: facts/build.md section 2.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from ocimagic.build.why import changed_text, explain
from ocimagic.errors import BuildFailed
from ocimagic.spec.codec import rfc3339
from ocimagic.spec.digest import Digest
from ocimagic.store.images import LayerRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.store.store import Store

_VERSION = 2  # 1 knew no hard links, and unpacked archives last
_EXPLAINED = ("run", "copy", "workdir", "config")
NO_CACHE = "--no-cache"


class Key(Digest):
    """The name of a step, which knows what it was made of.

    Attributes:
        kind: of step.
        parts: JSON values.
    """

    kind: str
    parts: Mapping[str, object]


def cache_key(kind: str, **parts: object) -> Key:
    """Name a step by everything that goes into it; ``parts`` are JSON values."""
    # Escaped, since names of files may hold bytes that are no text.
    text = json.dumps([_VERSION, kind, parts], sort_keys=True, separators=(",", ":"))
    key = Key(Digest.of(text.encode()))
    key.kind, key.parts = kind, parts
    return key


@dataclass(frozen=True, slots=True)
class Made:
    """What a step made.

    Attributes:
        layer: None for a step that found nothing to change.
        created: when it was made first.
        content: another key of the same step, which says what is copied and not where from.
    """

    layer: LayerRecord | None
    created: datetime
    content: Digest | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a step stands in the file it is built from.

    Attributes:
        series: what tells this Dockerfile from others.
        place: stage and number.
        text: of the instruction.
    """

    series: str
    place: str
    text: str

    @property
    def names(self) -> tuple[Digest, Digest]:
        """Return keys of what was there the last time: by text, and by place."""
        text = cache_key("slot", series=self.series, text=self.text)
        return text, cache_key("slot", series=self.series, place=self.place)


class CacheLost(BuildFailed):
    """A layer was found in somebody's cache and cannot be had from there: build without it."""


class Elsewhere(Protocol):
    """Steps that were done on another machine."""

    def find(self, key: Digest) -> Made | None:
        """Return what a step made; its layer need not be here."""


class UsedSteps:
    """What each step of a build made, whoever did it; for all of its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Digest, Made] = {}
        self._elsewhere: set[Digest] = set()

    def note(self, key: Digest, made: Made, *, elsewhere: bool = False) -> None:
        """Take note of a step, and of one that is known elsewhere only."""
        name = Digest(key)  # without its parts, which may be long
        with self._lock:
            self._made[name] = made
            if elsewhere:
                self._elsewhere.add(name)

    def from_elsewhere(self) -> dict[Digest, Made]:
        """Return those that were known elsewhere only."""
        with self._lock:
            return {key: self._made[key] for key in self._elsewhere}

    def all(self) -> dict[Digest, Made]:
        """Return all of them by their keys."""
        with self._lock:
            return dict(self._made)


class StepCache:
    """Looks steps up and remembers them.

    Args:
        store: where.
        enabled: False finds nothing, and still remembers.
        elsewhere: is asked for what is not here.
        used: hears of all that is found and made.
    """

    def __init__(
        self,
        store: Store,
        *,
        enabled: bool,
        elsewhere: Elsewhere | None = None,
        used: UsedSteps | None = None,
    ) -> None:
        self._store = store
        self._enabled = enabled
        self._elsewhere = elsewhere
        self._used = used
        self._slot: Slot | None = None
        self._missed: Key | None = None
        self._anew = not enabled

    def beside(self) -> StepCache:
        """Return the same cache for a stage that runs beside others."""
        return StepCache(
            self._store, enabled=self._enabled, elsewhere=self._elsewhere, used=self._used
        )

    def begin(self, slot: Slot, *, anew: bool = False) -> None:
        """Say which instruction the next look-ups are for, and if they are to find nothing."""
        self._slot, self._missed, self._anew = slot, None, anew or not self._enabled

    @property
    def is_anew(self) -> bool:
        """Say whether the instruction is to be done anew whatever is known."""
        return self._anew

    def why(self) -> str:
        """Say why the instruction was not found, and remember what it was made of.

        Nothing is said of one that was never built before.
        """
        key, slot = self._missed, self._slot
        if key is None or slot is None:
            return ""
        by_text, by_place = slot.names
        last = self._store.steps.last(by_text)
        there = self._store.steps.last(by_place)
        document = {"kind": key.kind, "parts": key.parts, "text": slot.text}
        self._store.steps.put_last((by_text, by_place), document)
        if self._anew:
            return NO_CACHE
        if last is not None and last["kind"] == key.kind:
            return explain(_parts(last), _parts(document))
        if there is not None and there["text"] != slot.text:
            return changed_text(str(there["text"]), slot.text)
        return ""

    def find(self, key: Digest) -> Made | None:
        """Return what was made under a key, if it is still here whole, or elsewhere."""
        found, elsewhere = self._find(key), False
        if found is None:
            found = self._find_elsewhere(key)
            elsewhere = found is not None
        if found and self._used:
            self._used.note(key, found, elsewhere=elsewhere)
            if found.content:
                self._used.note(found.content, replace(found, content=None), elsewhere=elsewhere)
        if found is None and isinstance(key, Key) and key.kind in _EXPLAINED:
            self._missed = key
        return found

    def _find(self, key: Digest) -> Made | None:
        document = None if self._anew else self._store.steps.find(key)
        if document is None:
            return None
        created = datetime.fromisoformat(str(document["created"]))
        content = Digest(str(document["content"])) if "content" in document else None
        diff_id = document["layer"]
        if diff_id is None:
            return Made(None, created, content)
        record = self._layer(Digest(str(diff_id)))
        return Made(record, created, content) if record else None

    def _find_elsewhere(self, key: Digest) -> Made | None:
        found = None if self._anew or not self._elsewhere else self._elsewhere.find(key)
        if found is None or found.layer is None:
            return found
        # Its layer may be here by another way.
        here = self._layer(found.layer.diff_id)
        return replace(found, layer=here) if here else found

    def created_elsewhere(self, key: Digest) -> datetime | None:
        """Return when something that is no step was made elsewhere; None if it never was."""
        found = self._find_elsewhere(key)
        return found.created if found else None

    def _layer(self, diff_id: Digest) -> LayerRecord | None:
        record = self._store.images.layer(diff_id)
        if record is None or not self._store.blobs.has(diff_id):
            return None
        # A built layer is stored plain; the row may be of a compressed copy somebody pulled.
        size = record.tar_bytes
        return LayerRecord(diff_id, diff_id, size, size, record.unpacked_bytes)

    def remember(self, key: Digest, made: Made, needs: Sequence[Digest] = ()) -> None:
        """Keep what was made; it is dropped with any of the layers it needs."""
        if self._used:
            self._used.note(key, made)
        layer = made.layer.diff_id if made.layer else None
        document = {"layer": layer, "created": rfc3339(made.created)}
        if made.content:
            document["content"] = made.content
        self._store.steps.put(key, document, [*needs, *([layer] if layer else [])])

    def settle(self) -> None:
        """Keep what was found elsewhere and is here now, as if it had been made here."""
        for key, made in (self._used.from_elsewhere() if self._used else {}).items():
            if made.layer is None or self._layer(made.layer.diff_id) is not None:
                self.remember(key, made)

    def seen(self, key: Digest, needs: Sequence[Digest], now: datetime) -> bool:
        """Say whether a step that makes nothing was seen before, and remember it."""
        if self.find(key):
            return True
        self.remember(key, Made(None, now), needs)
        return False


def _parts(document: Mapping[str, object]) -> Mapping[str, object]:
    """Return parts as they come out of the database: tuples are lists there."""
    parts = json.loads(json.dumps(document["parts"]))
    assert isinstance(parts, dict)
    return parts


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
