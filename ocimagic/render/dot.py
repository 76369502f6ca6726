"""What all graph models for Graphviz have in common; making one needs no ``dot``.

``graphviz`` is imported when a model is made, not before: a notebook that asks for none should
not wait for it.
"""

from __future__ import annotations

import shutil
from functools import cache
from typing import TYPE_CHECKING

from ocimagic.render.escape import visible
from ocimagic.render.html import figure

if TYPE_CHECKING:
    import graphviz


def digraph(name: str, **attributes: str) -> graphviz.Digraph:
    """Begin a graph of boxes that shows itself in a notebook, as a picture where there is dot."""
    made: graphviz.Digraph = _kind()(
        name,
        graph_attr=attributes,
        node_attr={"shape": "box", "fontname": "sans-serif"},
        edge_attr={"fontname": "sans-serif"},
    )
    return made


@cache
def _kind() -> type:
    import graphviz

    class Graph(graphviz.Digraph):  # type: ignore[misc]  # it has no types
        """graphviz's own would fail where there is no ``dot``, and its picture has no words."""

        def _repr_mimebundle_(self, *_: object, **__: object) -> dict[str, str]:
            bundle = {"text/plain": str(self.source)}
            if shutil.which(self.engine):
                drawn = str(self.pipe(format="svg", encoding="utf-8"))
                bundle["text/html"] = figure(drawn, _words(self), f"{self.name}, by Graphviz")
            return bundle

    return Graph


def _words(graph: graphviz.Digraph) -> str:
    boxes, lines = (sum(mark in line for line in graph.body) for mark in ("[label=", "->"))
    return f"A graph of {graph.name}: {boxes} labels, {lines} lines; its text says the same."


def label(*lines: str) -> str:
    """Quote lines of text so that dot takes neither markup nor escapes in them."""
    import graphviz

    quoted = (str(graphviz.escape(visible(each))) for each in lines if each)
    said: str = graphviz.nohtml("\\n".join(quoted))  # dot's own mark between two lines
    return said


def filled(colour: str, *more: str) -> dict[str, str]:
    """Return the attributes of a node with a thinned colour."""
    return {"style": ",".join(("filled", *more)), "fillcolor": f"{colour}33"}
