"""Layers of several images as a wall of bricks: where each brick lies, before it is drawn.

A layer that several images share is one brick, as wide as all that stands on it.  Each image
has one column; its name sits on its topmost layer.  Level 0 is the bottom.

::

    [web:1]  [web:2]
    +------+ +------+
    |  C   | |  D   |      level 1
    +------+ +------+
    +---------------+
    |       A       |      level 0: shared, drawn once
    +---------------+
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.units import count
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.model.result import LayerInfo, LayerReport
    from ocimagic.spec.digest import Digest


@dataclass(slots=True)
class Brick:
    """One layer on the layers below it.

    Attributes:
        letter: the same for equal layers, wherever they lie.
        from_base: some image in the report got it from its base image.
        images: names in the report that have a layer with this diff_id, and other images here.
        drawn: how many of these are in the report.
        names: images whose topmost layer this is.
        column: leftmost column, counted from 0.
        width: number of columns, one per image that stands on it.
    """

    layer: LayerInfo
    level: int
    below: Brick | None
    from_base: bool = False
    letter: str = ""
    images: tuple[str, ...] = ()
    drawn: int = 1
    names: list[str] = field(default_factory=list)
    above: list[Brick] = field(default_factory=list)
    column: int = 0
    width: int = 0

    @property
    def shared(self) -> bool:
        """Say whether several images use this layer, which is stored once."""
        return len(self.images) > 1


def shared_words(brick: Brick) -> str:
    """Say how many images share a layer, and how many of them are shown."""
    others = len(brick.images) - brick.drawn
    if not others:
        return f"shared by {len(brick.images)}"
    if brick.drawn == 1:
        return f"shared with {count(others, 'image')} not shown"
    return f"shared by {brick.drawn} here, {len(brick.images)} in all"


@dataclass(frozen=True, slots=True)
class Wall:
    """All bricks of a report.

    Attributes:
        bottom: bricks that lie on the ground, left to right.
        bare: images without any layer, in the last columns.
    """

    bottom: tuple[Brick, ...]
    bare: tuple[str, ...]

    @property
    def width(self) -> int:
        """Return the number of columns, one per image."""
        return sum(brick.width for brick in self.bottom) + len(self.bare)

    def bricks(self) -> Iterator[Brick]:
        """Yield every brick, each before those above it."""
        waiting = list(reversed(self.bottom))
        while waiting:
            brick = waiting.pop()
            yield brick
            waiting += reversed(brick.above)

    def flags(self) -> Iterator[tuple[str, int, int]]:
        """Yield each image's name with its column and the level it stands at."""
        for brick in self.bricks():
            for offset, name in enumerate(brick.names):
                yield name, brick.column + offset, brick.level + 1
        for offset, name in enumerate(self.bare):
            yield name, self.width - len(self.bare) + offset, 0


def build_wall(report: LayerReport) -> Wall:
    """Lay every layer of a report once on what is below it."""
    bottom: list[Brick] = []
    bare: list[str] = []
    for name, layers in report.images:
        top = _stack(bottom, layers)
        (top.names if top else bare).append(name)
    wall = Wall(tuple(bottom), tuple(bare))
    _place(wall)
    _letter(wall, _users(report), {name for name, _ in report.images})
    return wall


def _stack(bottom: list[Brick], layers: Sequence[LayerInfo]) -> Brick | None:
    """Walk up from the ground along equal layers, then add what is new; return the top."""
    row, below = bottom, None
    for layer in layers:
        found = next((each for each in row if each.layer.diff_id == layer.diff_id), None)
        if found is None:
            found = Brick(layer, below.level + 1 if below else 0, below)
            row.append(found)
        # The base image itself made the layer; images upon it say that it came from below.
        found.from_base |= layer.from_base
        row, below = found.above, found
    return below


def _place(wall: Wall) -> None:
    """Give every brick its columns.

    Images that end at a brick come first, so that taller stacks rise to the right.
    """
    # In loops: an image may have hundreds of layers, more than Python likes to recurse.
    for brick in reversed(list(wall.bricks())):
        brick.width = len(brick.names) + sum(above.width for above in brick.above)
    _row(wall.bottom, 0)
    for brick in wall.bricks():
        _row(brick.above, brick.column + len(brick.names))


def _row(bricks: Sequence[Brick], column: int) -> None:
    for brick in bricks:
        brick.column = column
        column += brick.width


def _users(report: LayerReport) -> dict[Digest, tuple[str, ...]]:
    """Name, for each diff_id, all images that have it."""
    users: dict[Digest, dict[str, None]] = {}
    for name, layers in report.images:
        for layer in layers:
            users.setdefault(layer.diff_id, {}).update(dict.fromkeys((name, *layer.shared_with)))
    return {diff_id: tuple(names) for diff_id, names in users.items()}


def _letter(wall: Wall, users: dict[Digest, tuple[str, ...]], drawn: set[str]) -> None:
    given: dict[Digest, str] = {}
    for brick in wall.bricks():
        diff_id = brick.layer.diff_id
        brick.letter = given.setdefault(diff_id, letters(len(given)))
        brick.images = users[diff_id]
        brick.drawn = len(drawn.intersection(brick.images))


def letters(number: int) -> str:
    """Count A to Z, then AA, AB …, as spreadsheets name columns."""
    head, last = divmod(number, 26)
    return (letters(head - 1) if head else "") + chr(ord("A") + last)
