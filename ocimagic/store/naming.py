"""Which images are here, what they are called, and which of them are one image for many platforms.

A name points at a manifest or at an index.  Of an index some images may be here: they are the
*parts* under that name, and one of them is what the name stands for when it is run.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass
from ocimagic.spec.reference import Reference
from ocimagic.store import nameless
from ocimagic.store.nameless import Nameless, Part, as_nameless, as_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from sqlite3 import Cursor

    from ocimagic.home.database import Database
    from ocimagic.spec.manifest import Manifest
    from ocimagic.spec.platform import Platform
    from ocimagic.store.images import StoredImage

_PARTS = "SELECT manifest, platform FROM parts WHERE reference = ? ORDER BY rowid"
_LEFT = (
    "manifest NOT IN (SELECT manifest FROM names) AND manifest NOT IN (SELECT manifest FROM parts)"
    " AND manifest NOT IN (SELECT manifest FROM nameless_parts)"
)


@dataclass(frozen=True, slots=True)
class Name:
    """A reference that names an image here.

    Attributes:
        target: what the name points at in its registry: a manifest or an index.
        manifest: the one that is run: for our platform, if there are several.
    """

    reference: Reference
    target: Digest
    manifest: Digest


@dataclass(frozen=True, slots=True)
class Whole:
    """An index to publish with what is here of it.

    Attributes:
        index: its digest.
        manifests: that it names and that are here, each with its platform.
        run: the one of them that the names stand for.
        names: that it gets; without any it is kept as one thing that has none.
    """

    index: Digest
    manifests: Sequence[tuple[Manifest, Platform | None]]
    run: Manifest
    names: Sequence[Reference]


class Naming:
    """The rows of images and of their names in one data root."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- publishing ------------------------------------------------------------

    def add(
        self, manifest: Manifest, names: Sequence[tuple[Reference, Digest]], *, durable: bool = True
    ) -> None:
        """Publish an image under some names; its blobs must be here and synced.

        What a name stood for stays a part under it if it came from the same index.

        Args:
            manifest: for our platform.
            names: each with the digest it points at in its registry.
            durable: wait until the names would survive a power cut.
        """
        self.add_all([(manifest, names)], durable=durable)

    def add_all(
        self,
        images: Sequence[tuple[Manifest, Sequence[tuple[Reference, Digest]]]],
        wholes: Sequence[Whole] = (),
        *,
        durable: bool = True,
    ) -> None:
        """Publish several images, and indexes with their parts, all or none; see ``add``."""
        now = time.time()
        with self._database.transaction(durable=durable) as cursor:
            for manifest, names in images:
                _publish(cursor, manifest, now)
                for reference, target in names:
                    _point(cursor, Name(reference, target, manifest.digest), now)
            for whole in wholes:
                _publish_whole(cursor, whole, now)

    def add_index(self, whole: Whole) -> None:
        """Publish images as the parts of an index, all of them or none; see ``add``."""
        self.add_all((), [whole])

    def tag(self, source: Name, run: Manifest, reference: Reference) -> None:
        """Give what a name points at another name, with all parts.

        Args:
            source: the name; somebody may be taking it away.
            run: the image that it stands for.
            reference: the other name.
        """
        now = time.time()
        with self._database.transaction(durable=True) as cursor:
            _publish(cursor, run, now)
            _point(cursor, Name(reference, source.target, run.digest), now)
            _join(cursor, reference, _parts(cursor, source.reference))

    def prefer(self, name: Name, manifest: Digest) -> None:
        """Let a name stand for another part of its index, unless it points elsewhere meanwhile."""
        with self._database.transaction(durable=True) as cursor:
            cursor.execute(
                "UPDATE names SET manifest = ? WHERE reference = ? AND target = ?",
                (manifest, _key(name.reference), name.target),
            )

    # -- looking ---------------------------------------------------------------

    def name(self, reference: Reference) -> Name | None:
        """Return what a reference points at here."""
        rows = self._database.rows(
            "SELECT reference, target, manifest FROM names WHERE reference = ?", _key(reference)
        )
        return as_name(rows[0]) if rows else None

    def names(self) -> list[Name]:
        """Return all names, sorted."""
        rows = self._database.rows("SELECT reference, target, manifest FROM names ORDER BY 1")
        return [as_name(row) for row in rows]

    def parts(self, reference: Reference) -> list[Part]:
        """Return what is here of the index under a name, in its order; nothing for one image."""
        return [as_part(*row) for row in self._database.rows(_PARTS, _key(reference))]

    def wholes(self) -> Mapping[Digest, Sequence[str]]:
        """Return under which names an image is a part, full and sorted, by its manifest."""
        found: dict[Digest, list[str]] = {}
        for manifest, reference in self._database.rows(
            "SELECT manifest, reference FROM parts ORDER BY reference"
        ):
            found.setdefault(Digest(str(manifest)), []).append(str(reference))
        return found

    def nameless(self) -> list[Nameless]:
        """Return the indexes that are here and have no name."""
        return as_nameless(self._database.rows(nameless.ROWS))

    # -- taking away -----------------------------------------------------------

    def untag(self, manifest: Digest, references: Sequence[Reference]) -> list[Digest]:
        """Take names of an image away, and forget it if it has none left; all at once.

        Its siblings under these names go with it, or those of the index without a name that it
        stands for.  A name that another image has got meanwhile stays.  Blobs and snapshots go
        with the next sweep.

        Returns:
            Manifests of what is forgotten.
        """
        with self._database.transaction(durable=True) as cursor:
            doomed = {manifest: None}
            if not references:
                doomed |= dict.fromkeys(nameless.drop(cursor, manifest))
            for each in references:
                doomed |= {part.manifest: None for part in _parts(cursor, each)}
                cursor.execute(
                    "DELETE FROM names WHERE reference = ? AND manifest = ?", (_key(each), manifest)
                )
            return [each for each in doomed if _forget(cursor, each)]

    def delete(self, images: Sequence[StoredImage]) -> list[StoredImage]:
        """Forget images and the names they were seen with, all of them or none.

        Returns:
            Those that are forgotten: one that was named anew meanwhile stays.
        """
        with self._database.transaction(durable=True) as cursor:
            for image in images:
                cursor.executemany(
                    "DELETE FROM names WHERE reference = ? AND manifest = ?",
                    [(str(each.reference), image.manifest.digest) for each in image.names],
                )
                nameless.drop(cursor, image.manifest.digest)
            return [image for image in images if _forget(cursor, image.manifest.digest)]


def as_name(row: tuple[object, ...]) -> Name:
    """Read a row of names."""
    reference, target, manifest = (str(each) for each in row)
    return Name(Reference.parse(reference), Digest(target), Digest(manifest))


def _publish(cursor: Cursor, manifest: Manifest, now: float) -> None:
    cursor.execute(
        "INSERT INTO images VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET added = excluded.added",
        (manifest.digest, manifest.config.digest, now),
    )


def _publish_whole(cursor: Cursor, whole: Whole, now: float) -> None:
    parts = [Part(each.digest, its) for each, its in whole.manifests]
    for manifest, _ in whole.manifests:
        _publish(cursor, manifest, now)
    if not whole.names:
        nameless.keep(cursor, whole.index, whole.run.digest, parts)
    for reference in whole.names:
        _point(cursor, Name(reference, whole.index, whole.run.digest), now, parts)
        cursor.execute("DELETE FROM parts WHERE reference = ?", (_key(reference),))
        _join(cursor, reference, parts)


def _point(cursor: Cursor, name: Name, now: float, parts: Sequence[Part] = ()) -> None:
    """Let a name point at something.

    What it pointed at stays a part if both are of one index; another index that has lost its
    last name stays whole, unless all of it is in the new one.
    """
    key = _key(name.reference)
    row = cursor.execute("SELECT target, manifest FROM names WHERE reference = ?", (key,))
    before = row.fetchone() or (None, None)
    cursor.execute(
        "INSERT INTO names VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "target = excluded.target, manifest = excluded.manifest, updated = excluded.updated",
        (key, name.target, name.manifest, now),
    )
    nameless.named(cursor, name.target)
    if before[0] != name.target:
        lost = _parts(cursor, name.reference)
        if not {each.manifest for each in lost} <= {each.manifest for each in parts}:
            nameless.keep(cursor, Digest(before[0]), Digest(before[1]), lost)
        cursor.execute("DELETE FROM parts WHERE reference = ?", (key,))
    elif before[1] != name.manifest:
        _join(cursor, name.reference, [Part(Digest(before[1])), Part(name.manifest)])


def _join(cursor: Cursor, reference: Reference, parts: Iterable[Part]) -> None:
    cursor.executemany(
        "INSERT OR IGNORE INTO parts VALUES (?, ?, ?)",
        [
            (_key(reference), each.manifest, str(each.platform) if each.platform else None)
            for each in parts
        ],
    )


def _parts(cursor: Cursor, reference: Reference) -> list[Part]:
    return [as_part(*row) for row in cursor.execute(_PARTS, (_key(reference),)).fetchall()]


def _forget(cursor: Cursor, manifest: Digest) -> bool:
    """Forget an image that no name leads to any more; say whether it was there."""
    cursor.execute(f"DELETE FROM images WHERE manifest = ? AND {_LEFT}", (manifest,))  # noqa: S608  a constant
    return cursor.rowcount > 0


def _key(reference: Reference) -> str:
    return str(reference.tagged())
