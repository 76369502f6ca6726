"""A word of help about one thing, beside the cursor: text and HTML of the same."""

from __future__ import annotations

from ocimagic.render.escape import markup
from ocimagic.spec.record import dataclass

_INDENT = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What is said.

    Attributes:
        title: how the thing is written.
        text: what it does.
        rows: terms with their explanations, such as flags.
        example: lines to copy; "" for none.
        facts: what is so here and now.
    """

    title: str
    text: str
    rows: tuple[tuple[str, str], ...] = ()
    example: str = ""
    facts: tuple[str, ...] = ()


def explained_text(help_: Explained) -> str:
    """Return it as plain text."""
    width = max((len(term) for term, _ in help_.rows), default=0)
    parts = [
        help_.title,
        help_.text,
        "\n".join(help_.facts),
        "\n".join(f"{_INDENT}{term:{width}}  {text}" for term, text in help_.rows),
        f"Example\n{_INDENT}" + help_.example.replace("\n", f"\n{_INDENT}")
        if help_.example
        else "",
    ]
    return "\n\n".join(part for part in parts if part)


def explained_html(help_: Explained) -> str:
    """Return it as HTML with inline styles."""
    parts = [f"<p><code><strong>{markup(help_.title)}</strong></code></p>"]
    parts += [f"<p>{markup(each)}</p>" for each in help_.text.split("\n\n") if each]
    if help_.facts:
        facts = "".join(f"<li>{markup(each)}</li>" for each in help_.facts)
        parts.append(f"<ul>{facts}</ul>")
    if help_.rows:
        cell = 'style="text-align:left;vertical-align:top;padding:.1em 1em .1em 0"'
        term_cell = f'scope="row" {cell}'
        whole = 'style="white-space:nowrap"'
        rows = "".join(
            f"<tr><th {term_cell}><code {whole}>{markup(term)}</code></th>"
            f"<td {cell}>{markup(text)}</td></tr>"
            for term, text in help_.rows
        )
        parts.append(f'<table style="border-collapse:collapse"><tbody>{rows}</tbody></table>')
    if help_.example:
        parts.append(f"<p>Example</p><pre>{markup(help_.example)}</pre>")
    return "".join(parts)
