"""The build cache: what a step made, under a key of everything that went into it."""

from __future__ import annotations

import json
import time
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.home.database import Database
    from ocimagic.spec.digest import Digest

_MOST_LAST = 2000  # instructions that can be explained


class Steps:
    """The build cache of one data root."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: Digest) -> Mapping[str, object] | None:
        """Return what was remembered under a key."""
        rows = self._database.rows("SELECT document FROM steps WHERE key = ?", key)
        if not rows:
            return None
        document = json.loads(str(rows[0][0]))
        assert isinstance(document, dict)
        return document

    def put(self, key: Digest, document: Mapping[str, object], layers: Sequence[Digest]) -> None:
        """Remember a step and which layers it needs to be of use."""
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM steps WHERE key = ?", (key,))
            cursor.execute(
                "INSERT INTO steps VALUES (?, ?, ?)", (key, json.dumps(document), time.time())
            )
            cursor.executemany(
                "INSERT INTO steps_use VALUES (?, ?)", [(key, layer) for layer in layers]
            )

    def last(self, slot: Digest) -> Mapping[str, object] | None:
        """Return what an instruction was made of when it was last built; None if it never was."""
        rows = self._database.rows("SELECT document FROM steps_last WHERE slot = ?", slot)
        if not rows:
            return None
        raw = rows[0][0]
        assert isinstance(raw, bytes)
        document = json.loads(zlib.decompress(raw))
        assert isinstance(document, dict)
        return document

    def put_last(self, slots: Sequence[Digest], document: Mapping[str, object]) -> None:
        """Remember what an instruction was made of, under several names."""
        raw = zlib.compress(json.dumps(document).encode(), 1)
        with self._database.transaction() as cursor:
            cursor.executemany(
                "INSERT OR REPLACE INTO steps_last VALUES (?, ?, ?)",
                [(slot, raw, time.time()) for slot in slots],
            )
            cursor.execute(
                "DELETE FROM steps_last WHERE used < "
                "(SELECT used FROM steps_last ORDER BY used DESC LIMIT 1 OFFSET ?)",
                (_MOST_LAST - 1,),
            )

    def forget_all(self) -> int:
        """Drop all steps with what they came to; return how many there were."""
        with self._database.transaction() as cursor:
            cursor.execute("DELETE FROM steps_last")
            cursor.execute("DELETE FROM results")
            return cursor.execute("DELETE FROM steps").rowcount

    def forget(self, layers: Sequence[Digest]) -> None:
        """Drop all steps that need one of these layers, and all results that have one."""
        of_layers = [(layer,) for layer in layers]
        with self._database.transaction() as cursor:
            cursor.executemany(
                "DELETE FROM steps WHERE key IN (SELECT key FROM steps_use WHERE diff_id = ?)",
                of_layers,
            )
            cursor.executemany(
                "DELETE FROM results WHERE image_id IN "
                "(SELECT image_id FROM results_use WHERE diff_id = ?)",
                of_layers,
            )
