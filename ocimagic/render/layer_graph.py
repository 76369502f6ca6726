"""What images share: a graphviz model, a picture with its table, and a tree for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.dot import digraph, filled, label
from ocimagic.render.escape import shorten, visible
from ocimagic.render.html import figure, layer_tables_html
from ocimagic.render.image_lines import lines_html, lines_text
from ocimagic.render.layer_svg import picture_words, wall_svg, wall_width
from ocimagic.render.layer_wall import build_wall, shared_words
from ocimagic.render.svg import BLUE, GREEN, ORANGE
from ocimagic.render.table import instruction
from ocimagic.render.text import saving_sentence
from ocimagic.render.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import graphviz

    from ocimagic.model.result import LayerReport
    from ocimagic.render.layer_wall import Brick

_CREATED_BY = 48


def layers_svg(report: LayerReport) -> str:
    """Draw the layers as an SVG document."""
    wall = build_wall(report)
    return wall_svg(wall, title=picture_words(wall))


def layers_html(report: LayerReport) -> str:
    """Draw the picture of several images, or of one with the lines that made it."""
    return lines_html(report) if report.lines else wall_html(report)


def wall_html(report: LayerReport) -> str:
    """Draw the picture with alternative text and caption, the tables folded below."""
    wall = build_wall(report)
    words = picture_words(wall)
    return figure(
        wall_svg(wall, title=words),
        words,
        saving_sentence(report),
        width=wall_width(wall),
        twin=layer_tables_html(report),
    )


def layers_tree(report: LayerReport) -> str:
    """Draw the layers as a tree of text: the base first, branches where images part."""
    wall = build_wall(report)
    lines: list[str] = []
    for brick in wall.bottom:
        lines += _tree(brick)
    lines += [f"[{visible(name)}] no layers" for name in wall.bare]
    lines.append(saving_sentence(report))
    if report.lines:
        lines += ["", lines_text(report)]
    return "\n".join(lines)


def layers_digraph(report: LayerReport) -> graphviz.Digraph:
    """Model the same as a graph for people who have Graphviz."""
    graph = digraph("layers", rankdir="TB")
    wall = build_wall(report)
    node_ids: dict[int, str] = {}
    for number, brick in enumerate(wall.bricks()):
        node_id = node_ids[id(brick)] = f"layer{number}"
        graph.node(node_id, label(_label(brick)), **_looks(brick))
        if brick.below:
            graph.edge(node_id, node_ids[id(brick.below)])
        for each, name in enumerate(brick.names):
            image_id = f"image{number}.{each}"
            _image_node(graph, image_id, name)
            graph.edge(image_id, node_id)
    for number, name in enumerate(wall.bare):
        _image_node(graph, f"bare{number}", name)
    return graph


def _image_node(graph: graphviz.Digraph, image_id: str, name: str) -> None:
    """Add an image; its name would be no name for a node, with colons that dot reads as ports."""
    graph.node(image_id, label(name), shape="cds", style="filled", fillcolor=ORANGE)


def _label(brick: Brick) -> str:
    shared = f", {shared_words(brick)}" if brick.shared else ""
    created_by = shorten(visible(instruction(brick.layer.created_by)), _CREATED_BY)
    return f"{brick.letter}  {created_by}  ({human_size(brick.layer.size_bytes)}{shared})"


def _looks(brick: Brick) -> dict[str, str]:
    more = ("bold",) if brick.shared else ()
    return filled(BLUE if brick.from_base else GREEN, *more)


def _tree(brick: Brick) -> list[str]:
    """Draw a brick and all above it; only a fork goes deeper."""
    lines = [_line(brick)]
    while len(brick.above) == 1 and not brick.names:
        brick = brick.above[0]
        lines.append(_line(brick))
    branches: Sequence[list[str]] = [
        *([f"[{visible(name)}]"] for name in brick.names),
        *(_tree(above) for above in brick.above),
    ]
    for number, branch in enumerate(branches, 1):
        lines += _branch(branch, is_last=number == len(branches))
    return lines


def _branch(lines: list[str], *, is_last: bool) -> Iterator[str]:
    first, *rest = lines
    yield f"{'└─' if is_last else '├─'} {first}"
    yield from (f"{'  ' if is_last else '│ '} {line}" for line in rest)


def _line(brick: Brick) -> str:
    created_by = shorten(visible(instruction(brick.layer.created_by)), _CREATED_BY)
    marks = ["base"] if brick.from_base else []
    if brick.shared:
        marks.append(shared_words(brick))
    said = f"  ({', '.join(marks)})" if marks else ""
    return f"{brick.letter}  {human_size(brick.layer.size_bytes):>6}  {created_by}{said}"
