"""The stages of a build as boxes, with an arrow from each stage to the line that uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render import svg
from ocimagic.render.build_graph import build_words, outcome, stage_table, stages
from ocimagic.render.html import details, figure, paragraph, table_html
from ocimagic.render.svg import BOLD, INK, MARGIN, ORANGE, THIN
from ocimagic.render.table import build_table
from ocimagic.render.text import build_sentence
from ocimagic.render.units import count, human_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.model.built import BuildResult, BuildStep
    from ocimagic.render.build_graph import StageBox

_WIDTH, _BETWEEN, _BELOW = 340, 64, 26
_HEAD, _ROW, _PAD, _LANE = 34, 42, 8, 11


def build_html(result: BuildResult) -> str:
    """Draw the steps of a build under a sentence that says what it made, then its stages."""
    warnings = "".join(paragraph(f"Warning: {text}") for text in result.warnings)
    steps = table_html(build_table(result), caption=build_sentence(result))
    return steps + warnings + build_figure(result)


def build_figure(result: BuildResult) -> str:
    """Draw the stages; folded when there is only one, for the table of steps says it all then."""
    found = stages(result)
    if not found:
        return ""
    words = build_words(result)
    plan = _Plan(found)
    caption = (
        f"{count(len(found), 'stage')}, {human_seconds(result.seconds)}. "
        "A full arrow is FROM, a dashed one files that a line takes."
    )
    drawn = figure(
        _picture(result, plan, words),
        words,
        caption if len(found) > 1 else f"{count(len(result.steps), 'step')}, top to bottom.",
        width=plan.width,
        twin=table_html(stage_table(result)),
    )
    return drawn if len(found) > 1 else details("The same as a picture", drawn)


class _Plan:
    """Where things are, in pixels."""

    def __init__(self, found: tuple[StageBox, ...]) -> None:
        self.stages = found
        self.place: dict[str, tuple[int, int]] = {}
        feet: dict[int, int] = {}
        for each in found:
            top = feet.get(each.depth, MARGIN)
            self.place[each.name] = MARGIN + each.depth * (_WIDTH + _BETWEEN), top
            feet[each.depth] = top + height_of(each) + _BELOW
        self.feet = feet
        self.lanes = 0
        columns = 1 + max(feet, default=0)
        self.width = max(2 * MARGIN + columns * (_WIDTH + _BETWEEN) - _BETWEEN, 470)
        # Room for the lanes of arrows that pass below a stage.
        long = sum(1 for edge in _edges(found) if edge[0].depth - edge[1].depth > 1)
        self.foot = max(feet.values(), default=MARGIN) + long * _LANE
        self.height = self.foot + 26 + MARGIN

    def lane(self, first: int, last: int) -> int:
        """Return a height of its own for an arrow below the stages of some columns."""
        self.lanes += 1
        foot = max(self.feet[each] for each in range(first, last + 1))
        return foot - _BELOW + self.lanes * _LANE

    def row_top(self, stage: StageBox, number: int) -> int:
        """Return the upper edge of a step in its stage."""
        return self.place[stage.name][1] + _HEAD + number * _ROW


def height_of(stage: StageBox) -> int:
    """Return the height of a stage's box in pixels."""
    return _HEAD + len(stage.steps) * _ROW + _PAD


def _picture(result: BuildResult, plan: _Plan, words: str) -> str:
    parts = [
        *(_arrow(plan, *edge) for edge in _edges(plan.stages)),
        *(piece for each in plan.stages for piece in _stage(each, result, plan)),
        *svg.legend(_LEGEND, MARGIN, plan.foot + 4),
    ]
    return svg.document(parts, width=plan.width, height=plan.height, title=words)


_LEGEND = (("base", True, "C: from the cache"), ("own", False, "D: done now"))


def _edges(found: tuple[StageBox, ...]) -> Iterable[tuple[StageBox, StageBox, int, bool]]:
    """Yield each stage that uses another one, that one, the number of its step, and how.

    True is for files that a line takes, False for FROM.
    """
    by_name = {each.name: each for each in found}
    for stage in found:
        for number, step in enumerate(stage.steps):
            uses = ((step.stands_on, False), *((each, True) for each in step.takes_from))
            for name, takes in uses:
                if name in by_name:
                    yield stage, by_name[name], number, takes


def _arrow(plan: _Plan, stage: StageBox, other: StageBox, number: int, dashed: bool) -> str:
    """Draw an arrow to a step; past a column in between it goes below that one's stages."""
    end = plan.place[stage.name][0] - 1, plan.row_top(stage, number) + _ROW / 2 - 2
    start = _exit(other, plan)
    if stage.depth - other.depth == 1:
        return svg.curve([start, end], dashed=dashed)
    lane = plan.lane(other.depth + 1, stage.depth - 1)
    return svg.curve(
        [start, (start[0] + _BETWEEN, lane), (end[0] - _BETWEEN, lane), end], dashed=dashed
    )


def _exit(stage: StageBox, plan: _Plan) -> tuple[float, float]:
    """Return where arrows leave a stage: beside its last step, to which it all comes."""
    left, _ = plan.place[stage.name]
    return left + _WIDTH, plan.row_top(stage, len(stage.steps) - 1) + _ROW / 2 - 2


def _stage(stage: StageBox, result: BuildResult, plan: _Plan) -> Iterable[str]:
    left, top = plan.place[stage.name]
    height = height_of(stage)
    is_last = stage is plan.stages[-1]
    yield f'<rect class="sheet" x="{left}" y="{top}" width="{_WIDTH}" height="{height}" rx="5"/>'
    yield from svg.box(left, top, _WIDTH, height, kind="calm")
    name = svg.fit(f"stage {stage.name}", _WIDTH / 2, 13.5 * BOLD)
    yield svg.text(name, left + 12, top + 22, 13.5, 'class="text" font-weight="700"')
    if is_last:
        yield from _flag(" ".join(result.tags) or result.image_id.short, left + _WIDTH, top)
    else:
        took = human_seconds(stage.seconds)
        right = 'class="quiet" text-anchor="end"'
        yield svg.text(took, left + _WIDTH - 12, top + 22, 11.5, right)
    for number, step in enumerate(stage.steps):
        yield from _step(step, left + _PAD, plan.row_top(stage, number))


def _flag(name: str, right: float, top: float) -> Iterable[str]:
    """Name the image that the last stage becomes."""
    said = svg.fit(name, _WIDTH / 2 - 40, 12 * BOLD, from_end=True)
    width = 20 + round(len(said) * 12 * BOLD)
    yield (
        f'<rect fill="{ORANGE}" x="{right - width - 8:g}" y="{top + 6}" width="{width}" '
        'height="22" rx="6"/>'
    )
    yield svg.text(said, right - width + 2, top + 21, 12, f'fill="{INK}" font-weight="700"')


def _step(step: BuildStep, left: float, top: float) -> Iterable[str]:
    kind, letter = ("base", "C") if step.cached else ("own", "D")
    width = _WIDTH - 2 * _PAD
    yield (f'<rect class="sheet" x="{left}" y="{top}" width="{width}" height="{_ROW - 4}" rx="5"/>')
    yield from svg.box(left, top, width, _ROW - 4, kind=kind, hatched=step.cached)
    yield f'<circle class="sheet" cx="{left + 17:g}" cy="{top + 19:g}" r="10"/>'
    yield f'<circle class="line {kind}" cx="{left + 17:g}" cy="{top + 19:g}" r="10"/>'
    middle = 'class="text" text-anchor="middle" font-weight="700"'
    yield svg.text(letter, left + 17, top + 23, 11.5, middle)
    room = width - 44
    said = svg.fit(step.text, room, 12 * THIN)
    yield svg.text(said, left + 34, top + 16, 12, 'class="text"')
    facts = svg.fit(f"line {step.line} · {outcome(step)}", room, 11 * THIN)
    yield svg.text(facts, left + 34, top + 31, 11, 'class="quiet"')
