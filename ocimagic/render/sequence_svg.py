"""A story as a sequence picture: who did what for whom, when, and for how long.

Names, numbers and line styles say what the colours say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.model.explanation import Party
from ocimagic.render import svg
from ocimagic.render.escape import shorten, visible
from ocimagic.render.svg import BOLD, INK, ORANGE, THIN
from ocimagic.render.units import clock_time, short_time
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.explanation import Explanation, Step

_MONO = "ui-monospace,'DejaVu Sans Mono',monospace"
_FIXED = 0.605  # mean width of a letter, of the font size

_MARGIN = 16
_GUTTER = 74  # for the times
_COLUMN = 102
_LEAST_COLUMNS = 7
_TITLE = 44
_HEAD = 46
_ROW = 43
_FOOT = 64
_LABEL_PX = 13
_BAR = 50  # the longest step's bar in the gutter

# Who asks, who keeps and manages, what lies on disks, what makes the process; that one is
# orange, as names of images are in other pictures.
_KINDS = {
    Party.CLIENT: "calm",
    Party.API: "calm",
    Party.DAEMON: "base",
    Party.CONTAINERD: "base",
    Party.REGISTRY: "own",
    Party.IMAGES: "own",
    Party.BUNDLE: "own",
    Party.SHIM: "hot",
    Party.RUNC: "hot",
    Party.PROCESS: "",
}
_HEADS = {Party.IMAGES: ("local image", "repository"), Party.CLIENT: ("docker", "client")}


def sequence_svg(told: Explanation, *, title: str) -> str:
    """Draw a story.

    Args:
        told: the story.
        title: what the picture shows, in words.
    """
    plan = _Plan(told)
    parts = [
        *_title(plan),
        *_lifelines(plan),
        *_heads(plan),
        *(piece for row in plan.rows for piece in _row(row, plan)),
        *_foot(plan),
    ]
    drawn = [_ROUND.sub("", each) for each in parts]
    return svg.document(drawn, width=plan.width, height=round(plan.height), title=title)


_ROUND = re.compile(r"(?<=\d)\.0(?=[ \"])")  # 141.0, of which a picture has hundreds


@dataclass(frozen=True, slots=True)
class _Row:
    """One step with its place.

    Attributes:
        number: as in the table.
        base: of the arrow, in pixels from the top.
    """

    number: int
    step: Step
    base: float


class _Plan:
    """Where things are, in pixels."""

    def __init__(self, told: Explanation) -> None:
        self.told = told
        shown = list(enumerate(told.steps, 1))
        there = {party for _, step in shown for party in (step.party, step.to)}
        self.parties = [party for party in Party if party in there]
        columns = max(len(self.parties), _LEAST_COLUMNS)
        self.width = 2 * _MARGIN + _GUTTER + columns * _COLUMN
        self.top = _MARGIN + _TITLE + _HEAD + 8
        self.rows = [
            _Row(number, step, self.top + _ROW * (at + 1) - 9)
            for at, (number, step) in enumerate(shown)
        ]
        self.bottom = self.top + _ROW * len(shown) + 14
        self.height = self.bottom + _FOOT
        self.longest = max((step.seconds or 0 for _, step in shown), default=0) or 1

    def x(self, party: Party) -> float:
        """Return where a party's line is."""
        return _MARGIN + _GUTTER + (self.parties.index(party) + 0.5) * _COLUMN

    def of(self, party: Party) -> Sequence[_Row]:
        """Return the rows in which a party has a part."""
        return [row for row in self.rows if party in (row.step.party, row.step.to)]


def _title(plan: _Plan) -> Iterable[str]:
    room = plan.width - 2 * _MARGIN
    line = shorten(visible(plan.told.line), int(room / (15 * _FIXED)))
    style = f'class="text" font-weight="700" font-family="{_MONO}"'
    yield svg.text(line, _MARGIN + 4, _MARGIN + 20, 15, style)


def _shape(tag: str, place: str, party: Party) -> Iterable[str]:
    """Draw a rectangle or circle in the colour of a party, over whatever is below it."""
    kind = _KINDS[party]
    if not kind:
        yield f'<{tag} {place} fill="{ORANGE}"/>'
        return
    yield f'<{tag} class="sheet" {place}/>'
    yield f'<{tag} class="tint {kind}" {place}/>'
    yield f'<{tag} class="line {kind}" {place} stroke-width="1.4"/>'


def _ink(party: Party) -> str:
    return 'class="text"' if _KINDS[party] else f'fill="{INK}"'


def _heads(plan: _Plan) -> Iterable[str]:
    top, width = _MARGIN + _TITLE - 8, _COLUMN - 10
    for party in plan.parties:
        left = plan.x(party) - width / 2
        place = f'x="{left}" y="{top}" width="{width}" height="{_HEAD}" rx="7"'
        yield from _shape("rect", place, party)
        lines = _HEADS.get(party, (party.value,))
        base = top + _HEAD / 2 + 5 - 8 * (len(lines) - 1)
        for at, line in enumerate(lines):
            style = f'{_ink(party)} font-weight="600" text-anchor="middle"'
            size = min(13.0, (width - 8) / (len(line) * BOLD))
            yield svg.text(line, plan.x(party), base + 16 * at, size, style)


def _lifelines(plan: _Plan) -> Iterable[str]:
    """Draw each party's line: a process has one from its birth to its death only."""
    for party in plan.parties:
        rows, x = plan.of(party), plan.x(party)
        top, bottom = float(_MARGIN + _TITLE + _HEAD - 8), float(plan.bottom)
        if party is Party.PROCESS and rows:
            yield _life(x, top, rows[0].base, ' stroke-dasharray="1 6"')
            top = rows[0].base
        ends = party in (Party.RUNC, Party.PROCESS) and _is_over(plan, party)
        if ends:
            bottom = rows[-1].base
        yield _life(x, top, bottom)
        if party in (Party.RUNC, Party.PROCESS, Party.SHIM) and len(rows) > 1:
            end = bottom if ends or party is not Party.RUNC else rows[-1].base
            height = max(end - rows[0].base, 1)
            place = f'x="{x - 4}" y="{rows[0].base:.0f}" width="8" height="{height:.0f}"'
            yield from _shape("rect", place, party)
        if ends:
            yield _cross(x, bottom + 9)


def _life(x: float, top: float, bottom: float, more: str = "") -> str:
    return (
        f'<path class="ground" d="M{x} {top:.0f} V{bottom:.0f}" stroke-width="1.5" '
        f'stroke-opacity=".3"{more}/>'
    )


def _is_over(plan: _Plan, party: Party) -> bool:
    last = plan.of(party)[-1].step
    if party is Party.RUNC:
        return last.party is last.to is Party.RUNC and last.title.startswith("exits")
    return last.party is Party.PROCESS and last.title.startswith("exit code")


def _cross(x: float, y: float) -> str:
    return (
        f'<path class="ground" d="M{x - 7} {y - 7:.0f} l14 14 m0 -14 l-14 14" stroke-width="2.4" '
        'stroke-linecap="round"/>'
    )


def _row(row: _Row, plan: _Plan) -> Iterable[str]:
    yield from _clock(row, plan)
    start, end = plan.x(row.step.party), plan.x(row.step.to)
    dashes = "" if row.step.was_sent else ' stroke-dasharray="6 4"'
    if start == end:
        yield from _label(row, plan, start, end)
        yield (
            f'<path class="ground" d="M{start} {row.base - 12} h24 v12 H{start + 7}" '
            f'stroke-width="1.6" marker-end="url(#head)"{dashes}/>'
        )
        yield from _disc(row, start, row.base - 12)
        return
    side = 6 if end > start else -6
    yield (
        f'<path class="ground" d="M{start} {row.base} H{end - side}" stroke-width="1.8" '
        f'marker-end="url(#head)"{dashes}/>'
    )
    yield from _disc(row, start, row.base)
    yield from _label(row, plan, start, end)


def _disc(row: _Row, x: float, y: float) -> Iterable[str]:
    party = row.step.party
    yield from _shape("circle", f'cx="{x}" cy="{y}" r="10.5"', party)
    style = f'{_ink(party)} font-weight="700" text-anchor="middle"'
    yield svg.text(str(row.number), x, y + 4, 11.5, style)


def _clock(row: _Row, plan: _Plan) -> Iterable[str]:
    """Write when it was, and draw how long it took."""
    step, right = row.step, _MARGIN + _GUTTER - 16
    if step.at_s is not None:
        style = 'class="quiet" text-anchor="end"'
        yield svg.text(clock_time(step.at_s), right, row.base - 3, 12, style)
    if step.seconds:
        length = max(_BAR * step.seconds / plan.longest, 2)
        kind = _KINDS[step.party] or "hot"
        yield svg.bar(right - length, row.base + 3, length, 4, kind=kind)


def _label(row: _Row, plan: _Plan, start: float, end: float) -> Iterable[str]:
    """Write what was done: to the right of where it begins, or to the left where that is full."""
    step, is_own = row.step, start == end
    words = visible(step.title)
    if step.seconds is not None and step.seconds >= _WORTH_S:
        words = f"{words} · {short_time(step.seconds)}"
    from_left = min(start, end) + (34 if is_own else 16)
    to_right = max(start, end) - 16
    wide = len(words) * _LABEL_PX * THIN
    room_right = plan.width - _MARGIN - from_left
    room_left = to_right - _MARGIN - _GUTTER
    base = row.base - (2 if is_own else 8)
    hides = _hides_life(plan, row, from_left, from_left + wide) and wide <= room_left
    if not hides and (wide <= room_right or room_right >= room_left):
        said = shorten(words, int(room_right / (_LABEL_PX * THIN)))
        left, anchor = from_left, "start"
    else:
        said = shorten(words, int(room_left / (_LABEL_PX * THIN)))
        left, anchor = to_right, "end"
    width = len(said) * _LABEL_PX * THIN
    edge = left - 3 if anchor == "start" else left - width
    if not is_own and edge < start + 12 < edge + width + 12:
        base -= 5  # over the number, and not through it
    style = f'class="text halo" text-anchor="{anchor}"'
    yield svg.text(said, left, base, _LABEL_PX, style)


def _hides_life(plan: _Plan, row: _Row, left: float, right: float) -> bool:
    """Say whether words would lie upon the life of the process, which nothing should cut."""
    rows = plan.of(Party.PROCESS) if Party.PROCESS in plan.parties else ()
    return bool(rows) and row.base > rows[0].base and left < plan.x(Party.PROCESS) < right


_WORTH_S = 0.0005


def _foot(plan: _Plan) -> Iterable[str]:
    base = plan.bottom + 26
    ending = plan.told.ending
    if plan.told.seconds is not None:
        ending = f"{ending} · {short_time(plan.told.seconds)}"
    yield svg.text(ending, _MARGIN + 4, base, 14, 'class="text" font-weight="700"')
    base += 22
    left = float(_MARGIN + 4)
    for dashes, words in (
        ("", "between processes"),
        (' stroke-dasharray="6 4"', "a call in one process: nothing is sent"),
    ):
        yield (
            f'<path class="ground" d="M{left} {base - 4} h28" stroke-width="1.8" '
            f'marker-end="url(#head)"{dashes}/>'
        )
        yield svg.text(words, left + 36, base, 12, 'class="quiet"')
        left += 56 + len(words) * 12 * THIN
    yield svg.bar(left, base - 7, 24, 4, kind="base")
    words = "how long it took"
    yield svg.text(words, left + 32, base, 12, 'class="quiet"')
