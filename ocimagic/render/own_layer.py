"""A container's read-write layer over its image's read-only ones: words, table, picture, graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.report import ChangeKind
from ocimagic.render import svg
from ocimagic.render.dot import digraph, filled, label
from ocimagic.render.escape import shorten, visible
from ocimagic.render.html import figure, table_html
from ocimagic.render.layer_wall import letters
from ocimagic.render.svg import BLUE, BOLD, GREEN, MARGIN, THIN, VERMILLION
from ocimagic.render.table import Table, instruction
from ocimagic.render.units import count, human_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    import graphviz

    from ocimagic.model.own_layer import ContainerLayers, OwnChange
    from ocimagic.model.result import LayerInfo

WIDTH = 800
_LANES = 110  # beside the boxes, for arrows
_HEAD, _ROW, _BRICK, _GAP = 36, 26, 40, 5
_MOST = 12
_MOST_LANES = 5
_MOST_IN_TABLE = 500
_INSTRUCTION = 60


def own_words(own: ContainerLayers) -> str:
    """Say in words what the picture shows: its alternative text."""
    said = [
        f"The read-write layer of container {own.name} over the read-only layers of {own.image}."
    ]
    said.append(own_sentence(own))
    said += [f"{_kind_word(each)} {each.path}, {_fate(own, each)}." for each in own.changes[:_MOST]]
    said += [_more(own)] if len(own.changes) > _MOST else []
    layers = "; ".join(
        f"{letters(number)} {_made_by(each)}, {human_size(each.size_bytes)}"
        for number, each in enumerate(own.layers)
    )
    return " ".join([*said, f"Layers, bottom first: {layers or 'none known'}."])


def own_sentence(own: ContainerLayers) -> str:
    """Say how much the container has of its own, and why."""
    said = f"{count(len(own.changes), 'change')}, {human_size(own.size_bytes)} of files"
    if own.copied_bytes:
        said += f"; {human_size(own.copied_bytes)} of it came by copying up before a change"
    if own.is_copy:
        said += "; nothing can be stacked here, so the container began with a copy of all files"
    return f"{said}."


def fate(change: OwnChange, *, is_copy: bool = False) -> str:
    """Say what became of a file, and of the one below it.

    Args:
        change: which.
        is_copy: there is no layer below, for the container began with a copy of all.
    """
    where = f"layer {letters(change.below)}" if change.below is not None else "the image"
    match change.kind:
        case ChangeKind.ADDED:
            return "new" + ("" if change.is_directory else f", {human_size(change.size_bytes)}")
        case ChangeKind.DELETED:
            how = "removed from the copy" if is_copy else "hidden by a whiteout"
            return f"{how}, still in {where}"
    if change.is_directory:
        return f"directory of {where}, changed inside"
    if change.copied_bytes:
        copied = human_size(change.copied_bytes)
        return f"copied up from {where}, {copied}; now {human_size(change.size_bytes)}"
    how = "another than" if is_copy else "in the place of"
    return f"{how} that in {where}, {human_size(change.size_bytes)}"


def _fate(own: ContainerLayers, change: OwnChange) -> str:
    return fate(change, is_copy=own.is_copy)


def own_text(own: ContainerLayers) -> str:
    """Draw the stack as lines: the container's own layer on top."""
    lines = [f"read-write layer of {own.name}: {own_sentence(own)}"]
    width = max((len(visible(each.path)) for each in own.changes), default=0)
    lines += [
        f"  {each.kind.value} {each.path:<{width}}  {_fate(own, each)}" for each in own.changes
    ]
    lines.append(f"read-only layers of {own.image}:")
    lines += [
        f"  {letters(number)}  {human_size(each.size_bytes):>6}  {_made_by(each)}"
        for number, each in reversed(list(enumerate(own.layers)))
    ]
    return "\n".join(visible(each) for each in lines)


def own_html(own: ContainerLayers) -> str:
    """Draw the picture, the tables folded below."""
    words = own_words(own)
    return figure(
        _Picture(own).drawn(words),
        words,
        own_sentence(own),
        width=WIDTH,
        twin="".join(map(table_html, own_tables(own))),
    )


def own_tables(own: ContainerLayers) -> Iterable[Table]:
    """Lay out the changes, and the layers below them."""
    shown = own.changes[:_MOST_IN_TABLE]
    caption = count(len(own.changes), "change")
    if len(shown) < len(own.changes):
        caption += f", the first {len(shown)}"
    rows = tuple((each.kind.value, each.path, _fate(own, each)) for each in shown)
    yield Table(f"{own.name}: {caption}", ("KIND", "PATH", "WHAT BECAME OF IT"), rows)
    cells = tuple(
        (letters(number), _made_by(each), human_size(each.size_bytes))
        for number, each in reversed(list(enumerate(own.layers)))
    )
    caption = f"{own.image}: read-only layers, top first"
    yield Table(caption, ("LAYER", "CREATED BY", "SIZE"), cells, frozenset({"SIZE"}))


def own_digraph(own: ContainerLayers) -> graphviz.Digraph:
    """Model the same as a graph for people who have Graphviz."""
    graph = digraph("container", rankdir="TB")
    head = f"read-write layer of {own.name}"
    graph.node("own", label(head, own_sentence(own)), **filled(VERMILLION, "dashed"))
    above = "own"
    for number, each in reversed(list(enumerate(own.layers))):
        look = filled(BLUE if each.from_base else GREEN)
        words = label(f"{letters(number)}  {_made_by(each)}", human_size(each.size_bytes))
        graph.node(f"layer{number}", words, **look)
        graph.edge(above, f"layer{number}")
        above = f"layer{number}"
    for change in own.changes[:_MOST]:
        if change.copied_bytes:
            words = label(f"copy-up {change.path}")
            graph.edge(f"layer{change.below}", "own", words, style="dashed")
    return graph


def _made_by(layer: LayerInfo) -> str:
    return shorten(visible(instruction(layer.created_by)), _INSTRUCTION)


def _kind_word(change: OwnChange) -> str:
    words = {
        ChangeKind.ADDED: "Added",
        ChangeKind.CHANGED: "Changed",
        ChangeKind.DELETED: "Deleted",
    }
    return words[change.kind]


def _more(own: ContainerLayers) -> str:
    return f"And {count(len(own.changes) - _MOST, 'more change')}."


class _Picture:
    """The stack, with an arrow from the layer a file was copied up from to its line."""

    def __init__(self, own: ContainerLayers) -> None:
        self.own = own
        self.shown = own.changes[:_MOST]
        rows = max(len(self.shown), 1) + (len(own.changes) > _MOST)
        self.box = WIDTH - 2 * MARGIN - _LANES
        self.foot = MARGIN + _HEAD + rows * _ROW + 10
        self.bricks = self.foot + 44
        self.end = self.bricks + len(own.layers) * (_BRICK + _GAP)

    def drawn(self, words: str) -> str:
        """Return the SVG document."""
        parts = [
            *self._own(),
            svg.text(
                f"read-only: {self.own.image}", MARGIN, self.foot + 30, 12.5,
                'class="text" font-weight="600"',
            ),
            *(piece for number in range(len(self.own.layers)) for piece in self._brick(number)),
            *self._arrows(),
            *self._legend(),
        ]  # fmt: skip
        return svg.document(parts, width=WIDTH, height=self.end + 28 + MARGIN, title=words)

    def _own(self) -> Iterable[str]:
        height = self.foot - MARGIN
        yield from svg.box(MARGIN, MARGIN, self.box, height, kind="hot", dashed=True)
        head = svg.fit(f"read-write: {self.own.name}", self.box / 2, 13.5 * BOLD)
        yield svg.text(head, MARGIN + 12, MARGIN + 23, 13.5, 'class="text" font-weight="700"')
        said = f"{count(len(self.own.changes), 'change')}, {human_size(self.own.size_bytes)}"
        right = 'class="quiet" text-anchor="end"'
        yield svg.text(said, MARGIN + self.box - 12, MARGIN + 23, 12, right)
        for number, change in enumerate(self.shown):
            yield from self._change(change, self._row(number))
        if len(self.own.changes) > _MOST:
            rest = _more(self.own)
            yield svg.text(rest, MARGIN + 40, self._row(_MOST) + 17, 12, 'class="quiet"')
        if not self.shown:
            empty = "nothing yet: every file is read from the layers below"
            yield svg.text(empty, MARGIN + 12, self._row(0) + 17, 12, 'class="quiet"')

    def _legend(self) -> Iterable[str]:
        """Say what the colours are that there are, and the letters of changes.

        Layers have letters, too, so those of changes are told apart.
        """
        layers = {"base" if each.from_base else "own" for each in self.own.layers}
        shown = [each for each in _KINDS if each[0] in {"hot", *layers}]
        return svg.legend(shown, MARGIN, self.end + 12)

    def _row(self, number: int) -> int:
        return MARGIN + _HEAD + number * _ROW

    def _change(self, change: OwnChange, top: float) -> Iterable[str]:
        left, middle = MARGIN + 22, top + 13
        yield f'<circle class="sheet" cx="{left}" cy="{middle:g}" r="10"/>'
        yield f'<circle class="line hot" cx="{left}" cy="{middle:g}" r="10"/>'
        bold = 'class="text" text-anchor="middle" font-weight="700"'
        yield svg.text(change.kind.value, left, middle + 4, 11.5, bold)
        half = (self.box - 48) / 2
        path = svg.fit(change.path, half - 8, 12 * THIN, from_end=True)
        yield svg.text(path, left + 18, middle + 4, 12, 'class="text"')
        said = svg.fit(_fate(self.own, change), half, 11.5 * THIN)
        yield svg.text(said, left + 18 + half, middle + 4, 11.5, 'class="quiet"')

    def _top(self, number: int) -> int:
        """Return the upper edge of a layer; the highest comes first."""
        return self.bricks + (len(self.own.layers) - 1 - number) * (_BRICK + _GAP)

    def _brick(self, number: int) -> Iterable[str]:
        layer, top = self.own.layers[number], self._top(number)
        kind = "base" if layer.from_base else "own"
        yield from svg.box(MARGIN, top, self.box, _BRICK, kind=kind)
        yield f'<circle cx="{MARGIN + 22}" cy="{top + 20}" r="12" class="line {kind}"/>'
        bold = 'class="text" text-anchor="middle" font-weight="700"'
        yield svg.text(letters(number), MARGIN + 22, top + 24.5, 12, bold)
        room = self.box - 130
        words = svg.fit(instruction(layer.created_by), room, 12.5 * BOLD)
        yield svg.text(words, MARGIN + 44, top + 25, 12.5, 'class="text" font-weight="600"')
        right = 'class="quiet" text-anchor="end"'
        yield svg.text(human_size(layer.size_bytes), MARGIN + self.box - 12, top + 25, 11.5, right)

    def _arrows(self) -> Iterable[str]:
        edge = MARGIN + self.box
        copied = [
            (number, change.below)
            for number, change in enumerate(self.shown)
            if change.copied_bytes and change.below is not None and self.own.layers
        ]
        lanes = [edge + 16 + min(lane, _MOST_LANES) * 8 for lane in range(len(copied))]
        for x, (number, below) in zip(lanes, copied, strict=True):
            start, end = self._top(below) + _BRICK / 2, self._row(number) + 13
            yield svg.line([(edge, start), (x, start), (x, end), (edge + 3, end)], dashed=True)
        if lanes:
            yield svg.text("copy-up", lanes[-1] + 6, self.foot + 26, 11.5, 'class="text"')


_KINDS = (
    ("hot", False, "the container's own: A added, C changed, D deleted"),
    ("own", False, "the image's"),
    ("base", False, "from its base image"),
)
