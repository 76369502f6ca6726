"""What build steps came to: images that are not published, kept as two small documents each.

They are made into blobs when somebody asks for one by its ID.  Their layers are the build
cache's, and they go with it.
"""

from __future__ import annotations

import re
import time
import zlib
from datetime import datetime
from typing import TYPE_CHECKING

from ocimagic.errors import ImageNotFound
from ocimagic.spec.codec import rfc3339
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest, parse_manifest
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.home.database import Database

_LEAST_DIGITS = 7  # fewer are more often a name
_NEWEST = (
    "SELECT image_id, created FROM results WHERE key = ? AND made >= ? ORDER BY made DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class StepResult:
    """An image that a build step came to.

    Attributes:
        made: seconds since 1970.
    """

    manifest: Manifest
    config: ImageConfig
    made: float


class StepResults:
    """The results of build steps in one data root."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, key: Digest, *, since: float = 0.0) -> tuple[Digest, datetime] | None:
        """Return the image_id of what was kept last under a key, and when it was created.

        Args:
            key: of everything that goes into the image but the time.
            since: seconds since 1970; what was made before does not count.
        """
        rows = self._database.rows(_NEWEST, key, since)
        return _dated(rows[0]) if rows else None

    def put(
        self,
        key: Digest,
        parent: Digest | None,
        manifest: Manifest,
        config: ImageConfig,
        *,
        since: float = 0.0,
    ) -> tuple[Digest, datetime]:
        """Keep an image, unless there is one of its kind; the first of two builds at once wins.

        Args:
            key: see ``newest``.
            parent: image_id of what the step worked on.
            manifest: of the image.
            config: of the image, encoded; it has a time.
            since: see ``newest``.

        Returns:
            what ``newest`` returns from now on.
        """
        assert config.created is not None
        created, image_id = rfc3339(config.created), manifest.config.digest
        documents = [zlib.compress(raw, 1) for raw in (manifest.raw, config.raw)]
        with self._database.transaction() as cursor:
            if row := cursor.execute(_NEWEST, (key, since)).fetchone():
                return _dated(row)
            cursor.execute(
                "INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (image_id, key, parent, created, len(config.history), *documents, time.time()),
            )
            if cursor.rowcount:
                cursor.executemany(
                    "INSERT INTO results_use VALUES (?, ?)",
                    [(image_id, diff_id) for diff_id in set(config.diff_ids)],
                )
        return image_id, config.created

    def get(self, image_id: Digest) -> StepResult | None:
        """Return the image of a whole ID."""
        rows = self._database.rows(
            "SELECT manifest, config, made FROM results WHERE image_id = ?", image_id
        )
        return _result(rows[0]) if rows else None

    def find(self, text: str) -> StepResult | None:
        """Return the image whose ID begins with some digits, at least seven.

        Raises:
            ImageNotFound: there are several.
        """
        digits = text.removeprefix("sha256:")
        if not re.fullmatch(rf"[0-9a-f]{{{_LEAST_DIGITS},64}}", digits):
            return None
        rows = self._database.rows(
            "SELECT manifest, config, made FROM results "
            "WHERE image_id >= 'sha256:' || ? AND image_id < 'sha256:' || ? || 'g' LIMIT 2",
            digits,
            digits,
        )
        if len(rows) > 1:
            raise ImageNotFound(f"more than one build step's ID begins with {digits}")
        return _result(rows[0]) if rows else None

    def all(self) -> list[StepResult]:
        """Return those that no published image has the ID of, the newest first."""
        rows = self._database.rows(
            "SELECT manifest, config, made FROM results "
            "WHERE image_id NOT IN (SELECT image_id FROM images) ORDER BY made DESC"
        )
        return [_result(row) for row in rows]

    def lineage(self, image_id: Digest) -> list[tuple[Digest, int | None]]:
        """Return an image and what it was made of step by step, as far as that is known.

        Returns:
            image_id, and how many lines its history has; None of the last, which may be a base.
        """
        rows = self._database.rows(
            "WITH RECURSIVE line(image_id, depth) AS (VALUES (?, 0) UNION ALL "
            "SELECT parent, depth + 1 FROM results JOIN line USING (image_id) "
            "WHERE parent IS NOT NULL) "
            "SELECT line.image_id, lines FROM line LEFT JOIN results USING (image_id) "
            "ORDER BY depth",
            image_id,
        )
        return [(Digest(str(row[0])), None if row[1] is None else int(str(row[1]))) for row in rows]

    def forget(self, image_ids: Sequence[Digest]) -> None:
        """Drop what has one of these IDs."""
        with self._database.transaction() as cursor:
            cursor.executemany(
                "DELETE FROM results WHERE image_id = ?", [(each,) for each in image_ids]
            )


def _dated(row: tuple[object, ...]) -> tuple[Digest, datetime]:
    return Digest(str(row[0])), datetime.fromisoformat(str(row[1]))


def _result(row: tuple[object, ...]) -> StepResult:
    manifest, config, made = row
    assert isinstance(manifest, bytes)
    assert isinstance(config, bytes)
    document = parse_manifest(zlib.decompress(manifest))
    assert isinstance(document, Manifest)
    return StepResult(document, ImageConfig.parse(zlib.decompress(config)), float(str(made)))
