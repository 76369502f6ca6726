"""The map of networks as a picture: containers above, networks as bands below them.

A line goes from each container down to the bands it is in, and ends in a dot with its address;
behind a band it is not in, it passes unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render import svg
from ocimagic.render.html import figure, paragraph, table_html
from ocimagic.render.network_map import (
    bands,
    donor_of,
    map_tables,
    map_words,
    ports_of,
    strangers_sentence,
)
from ocimagic.render.svg import BOLD, MARGIN, THIN
from ocimagic.render.units import count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.model.network import NetworkMap
    from ocimagic.model.result import ContainerSummary
    from ocimagic.render.network_map import Band

_LABEL, _COLUMN, _WIDEST_COLUMN, _GAP, _WORLD = 190, 150, 210, 12, 120
_BOX, _BAND, _SPACE = 44, 66, 10
_PORT, _MOST_PORTS = 18, 3
_LEAST_WIDTH = 640


def map_html(network_map: NetworkMap) -> str:
    """Draw the map, the tables folded below."""
    shown = bands(network_map)
    if not shown:
        return paragraph("no networks")
    words = map_words(network_map)
    plan = _Plan(network_map, shown)
    said = (
        f"{count(len(shown), 'network')}, {count(len(network_map.containers), 'container')}. "
        f"{strangers_sentence(network_map)}"
    ).strip()
    twin = "".join(map(table_html, map_tables(network_map)))
    return figure(_picture(network_map, plan, words), words, said, width=plan.width, twin=twin)


class _Plan:
    """Where things are, in pixels."""

    def __init__(self, network_map: NetworkMap, shown: tuple[Band, ...]) -> None:
        people = network_map.containers
        self.bands = shown
        self.first = MARGIN + _LABEL
        longest = max((len(port) for each in people for port in ports_of(each)), default=0)
        self.column_width = min(max(_COLUMN, round(longest * 11.5 * THIN)), _WIDEST_COLUMN)
        width = self.first + len(people) * (self.column_width + _GAP) + _WORLD + MARGIN
        self.width = max(width, _LEAST_WIDTH)
        ports = max((len(ports_of(each)) for each in people), default=0)
        self.boxes = MARGIN + (min(ports, _MOST_PORTS + 1) * _PORT + 22 if ports else 0)
        self.top = self.boxes + (_BOX + 26 if people else 0)
        self.height = self.top + len(shown) * (_BAND + _SPACE) + 26 + MARGIN
        self.column = {
            each.container_id: self.first + number * (self.column_width + _GAP)
            for number, each in enumerate(people)
        }

    def band_top(self, number: int) -> int:
        return self.top + number * (_BAND + _SPACE)


def _picture(network_map: NetworkMap, plan: _Plan, words: str) -> str:
    parts = [
        *_machine(plan),
        *(piece for each in network_map.containers for piece in _lines(each, plan)),
        *(piece for number in range(len(plan.bands)) for piece in _band(number, plan)),
        *(
            piece
            for each in network_map.containers
            for piece in _container(each, network_map, plan)
        ),
        *svg.legend(_legend(network_map, plan), MARGIN, plan.height - MARGIN - 18),
    ]
    return svg.document(parts, width=plan.width, height=plan.height, title=words)


def _legend(network_map: NetworkMap, plan: _Plan) -> Iterable[tuple[str, bool, str]]:
    """Say what the colours are that there are."""
    if network_map.containers:
        yield "own", False, "container"
    if any(each.is_open for each in plan.bands):
        yield "base", False, "network with a way out"
    if not all(each.is_open for each in plan.bands):
        yield "hot", False, "network without a way out"


def _machine(plan: _Plan) -> Iterable[str]:
    """Say whose the ports are that stand above the containers."""
    if plan.boxes > MARGIN:
        yield svg.text("ports of this machine", MARGIN, plan.boxes - 28, 11.5, 'class="quiet"')
        yield svg.text("→ of the container", MARGIN, plan.boxes - 13, 11.5, 'class="quiet"')


def _lines(container: ContainerSummary, plan: _Plan) -> Iterable[str]:
    """Draw the line from a container to the lowest band it is in."""
    numbers = [n for n, band in enumerate(plan.bands) if container.container_id in band.members]
    if numbers:
        x = plan.column[container.container_id] + plan.column_width / 2
        foot = plan.band_top(max(numbers)) + 18
        yield svg.line([(x, plan.boxes + _BOX), (x, foot)], arrow=False)


def _band(number: int, plan: _Plan) -> Iterable[str]:
    band, top = plan.bands[number], plan.band_top(number)
    width = plan.width - 2 * MARGIN - _WORLD
    kind = "base" if band.is_open else "hot"
    # What is not in this network passes behind it.
    yield f'<rect class="sheet" x="{MARGIN}" y="{top}" width="{width}" height="{_BAND}" rx="5"/>'
    yield from svg.box(MARGIN, top, width, _BAND, kind=kind, dashed=not band.is_open)
    room = _LABEL - 22
    name = svg.fit(band.name, room, 13.5 * BOLD)
    yield svg.text(name, MARGIN + 12, top + 22, 13.5, 'class="text" font-weight="700"')
    for line, words in enumerate(filter(None, (band.subnets, band.kind))):
        said = svg.fit(words, room, 11.5 * THIN)
        yield svg.text(said, MARGIN + 12, top + 39 + line * 15, 11.5, 'class="quiet"')
    yield from _way_out(band, MARGIN + width, top + _BAND / 2)
    for container_id, address in band.members.items():
        yield from _place(plan.column[container_id] + plan.column_width / 2, top, address)


def _way_out(band: Band, left: float, middle: float) -> Iterable[str]:
    if band.is_open:
        yield svg.line([(left, middle), (left + 26, middle)])
    else:
        yield svg.line([(left, middle), (left + 20, middle)], arrow=False, dashed=True)
        yield svg.line([(left + 22, middle - 9), (left + 22, middle + 9)], arrow=False)
    yield svg.text(band.way_out, left + 32, middle + 4, 11.5, 'class="text"')


def _place(x: float, top: float, address: str) -> Iterable[str]:
    """Draw the dot where a container's line meets a band, with its addresses."""
    # The line again, over the band this container is in.
    yield svg.line([(x, top), (x, top + 18)], arrow=False)
    yield f'<circle class="own" cx="{x:g}" cy="{top + 18:g}" r="6"/>'
    for line, words in enumerate(address.replace(",", "").split()[:2]):
        said = svg.fit(words, _COLUMN - 4, 11.5 * THIN)
        yield svg.text(said, x, top + 40 + line * 15, 11.5, 'class="text" text-anchor="middle"')


def _container(container: ContainerSummary, network_map: NetworkMap, plan: _Plan) -> Iterable[str]:
    left = plan.column[container.container_id]
    middle = left + plan.column_width / 2
    yield from svg.box(left, plan.boxes, plan.column_width, _BOX, kind="own")
    name = svg.fit(container.name, plan.column_width - 16, 13 * BOLD)
    yield svg.text(
        name, middle, plan.boxes + 19, 13, 'class="text" font-weight="600" text-anchor="middle"'
    )
    donor = donor_of(container, network_map)
    under = f"in the network of {donor.name}" if donor else container.image
    said = svg.fit(under, plan.column_width - 12, 11 * THIN, from_end=donor is None)
    yield svg.text(said, middle, plan.boxes + 35, 11, 'class="quiet" text-anchor="middle"')
    yield from _ports(ports_of(container), middle, plan.boxes, plan.column_width + _GAP - 4)


def _ports(ports: list[str], middle: float, foot: float, room: float) -> Iterable[str]:
    """Draw the machine's ports above a container, with an arrow down to it."""
    if not ports:
        return
    shown = ports[:_MOST_PORTS]
    if len(ports) > _MOST_PORTS:
        shown.append(f"and {len(ports) - _MOST_PORTS} more")
    top = foot - 22 - len(shown) * _PORT
    for number, words in enumerate(shown):
        # Of an address and two ports the last port is what the arrow leads to.
        said = svg.fit(words, room, 11.5 * THIN, from_end=True)
        yield svg.text(
            said, middle, top + 12 + number * _PORT, 11.5,
            'class="text" text-anchor="middle"',
        )  # fmt: skip
    yield svg.line([(middle, foot - 19), (middle, foot - 2)])
