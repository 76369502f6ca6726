"""The layer explorer: all files of an image in columns, for a browser to walk through."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

from ocimagic.render.escape import visible
from ocimagic.render.explored import explored_sentence
from ocimagic.render.table import instruction
from ocimagic.widgets.live import LiveView, script

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.explored import Explored, ExploredFile

_GZIP = 31  # zlib's window bits for a gzip header
_LEVEL = 1  # it goes to this machine, as a rule


class Explorer(LiveView):
    """The tree of an image's files beside the lines of its history."""

    _esm = script("live.js", "explorer.js")

    def __init__(self, found: Explored) -> None:
        super().__init__()
        self._found: Explored | None = found
        self._packed = b""

    def hear(self, content: dict[str, Any], _buffers: Sequence[memoryview] = ()) -> None:
        """Send the files to a page that asks: never in the state, which may be saved."""
        if content.get("type") != "ready":
            return
        if self._found is not None:
            self._packed, self._found = pack(self._found), None
        self.send({"type": "files"}, buffers=[self._packed])


def pack(found: Explored) -> bytes:
    """Write an image's files as columns of JSON, gzipped; what hides itself is made visible.

    Names have no slash in them, so that all of them are one text.
    """
    touches, touched = _numbered(each.touches for each in found.files)
    metas, meta = _numbered((each.mode, each.uid, each.gid) for each in found.files)
    document = {
        "image": visible(found.image),
        "sentence": visible(explored_sentence(found)),
        "steps": [
            {"text": visible(instruction(each.created_by)), "layer": each.layer}
            for each in found.steps
        ],
        "layers": [
            {
                "added": len(each.added),
                "changed": len(each.changed),
                "deleted": len(each.deleted),
                "shipped": each.shipped_bytes,
                "wasted": each.wasted_bytes,
            }
            for each in found.accounts.layers
        ],
        "wasted_bytes": found.accounts.wasted_bytes,
        "names": visible("/".join([each.path.rpartition("/")[2] for each in found.files])),
        "depths": [each.path.count("/") for each in found.files],
        "kinds": "".join([each.kind for each in found.files]),
        "sizes": [each.size_bytes for each in found.files],
        "touches": touches,
        "touched": touched,
        "metas": metas,
        "meta": meta,
        "links": {row: visible(each.link) for row, each in enumerate(found.files) if each.link},
        "again": _again(found.files),
        "waste": _waste(found),
        "pairs": [
            (each.shipped_by, each.hidden_by, each.files, each.size_bytes) for each in found.waste()
        ],
    }
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    raw = json.dumps(document, separators=(",", ":")).encode()
    return packer.compress(raw) + packer.flush()


def _numbered(values: Iterable[object]) -> tuple[list[object], list[int]]:
    """Return the different values, and of each value which of them it is."""
    numbers: dict[object, int] = {}
    column = [numbers.setdefault(each, len(numbers)) for each in values]
    return list(numbers), column


def _again(files: Iterable[ExploredFile]) -> list[int]:
    """Return the rows of hard links to contents that an earlier row shows."""
    seen: set[tuple[int, int]] = set()
    rows = []
    for row, each in enumerate(files):
        if each.content is None or not each.is_there:
            continue
        if each.content in seen:
            rows.append(row)
        seen.add(each.content)
    return rows


def _waste(found: Explored) -> list[tuple[int, int, int, int]]:
    """Return row, bytes, and which layers ship and hide them, of all that is wasted."""
    lost = [
        (each.path, each.size_bytes, layer, each.by)
        for layer, account in enumerate(found.accounts.layers)
        for each in account.wasted
    ]
    if not lost:
        return []
    row_of = {each.path: row for row, each in enumerate(found.files)}
    # A path may be missing: a layer that shipped two files of one name, one of them no file.
    return [(row_of[path], size, layer, by) for path, size, layer, by in lost if path in row_of]
