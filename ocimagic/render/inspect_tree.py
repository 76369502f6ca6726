"""A JSON document as nested ``<details>``: the static twin of the inspect widget."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ocimagic.render.escape import markup, visible
from ocimagic.render.html import LINE, MONOSPACE
from ocimagic.render.units import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OPEN_LEVELS = 2
_ROW = f"{MONOSPACE};padding:.05em 0;overflow-wrap:anywhere"


def tree_html(document: object, *, title: str = "", open_levels: int = OPEN_LEVELS) -> str:
    """Draw a document; the first levels are open.

    Args:
        document: what ``json.loads`` may return.
        title: said above the tree.
        open_levels: how many levels of objects and lists start unfolded.
    """
    head = f'<p style="margin:.3em 0"><strong>{markup(title)}</strong></p>' if title else ""
    return f"<div>{head}{_inside(document, open_levels)}</div>"


def tree_text(document: object) -> str:
    """Write a document as indented JSON, hidden characters as escapes."""
    text = json.dumps(document, indent=4, ensure_ascii=False, default=str)
    return visible(text, lines=True)


def _inside(value: object, open_levels: int) -> str:
    """Draw the members of an object or list, or a lone value."""
    members = _members(value)
    if members is None:
        return f'<span style="{MONOSPACE}">{markup(_scalar(value))}</span>'
    items = "".join(f"<li>{_member(key, item, open_levels)}</li>" for key, item in members)
    return (
        f'<ul style="list-style:none;margin:0;padding-left:1.1em;border-left:1px solid {LINE}">'
        f"{items}</ul>"
    )


def _member(key: str, value: object, open_levels: int) -> str:
    members = _members(value)
    if not members:
        return f'<div style="{_ROW}"><strong>{markup(key)}</strong>: {markup(_scalar(value))}</div>'
    mark = " open" if open_levels > 0 else ""
    size = count(len(members), "item")
    return (
        f'<details{mark} style="margin:0"><summary style="cursor:pointer;{_ROW}">'
        f"<strong>{markup(key)}</strong> <small>({size})</small></summary>"
        f"{_inside(value, open_levels - 1)}</details>"
    )


def _members(value: object) -> Sequence[tuple[str, object]] | None:
    """Return keys and values, None for a value without any."""
    if isinstance(value, dict):
        return _named(value)
    if isinstance(value, list | tuple):
        return _numbered(value)
    return None


def _named(value: Mapping[object, object]) -> Sequence[tuple[str, object]]:
    return [(str(key), item) for key, item in value.items()]


def _numbered(value: Iterable[object]) -> Sequence[tuple[str, object]]:
    return [(str(index), item) for index, item in enumerate(value)]


def _scalar(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
