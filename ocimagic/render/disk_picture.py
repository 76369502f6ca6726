"""What takes the space on disk, as bars whose lengths are sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render import svg
from ocimagic.render.html import figure, table_html
from ocimagic.render.report import usage_table
from ocimagic.render.svg import BOLD, MARGIN, THIN
from ocimagic.render.table import Table
from ocimagic.render.units import count, human_size
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.report import DiskUsage

WIDTH = 760
_LABEL, _ROW, _BAR = 132, 46, 16
_LARGEST = 6


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of a bar.

    Attributes:
        kind: see ``svg.KINDS``.
        words: what it is, "" where the bar's name says it.
    """

    kind: str
    size_bytes: int
    words: str = ""
    hatched: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One kind of thing, or one thing."""

    name: str
    parts: tuple[Part, ...]
    note: str = ""

    @property
    def size_bytes(self) -> int:
        """Return the size of all parts."""
        return sum(each.size_bytes for each in self.parts)

    def said(self) -> str:
        """Say the sizes in words."""
        parts = [f"{human_size(each.size_bytes)} {each.words}" for each in self.parts if each.words]
        said = human_size(self.size_bytes)
        if parts and self.size_bytes:
            said += f": {', '.join(parts)}"
            return f"{said}; {self.note}" if self.note else said
        return f"{said}, {self.note}" if self.note else said


def bars(usage: DiskUsage) -> tuple[Bar, ...]:
    """Return a bar for each kind that docker's table has."""
    unique = sum(each.unique_bytes for each in usage.images)
    volumes = sum(each.size_bytes for each in usage.volumes)
    spare = sum(each.size_bytes for each in usage.volumes if not each.containers)
    written = sum(each.size_bytes for each in usage.containers)
    running = sum(each.active for each in usage.containers)
    return (
        Bar(
            "Images",
            (
                Part("base", usage.images_bytes - unique, "shared", hatched=True),
                Part("own", unique, "of one image only"),
            ),
            f"{human_size(usage.images_reclaimable_bytes)} is of layers no container needs",
        ),
        Bar(
            "Containers",
            (Part("hot", written),),
            f"written by {count(len(usage.containers), 'container')}, {running} running",
        ),
        Bar(
            "Volumes",
            (Part("own", volumes - spare, "in use"), Part("calm", spare, "unused")),
        ),
        Bar(
            "Build cache",
            (Part("calm", usage.cache_bytes),),
            f"{count(usage.cache_steps, 'step')} remembered",
        ),
    )


def largest(usage: DiskUsage) -> tuple[Bar, ...]:
    """Return a bar for each of the largest things that could go by themselves."""
    things = [
        *(Bar(each.name, (Part("own", each.unique_bytes),), "image") for each in usage.images),
        *(
            Bar(each.name, (Part("hot", each.size_bytes),), "container")
            for each in usage.containers
        ),
        *(Bar(each.name, (Part("own", each.size_bytes),), "volume") for each in usage.volumes),
    ]
    found = sorted(things, key=lambda each: (-each.size_bytes, each.name))
    return tuple(each for each in found[:_LARGEST] if each.size_bytes)


def disk_html(usage: DiskUsage) -> str:
    """Draw docker's table, and the bars below it."""
    kinds, things = bars(usage), largest(usage)
    words = _words(kinds)
    total = human_size(sum(each.size_bytes for each in kinds))
    return table_html(usage_table(usage)) + figure(
        _picture(kinds, things, words),
        words,
        f"{total} in all; equal layers of several images are stored once.",
        width=WIDTH,
        twin=table_html(_twin("What takes the space", kinds))
        + (table_html(_twin("The largest", things)) if things else ""),
    )


def _twin(caption: str, rows: Iterable[Bar]) -> Table:
    return Table(caption, ("WHAT", "SIZE"), tuple((each.name, each.said()) for each in rows))


def _words(kinds: Sequence[Bar]) -> str:
    said = ". ".join(f"{each.name} {each.said()}" for each in kinds)
    return f"Bars of what takes space on disk. {said}."


def _picture(kinds: Sequence[Bar], things: Sequence[Bar], words: str) -> str:
    parts: list[str] = []
    top = MARGIN
    most = max((each.size_bytes for each in kinds), default=0) or 1
    for each in kinds:
        parts += _bar(each, top, most)
        top += _ROW
    if things:
        top += 12
        head = "The largest, each with what it alone takes"
        parts.append(svg.text(head, MARGIN, top + 8, 12.5, 'class="text" font-weight="600"'))
        top += 22
        most = things[0].size_bytes
        for each in things:
            parts += _bar(each, top, most)
            top += _ROW
    parts += svg.legend(_LEGEND, MARGIN, top + 4)
    return svg.document(parts, width=WIDTH, height=top + 24 + MARGIN, title=words)


_LEGEND = (
    ("base", True, "shared by images"),
    ("own", False, "of one alone"),
    ("hot", False, "written by containers"),
    ("calm", False, "unused, or cache"),
)


def _bar(each: Bar, top: float, most: int) -> Iterable[str]:
    left = MARGIN + _LABEL
    room = WIDTH - MARGIN - left
    name = svg.fit(each.name, _LABEL - 10, 13 * BOLD, from_end=True)
    yield svg.text(name, MARGIN, top + 13, 13, 'class="text" font-weight="600"')
    at = float(left)
    for part in each.parts:
        if part.size_bytes:
            width = max(room * part.size_bytes / most, 3)
            if width > _BAR / 2:
                yield from svg.box(at, top, width, _BAR, kind=part.kind, hatched=part.hatched)
                yield svg.bar(at, top + _BAR - 4, width, 4, kind=part.kind)
            else:
                yield f'<rect x="{at:g}" y="{top:g}" width="3" height="16" class="{part.kind}"/>'
            at += width
    if not each.size_bytes:
        yield svg.line([(left, top + _BAR), (left + 24, top + _BAR)], arrow=False)
    said = svg.fit(each.said(), room, 11.5 * THIN)
    yield svg.text(said, left, top + 31, 11.5, 'class="quiet"')
