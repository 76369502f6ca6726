"""What BuildKit calls the steps of a build: ``[stage 2/3] RUN make``.

Source: BuildKit, frontend/dockerfile/dockerfile2llb/convert.go, prefixCommand; lines that only
change the config have no step of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.resolve import ImageBase, StageBase
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from ocimagic.dockerfile.plan import Plan
    from ocimagic.dockerfile.resolve import PlannedStage
    from ocimagic.model.event import StepStarted

_COUNTED = (ins.Run, ins.Copy, ins.Add, ins.Workdir)
_SHOWN = ("FROM", *(each.keyword for each in _COUNTED))


def is_shown(text: str) -> bool:
    """Say whether a line has a step of its own."""
    return text.split(maxsplit=1)[0].upper() in _SHOWN


class StepNames:
    """The names of the steps of one Dockerfile.

    Args:
        planned: what the target needs.
        stages: how many stages the Dockerfile has: a single one has no name.
    """

    def __init__(self, planned: Plan, stages: int) -> None:
        self._names: dict[tuple[str, int], str] = {}
        self._froms: dict[str, int] = {}
        self._shown: dict[str, str] = {}
        self._images: set[str] = set()
        for stage in planned.stages:
            self._name(stage, stage.name or (f"stage-{stage.index}" if stages > 1 else ""))

    def of(self, event: StepStarted) -> str:
        """Return what a step is called; "" for one that is not shown."""
        label = event.stage.rpartition(" ")[2]  # several platforms stand before it
        platform = event.stage.removesuffix(label)
        # What ONBUILD adds stands at the FROM.
        first = self._froms.get(label)
        if event.line == first and event.text[:5].upper() != "FROM ":
            where = f"{platform}{self._shown[label]}".strip()
            return f"[{where}] {event.text}" if where else event.text
        name = self._names.get((label, event.line), "")
        return name.replace("[", f"[{platform}", 1) if name and platform else name

    def _name(self, stage: PlannedStage, shown: str) -> None:
        self._shown[stage.label] = shown
        self._froms[stage.label] = stage.source.start_line
        steps: list[tuple[int, str]] = []
        if isinstance(stage.base, ImageBase):
            steps.append((stage.source.start_line, f"FROM {_whole(stage.base.reference)}"))
        elif not isinstance(stage.base, StageBase):
            self._names[stage.label, stage.source.start_line] = ""
        steps += [
            (each.source.start_line, each.source.logical)
            for each in stage.instructions
            if isinstance(each, _COUNTED)
        ]
        width = len(str(len(steps)))
        for number, (line, text) in enumerate(steps, 1):
            where = f"{shown} " if shown else ""
            name = f"[{where}{number:>{width}}/{len(steps)}] {text}"
            # The same image is looked at once, for the first stage that begins from it.
            is_known = text.startswith("FROM ") and text in self._images
            self._images.add(text)
            self._names[stage.label, line] = "" if is_known else name


def images_of(planned: Plan) -> list[Reference]:
    """Return the images that the stages of a plan begin from or read, as far as they are names."""
    bases = [base for stage in planned.stages for base in (stage.base, *stage.sources.values())]
    found = [Reference.parse(each.reference) for each in bases if isinstance(each, ImageBase)]
    return list(dict.fromkeys(found))


def _whole(text: str) -> str:
    """Return a name with its registry, but no tag that nobody wrote."""
    whole = Reference.parse(text)
    if "@" in text or ":" in text.rpartition("/")[2]:
        return str(whole)
    return whole.name
