"""Errors for people: what is so, why, where, and what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import StepFailed
from ocimagic.render.escape import markup, visible
from ocimagic.render.html import preformatted
from ocimagic.render.units import count

if TYPE_CHECKING:
    from ocimagic.errors import OcimagicError

TAIL_LINES = 20
EDGE = "#D55E00"  # Okabe and Ito's vermillion: 3 to 1 on white and on black


def error_text(error: OcimagicError) -> str:
    """Write an error on a few lines; a failed step ends with the last lines it wrote."""
    lines = [visible(line) for line in error.lines()]
    if isinstance(error, StepFailed) and error.tail:
        lines.append(f"  last {count(len(_tail(error)), 'line')} of output:")
        lines += [f"    {visible(line)}" for line in _tail(error)]
    return "\n".join(lines)


def error_html(error: OcimagicError) -> str:
    """Draw an error as a small table of what, why, where and try."""
    rows = [_row(word, text) for word, text in _parts(error)]
    tail = ""
    if isinstance(error, StepFailed) and error.tail:
        tail = preformatted("\n".join(_tail(error)))
    return (
        f'<div style="border-left:.3em solid {EDGE};padding:.1em .8em">'
        f'<p style="margin:.2em 0"><strong>{markup(error.what)}</strong></p>'
        f'<table style="border-collapse:collapse">{"".join(rows)}</table>{tail}</div>'
    )


def _parts(error: OcimagicError) -> list[tuple[str, str]]:
    said = (("why", error.why), ("where", error.where), ("try", error.hint))
    parts = [(word, text) for word, text in said if text]
    if not parts and not isinstance(error, StepFailed):
        # A bare message still names its kind, so that it can be looked up.
        parts.append(("kind", type(error).__name__))
    return parts


def _row(word: str, text: str) -> str:
    # A code frame points with blanks and a caret, which only monospace keeps in place.
    body = preformatted(text) if "\n" in text or word == "where" else markup(text)
    return (
        f'<tr><th scope="row" style="text-align:left;vertical-align:top;padding-right:1em">'
        f'{word}</th><td style="text-align:left">{body}</td></tr>'
    )


def _tail(error: StepFailed) -> tuple[str, ...]:
    return error.tail[-TAIL_LINES:]
