"""The search box over a JSON document: words come from a page, places where they are go back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ocimagic.render.escape import visible
from ocimagic.render.units import count
from ocimagic.spec.record import dataclass
from ocimagic.widgets.live import LiveView, script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHOWN_HITS = 100


@dataclass(frozen=True, slots=True)
class Hit:
    """One place in a document where a text was found.

    Attributes:
        path: as Python and jq write it: ``Config.Env[0]``.
        value: the value there, as JSON; an object or list by its size.
        steps: the way there from the top: which member of each object or list, from 0.
    """

    path: str
    value: str
    steps: tuple[int, ...]


def search(document: object, text: str) -> Iterator[Hit]:
    """Yield where every word of ``text`` is in the path or the value, upper or lower case."""
    words = text.casefold().split()
    for path, value, steps in _places(document, "", ()):
        shown = _shown(value)
        # An object is found by its key only; what is inside it is found in its own place.
        within = path if isinstance(value, dict | list | tuple) else f"{path} {shown}"
        if all(word in within.casefold() for word in words):
            yield Hit(path, shown, steps)


def _places(
    value: object, path: str, steps: tuple[int, ...]
) -> Iterator[tuple[str, object, tuple[int, ...]]]:
    if path:
        yield path, value, steps
    if isinstance(value, dict):
        for index, (key, item) in enumerate(value.items()):
            yield from _places(item, _with_key(path, str(key)), (*steps, index))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _places(item, f"{path}[{index}]", (*steps, index))


def _with_key(path: str, key: str) -> str:
    if not key.isidentifier():
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{count(len(value), 'item')}}}"
    if isinstance(value, list | tuple):
        return f"[{count(len(value), 'item')}]"
    return json.dumps(value, ensure_ascii=False, default=str)


class InspectTree(LiveView):
    """A search box that grows on the foldable tree of its document.

    Args:
        document: what ``json.loads`` may return.
    """

    _esm = script("live.js", "inspect_tree.js")

    def __init__(self, document: object) -> None:
        super().__init__()
        self._document = document

    def hear(self, content: dict[str, Any], _buffers: Sequence[memoryview] = ()) -> None:
        """Search for what was typed; the page knows by the text which question is answered."""
        if content.get("type") == "search":
            text = str(content["text"])
            self.send({"type": "hits", "text": text} | found(self._document, text))


def found(document: object, text: str) -> dict[str, object]:
    """Return what a page shows of a search: how many hits, and the first of them."""
    hits = list(search(document, text))
    said = f"{count(len(hits), 'hit')} for {visible(text)}"
    if len(hits) > SHOWN_HITS:
        said += f", the first {SHOWN_HITS} shown"
    rows = [(visible(hit.path), visible(hit.value), hit.steps) for hit in hits[:SHOWN_HITS]]
    return {"said": said, "rows": rows}
