"""Indexes in the making: what ``manifest create`` and ``annotate`` put together until it is pushed.

A file per list, replaced whole; a list holds documents, not blobs, and keeps no image alive.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from ocimagic.errors import NotFound
from ocimagic.home.disk import storage_errors
from ocimagic.home.location import write_atomic
from ocimagic.home.locks import locked
from ocimagic.spec.codec import decode, encode, without_none
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import parse_manifest
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass, replace
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ocimagic.home.location import Home
    from ocimagic.spec.codec import Fields

_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One image of a list.

    Attributes:
        reference: full name it was added by.
        described: its manifest, with the platform it stands for.
        raw: that manifest.
        is_here: it was taken from the store, not from a registry.
        pushed: the manifest as it last went to a registry, where layers of the store were
            compressed on their way; empty before that.
    """

    reference: str
    described: Descriptor
    raw: bytes
    is_here: bool
    pushed: bytes = b""

    @property
    def shown(self) -> tuple[Descriptor, bytes]:
        """Return the manifest as whoever pulls it will meet it, as far as that is known."""
        if not self.pushed:
            return self.described, self.raw
        media_type = parse_manifest(self.pushed).media_type
        digest, size = Digest.of(self.pushed), len(self.pushed)
        described = replace(self.described, media_type=media_type, digest=digest, size=size)
        return described, self.pushed


class ManifestLists:
    """The lists of one data root, by the name they will get."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def _directory(self) -> Path:
        return self._home.own / "lists"

    def find(self, reference: Reference) -> tuple[ListEntry, ...] | None:
        """Return the entries of a list in their order, None if there is no such list."""
        try:
            raw = self._path(reference).read_bytes()
        except FileNotFoundError:
            return None
        fields = decode(raw, what="manifest list of this data root", max_bytes=_MAX_BYTES)
        return tuple(_entry(each) for each in fields.children("entries"))

    def get(self, reference: Reference) -> tuple[ListEntry, ...]:
        """Return the entries of a list that must be there.

        Raises:
            NotFound: it is not.
        """
        found = self.find(reference)
        if found is None:
            near = nearest(reference.familiar, self.names())
            raise NotFound(
                f"no such manifest list: {reference.familiar}",
                why="none of that name was created here",
                hint=f"did you mean {near}?" if near else "docker manifest create LIST IMAGE...",
            )
        return found

    def names(self) -> list[str]:
        """Return the names of all lists, as docker shows them, sorted."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self._directory.glob("[0-9a-f]*.json"):
                raw = path.read_bytes()
                fields = decode(raw, what="manifest list of this data root", max_bytes=_MAX_BYTES)
                found.append(Reference.parse(fields.text("reference")).familiar)
        return sorted(found)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other writers away from all lists while one is read, changed and put back."""
        with locked(self._home.locks, "lists"):
            yield

    def put(self, reference: Reference, entries: tuple[ListEntry, ...]) -> None:
        """Keep a list in place of what its name stood for."""
        document = {
            "reference": str(reference),
            "entries": [_to_json(each) for each in entries],
        }
        with storage_errors(self._home.data):
            self._directory.mkdir(exist_ok=True)
            write_atomic(self._path(reference), encode(document))

    def remove(self, reference: Reference) -> None:
        """Take a list away, if it is there."""
        with storage_errors(self._home.data):
            self._path(reference).unlink(missing_ok=True)

    def _path(self, reference: Reference) -> Path:
        # A name may be longer than a file's and has slashes.
        name = hashlib.sha256(str(reference).encode()).hexdigest()
        return self._directory / f"{name}.json"


def _entry(fields: Fields) -> ListEntry:
    return ListEntry(
        fields.text("reference"),
        Descriptor.from_fields(fields.child("descriptor", required=True)),
        fields.text("raw").encode(),
        fields.flag("is_here"),
        fields.text("pushed", "").encode(),
    )


def _to_json(entry: ListEntry) -> dict[str, object]:
    return without_none(
        {
            "reference": entry.reference,
            "descriptor": entry.described.to_json(),
            "raw": entry.raw.decode(),
            "is_here": entry.is_here,
            "pushed": entry.pushed.decode(),
        }
    )
