"""What names, indexes, images and referrers point at, as graphs for Graphviz."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.dot import digraph, filled, label
from ocimagic.render.svg import BLUE, GREEN, ORANGE
from ocimagic.render.units import human_size

if TYPE_CHECKING:
    import graphviz

    from ocimagic.model.distribution import ImageTree, ReferrerReport, TreePart


def trees_digraph(*trees: ImageTree) -> graphviz.Digraph:
    """Model names, what they point at, and each platform's image; a dashed one is not here."""
    graph = digraph("images", rankdir="LR")
    for number, tree in enumerate(trees):
        head = f"content{number}"
        kind = "index" if tree.is_index else "image"
        graph.node(head, label(kind, tree.digest.short), **filled(BLUE))
        for each, name in enumerate(tree.names):
            graph.node(f"name{number}.{each}", label(name), **filled(ORANGE))
            graph.edge(f"name{number}.{each}", head)
        if not tree.is_index:
            continue
        nodes = {part.digest: f"part{number}.{each}" for each, part in enumerate(tree.parts)}
        for part in tree.parts:
            look = filled(GREEN) if part.is_here else filled(GREEN, "dashed")
            graph.node(nodes[part.digest], label(*_part_lines(part)), **look)
            graph.edge(head, nodes[part.digest])
            if part.describes in nodes:
                about = nodes[part.describes]
                graph.edge(nodes[part.digest], about, label("about"), style="dashed")
    return graph


def _part_lines(part: TreePart) -> tuple[str, ...]:
    what = "attestation" if part.is_attestation else str(part.platform or part.artifact_type)
    return what, part.digest.short, human_size(part.content_bytes)


def referrers_digraph(report: ReferrerReport) -> graphviz.Digraph:
    """Model a manifest and what points at it."""
    graph = digraph("referrers", rankdir="RL")
    graph.node("subject", label(report.reference, report.subject.short), **filled(BLUE))
    for number, each in enumerate(report.referrers):
        kind = each.artifact_type or each.media_type
        words = label(kind, each.digest.short, human_size(each.size_bytes))
        graph.node(f"referrer{number}", words, **filled(GREEN))
        graph.edge(f"referrer{number}", "subject", label("subject"))
    return graph
