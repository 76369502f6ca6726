"""The wall of layers as an SVG picture that needs no program and no network.

It goes into a notebook as a ``data:`` image, so its own style sheet is safe in there, and
``prefers-color-scheme`` follows the theme of the page.  Fills are Okabe and Ito's colours,
thinned so that text on them keeps a contrast of at least 4.5 to 1; hatching and words say
what the colours say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.render.escape import markup, shorten, visible
from ocimagic.render.table import instruction
from ocimagic.render.units import count, human_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.render.layer_wall import Brick, Wall

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one theme.

    Attributes:
        tint: how much of a brick's colour lies over the panel.
        hatch: how much more lies under the stripes of a shared brick.
    """

    panel: str
    edge: str
    base: str
    own: str
    text: str
    quiet: str
    tint: float
    hatch: float


LIGHT = Theme("#ffffff", "#d0d7de", BLUE, GREEN, "#14181d", "#3d444d", 0.16, 0.17)
DARK = Theme("#14181d", "#3d444d", SKY, GREEN, "#f4f6f8", "#d0d7de", 0.26, 0.17)

MARGIN = 20
BRICK_HEIGHT = 56
GAP = 5
FLAG_HEIGHT = 30
LEGEND_HEIGHT = 32
_TEXT_LEFT = 44
# Mean width of a letter, of the font size, in DejaVu Sans: the widest of the faces below.
_THIN, _BOLD = 0.58, 0.66
_LETTER = 'text-anchor="middle" font-weight="700"'
_FONT = "system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif"


def wall_svg(wall: Wall, *, title: str) -> str:
    """Draw the wall.

    Args:
        wall: bricks with their places.
        title: what the picture shows, in words.
    """
    plan = _Plan(wall)
    parts = [
        *_head(plan, title),
        *(piece for brick in wall.bricks() for piece in _brick(brick, plan)),
        *_ground(plan),
        *(piece for flag in wall.flags() for piece in _flag(*flag, plan)),
        *_legend(plan),
        "</svg>",
    ]
    return "\n".join(parts)


# Few images get room for their commands, many get a picture that still fits a page.
_COLUMN_WIDTHS = {0: 600, 1: 600, 2: 340, 3: 290, 4: 240, 5: 210}


class _Plan:
    """Where things are, in pixels."""

    def __init__(self, wall: Wall) -> None:
        self.column = _COLUMN_WIDTHS.get(wall.width, 170)
        levels = max((level for _, _, level in wall.flags()), default=0)
        self.width = 2 * MARGIN + self.span(max(wall.width, 1))
        self.ground = MARGIN + FLAG_HEIGHT + 8 + levels * (BRICK_HEIGHT + GAP)
        self.height = self.ground + LEGEND_HEIGHT + MARGIN
        self.largest = max((brick.layer.size_bytes for brick in wall.bricks()), default=0) or 1

    def left(self, column: int) -> int:
        return MARGIN + column * (self.column + GAP)

    def span(self, columns: int) -> int:
        return columns * (self.column + GAP) - GAP

    def top(self, level: int) -> int:
        """Return the upper edge of a brick at this level."""
        return self.ground - (level + 1) * (BRICK_HEIGHT + GAP)


def _head(plan: _Plan, title: str) -> Iterable[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {plan.width} {plan.height}" '
        f'width="{plan.width}" height="{plan.height}" role="img" font-family="{_FONT}">'
    )
    yield f"<title>{markup(title)}</title>"
    yield f"<style>{_rules(LIGHT)}@media (prefers-color-scheme:dark){{{_rules(DARK)}}}</style>"
    yield "<defs>"
    for name in ("base", "own"):
        yield (
            f'<pattern id="hatch-{name}" width="9" height="9" patternUnits="userSpaceOnUse" '
            f'patternTransform="rotate(45)"><rect class="hatch {name}" width="4.5" height="9"/>'
            "</pattern>"
        )
    yield "</defs>"
    size = f'width="{plan.width - 1}" height="{plan.height - 1}"'
    yield f'<rect class="panel" x=".5" y=".5" {size} rx="10"/>'


def _rules(theme: Theme) -> str:
    return (
        f".panel{{fill:{theme.panel};stroke:{theme.edge}}}"
        f".base{{fill:{theme.base}}}.own{{fill:{theme.own}}}"
        f".line{{fill:none}}.line.base{{stroke:{theme.base}}}.line.own{{stroke:{theme.own}}}"
        f".text{{fill:{theme.text}}}.quiet{{fill:{theme.quiet}}}"
        f".tint{{fill-opacity:{theme.tint}}}.hatch{{fill-opacity:{theme.hatch}}}"
        f".ground{{stroke:{theme.quiet}}}"
    )


def _brick(brick: Brick, plan: _Plan) -> Iterable[str]:
    left, top = plan.left(brick.column), plan.top(brick.level)
    width = plan.span(brick.width)
    kind = _kind(brick)
    yield from _box(left, top, width, BRICK_HEIGHT, kind=kind, shared=brick.shared)
    disc = f'fill="{ORANGE}"' if brick.shared else f'class="line {kind}"'
    yield f'<circle cx="{left + 23}" cy="{top + 24}" r="13" {disc}/>'
    ink = 'fill="#14181d"' if brick.shared else 'class="text"'
    yield _text(brick.letter, left + 23, top + 28.5, 12.5, f"{ink} {_LETTER}")
    room, left_text = width - _TEXT_LEFT - 10, left + _TEXT_LEFT
    made_by = _fit(instruction(brick.layer.created_by), room, 13 * _BOLD)
    yield _text(made_by, left_text, top + 21, 13, 'class="text" font-weight="600"')
    facts = _fit(_facts(brick, room), room, 11.5 * _THIN)
    yield _text(facts, left_text, top + 38, 11.5, 'class="quiet"')
    yield from _size_bar(brick, left, top, plan)


def _kind(brick: Brick) -> str:
    return "base" if brick.from_base else "own"


def _box(left: int, top: int, width: int, height: int, *, kind: str, shared: bool) -> Iterable[str]:
    """Draw a tinted box; a shared one is hatched and has a thicker border."""
    box = f'x="{left}" y="{top}" width="{width}" height="{height}" rx="{min(height // 5, 5)}"'
    yield f'<rect class="tint {kind}" {box}/>'
    if shared:
        yield f'<rect {box} fill="url(#hatch-{kind})"/>'
    yield f'<rect class="line {kind}" {box} stroke-width="{2.2 if shared else 1.2}"/>'


def _facts(brick: Brick, room: int) -> str:
    facts = [human_size(brick.layer.size_bytes)]
    if brick.from_base:
        facts.append("base")
    if brick.shared:
        facts.append(f"shared by {len(brick.images)}")
    if room > 300:
        facts.append(brick.layer.digest.short)
    return " · ".join(facts)


def _size_bar(brick: Brick, left: int, top: int, plan: _Plan) -> Iterable[str]:
    """Draw a bar whose full length is the largest layer of the wall."""
    length = (plan.column - _TEXT_LEFT - 14) * brick.layer.size_bytes / plan.largest
    if brick.layer.size_bytes:
        yield (
            f'<rect x="{left + _TEXT_LEFT}" y="{top + BRICK_HEIGHT - 11}" '
            f'width="{max(length, 2):.1f}" height="5" rx="2.5" class="{_kind(brick)}"/>'
        )


def _ground(plan: _Plan) -> Iterable[str]:
    yield (
        f'<path class="ground" d="M{MARGIN - 6} {plan.ground} H{plan.width - MARGIN + 6}" '
        f'stroke-width="2" stroke-linecap="round"/>'
    )


def _flag(name: str, column: int, level: int, plan: _Plan) -> Iterable[str]:
    """Draw an image's name on what it stands on, with a point towards it."""
    said = _fit(name, plan.column - 24, 13 * _BOLD, from_end=True)
    left, width = plan.left(column), min(plan.column, 30 + round(len(said) * 13 * _BOLD))
    foot = plan.ground - level * (BRICK_HEIGHT + GAP) - 2
    top, right, middle = foot - FLAG_HEIGHT - 4, left + width, left + 23
    yield (
        f'<path fill="{ORANGE}" d="M{left + 7} {top} H{right - 7} q7 0 7 7 V{foot - 13} '
        f"q0 7 -7 7 H{middle + 7} L{middle} {foot} L{middle - 7} {foot - 6} H{left + 7} "
        f'q-7 0 -7 -7 V{top + 7} q0 -7 7 -7 Z"/>'
    )
    yield _text(said, left + 12, top + 19, 13, 'fill="#14181d" font-weight="700"')


def _legend(plan: _Plan) -> Iterable[str]:
    top, left = plan.ground + 20, MARGIN
    swatches = (
        ("base", False, "from the base image"),
        ("own", False, "added on top"),
        ("base", True, "shared: stored once"),
    )
    for kind, shared, words in swatches:
        yield from _box(left, top, 24, 16, kind=kind, shared=shared)
        yield _text(words, left + 32, top + 12.5, 12, 'class="quiet"')
        left += 50 + round(len(words) * 12 * _THIN)
    yield f'<rect class="own" x="{left}" y="{top + 6}" width="24" height="5" rx="2.5"/>'
    yield _text("size", left + 32, top + 12.5, 12, 'class="quiet"')


def _text(words: str, left: float, base: float, size: float, attributes: str) -> str:
    return f'<text x="{left}" y="{base}" font-size="{size}" {attributes}>{markup(words)}</text>'


def _fit(text: str, room: float, letter: float, *, from_end: bool = False) -> str:
    """Shorten to what fits in ``room`` pixels; a name keeps its end, where the tag is."""
    length = max(int(room / letter), 4)
    text = visible(text)
    return shorten(text[::-1], length)[::-1] if from_end else shorten(text, length)


def picture_words(wall: Wall) -> str:
    """Say in words what the picture shows: its alternative text."""
    shared = list(dict.fromkeys(brick.letter for brick in wall.bricks() if brick.shared))
    stacks = []
    for brick in wall.bricks():
        stacks += [f"{name} has {count(brick.level + 1, 'layer')}" for name in brick.names]
    stacks += [f"{name} has no layers" for name in wall.bare]
    said = f"Stacks of image layers, bottom first. {'; '.join(stacks)}."
    if shared:
        said += f" {count(len(shared), 'layer')} shared and stored once: {', '.join(shared)}."
    return said
