"""A build, from the text of a Dockerfile to an image with a name.

Parse, lint, plan; then stage by stage and instruction by instruction, each making a new state
out of the one before; at last commit.  A step that was done before is not done again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.build.base import BaseImage, Bases, Pull
from ocimagic.build.bench import Bench, check
from ocimagic.build.cache import Made, StepCache, cache_key, now
from ocimagic.build.commit import commit
from ocimagic.build.config_steps import applied
from ocimagic.build.content import HashCache
from ocimagic.build.context import Context
from ocimagic.build.copy import copy_step
from ocimagic.build.history import created_by
from ocimagic.build.limits import refuse_unbuilt
from ocimagic.build.state import Origin, StageState
from ocimagic.build.workdir import workdir_step
from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.lint import CheckOptions, lint
from ocimagic.dockerfile.parse import parse, parse_triggers
from ocimagic.dockerfile.plan import PlatformArgs, plan
from ocimagic.dockerfile.resolve import ImageBase, ScratchBase, StageBase
from ocimagic.dockerfile.scope import Scope
from ocimagic.errors import BuildFailed, InvalidReference
from ocimagic.model.event import Notice, OnEvent, StepDone, StepStarted, ignore
from ocimagic.model.result import BuildResult, BuildStep
from ocimagic.spec.config import DEFAULT_PATH, ContainerConfig
from ocimagic.spec.platform import host_platform
from ocimagic.spec.reference import Reference
from ocimagic.transfer.layer import layers_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ocimagic.dockerfile.parse import Dockerfile
    from ocimagic.dockerfile.plan import Plan
    from ocimagic.dockerfile.resolve import Base, PlannedStage
    from ocimagic.dockerfile.source import SourceRange
    from ocimagic.model.options import BuildOptions
    from ocimagic.store.store import Store
    from ocimagic.transfer.layer import Layer
    from ocimagic.transfer.unpack import Unpacker

_HASHES = "hashes.sqlite"


class Builder:
    """Builds images in one store.

    Args:
        store: where images and the cache are.
        unpacker: makes layers ready for RUN; its launcher starts the containers.
        pull: brings an image here.
    """

    def __init__(self, store: Store, unpacker: Unpacker, pull: Pull) -> None:
        self._store = store
        self._unpacker = unpacker
        self._pull = pull

    def build(
        self,
        options: BuildOptions,
        *,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildResult:
        """Build an image and give it its names.

        Raises:
            DockerfileError: it cannot be understood or followed; line and column say where.
            StepFailed: a RUN ended with a non-zero exit code.
            NotBuiltYet: an instruction of a later version; nothing was executed.
            Cancelled: finished steps are kept.
            OcimagicError: a base that cannot be pulled, a full disk.
        """
        began = time.monotonic()
        tags = [_tag(text) for text in options.tags]
        dockerfile = parse(options.dockerfile)
        warnings = _warnings(dockerfile, on_event)
        hashes = HashCache(self._store.home.own / _HASHES, partial(check, cancelled))
        with self._store.in_use():
            try:
                bench = self._bench(options, hashes, on_event, cancelled)
                job = _Build(bench, self._pull, dockerfile)
                state = job.run()
                bench.check_cancelled()
                done = commit(bench, state, tags)
            finally:
                hashes.close()
        return BuildResult(
            image_id=done.manifest.config.digest,
            digest=done.manifest.digest,
            tags=tuple(tag.familiar for tag in tags),
            steps=tuple(job.steps),
            seconds=time.monotonic() - began,
            size_bytes=done.size_bytes,
            warnings=warnings,
        )

    def _bench(
        self,
        options: BuildOptions,
        hashes: HashCache,
        on_event: OnEvent,
        cancelled: threading.Event | None,
    ) -> Bench:
        context = None
        if options.context is not None:
            context = Context(options.context, options.dockerfile_name, hashes)
        return Bench(
            store=self._store,
            unpacker=self._unpacker,
            options=options,
            cache=StepCache(self._store, enabled=not options.no_cache),
            context=context,
            began=now(),
            on_event=on_event,
            cancelled=cancelled,
        )


def _tag(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest:
        raise InvalidReference("a tag cannot have a digest", hint="leave out what follows @")
    return reference


def _warnings(dockerfile: Dockerfile, on_event: OnEvent) -> tuple[str, ...]:
    """Check the Dockerfile and tell what was found.

    Raises:
        BuildFailed: it says ``# check=error=true`` and something was found.
    """
    found = lint(dockerfile)
    for each in found:
        on_event(Notice(f"{each.rule}: {each.message}", each.line))
    if found and CheckOptions.parse(dockerfile.directives.check).error:
        rules = ", ".join(dict.fromkeys(each.rule for each in found))
        raise BuildFailed(
            f"lint violation found for rules: {rules}",
            why="the Dockerfile says check=error=true",
            where=f"Dockerfile line {found[0].line}: {found[0].message}",
            hint="correct it, or silence the rule: # check=skip=RULE",
        )
    return tuple(f"{each.rule}: {each.message} (line {each.line})" for each in found)


@dataclass(slots=True)
class _Build:
    """One build under way."""

    bench: Bench
    pull: Pull
    dockerfile: Dockerfile
    steps: list[BuildStep] = field(default_factory=list)
    states: dict[int, StageState] = field(default_factory=dict)
    total: int = 0

    def run(self) -> StageState:
        """Build all stages the target needs and return the target's last state."""
        names = tuple(each.name for each in self.dockerfile.stages if each.name)
        bases = Bases(self.bench, self.pull, names)
        planned = self._planned(bases)
        for name in planned.unused_build_args:
            text = f"build argument {name} is not used: no ARG {name} in the Dockerfile"
            self.bench.on_event(Notice(text))
        self.total = sum(1 + len(stage.instructions) for stage in planned.stages)
        for stage in planned.stages:
            self.states[stage.index] = self._stage(planned, stage, bases)
        return self.states[planned.target.index]

    # -- what to do ------------------------------------------------------------

    def _planned(self, bases: Bases) -> Plan:
        """Plan; ONBUILD triggers of bases become instructions, and may need more stages."""
        fired: set[int] = set()
        while True:
            planned = self._plan()
            for stage in planned.stages:
                refuse_unbuilt(stage.instructions)
            waiting = [stage for stage in planned.stages if stage.index not in fired]
            texts: Sequence[str] = ()
            for stage in waiting:
                fired.add(stage.index)
                if texts := self._triggers(planned, stage, bases):
                    self._fire(stage, texts)
                    break
            if not texts:
                return planned

    def _plan(self) -> Plan:
        options = self.bench.options
        target = options.platform or host_platform()
        return plan(
            self.dockerfile,
            build_args=options.build_args,
            target=options.target,
            platform=PlatformArgs(target=str(target), build=str(host_platform())),
        )

    def _triggers(self, planned: Plan, stage: PlannedStage, bases: Bases) -> Sequence[str]:
        match stage.base:
            case ImageBase():
                self.bench.check_cancelled()
                return bases.image(stage.base, stage.source).image.config.config.on_build
            case StageBase(index=index):
                parent = planned.stage(index).instructions
                return [each.trigger for each in parent if isinstance(each, ins.OnBuild)]
            case _:
                return ()

    def _fire(self, stage: PlannedStage, texts: Sequence[str]) -> None:
        """Put a base's ONBUILD instructions in front, placed at the FROM for errors."""
        line = stage.source.start_line
        fired = tuple(
            replace(
                each,
                source=replace(
                    each.source, start_line=line, end_line=line, text=each.source.logical
                ),
            )
            for each in parse_triggers(texts)
        )
        stages = list(self.dockerfile.stages)
        old = stages[stage.index]
        stages[stage.index] = replace(old, instructions=fired + old.instructions)
        self.dockerfile = replace(self.dockerfile, stages=tuple(stages))

    # -- doing it --------------------------------------------------------------

    def _stage(self, planned: Plan, stage: PlannedStage, bases: Bases) -> StageState:
        started = self._begin(stage, stage.source)
        state, cached = self._from(planned, stage, bases)
        self._end(started, cached=cached, made=None)
        for instruction in stage.instructions:
            started = self._begin(stage, instruction.source)
            expanded = state.scope.expanded(instruction)
            refuse_unbuilt([expanded])
            after = applied(state, expanded)
            made, cached = self._perform(stage, state, after, expanded, bases)
            text = created_by(state, expanded)
            layer = made.layer if made else None
            if made and layer:
                state = after.with_layer(layer, made.created, text)
            elif isinstance(instruction, ins.OnBuild):
                state = after
            else:
                state = after.with_line(text)
            self._end(started, cached=cached, made=made)
        return state

    def _from(self, planned: Plan, stage: PlannedStage, bases: Bases) -> tuple[StageState, bool]:
        """Return the state right after FROM, and whether nothing had to be pulled."""
        match stage.base:
            case StageBase(index=index):
                parent = self.states[index]
                config = replace(parent.config, on_build=())
                scope = Scope.of_stage(planned, env=config.env, parent=parent.scope)
                return replace(parent, config=config, scope=scope, has_own_cmd=False), True
            case ImageBase():
                base = bases.image(stage.base, stage.source)
                return self._on_image(planned, base), not base.pulled
            case ScratchBase():
                config = _with_path(ContainerConfig(working_dir="/"))
                state = StageState(
                    config=config,
                    scope=Scope.of_stage(planned, env=config.env),
                    platform=self.bench.options.platform or host_platform(),
                    origin=Origin(),
                )
                return state, True

    def _on_image(self, planned: Plan, base: BaseImage) -> StageState:
        image = base.image
        config = _with_path(replace(image.config.config, on_build=()))
        return StageState(
            config=config,
            scope=Scope.of_stage(planned, env=config.env),
            platform=image.config.platform,
            origin=base.origin,
            author=image.config.author,
            layers=tuple(layers_of(image)),
        )

    def _perform(
        self,
        stage: PlannedStage,
        before: StageState,
        after: StageState,
        instruction: ins.Instruction,
        bases: Bases,
    ) -> tuple[Made | None, bool]:
        """Do what an instruction does to files; return what it made and whether it was cached."""
        match instruction:
            case ins.Run():
                from ocimagic.build.run_step import run_step

                def layers_of(name: str) -> Sequence[Layer]:
                    return self._layers_of(stage.sources[name], instruction.source, bases)

                return run_step(self.bench, before, instruction, len(self.steps) + 1, layers_of)
            case ins.Copy(from_stage=str(name)):
                layers = self._layers_of(stage.sources[name], instruction.source, bases)
                return copy_step(self.bench, before, instruction, layers)
            case ins.Copy() | ins.Add():
                return copy_step(self.bench, before, instruction)
            case ins.Workdir():
                return workdir_step(self.bench, after, instruction.source)
            case _:
                return None, self._seen(before, after, instruction)

    def _layers_of(self, base: Base, source: SourceRange, bases: Bases) -> Sequence[Layer]:
        match base:
            case StageBase(index=index):
                return self.states[index].layers
            case ImageBase():
                return layers_of(bases.image(base, source).image)
            case ScratchBase():
                return ()

    def _seen(self, before: StageState, after: StageState, instruction: ins.Instruction) -> bool:
        """Say whether a line of the config was there in an earlier build, as files would be."""
        key = cache_key(
            "config",
            below=after.chain_id,
            config=after.config.to_json(),
            text=created_by(before, instruction),
        )
        needs = [layer.diff_id for layer in after.layers]
        return self.bench.cache.seen(key, needs, self.bench.began)

    # -- telling ---------------------------------------------------------------

    def _begin(self, stage: PlannedStage, source: SourceRange) -> tuple[StepStarted, float]:
        self.bench.check_cancelled()
        started = StepStarted(
            number=len(self.steps) + 1,
            total=self.total,
            stage=stage.name or str(stage.index),
            text=source.logical,
            line=source.start_line,
        )
        self.bench.on_event(started)
        return started, time.monotonic()

    def _end(self, begun: tuple[StepStarted, float], *, cached: bool, made: Made | None) -> None:
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
        )
        self.steps.append(step)
        done = StepDone(step.number, step.cached, step.seconds, step.layer, step.size_bytes)
        self.bench.on_event(done)


def _with_path(config: ContainerConfig) -> ContainerConfig:
    """Give an image without PATH docker's."""
    if "PATH" in config.environment():
        return config
    return replace(config, env=(*config.env, f"PATH={DEFAULT_PATH}"))
