"""The stages of all platforms as jobs: a stage that does not depend on the platform is one job.

Source: Docker, "Multi-platform builds": ``FROM --platform=$BUILDPLATFORM`` is built once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.resolve import ImageBase, ScratchBase, StageBase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.build.ground import Ground
    from ocimagic.dockerfile.resolve import Base, PlannedStage


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A stage to be built, for one platform or for all of them.

    Attributes:
        index: its number among all jobs.
        needs: indexes of the jobs that come before it.
        ground: of its platform, or of the first that shares it.
        number_of: index of the job of each stage of this platform, so far, by the stage's own.
        label: how progress calls it.
    """

    index: int
    needs: frozenset[int]
    ground: Ground
    stage: PlannedStage
    number_of: dict[int, int]
    label: str


def jobs_of(grounds: Sequence[Ground]) -> tuple[list[Job], list[int]]:
    """Return all jobs, each after those it needs, and for each platform the index of its target."""
    jobs: list[Job] = []
    identities: list[object] = []
    targets = []
    for ground in grounds:
        number_of: dict[int, int] = {}
        for stage in ground.planned.stages:
            identity = _identity(ground, stage, number_of)
            if identity in identities:
                number_of[stage.index] = identities.index(identity)
                continue
            number_of[stage.index] = len(jobs)
            identities.append(identity)
            jobs.append(
                Job(
                    index=len(jobs),
                    needs=frozenset(number_of[each] for each in stage.needs),
                    ground=ground,
                    stage=stage,
                    number_of=number_of,
                    label=_label(ground, stage, is_only=len(grounds) == 1),
                )
            )
        targets.append(number_of[ground.planned.target.index])
    return jobs, targets


def _label(ground: Ground, stage: PlannedStage, *, is_only: bool) -> str:
    return stage.label if is_only else f"{ground.platform_of(stage)} {stage.label}"


def _identity(
    ground: Ground, stage: PlannedStage, number_of: Mapping[int, int]
) -> tuple[object, ...]:
    """Return what is equal where a stage comes to the same for two platforms.

    What a stage sees of the platform it has to declare: ``ARG TARGETPLATFORM``.
    """
    declared = [
        each.name
        for instruction in stage.instructions
        if isinstance(instruction, ins.Arg)
        for each in instruction.args
    ]
    return (
        stage.index,
        _base_identity(ground, stage.base, number_of),
        [_base_identity(ground, each, number_of) for each in stage.sources.values()],
        [(name, ground.planned.global_args.get(name)) for name in declared],
        stage.instructions,
    )


def _base_identity(ground: Ground, base: Base, number_of: Mapping[int, int]) -> object:
    match base:
        case StageBase(index=index):
            return number_of[index]
        case ImageBase(platform=None) | ScratchBase(platform=None):
            return base, ground.platform
        case _:
            return base
