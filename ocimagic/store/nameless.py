"""Indexes that are here and have no name: built or loaded without one, or robbed of theirs.

Such an index is one thing, as an image without a name is: it is listed, tagged and taken away
whole, by the image in it that runs on this machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.digest import Digest
from ocimagic.spec.platform import Platform
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Cursor

_KEEP = (
    "INSERT OR IGNORE INTO nameless SELECT ?, ? "
    "WHERE NOT EXISTS (SELECT 1 FROM names WHERE target = ?)"
)
ROWS = (
    "SELECT target, nameless.manifest, nameless_parts.manifest, platform FROM nameless "
    "JOIN nameless_parts USING (target) ORDER BY nameless_parts.rowid"
)


@dataclass(frozen=True, slots=True)
class Part:
    """An image that is here of an index.

    Attributes:
        platform: that it was built for, None where only its config says.
    """

    manifest: Digest
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class Nameless:
    """An index without a name.

    Attributes:
        index: its digest.
        run: the image that stands for it.
    """

    index: Digest
    run: Digest
    parts: tuple[Part, ...]


def as_part(manifest: object, platform: object) -> Part:
    """Read the columns of a part."""
    return Part(Digest(str(manifest)), Platform.parse(str(platform)) if platform else None)


def as_nameless(rows: Sequence[tuple[object, ...]]) -> list[Nameless]:
    """Read what ``ROWS`` gives."""
    found: dict[tuple[str, str], list[Part]] = {}
    for target, run, manifest, platform in rows:
        found.setdefault((str(target), str(run)), []).append(as_part(manifest, platform))
    return [
        Nameless(Digest(target), Digest(run), tuple(parts))
        for (target, run), parts in found.items()
    ]


def keep(cursor: Cursor, index: Digest, run: Digest, parts: Sequence[Part]) -> None:
    """Note an index without a name, unless it has one."""
    cursor.execute(_KEEP, (index, run, index))
    if cursor.rowcount:
        cursor.executemany(
            "INSERT OR IGNORE INTO nameless_parts VALUES (?, ?, ?)",
            [
                (index, each.manifest, str(each.platform) if each.platform else None)
                for each in parts
            ],
        )


def named(cursor: Cursor, index: Digest) -> None:
    """Note that an index has a name now."""
    cursor.execute("DELETE FROM nameless WHERE target = ?", (index,))


def drop(cursor: Cursor, run: Digest) -> list[Digest]:
    """Forget the indexes that an image stands for; return the manifests of their parts."""
    found = cursor.execute(
        "SELECT nameless_parts.manifest FROM nameless JOIN nameless_parts USING (target) "
        "WHERE nameless.manifest = ?",
        (run,),
    ).fetchall()
    cursor.execute("DELETE FROM nameless WHERE manifest = ?", (run,))
    return [Digest(str(row[0])) for row in found]
