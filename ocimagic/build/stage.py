"""One stage of a build at work: instruction by instruction, each making a new state.

Stages may run side by side: what they share is told in ``StageRun``.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from ocimagic.build.cache import Made, Slot, cache_key
from ocimagic.build.config_steps import applied
from ocimagic.build.context import Context
from ocimagic.build.copy import copy_step
from ocimagic.build.history import created_by
from ocimagic.build.limits import refuse_too_large, refuse_unbuilt
from ocimagic.build.result import with_image
from ocimagic.build.state import HISTORY_COMMENT, Begun, Origin, StageState
from ocimagic.build.tree_layer import layer_of_files
from ocimagic.build.workdir import workdir_step
from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.resolve import ContextBase, ImageBase, ScratchBase, StageBase
from ocimagic.dockerfile.scope import Scope
from ocimagic.dockerfile.values import is_git, is_url
from ocimagic.errors import StepFailed
from ocimagic.model.built import BuildStep
from ocimagic.model.event import StepDone, StepStarted
from ocimagic.spec.config import DEFAULT_PATH, ContainerConfig, HistoryEntry
from ocimagic.spec.platform import Platform, host_platform
from ocimagic.spec.reference import Reference
from ocimagic.transfer.layer import layers_of

_MOST_IMAGED = 256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.build.base import BaseImage, Bases
    from ocimagic.build.bench import Bench
    from ocimagic.build.places import Place
    from ocimagic.dockerfile.plan import Plan
    from ocimagic.dockerfile.resolve import Base, PlannedStage
    from ocimagic.dockerfile.source import SourceRange


@dataclass(slots=True, kw_only=True)
class StageRun:
    """One stage under way.

    Attributes:
        bench: of this platform's build, with a cache of this stage.
        label: what the stage is called in front of others.
        states: of stages that are done, those this one needs among them.
        labels: of the stages it needs, as progress calls them.
        first: number of its first step.
        total: of all stages' steps.
        steps: that are done.
    """

    bench: Bench
    label: str
    planned: Plan
    stage: PlannedStage
    bases: Bases
    states: Mapping[int, StageState]
    labels: Mapping[int, str]
    first: int
    total: int
    steps: list[BuildStep] = field(default_factory=list)

    def state(self) -> StageState:
        """Do all instructions and return what they come to."""
        started = self._begin(self.stage.source)
        state, cached = self._from()
        self._end(started, state, cached=cached, made=None)
        imaged, instructions = state, self.stage.instructions
        for instruction, following in zip_longest(instructions, instructions[1:]):
            started = self._begin(instruction.source)
            expanded = state.scope.expanded(instruction)
            refuse_unbuilt([expanded], self.bench.options)
            after = applied(state, expanded)
            text = created_by(state, expanded)
            after = refuse_too_large(after, text, instruction.source)
            try:
                made, cached = self._perform(state, after, expanded)
            except StepFailed as err:
                _show_ground(state, err)
                raise
            layer = made.layer if made else None
            if made and layer:
                after = after.with_layer(layer, made.created, text)
            elif not isinstance(instruction, ins.OnBuild):
                after = after.with_line(text)
            if not after.layers or _passed_over(after, instruction, following):
                state = replace(after, image_id=None)
            else:
                state = imaged = with_image(self.bench, imaged, after)
            self._end(
                started, state, cached=cached, made=made, takes_from=self._read_by(instruction)
            )
        return state

    def _from(self) -> tuple[StageState, bool]:
        """Return the state right after FROM, and whether nothing had to be pulled."""
        planned = self.planned
        match self.stage.base:
            case StageBase(index=index):
                parent = self.states[index]
                config = replace(parent.config, on_build=())
                scope = Scope.of_stage(planned, env=config.env, parent=parent.scope)
                begun = Begun(len(parent.layers), len(parent.made), parent.image_id)
                key = str(cache_key("config from", before=parent.config_key))
                state = replace(
                    parent,
                    config=config,
                    config_key=key,
                    scope=scope,
                    has_own_cmd=False,
                    begun=begun,
                )
                return state, True
            case ImageBase() as asked:
                base = self.bases.image(asked, self.stage.source)
                return self._on_image(base), not base.pulled
            case ScratchBase(platform=said):
                return self._on_nothing(said), True
            case ContextBase(name=name):
                return self._on_files(name), False

    def _on_nothing(self, platform: str | None = None) -> StageState:
        config = _with_path(ContainerConfig(working_dir="/"))
        target = self.bench.platform or host_platform()
        return StageState(
            config=config,
            config_key=_key_of(config),
            scope=Scope.of_stage(self.planned, env=config.env),
            platform=Platform.parse(platform) if platform else target,
            origin=Origin(),
        )

    def _on_files(self, name: str) -> StageState:
        """Stand on files that the build was given under a name: they have no config."""
        place = self.bench.places.named(self.bench, name)
        if isinstance(place, Context):
            top = place.unfiltered("")
            assert top is not None
            place = (layer_of_files(self.bench, place, top)[0],)
        line = HistoryEntry(created_by=f"FROM {name}", comment=HISTORY_COMMENT)
        return replace(self._on_nothing(), layers=place, made=(line,) * len(place))

    def _on_image(self, base: BaseImage) -> StageState:
        image = base.image
        config = _with_path(replace(image.config.config, on_build=()))
        layers = tuple(layers_of(image))
        return StageState(
            config=config,
            config_key=_key_of(config),
            scope=Scope.of_stage(self.planned, env=config.env),
            platform=image.config.platform,
            origin=base.origin,
            author=image.config.author,
            layers=layers,
            image_id=image.image_id,
            begun=Begun(len(layers), 0, image.image_id),
        )

    def _perform(
        self, before: StageState, after: StageState, instruction: ins.Instruction
    ) -> tuple[Made | None, bool]:
        """Do what an instruction does to files; return what it made and whether it was cached."""
        match instruction:
            case ins.Run():
                from ocimagic.build.run_step import run_step

                def place_of(name: str | None) -> Place | None:
                    return self._place_of(name, instruction.source)

                return run_step(self.bench, before, instruction, self._number, place_of)
            case ins.Copy() | ins.Add():
                return copy_step(self.bench, before, instruction, self._copied_from(instruction))
            case ins.Workdir():
                return workdir_step(self.bench, after, instruction.source)
            case _:
                return None, self._seen(before, after, instruction)

    def _copied_from(self, instruction: ins.Copy | ins.Add) -> Place | None:
        """Return where paths are looked up; a context is not fetched for what needs none."""
        if isinstance(instruction, ins.Copy) and instruction.from_stage is not None:
            return self._place_of(instruction.from_stage, instruction.source)
        fetched = isinstance(instruction, ins.Add)
        if all(fetched and (is_git(each) or is_url(each)) for each in instruction.sources):
            return None
        return self._place_of(None, instruction.source)

    def _place_of(self, wanted: str | None, source: SourceRange) -> Place | None:
        """Return what ``from`` means; without one it is the build context, if there is any."""
        if wanted is None:
            return self.bench.places.main(self.bench)
        match self.stage.sources[wanted]:
            case ContextBase(name=name):
                return self.bench.places.named(self.bench, name)
            case StageBase(index=index):
                return self.states[index].layers
            case ImageBase() as base:
                return tuple(layers_of(self.bases.image(base, source).image))
            case ScratchBase():
                return ()

    def _seen(self, before: StageState, after: StageState, instruction: ins.Instruction) -> bool:
        """Say whether a line of the config was there in an earlier build, as files would be."""
        key = cache_key(
            "config",
            below=after.chain_id,
            config=[after.config_key],
            text=created_by(before, instruction),
        )
        needs = [layer.diff_id for layer in after.layers]
        return self.bench.cache.seen(key, needs, self.bench.began)

    # -- telling ---------------------------------------------------------------

    def _begin(self, source: SourceRange) -> tuple[StepStarted, float]:
        self.bench.check_cancelled()
        started = StepStarted(
            number=self._number,
            total=self.total,
            stage=self.label,
            text=source.logical,
            line=source.start_line,
        )
        self.bench.on_event(started)
        place = f"{started.stage} {len(self.steps)}"
        is_anew = self.stage.label in self.bench.options.no_cache_of
        self.bench.cache.begin(Slot(self._series, place, started.text), anew=is_anew)
        return started, time.monotonic()

    def _end(
        self,
        begun: tuple[StepStarted, float],
        state: StageState,
        *,
        cached: bool,
        made: Made | None,
        takes_from: tuple[str, ...] = (),
    ) -> None:
        started, at = begun
        layer = made.layer if made else None
        step = BuildStep(
            number=started.number,
            stage=started.stage,
            text=started.text,
            line=started.line,
            cached=cached,
            seconds=time.monotonic() - at,
            layer=layer.diff_id if layer else None,
            size_bytes=layer.tar_bytes if layer else 0,
            why="" if cached else self.bench.cache.why(),
            image_id=state.image_id,
            stands_on="" if self.steps else self._label_of(self.stage.base),
            takes_from=takes_from,
        )
        self.steps.append(step)
        self.bench.on_event(
            StepDone(
                step.number,
                step.cached,
                step.seconds,
                step.layer,
                step.size_bytes,
                step.why,
                step.image_id,
            )
        )

    def _read_by(self, instruction: ins.Instruction) -> tuple[str, ...]:
        """Return the labels of the stages that a line reads files of."""
        match instruction:
            case ins.Copy(from_stage=str(name)):
                names = [name]
            case ins.Run(mounts=mounts):
                names = [each.from_stage for each in mounts if each.from_stage]
            case _:
                names = []
        labels = (self._label_of(self.stage.sources[name]) for name in names)
        return tuple(dict.fromkeys(filter(None, labels)))

    def _label_of(self, base: Base) -> str:
        """Return how progress calls a stage; "" for what is none."""
        return self.labels[base.index] if isinstance(base, StageBase) else ""

    @property
    def _number(self) -> int:
        """Return the number of the step that is under way, or about to begin."""
        return self.first + len(self.steps)

    @property
    def _series(self) -> str:
        """Tell builds of this Dockerfile from those of others; web:1 and web:2 are of one."""
        options = self.bench.options
        names = [Reference.parse(each).name for each in options.tags[:1]]
        return json.dumps([names, options.context, options.dockerfile_name])


def _passed_over(
    after: StageState, instruction: ins.Instruction, following: ins.Instruction | None
) -> bool:
    """Say whether a line gets no image of its own: one of very many that only change the config.

    Each image holds all lines before it.  What stands before a command has one always.
    """
    within = following is not None and not any(
        isinstance(each, (ins.Run, ins.Copy, ins.Add, ins.Workdir))
        for each in (instruction, following)
    )
    return within and len(after.made) > _MOST_IMAGED


def _show_ground(state: StageState, failure: StepFailed) -> None:
    """Say how to enter what a step was to work on, so that one can try it by hand."""
    if state.image_id is not None:
        failure.image_id = state.image_id
        hint = f"{failure.hint}; " if failure.hint else ""
        failure.hint = f"{hint}look inside: %container_run -it --rm {state.image_id.short} sh"


def _key_of(config: ContainerConfig) -> str:
    return str(cache_key("config", base=config.to_json()))


def _with_path(config: ContainerConfig) -> ContainerConfig:
    """Give an image without PATH docker's."""
    if "PATH" in config.environment():
        return config
    return replace(config, env=(*config.env, f"PATH={DEFAULT_PATH}"))
