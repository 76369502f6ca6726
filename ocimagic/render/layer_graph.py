"""What images share: a graphviz model, a picture with its table, and a tree for terminals."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ocimagic.render.escape import markup, shorten, visible
from ocimagic.render.html import details, layer_tables_html
from ocimagic.render.layer_svg import BLUE, GREEN, ORANGE, picture_words, wall_svg
from ocimagic.render.layer_wall import build_wall
from ocimagic.render.table import instruction
from ocimagic.render.text import saving_sentence
from ocimagic.render.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import graphviz

    from ocimagic.model.result import LayerReport
    from ocimagic.render.layer_wall import Brick

_CREATED_BY = 48
_MAX_SHRUNK_COLUMNS = 7


def layers_svg(report: LayerReport) -> str:
    """Draw the layers as an SVG document."""
    wall = build_wall(report)
    return wall_svg(wall, title=picture_words(wall))


def layers_html(report: LayerReport) -> str:
    """Draw the picture with alternative text and caption, the tables folded below."""
    wall = build_wall(report)
    words = picture_words(wall)
    data = base64.b64encode(wall_svg(wall, title=words).encode()).decode("ascii")
    # A few columns too many shrink to the page; more than that would be unreadable, so they scroll.
    width = "none" if wall.width > _MAX_SHRUNK_COLUMNS else "100%"
    return (
        '<figure style="margin:.3em 0;overflow-x:auto">'
        f'<img alt="{markup(words)}" src="data:image/svg+xml;base64,{data}" '
        f'style="max-width:{width};height:auto">'
        f"<figcaption>{markup(saving_sentence(report))}</figcaption></figure>"
        + details("The same as tables", layer_tables_html(report))
    )


def layers_tree(report: LayerReport) -> str:
    """Draw the layers as a tree of text: the base first, branches where images part."""
    wall = build_wall(report)
    lines: list[str] = []
    for brick in wall.bottom:
        lines += _tree(brick)
    lines += [f"[{visible(name)}] no layers" for name in wall.bare]
    return "\n".join([*lines, saving_sentence(report)])


def layers_digraph(report: LayerReport) -> graphviz.Digraph:
    """Model the same as a graph for people who have Graphviz; making it needs no ``dot``."""
    import graphviz

    graph = graphviz.Digraph("layers", node_attr={"shape": "box", "fontname": "sans-serif"})
    graph.attr(rankdir="TB")
    wall = build_wall(report)
    node_ids: dict[int, str] = {}
    for number, brick in enumerate(wall.bricks()):
        node_id = node_ids[id(brick)] = f"layer{number}"
        graph.node(node_id, _literal(_label(brick)), **_looks(brick))
        if brick.below:
            graph.edge(node_id, node_ids[id(brick.below)])
        for name in brick.names:
            graph.edge(_image_node(graph, name), node_id)
    for name in wall.bare:
        _image_node(graph, name)
    return graph


def _image_node(graph: graphviz.Digraph, name: str) -> str:
    """Add an image and return its node; names hold colons, which dot reads as ports."""
    node_id = "image " + name.replace(":", " ")
    graph.node(node_id, _literal(name), shape="cds", style="filled", fillcolor=ORANGE)
    return node_id


def _literal(text: str) -> str:
    """Quote a text so that dot takes neither markup nor escapes in it."""
    import graphviz

    quoted: str = graphviz.escape(visible(text))  # a NoHtml: dot will not read it as markup
    return quoted


def _label(brick: Brick) -> str:
    shared = f", shared by {len(brick.images)}" if brick.shared else ""
    created_by = shorten(visible(instruction(brick.layer.created_by)), _CREATED_BY)
    return f"{brick.letter}  {created_by}  ({human_size(brick.layer.size_bytes)}{shared})"


def _looks(brick: Brick) -> dict[str, str]:
    style = "filled,bold" if brick.shared else "filled"
    return {"style": style, "fillcolor": (BLUE if brick.from_base else GREEN) + "33"}


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
        marks.append(f"shared by {len(brick.images)}")
    said = f"  ({', '.join(marks)})" if marks else ""
    return f"{brick.letter}  {human_size(brick.layer.size_bytes):>6}  {created_by}{said}"
