"""Model to HTML that survives everything a notebook does to it.

JupyterLab strips ``<style>``, ``class`` and scripts from a notebook it does not trust, and
GitHub strips ``style``.  So: plain elements that mean something without styles, styles
inline, colours inherited or half transparent so that light and dark themes both work, and
every text from outside through ``markup``.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ocimagic.render.escape import element_markup, markup
from ocimagic.render.ports import words_markup
from ocimagic.render.table import info_table, layer_tables
from ocimagic.render.text import checked_text, exit_sentence, pull_sentence, removed_sentence
from ocimagic.render.units import human_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ocimagic.model.built import BuildChecked, BuildWarning
    from ocimagic.model.report import ExecResult
    from ocimagic.model.result import (
        ExitStatus,
        LayerReport,
        PullResult,
        Removed,
        RunResult,
        SystemInfo,
    )
    from ocimagic.render.table import Table

LINE = "rgba(128,128,128,.35)"
GOOD = "rgba(0,158,115,.25)"
BAD = "rgba(213,94,0,.28)"
CALM = "rgba(0,114,178,.22)"
MONOSPACE = "font-family:ui-monospace,'DejaVu Sans Mono',monospace"

_CELL = f"padding:.3em .8em .3em 0;border-bottom:1px solid {LINE};vertical-align:top"
_CODE_HEADS = frozenset(
    {"IMAGE ID", "CONTAINER ID", "IMAGE", "DIGEST", "COMMAND", "CREATED BY", "INSTRUCTION"}
)
_PORTS_HEAD = "PORTS"
_MOST_SHRUNK_PX = 1300
# A style attribute knows no @media: a page of paper is told by its width, with A4 across the
# widest (1,046 px between Chromium's margins). A wider window lets the picture be as wide as it
# is; JupyterLab keeps of an untrusted output the first of the two only.
_WIDE = "none;max-width:calc(100% + max(0px,(100vw - 1060px)*99))"


def table_html(table: Table, *, caption: str | None = None) -> str:
    """Draw a table with caption and heads that a screen reader announces."""
    heads = "".join(
        f'<th scope="col" style="{_CELL};text-align:{_side(head, table)}">{markup(head)}</th>'
        for head in table.heads
    )
    rows = "".join(f"<tr>{_row(row, table)}</tr>" for row in table.rows)
    return (
        '<table style="border-collapse:collapse;margin:.3em 0">'
        f'<caption style="text-align:left;white-space:nowrap;padding-bottom:.3em">'
        f"{markup(table.caption if caption is None else caption)}</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def plain_table_html(table: Table) -> str:
    """Draw a long table with few bytes: space between its cells instead of lines."""

    def cell(text: str, head: str, tag: str) -> str:
        return f'<{tag} style="text-align:{_side(head, table)}">{element_markup(text)}</{tag[:2]}>'

    heads = "".join(cell(head, head, 'th scope="col"') for head in table.heads)
    rows = "".join(
        f"<tr>{''.join(cell(*each, 'td') for each in zip(row, table.heads, strict=True))}</tr>"
        for row in table.rows
    )
    return (
        '<table style="border-spacing:.8em .2em">'
        f"<caption>{element_markup(table.caption)}</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(row: tuple[str, ...], table: Table) -> str:
    cells: list[str] = []
    for head, cell in zip(table.heads, row, strict=True):
        # pre-wrap keeps the blanks of a command and still lets it wrap.
        code = f";{MONOSPACE};white-space:pre-wrap" if head in _CODE_HEADS else ""
        style = f"{_CELL};text-align:{_side(head, table)}{code}"
        drawn = words_markup(cell) if head == _PORTS_HEAD else markup(cell)
        if not cells:
            cells.append(f'<th scope="row" style="{style};font-weight:normal">{drawn}</th>')
        else:
            cells.append(f'<td style="{style}">{drawn}</td>')
    return "".join(cells)


def _side(head: str, table: Table) -> str:
    return "right" if head in table.numbers else "left"


def paragraph(text: str, *, lines: bool = False) -> str:
    """Wrap one sentence, or the lines of a text that is visible already."""
    drawn = "<br>".join(markup(line) for line in (text.split("\n") if lines else [text]))
    return f'<p style="margin:.3em 0">{drawn}</p>'


def badge(text: str, colour: str) -> str:
    """Draw a small label; the text, not the colour, carries the meaning."""
    return (
        f'<span style="background:{colour};border-radius:.4em;padding:.05em .5em;{MONOSPACE}">'
        f"{markup(text)}</span>"
    )


def details(summary: str, body: str, *, is_open: bool = False) -> str:
    """Fold ready HTML under a line of text."""
    mark = " open" if is_open else ""
    return (
        f'<details{mark} style="margin:.3em 0"><summary style="cursor:pointer">{markup(summary)}'
        f"</summary>{body}</details>"
    )


def figure(picture: str, words: str, caption: str, *, width: int = 0, twin: str = "") -> str:
    """Show a picture with alternative text and caption, the same as a table folded below.

    Args:
        picture: an SVG document.
        words: what the picture shows.
        caption: one sentence below it.
        width: of the picture, in pixels: a little too much shrinks to the page; what would be
            unreadable then scrolls, and shrinks on paper, which cannot.
        twin: HTML that says the same without a picture.
    """
    data = base64.b64encode(picture.encode()).decode("ascii")
    most = _WIDE if width > _MOST_SHRUNK_PX else "100%"
    return (
        '<figure style="margin:.3em 0;overflow-x:auto">'
        f'<img alt="{markup(words)}" src="data:image/svg+xml;base64,{data}" '
        f'style="max-width:{most};height:auto">'
        f"<figcaption>{markup(caption)}</figcaption></figure>"
        + (details("The same as tables", twin) if twin else "")
    )


def preformatted(text: str) -> str:
    """Show lines of text as they are, in monospace."""
    return (
        f'<pre style="{MONOSPACE};margin:.3em 0;padding:.4em .6em;white-space:pre-wrap;'
        f'background:rgba(128,128,128,.12)">{markup(text, lines=True)}</pre>'
    )


def checked_html(checked: BuildChecked) -> str:
    """List what a build check found; the name of each leads to the page that explains it."""
    head, *_ = checked_text(checked).partition("\n")
    items = "".join(
        f"<li>line {each.line}: {_rule(each)}<br>{markup(each.message)}</li>"
        for each in checked.warnings
    )
    return paragraph(head) + (f'<ul style="margin:.3em 0">{items}</ul>' if items else "")


def _rule(warning: BuildWarning) -> str:
    name = f"<strong>{markup(warning.rule)}</strong>"
    if not warning.url.startswith("https://"):
        return name
    return f'<a href="{markup(warning.url)}">{name}</a>'


def pull_html(result: PullResult) -> str:
    """Say what a pull did."""
    return paragraph(pull_sentence(result))


def run_html(result: RunResult) -> str:
    """Draw how a container ended as a small label and a few words."""
    colour = BAD if result.exit_code else GOOD
    kept = "removed" if result.removed else f"kept as {result.name}"
    said = (
        f"{human_seconds(result.duration_s)} · network {result.network} · "
        f"container {result.container_id[:12]} {kept}"
    )
    badges = badge(f"exit {result.exit_code}", colour)
    if not result.isolated:
        badges += " " + badge("not isolated", BAD)
    return f'<p style="margin:.3em 0">{badges} {markup(said)}</p>'


def exec_html(result: ExecResult) -> str:
    """Draw how a command in a container ended as a small label and a few words."""
    said = f"{human_seconds(result.duration_s)} · in container {result.name}"
    label = badge(f"exit {result.exit_code}", BAD if result.exit_code else GOOD)
    return f'<p style="margin:.3em 0">{label} {markup(said)}</p>'


def exit_html(status: ExitStatus, now: datetime, *, name: str = "") -> str:
    """Draw how a container ended, after its name if it is given."""
    head, _, rest = exit_sentence(status, now).partition(", ")
    label = badge(head, BAD if status.code else GOOD)
    return f'<p style="margin:.3em 0">{markup(name)} {label} {markup(rest)}</p>'


def removed_html(removed: Removed) -> str:
    """Say how much was removed, with the list folded below."""
    gone = [f"Untagged: {name}" for name in removed.untagged]
    gone += [f"Deleted: {digest}" for digest in removed.deleted]
    return (
        details(removed_sentence(removed), bullet_list(gone))
        if gone
        else paragraph(removed_sentence(removed))
    )


def info_html(info: SystemInfo) -> str:
    """Draw what this machine and this version can do."""
    return table_html(info_table(info))


def layer_tables_html(report: LayerReport) -> str:
    """Draw the layers of each image as a table."""
    return "".join(table_html(table) for table in layer_tables(report))


def bullet_list(items: Iterable[str]) -> str:
    """Draw a list of texts."""
    return f"<ul>{''.join(f'<li>{markup(item)}</li>' for item in items)}</ul>"
