"""The stages of a build and what each takes of others: in words, as a table, as a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.dot import digraph, filled, label
from ocimagic.render.escape import shorten
from ocimagic.render.svg import BLUE, GREEN
from ocimagic.render.table import Table
from ocimagic.render.units import count, human_seconds
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    import graphviz

    from ocimagic.model.built import BuildResult, BuildStep

_TEXT = 60


@dataclass(frozen=True, slots=True)
class StageBox:
    """One stage.

    Attributes:
        name: as progress calls it.
        depth: 0 when it needs no other stage, else one more than the deepest it needs.
    """

    name: str
    steps: tuple[BuildStep, ...]
    depth: int

    @property
    def stands_on(self) -> str:
        """Return the stage its FROM names, "" for an image or nothing."""
        return self.steps[0].stands_on

    @property
    def takes_from(self) -> tuple[str, ...]:
        """Return the stages its lines read files of."""
        return tuple(dict.fromkeys(name for each in self.steps for name in each.takes_from))

    @property
    def cached(self) -> int:
        """Return how many of its steps were cached."""
        return sum(each.cached for each in self.steps)

    @property
    def seconds(self) -> float:
        """Return how long its steps took together."""
        return sum(each.seconds for each in self.steps)


def stages(result: BuildResult) -> tuple[StageBox, ...]:
    """Return the stages in the order of the file, each after those it needs."""
    by_name: dict[str, list[BuildStep]] = {}
    for each in result.steps:
        by_name.setdefault(each.stage, []).append(each)
    depths: dict[str, int] = {}
    found = []
    for name, steps in by_name.items():
        needed = {steps[0].stands_on, *(other for each in steps for other in each.takes_from)}
        depths[name] = max((depths[each] + 1 for each in needed if each in depths), default=0)
        found.append(StageBox(name, tuple(steps), depths[name]))
    return tuple(found)


def outcome(step: BuildStep) -> str:
    """Say whether a step was cached, or how long it took and why it was not."""
    if step.cached:
        return "cached"
    took = human_seconds(step.seconds)
    return f"{took}: {step.why}" if step.why else took


def build_words(result: BuildResult) -> str:
    """Say in words what the picture shows: its alternative text."""
    said = ["Stages of a build, from left to right."]
    for stage in stages(result):
        facts = [count(len(stage.steps), "step"), f"{stage.cached} cached"]
        facts += [f"stands on {stage.stands_on}"] if stage.stands_on else []
        facts += [f"takes files from {', '.join(stage.takes_from)}"] if stage.takes_from else []
        steps = "; ".join(f"{shorten(each.text, _TEXT)}: {outcome(each)}" for each in stage.steps)
        said.append(f"{stage.name} ({', '.join(facts)}): {steps}.")
    return " ".join(said)


def stage_table(result: BuildResult) -> Table:
    """Lay out what each stage needs and took."""
    rows = tuple(
        (
            each.name,
            each.stands_on or shorten(each.steps[0].text, _TEXT),
            ", ".join(each.takes_from),
            str(len(each.steps)),
            str(each.cached),
            human_seconds(each.seconds),
        )
        for each in stages(result)
    )
    heads = ("STAGE", "STANDS ON", "TAKES FROM", "STEPS", "CACHED", "TIME")
    return Table(count(len(rows), "stage"), heads, rows, frozenset(heads[3:]))


def build_digraph(result: BuildResult) -> graphviz.Digraph:
    """Model the same as a graph for people who have Graphviz: a cluster per stage."""
    graph = digraph("build", rankdir="LR")
    found = stages(result)
    last = {each.name: f"step{each.steps[-1].number}" for each in found}
    for number, stage in enumerate(found):
        with graph.subgraph(name=f"cluster{number}") as cluster:
            cluster.attr(label=label(stage.name))
            for step in stage.steps:
                look = filled(BLUE, "dashed") if step.cached else filled(GREEN)
                words = label(shorten(step.text, _TEXT), outcome(step))
                cluster.node(f"step{step.number}", words, **look)
            for one, following in zip(stage.steps, stage.steps[1:], strict=False):
                cluster.edge(f"step{one.number}", f"step{following.number}")
    for step, name, kind in _edges(found):
        if name in last:
            graph.edge(last[name], f"step{step.number}", label(kind), style=_STYLES[kind])
    return graph


_STYLES = {"FROM": "solid", "files": "dashed"}


def _edges(found: tuple[StageBox, ...]) -> Iterator[tuple[BuildStep, str, str]]:
    """Yield each step that needs another stage, with its name and what it takes."""
    for stage in found:
        for step in stage.steps:
            if step.stands_on:
                yield step, step.stands_on, "FROM"
            yield from ((step, name, "files") for name in step.takes_from)
