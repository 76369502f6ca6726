"""A build, from the text of a Dockerfile to an image with a name.

Parse, lint, plan; then stage by stage and instruction by instruction, each making a new state
out of the one before; at last commit.  A step that was done before is not done again.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.build.base import Bases, Pull
from ocimagic.build.bench import Bench, check
from ocimagic.build.cache import CacheLost, StepCache, UsedSteps, now
from ocimagic.build.cache_export import export_cache, is_inline
from ocimagic.build.cache_import import OtherCaches, other_caches
from ocimagic.build.checking import lint_warnings, parsed, told_warnings
from ocimagic.build.commit import commit
from ocimagic.build.content import HashCache
from ocimagic.build.definition import is_read, read_definition
from ocimagic.build.epoch import (
    OF_CONTEXT,
    context_epoch,
    given_epoch,
    said_epoch,
    with_epoch,
)
from ocimagic.build.foreign import check_foreign
from ocimagic.build.ground import lay_ground
from ocimagic.build.jobs import jobs_of
from ocimagic.build.known import KnownTrees
from ocimagic.build.output import check_outputs, write_output
from ocimagic.build.places import Places
from ocimagic.build.stage import StageRun
from ocimagic.build.together import Stop, run_together
from ocimagic.errors import Cancelled, InvalidReference
from ocimagic.home.disk import storage_errors
from ocimagic.model.built import BuildChecked, BuildResult, BuildStep, BuildWarning, BuiltPlatform
from ocimagic.model.event import Event, Notice, OnEvent, StepDone, StepStarted, ignore
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ocimagic.build.commit import Built
    from ocimagic.build.ground import Ground
    from ocimagic.build.jobs import Job
    from ocimagic.build.remote import Fetched
    from ocimagic.build.state import StageState
    from ocimagic.dockerfile.parse import Dockerfile
    from ocimagic.model.options import BuildOptions
    from ocimagic.registry.client import RegistryClient
    from ocimagic.registry.transport import Transport
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker

_HASHES = "hashes.sqlite"


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be built.

    Attributes:
        beside: a directory of files that win over the context's; "" for none.
        fetched: the context if it was fetched already.
        caches: where steps were done that are not here.
    """

    options: BuildOptions
    on_event: OnEvent
    beside: str = ""
    fetched: Fetched | None = None
    caches: OtherCaches | None = None


class Builder:
    """Builds images in one store; thread-safe.

    Args:
        store: where images and the cache are.
        unpacker: makes layers ready for RUN; its launcher starts the containers.
        pull: brings an image here.
        web: gives connections without logins, for what ADD fetches.
        environment: PATH and proxies, for git.
        registry: gives the way to registries, for caches.
    """

    def __init__(
        self,
        store: Store,
        unpacker: Unpacker,
        pull: Pull,
        web: Callable[[], Transport],
        environment: Mapping[str, str],
        registry: Callable[[], RegistryClient],
    ) -> None:
        self._store = store
        self._unpacker = unpacker
        self._pull = pull
        self._web = web
        self._environment = environment
        self._registry = registry
        self._known = KnownTrees()

    def build(
        self,
        options: BuildOptions,
        *,
        stdin: Iterable[bytes] | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildResult:
        """Build an image and give it its names.

        Args:
            options: what to build.
            stdin: what a context of ``-`` is: an archive, or the text of a Dockerfile.
            on_event: hears of each step.
            cancelled: set it to stop.

        Raises:
            DockerfileError: it cannot be understood or followed; line and column say where.
            StepFailed: a RUN ended with a non-zero exit code.
            NotBuiltYet: an instruction of a later version; nothing was executed.
            Cancelled: finished steps are kept.
            OcimagicError: a base that cannot be pulled, a full disk.
        """
        began = time.monotonic()
        options = given_epoch(options)
        tags = [_tag(text) for text in options.tags]
        check_outputs(options.outputs, len({each.normalized for each in options.platforms}))
        on_event = steps = _InTurn(on_event)
        with self._store.in_use(), self._written(options.files) as beside:
            order = self._read(_Order(options, on_event, beside), stdin, cancelled)
            dockerfile = parsed(order.options, on_event)
            order, dockerfile = self._timed(order, dockerfile, cancelled)
            options = order.options
            warnings = told_warnings(dockerfile, options, on_event)
            caches = other_caches(self._store, self._registry, options, on_event, cancelled)
            order = replace(order, caches=caches)
            while True:
                stop = Stop(cancelled)
                try:
                    with self._bench(order, stop) as bench:
                        done = self._built(bench, dockerfile, tags, stop)
                    return replace(done, seconds=time.monotonic() - began, warnings=warnings)
                except CacheLost as lost:  # it is not found again
                    on_event(Notice(f"{lost.what}: the build begins again"))
                except Cancelled as err:
                    if steps.total:
                        kept = f"{len(steps.done)} of {steps.total} steps are done and kept"
                        err.hint = f"{kept}: the next build goes on from there"
                    raise

    def _built(
        self, bench: Bench, dockerfile: Dockerfile, tags: list[Reference], stop: Stop
    ) -> BuildResult:
        """Build once; with all that is to be written of it."""
        options = bench.options
        job = _Build(bench, self._pull, dockerfile, stop)
        results = job.run()
        bench.check_cancelled()
        done = commit(results, tags, has_cache=is_inline(bench))
        for output in options.outputs:
            write_output(bench, done, tags, output)
        for cache in options.cache_to:
            export_cache(bench, [each.state for each in done.images], cache, self._registry)
        return BuildResult(
            image_id=done.run.manifest.config.digest,
            digest=done.index.digest if done.index else done.run.manifest.digest,
            tags=tuple(tag.familiar for tag in tags),
            steps=tuple(self._enterable(bench, step) for step in job.steps),
            seconds=0.0,
            size_bytes=sum(each.size_bytes for each in done.images),
            platforms=tuple(map(_platform, done.images)) if done.index else (),
        )

    def _enterable(self, bench: Bench, step: BuildStep) -> BuildStep:
        """Return a step without its ID if a layer it came to was found elsewhere and not needed."""
        kept = self._store.results.get(step.image_id) if bench.caches and step.image_id else None
        missing = bench.caches.left_out() if bench.caches else []
        if kept is None or not set(missing) & set(kept.config.diff_ids):
            return step
        return replace(step, image_id=None)

    def check(
        self,
        options: BuildOptions,
        *,
        stdin: Iterable[bytes] | None = None,
        on_event: OnEvent = ignore,
        cancelled: threading.Event | None = None,
    ) -> BuildChecked:
        """Look for what is probably not meant; nothing is built.

        Args:
            options: as for ``build``.
            stdin: as for ``build``.
            on_event: hears of a context that is fetched for its Dockerfile, and of what was found
                above a mistake.
            cancelled: set it to stop.

        Raises:
            DockerfileError: it cannot be understood.
            BuildFailed: there is none.
        """
        with self._store.in_use():
            options = self._read(_Order(options, on_event), stdin, cancelled).options
        return BuildChecked(
            warnings=tuple(
                BuildWarning(rule=each.rule, message=each.message, line=each.line, url=each.url)
                for each in lint_warnings(parsed(options, on_event), options)
            )
        )

    def _read(
        self, order: _Order, stdin: Iterable[bytes] | None, cancelled: threading.Event | None
    ) -> _Order:
        """Return the order with the text of its Dockerfile, wherever that is."""
        if is_read(order.options):
            return order
        with self._bench(order, Stop(cancelled)) as bench:
            options, fetched = read_definition(bench, stdin)
        return replace(order, options=options, fetched=fetched)

    def _timed(
        self, order: _Order, dockerfile: Dockerfile, cancelled: threading.Event | None
    ) -> tuple[_Order, Dockerfile]:
        """Return order and Dockerfile with the time that either of them says, if any."""
        options, fetched = order.options, order.fetched
        said = said_epoch(options, dockerfile)
        if said == OF_CONTEXT and options.timestamp is not None:
            said = str(options.timestamp)
        elif said == OF_CONTEXT:
            with self._bench(order, Stop(cancelled)) as bench:
                said, fetched = context_epoch(bench), bench.places.fetched
        elif not said:
            return order, dockerfile
        options, dockerfile = with_epoch(options, dockerfile, said)
        return replace(order, options=options, fetched=fetched), dockerfile

    @contextlib.contextmanager
    def _written(self, files: Mapping[str, bytes]) -> Iterator[str]:
        """Write files that are in no directory into one; yields it, "" for no files."""
        if not files:
            yield ""
            return
        room = Path(tempfile.mkdtemp(prefix="tmp-context-", dir=self._store.home.own))
        try:
            with storage_errors(self._store.home.data):
                for name, content in files.items():
                    (room / name).parent.mkdir(parents=True, exist_ok=True)
                    (room / name).write_bytes(content)
                    (room / name).chmod(0o644)
                for each in room.rglob("*"):
                    if each.is_dir():
                        each.chmod(0o755)
            yield str(room)
        finally:
            shutil.rmtree(room, ignore_errors=True)

    @contextlib.contextmanager
    def _bench(self, order: _Order, cancelled: threading.Event) -> Iterator[Bench]:
        options, caches = order.options, order.caches
        hashes = HashCache(self._store.home.own / _HASHES, partial(check, cancelled))
        used = UsedSteps()
        cache = StepCache(self._store, enabled=not options.no_cache, elsewhere=caches, used=used)
        try:
            yield Bench(
                store=self._store,
                unpacker=self._unpacker,
                options=options,
                cache=cache,
                places=Places(options, hashes, beside=order.beside, fetched=order.fetched),
                used=used,
                known=self._known,
                caches=caches,
                began=now(),
                on_event=order.on_event,
                cancelled=cancelled,
                web=self._web,
                environment=self._environment,
            )
        finally:
            hashes.close()
            if caches is not None:
                cache.settle()
                # Nobody can enter a step whose layers stayed where they were.
                self._store.steps.forget(caches.left_out())


class _InTurn:
    """A listener that hears of one event at a time, whichever stage it is of, and counts steps.

    Attributes:
        done: numbers of the steps that are.
        total: of all steps, as far as is known.
    """

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._lock = threading.Lock()
        self.done: set[int] = set()
        self.total = 0

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, StepStarted):
                self.total = max(self.total, event.total)
            elif isinstance(event, StepDone):
                self.done.add(event.number)
            self._on_event(event)


def _tag(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest:
        raise InvalidReference("a tag cannot have a digest", hint="leave out what follows @")
    return reference


def _platform(built: Built) -> BuiltPlatform:
    return BuiltPlatform(
        platform=built.platform,
        image_id=built.manifest.config.digest,
        digest=built.manifest.digest,
        size_bytes=built.size_bytes,
    )


@dataclass(slots=True)
class _Build:
    """One build under way."""

    bench: Bench
    pull: Pull
    dockerfile: Dockerfile
    stop: Stop
    steps: list[BuildStep] = field(default_factory=list)
    states: dict[int, StageState] = field(default_factory=dict)

    def run(self) -> list[tuple[Ground, StageState]]:
        """Build all stages that the targets need; return each platform's last state."""
        grounds = self._grounds()
        for name in grounds[0].planned.unused_build_args:
            text = f"build argument {name} is not used: no ARG {name} in the Dockerfile"
            self.bench.on_event(Notice(text))
        check_foreign(grounds)
        jobs, targets = jobs_of(grounds)
        lengths = [1 + len(job.stage.instructions) for job in jobs]
        first = _sums(lengths)

        def work(job: Job) -> None:
            bench = job.ground.bench
            run = StageRun(
                # Each has its own place in the cache, and in the file.
                bench=replace(bench, cache=bench.cache.beside()),
                label=job.label,
                planned=job.ground.planned,
                stage=job.stage,
                bases=job.ground.bases,
                states={each: self.states[job.number_of[each]] for each in job.stage.needs},
                labels={each: jobs[job.number_of[each]].label for each in job.stage.needs},
                first=first[job.index],
                total=sum(lengths),
            )
            # Its own hold of the store: a second interrupt ends the build before its threads.
            with bench.store.in_use():
                state = run.state()
            self.steps += run.steps
            self.states[job.index] = state

        run_together(jobs, work, self.stop)
        self.steps.sort(key=lambda step: step.number)
        return [(ground, self.states[each]) for ground, each in zip(grounds, targets, strict=True)]

    def _grounds(self) -> list[Ground]:
        """Plan for each platform; what they begin from is pulled."""
        wanted = dict.fromkeys(each.normalized for each in self.bench.options.platforms)
        benches = [replace(self.bench, platform=each) for each in wanted] or [self.bench]
        names = tuple(each.name for each in self.dockerfile.stages if each.name)
        bases = Bases(benches[0], self.pull, names)
        return [lay_ground(each, bases.beside(each), self.dockerfile) for each in benches]


def _sums(lengths: Sequence[int]) -> list[int]:
    """Return where each begins when they follow one another, from 1."""
    return [1 + each for each in accumulate(lengths[:-1], initial=0)]
