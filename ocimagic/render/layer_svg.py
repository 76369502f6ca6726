"""The wall of layers as an SVG picture: what is shared is hatched and as wide as all upon it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render import svg
from ocimagic.render.layer_wall import shared_words
from ocimagic.render.svg import BOLD, INK, MARGIN, ORANGE, THIN
from ocimagic.render.table import instruction
from ocimagic.render.units import count, human_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.render.layer_wall import Brick, Wall

BRICK_HEIGHT = 56
GAP = 5
FLAG_HEIGHT = 30
LEGEND_HEIGHT = 32
_TEXT_LEFT = 44
_LETTER = 'text-anchor="middle" font-weight="700"'


def wall_svg(wall: Wall, *, title: str) -> str:
    """Draw the wall.

    Args:
        wall: bricks with their places.
        title: what the picture shows, in words.
    """
    plan = _Plan(wall)
    parts = [
        *(piece for brick in wall.bricks() for piece in _brick(brick, plan)),
        *_ground(plan),
        *(piece for flag in wall.flags() for piece in _flag(*flag, plan)),
        *_legend(plan),
    ]
    return svg.document(parts, width=plan.width, height=plan.height, title=title)


def wall_width(wall: Wall) -> int:
    """Return the width of the picture in pixels."""
    return _Plan(wall).width


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
        self.bricks = tuple(wall.bricks())
        self.largest = max((brick.layer.size_bytes for brick in self.bricks), default=0) or 1

    def left(self, column: int) -> int:
        return MARGIN + column * (self.column + GAP)

    def span(self, columns: int) -> int:
        return columns * (self.column + GAP) - GAP

    def top(self, level: int) -> int:
        """Return the upper edge of a brick at this level."""
        return self.ground - (level + 1) * (BRICK_HEIGHT + GAP)


def _brick(brick: Brick, plan: _Plan) -> Iterable[str]:
    left, top = plan.left(brick.column), plan.top(brick.level)
    width = plan.span(brick.width)
    kind = _kind(brick)
    yield from svg.box(left, top, width, BRICK_HEIGHT, kind=kind, hatched=brick.shared)
    disc = f'fill="{ORANGE}"' if brick.shared else f'class="line {kind}"'
    yield f'<circle cx="{left + 23}" cy="{top + 24}" r="13" {disc}/>'
    ink = f'fill="{INK}"' if brick.shared else 'class="text"'
    yield svg.text(brick.letter, left + 23, top + 28.5, 12.5, f"{ink} {_LETTER}")
    room, left_text = width - _TEXT_LEFT - 10, left + _TEXT_LEFT
    made_by = svg.fit(instruction(brick.layer.created_by), room, 13 * BOLD)
    yield svg.text(made_by, left_text, top + 21, 13, 'class="text" font-weight="600"')
    facts = svg.fit(_facts(brick, room), room, 11.5 * THIN)
    yield svg.text(facts, left_text, top + 38, 11.5, 'class="quiet"')
    yield from _size_bar(brick, left, top, plan)


def _kind(brick: Brick) -> str:
    return "base" if brick.from_base else "own"


def _facts(brick: Brick, room: int) -> str:
    facts = [human_size(brick.layer.size_bytes)]
    if brick.from_base:
        facts.append("base")
    if brick.shared:
        facts.append(shared_words(brick))
    if room > 300:
        facts.append(brick.layer.digest.short)
    return " · ".join(facts)


def _size_bar(brick: Brick, left: int, top: int, plan: _Plan) -> Iterable[str]:
    """Draw a bar whose full length is the largest layer of the wall."""
    length = (plan.column - _TEXT_LEFT - 14) * brick.layer.size_bytes / plan.largest
    if brick.layer.size_bytes:
        place = left + _TEXT_LEFT, top + BRICK_HEIGHT - 11
        yield svg.bar(*place, length, 5, kind=_kind(brick))


def _ground(plan: _Plan) -> Iterable[str]:
    yield (
        f'<path class="ground" d="M{MARGIN - 6} {plan.ground} H{plan.width - MARGIN + 6}" '
        f'stroke-width="2" stroke-linecap="round"/>'
    )


def _flag(name: str, column: int, level: int, plan: _Plan) -> Iterable[str]:
    """Draw an image's name on what it stands on, with a point towards it."""
    said = svg.fit(name, plan.column - 24, 13 * BOLD, from_end=True)
    left, width = plan.left(column), min(plan.column, 30 + round(len(said) * 13 * BOLD))
    foot = plan.ground - level * (BRICK_HEIGHT + GAP) - 2
    top, right, middle = foot - FLAG_HEIGHT - 4, left + width, left + 23
    yield (
        f'<path fill="{ORANGE}" d="M{left + 7} {top} H{right - 7} q7 0 7 7 V{foot - 13} '
        f"q0 7 -7 7 H{middle + 7} L{middle} {foot} L{middle - 7} {foot - 6} H{left + 7} "
        f'q-7 0 -7 -7 V{top + 7} q0 -7 7 -7 Z"/>'
    )
    yield svg.text(said, left + 12, top + 19, 13, f'fill="{INK}" font-weight="700"')


def _legend(plan: _Plan) -> Iterable[str]:
    top = plan.ground + 20
    entries = list(_entries(plan.bricks))
    yield from svg.legend(entries, MARGIN, top)
    left = MARGIN + sum(svg.legend_width(words) for *_, words in entries)
    yield svg.bar(left, top + 6, 24, 5, kind="own")
    yield svg.text("size", left + 32, top + 12.5, 12, 'class="quiet"')


def _entries(bricks: Sequence[Brick]) -> Iterable[tuple[str, bool, str]]:
    """Say what the colours and stripes are that there are."""
    kinds = [_kind(each) for each in bricks]
    if "base" in kinds:
        yield "base", False, "from the base image"
        if "own" in kinds:
            yield "own", False, "added on top"
    shared = [_kind(each) for each in bricks if each.shared]
    if shared:
        yield shared[0], True, "shared: stored once"


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
