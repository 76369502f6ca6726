"""What ``ocimagic doctor`` found: how containers are set apart here, and what would mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.isolation import Grade
from ocimagic.render.escape import markup, visible
from ocimagic.render.html import table_html
from ocimagic.render.table import Table

if TYPE_CHECKING:
    from ocimagic.model.isolation import Diagnosis

# A sign and a word: nobody has to tell colours apart.
_SIGNS = {Grade.GOOD: "✓ ok", Grade.PARTLY: "~ partly", Grade.MISSING: "✗ missing"}


def diagnosis_text(found: Diagnosis) -> str:
    """Say the mode in plain words, then one line per finding with its mending below."""
    lines = [*(f"{head:9} {words}" for head, words in _summary(found)), ""]
    width = max(len(each.subject) for each in found.findings)
    for each in found.findings:
        sign, subject = _SIGNS[each.grade], visible(each.subject)
        lines.append(f"{sign:9} {subject:{width}}  {visible(each.found)}")
        if each.advice:
            lines.append(f"{'':9} {'':{width}}  try: {visible(each.advice)}")
    return "\n".join(lines)


def diagnosis_html(found: Diagnosis) -> str:
    """Draw the same: a list of words, then a table."""
    words = "".join(
        f"<dt><b>{head}</b></dt><dd>{markup(text)}</dd>" for head, text in _summary(found)
    )
    rows = tuple(
        (_SIGNS[each.grade], each.subject, each.found, each.advice) for each in found.findings
    )
    heads = ("", "WHAT", "FOUND", "WHAT WOULD GIVE MORE")
    return f"<dl>{words}</dl>" + table_html(Table("Tried on this machine", heads, rows))


def _summary(found: Diagnosis) -> list[tuple[str, str]]:
    meaning = found.meaning
    mode = found.mode.value
    if not meaning.is_built:
        mode += " would be possible, but this version does not run containers so yet"
    return [
        ("mode", mode),
        ("isolated", meaning.isolated),
        ("shared", meaning.shared),
        ("more", meaning.more),
    ]
