"""A JSON document with a search box; without a kernel it is the static tree of ``render``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets

from ocimagic.render.escape import markup
from ocimagic.render.html import LINE, MONOSPACE
from ocimagic.render.inspect_tree import tree_html, tree_text
from ocimagic.render.units import count

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN_HITS = 100
_HEAD = f"text-align:left;padding-right:1em;border-bottom:1px solid {LINE}"
_CELL = f"text-align:left;vertical-align:top;padding-right:1em;{MONOSPACE}"


@dataclass(frozen=True, slots=True)
class Hit:
    """One place in a document where a text was found.

    Attributes:
        path: as Python and jq write it: ``Config.Env[0]``.
        value: the value there, as JSON; an object or list by its size.
    """

    path: str
    value: str


def search(document: object, text: str) -> Iterator[Hit]:
    """Yield where every word of ``text`` is in the path or the value, upper or lower case."""
    words = text.casefold().split()
    for path, value in _places(document, ""):
        shown = _shown(value)
        # An object is found by its key only; what is inside it is found in its own place.
        within = path if isinstance(value, dict | list | tuple) else f"{path} {shown}"
        if all(word in within.casefold() for word in words):
            yield Hit(path, shown)


def _places(value: object, path: str) -> Iterator[tuple[str, object]]:
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, _with_key(path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _places(item, f"{path}[{index}]")


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


class InspectTree(ipywidgets.VBox):
    """A search box over a document.

    Args:
        document: what ``json.loads`` may return.
        title: what the document is about.
    """

    def __init__(self, document: object, *, title: str = "") -> None:
        self._document = document
        self._title = title
        self.box = ipywidgets.Text(
            placeholder="search keys and values",
            description="Search",
            tooltip="every word must be in the path or the value",
        )
        self.view = ipywidgets.HTML(tree_html(document, title=title))
        self.box.observe(self._search, names="value")
        super().__init__([self.box, self.view])

    def _search(self, _change: object) -> None:
        text = self.box.value.strip()
        if text:
            self.view.value = hits_html(list(search(self._document, text)), text)
        else:
            self.view.value = tree_html(self._document, title=self._title)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:  # noqa: ANN401  as ipywidgets has it
        """Return the widget beside its static twin, which is all that a saved notebook keeps."""
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        bundle["text/plain"] = tree_text(self._document)
        bundle["text/html"] = tree_html(self._document, title=self._title)
        return bundle


def hits_html(hits: list[Hit], text: str) -> str:
    """Draw hits as a table of path and value."""
    caption = f"{count(len(hits), 'hit')} for {text}"
    if len(hits) > SHOWN_HITS:
        caption += f", the first {SHOWN_HITS} shown"
    rows = "".join(
        f'<tr><th scope="row" style="{_CELL}">{markup(hit.path)}</th>'
        f'<td style="{_CELL};overflow-wrap:anywhere">{markup(hit.value)}</td></tr>'
        for hit in hits[:SHOWN_HITS]
    )
    return (
        f'<table style="border-collapse:collapse"><caption style="text-align:left">'
        f'{markup(caption)}</caption><thead><tr><th scope="col" style="{_HEAD}">Path</th>'
        f'<th scope="col" style="{_HEAD}">Value</th></tr></thead><tbody>{rows}</tbody></table>'
    )
