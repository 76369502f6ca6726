"""How images came to be here: what an engine noted of a pull or a build; gone with the image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.home.database import Database
    from ocimagic.spec.digest import Digest


class Timelines:
    """The timelines of the images in one data root."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, manifest: Digest, document: Mapping[str, object]) -> None:
        """Note how an image came to be here; nothing if it is gone again already."""
        with self._database.transaction() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO timelines SELECT manifest, ? FROM images "
                "WHERE manifest = ?",
                (json.dumps(document), manifest),
            )

    def get(self, manifest: Digest) -> Mapping[str, object] | None:
        """Return what is known of one; None for nothing."""
        rows = self._database.rows("SELECT document FROM timelines WHERE manifest = ?", manifest)
        document = json.loads(str(rows[0][0])) if rows else None
        assert document is None or isinstance(document, dict)
        return document

    def newest(self) -> Mapping[str, object] | None:
        """Return how the image came here that came last of those that are known."""
        rows = self._database.rows(
            "SELECT document FROM timelines ORDER BY json_extract(document, '$.began') DESC LIMIT 1"
        )
        document = json.loads(str(rows[0][0])) if rows else None
        assert document is None or isinstance(document, dict)
        return document
