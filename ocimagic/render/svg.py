"""SVG pictures that need no program and no network: colours, boxes, arrows and words.

A picture goes into a notebook as a ``data:`` image, so its own style sheet is safe in there, and
``prefers-color-scheme`` follows the theme of the page; on paper it is light.  Fills are Okabe and
Ito's colours, thinned so that text on them keeps a contrast of at least 4.5 to 1; what a colour
says is said by a hatch, a letter or a word as well.
"""

from __future__ import annotations

import base64
import re
from itertools import pairwise
from typing import TYPE_CHECKING

from ocimagic.render.escape import markup, shorten, visible
from ocimagic.spec.record import dataclass, fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BLUE, SKY, GREEN, ORANGE, VERMILLION = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00"
INK = "#14181d"  # on orange, in both themes
MARGIN = 20
# Mean width of a letter, of the font size, in DejaVu Sans: the widest of the faces below.
THIN, BOLD = 0.58, 0.66
_FONT = "system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif"


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one theme.

    Attributes:
        panel: what all lies on.
        base, own, hot, calm: the four kinds of boxes.
        tint: how much of a box's colour lies over the panel.
        hatch: how much more lies under the stripes of a hatched one.
    """

    panel: str
    edge: str
    base: str
    own: str
    hot: str
    calm: str
    text: str
    quiet: str
    tint: float
    hatch: float


LIGHT = Theme(
    "#ffffff", "#d0d7de", BLUE, GREEN, VERMILLION, "#6e7781", "#14181d", "#3d444d", 0.16, 0.17
)
DARK = Theme(
    "#14181d", "#3d444d", SKY, GREEN, VERMILLION, "#8b949e", "#f4f6f8", "#d0d7de", 0.26, 0.17
)
KINDS = ("base", "own", "hot", "calm")
"""Kinds of boxes: what was there, what was added, what is written to or went wrong, the rest."""

assert {*KINDS} <= {each.name for each in fields(Theme)}


def document(parts: Iterable[str], *, width: int, height: int, title: str) -> str:
    """Put the parts of a picture on a panel.

    Args:
        parts: elements, those below first.
        width: in pixels.
        height: in pixels.
        title: what the picture shows, in words.
    """
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="{_FONT}">'
    )
    style = (
        f"<style>{_rules(LIGHT)}@media screen and (prefers-color-scheme:dark)"
        f"{{{_rules(DARK)}}}</style>"
    )
    size = f'width="{width - 1}" height="{height - 1}"'
    panel = f'<rect class="panel" x=".5" y=".5" {size} rx="10"/>'
    drawn = "\n".join([panel, *parts, "</svg>"])
    defined = _HATCHES + _DEFINED if "url(#hatch-" in drawn else _DEFINED
    return "\n".join([head, f"<title>{markup(title)}</title>", style, defined, drawn])


def in_theme(html: str, theme: str) -> str:
    """Let the pictures of a page have one theme, whatever the page's.

    Args:
        html: with pictures of ours.
        theme: ``light`` or ``dark``.
    """

    def redrawn(found: re.Match[str]) -> str:
        picture = base64.b64decode(found[1]).decode()
        kept = _DARK_RULES.sub("" if theme == "light" else r"\1", picture, count=1)
        return f"{_DATA}{base64.b64encode(kept.encode()).decode('ascii')}"

    return _PICTURE.sub(redrawn, html)


_DATA = "data:image/svg+xml;base64,"
_PICTURE = re.compile(rf"{re.escape(_DATA)}([\w+/=]+)", re.ASCII)
_DARK_RULES = re.compile(
    r"@media screen and \(prefers-color-scheme:dark\)\{((?:[^{}]|\{[^{}]*\})*)\}"
)


def _rules(theme: Theme) -> str:
    colours = {kind: getattr(theme, kind) for kind in KINDS}
    return (
        f".panel{{fill:{theme.panel};stroke:{theme.edge}}}.sheet{{fill:{theme.panel}}}"
        + "".join(f".{kind}{{fill:{colour}}}" for kind, colour in colours.items())
        + ".line{fill:none}"
        + "".join(f".line.{kind}{{stroke:{colour}}}" for kind, colour in colours.items())
        + f".text{{fill:{theme.text}}}.quiet{{fill:{theme.quiet}}}"
        f".tint{{fill-opacity:{theme.tint}}}.hatch{{fill-opacity:{theme.hatch}}}"
        f".ground{{fill:none;stroke:{theme.quiet}}}.head{{fill:{theme.quiet}}}"
        # Words over lines: the panel's colour around each letter, as wide as the letters are.
        f".halo{{stroke:{theme.panel};stroke-width:5;stroke-linejoin:round;paint-order:stroke}}"
    )


_HATCHES = (
    "<defs>"
    + "".join(
        f'<pattern id="hatch-{kind}" width="9" height="9" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect class="hatch {kind}" width="4.5" height="9"/>'
        "</pattern>"
        for kind in KINDS
    )
    + "</defs>"
)
_DEFINED = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" '
    'markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path class="head" d="M0 0 L10 5 L0 10 Z"/></marker></defs>'
)


def box(
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    kind: str,
    hatched: bool = False,
    dashed: bool = False,
) -> Iterable[str]:
    """Draw a tinted box; a hatched one has a thicker border."""
    place = f'x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="5"'
    yield f'<rect class="tint {kind}" {place}/>'
    if hatched:
        yield f'<rect {place} fill="url(#hatch-{kind})"/>'
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    stroke = 2.2 if hatched else 1.2
    yield f'<rect class="line {kind}" {place} stroke-width="{stroke}"{dashes}/>'


def bar(left: float, top: float, width: float, height: float, *, kind: str) -> str:
    """Draw a solid bar, of two pixels at least: something small is not nothing."""
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{max(width, 2):.1f}" height="{height:g}" '
        f'rx="{height / 2:g}" class="{kind}"/>'
    )


def text(words: str, left: float, base: float, size: float, attributes: str) -> str:
    """Draw words with their base line at ``base``."""
    return (
        f'<text x="{left:g}" y="{base:g}" font-size="{size:g}" {attributes}>{markup(words)}</text>'
    )


def line(points: Sequence[tuple[float, float]], *, arrow: bool = True, dashed: bool = False) -> str:
    """Draw a line through points, an arrow's head at its end."""
    way = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
    more = ' marker-end="url(#head)"' if arrow else ""
    more += ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path class="ground" d="{way}" stroke-width="1.6"{more}/>'


def curve(points: Sequence[tuple[float, float]], *, dashed: bool = False) -> str:
    """Draw an arrow from left to right that is level at every point."""
    way = f"M{points[0][0]:g} {points[0][1]:g}"
    for (x, y), (to_x, to_y) in pairwise(points):
        bend = (to_x - x) / 2
        way += f" C{x + bend:g} {y:g} {to_x - bend:g} {to_y:g} {to_x:g} {to_y:g}"
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path class="ground" d="{way}" stroke-width="1.6" marker-end="url(#head)"{dashes}/>'


def fit(words: str, room: float, letter: float, *, from_end: bool = False) -> str:
    """Shorten to what fits in ``room`` pixels; a name keeps its end, where the tag is.

    Args:
        words: anything.
        room: in pixels.
        letter: mean width of one, in pixels.
        from_end: cut at the beginning.
    """
    length = max(int(room / letter), 4)
    words = visible(words)
    return shorten(words[::-1], length)[::-1] if from_end else shorten(words, length)


def legend(entries: Iterable[tuple[str, bool, str]], left: float, top: float) -> Iterable[str]:
    """Draw a swatch with words for each kind; True for a hatched one."""
    for kind, hatched, words in entries:
        yield from _swatch(left, top, kind=kind, hatched=hatched)
        yield text(words, left + 32, top + 12.5, 12, 'class="quiet"')
        left += legend_width(words)


def _swatch(left: float, top: float, *, kind: str, hatched: bool) -> Iterable[str]:
    yield from box(left, top, 24, 16, kind=kind, hatched=hatched)


def legend_width(words: str) -> int:
    """Return the pixels that one entry of a legend takes."""
    return 50 + round(len(words) * 12 * THIN)
