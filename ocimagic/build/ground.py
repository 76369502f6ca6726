"""What the build for one platform stands on: its plan, with the images it begins from.

Images are pulled here, because their ONBUILD instructions belong to the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocimagic.build.limits import refuse_unbuilt
from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.parse import parse_triggers
from ocimagic.dockerfile.plan import PlatformArgs, plan
from ocimagic.dockerfile.resolve import ImageBase, ScratchBase, StageBase, named_bases
from ocimagic.spec.platform import Platform, host_platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.build.base import Bases
    from ocimagic.build.bench import Bench
    from ocimagic.dockerfile.parse import Dockerfile
    from ocimagic.dockerfile.plan import Plan
    from ocimagic.dockerfile.resolve import PlannedStage


@dataclass(frozen=True, slots=True)
class Ground:
    """What the build for one platform stands on."""

    bench: Bench
    bases: Bases
    planned: Plan

    @property
    def platform(self) -> Platform:
        """Return what the result is for."""
        return self.bench.platform or host_platform()

    def platform_of(self, stage: PlannedStage) -> Platform:
        """Return what the programs of a stage are for."""
        while isinstance(stage.base, StageBase):
            stage = self.planned.stage(stage.base.index)
        match stage.base:
            case ImageBase():
                return self.bases.image(stage.base, stage.source).image.config.platform
            case ScratchBase(platform=str(text)):
                return Platform.parse(text)
            case _:
                return self.platform


def lay_ground(bench: Bench, bases: Bases, dockerfile: Dockerfile) -> Ground:
    """Plan; ONBUILD triggers of bases become instructions, and may need more stages."""
    fired: set[int] = set()
    while True:
        ground = Ground(bench, bases, _plan(bench, dockerfile))
        for stage in ground.planned.stages:
            refuse_unbuilt(stage.instructions, bench.options)
        texts: Sequence[str] = ()
        for stage in ground.planned.stages:
            if stage.index in fired:
                continue
            fired.add(stage.index)
            if texts := _triggers(ground, stage):
                dockerfile = _fire(dockerfile, stage, texts)
                break
        if not texts:
            return ground


def _plan(bench: Bench, dockerfile: Dockerfile) -> Plan:
    options = bench.options
    host = host_platform()
    return plan(
        dockerfile,
        build_args=options.build_args,
        target=options.target,
        platform=PlatformArgs(target=str(bench.platform or host), build=str(host)),
        contexts=named_bases(options.contexts),
    )


def _triggers(ground: Ground, stage: PlannedStage) -> Sequence[str]:
    match stage.base:
        case ImageBase():
            ground.bench.check_cancelled()
            return ground.bases.image(stage.base, stage.source).image.config.config.on_build
        case StageBase(index=index):
            parent = ground.planned.stage(index).instructions
            return [each.trigger for each in parent if isinstance(each, ins.OnBuild)]
        case _:
            return ()


def _fire(dockerfile: Dockerfile, stage: PlannedStage, texts: Sequence[str]) -> Dockerfile:
    """Put a base's ONBUILD instructions in front, placed at the FROM for errors."""
    line = stage.source.start_line
    fired = tuple(
        replace(
            each,
            source=replace(each.source, start_line=line, end_line=line, text=each.source.logical),
        )
        for each in parse_triggers(texts)
    )
    stages = list(dockerfile.stages)
    old = stages[stage.index]
    stages[stage.index] = replace(old, instructions=fired + old.instructions)
    return replace(dockerfile, stages=tuple(stages))
