"""A JSON document as nested ``<details>``: the static twin of the inspect widget."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ocimagic.render.escape import markup, visible
from ocimagic.render.html import LINE, MONOSPACE
from ocimagic.render.ports import map_markup
from ocimagic.render.units import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OPEN_LEVELS = 2
MOST_LEVELS = 40
MOST_MEMBERS = 1000
LONG = 300
_ROW = f"{MONOSPACE};padding:.1em 0;overflow-wrap:break-word"


def tree_html(document: object, *, title: str = "", open_levels: int = OPEN_LEVELS) -> str:
    """Draw a document; the first levels are open.

    Args:
        document: what ``json.loads`` may return.
        title: said above the tree.
        open_levels: how many levels of objects and lists start unfolded.
    """
    # A title may be one long ID, which else makes a narrow page scroll.
    style = "margin:.3em 0;overflow-wrap:anywhere"
    head = f'<p style="{style}"><strong>{markup(title)}</strong></p>' if title else ""
    return f"<div>{head}{_inside(document, open_levels, MOST_LEVELS)}</div>"


def tree_text(document: object) -> str:
    """Write a document as indented JSON, hidden characters as escapes."""
    text = json.dumps(document, indent=4, ensure_ascii=False, default=str)
    return visible(text, lines=True)


def _inside(value: object, open_levels: int, levels: int) -> str:
    """Draw the members of an object or list, or a lone value.

    Args:
        value: what ``json.loads`` may return.
        open_levels: how many more levels start unfolded.
        levels: how many more are drawn as trees; what is deeper is written as JSON.
    """
    members = _members(value)
    if members is None:
        return f'<span style="{MONOSPACE}">{_drawn_scalar(value)}</span>'
    if not levels:
        return f'<div style="{_ROW}">{_long(_scalar(value))}</div>'
    shown = members[:MOST_MEMBERS]
    items = "".join(f"<li>{_member(key, item, open_levels, levels)}</li>" for key, item in shown)
    if len(members) > len(shown):
        items += f"<li>and {count(len(members) - len(shown), 'more item')}</li>"
    return (
        f'<ul style="list-style:none;margin:0;padding-left:1.1em;border-left:1px solid {LINE}">'
        f"{items}</ul>"
    )


def _member(key: str, value: object, open_levels: int, levels: int) -> str:
    members = _members(value)
    if not members:
        return f'<div style="{_ROW}"><strong>{markup(key)}</strong>: {_drawn_scalar(value)}</div>'
    mark = " open" if open_levels > 0 else ""
    size = count(len(members), "item")
    # Not in the summary: who folds it with a key could not reach them there.
    links = map_markup(value) if key == "Ports" else ""
    links = links and f'<div style="{_ROW};padding-left:1.1em">{links}</div>'
    return (
        f'<details{mark} style="margin:0"><summary style="cursor:pointer;{_ROW}">'
        f"<strong>{markup(key)}</strong> <small>({size})</small></summary>"
        f"{_inside(value, open_levels - 1, levels - 1)}</details>{links}"
    )


def _drawn_scalar(value: object) -> str:
    said = _scalar(value)
    return _long(said) if len(said) > LONG else markup(said)


def _long(said: str) -> str:
    """Fold a long text below its beginning."""
    head = f"{markup(said[: LONG // 2])}… ({len(said)} characters)"
    return (
        f'<details style="margin:0"><summary style="cursor:pointer;{_ROW}">{head}</summary>'
        f'<div style="{_ROW};white-space:pre-wrap">{markup(said)}</div></details>'
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
