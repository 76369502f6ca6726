"""What each FROM, ``COPY --from`` and ``RUN --mount from`` means: a stage, an image, nothing.

Source: Dockerfile reference, "FROM" and multi-stage builds; facts/build.md section 1.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ocimagic.dockerfile.instructions import Copy, Instruction, Run
from ocimagic.dockerfile.places import IMAGE, SCRATCH, context_name, is_image, meant_name
from ocimagic.dockerfile.source import quoted
from ocimagic.dockerfile.substitute import BadWord
from ocimagic.dockerfile.words import Expansion, expansion
from ocimagic.errors import InvalidPlatform
from ocimagic.spec.nearest import nearest
from ocimagic.spec.platform import Platform
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.dockerfile.mounts import RunMount
    from ocimagic.dockerfile.parse import Dockerfile, Stage
    from ocimagic.dockerfile.source import SourceRange

_PLATFORM_HINT = "such as --platform=$BUILDPLATFORM or --platform=linux/arm64"


@dataclass(frozen=True, slots=True)
class ScratchBase:
    """No files and no config; ``platform`` None means the target's."""

    platform: str | None = None


@dataclass(frozen=True, slots=True)
class StageBase:
    """Another stage of this Dockerfile."""

    index: int


@dataclass(frozen=True, slots=True)
class ImageBase:
    """An image to be found or pulled; ``platform`` None means the target's.

    The reference is text as written, expanded but not checked.
    """

    reference: str
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class ContextBase:
    """Files that the build was given under a name: there is no config to them."""

    name: str


Base: TypeAlias = ScratchBase | StageBase | ImageBase | ContextBase


def named_bases(contexts: Mapping[str, str]) -> dict[str, Base]:
    """Return what each named context stands for, by the name it is known by.

    Args:
        contexts: places by name, as ``--build-context`` has them.

    Raises:
        BadInput: a name that is none.
    """
    return {context_name(name): _named(name, place) for name, place in contexts.items()}


def _named(name: str, place: str) -> Base:
    if place == f"{IMAGE}{SCRATCH}":
        return ScratchBase()
    return (
        ImageBase(place.removeprefix(IMAGE)) if is_image(place) else ContextBase(context_name(name))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """A stage that the target needs.

    Args:
        index: its number in the Dockerfile.
        name: its name in lower case, or None.
        base: what its FROM stands on.
        instructions: unexpanded, without the FROM.
        sources: what each ``COPY --from`` and ``RUN --mount from`` means, by its text.
        source: where its FROM stands.
    """

    index: int
    name: str | None
    base: Base
    instructions: tuple[Instruction, ...]
    sources: Mapping[str, Base]
    source: SourceRange

    @property
    def label(self) -> str:
        """How progress calls it: by its name, or its number."""
        return self.name or str(self.index)

    @property
    def needs(self) -> tuple[int, ...]:
        """The indexes of the stages this one reads from, ascending."""
        bases = (self.base, *self.sources.values())
        return tuple(sorted({each.index for each in bases if isinstance(each, StageBase)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """The Dockerfile with the values its FROMs see.

    Args:
        contexts: what a name means that the build was given; it wins over stages and images.
    """

    dockerfile: Dockerfile
    values: Mapping[str, str]
    contexts: Mapping[str, Base]

    def needed_by(self, last: Stage) -> tuple[PlannedStage, ...]:
        """Plan a stage and all it needs, in the order of the file."""
        # Nobody may need a later stage, so one pass upwards finds them all.
        needed = {last.index}
        planned: list[PlannedStage] = []
        for stage in reversed(self.dockerfile.stages[: last.index + 1]):
            if stage.index in needed:
                planned.append(self._planned(stage))
                needed.update(planned[-1].needs)
        return tuple(reversed(planned))

    def _planned(self, stage: Stage) -> PlannedStage:
        instead = self._given(stage.name or "")
        return PlannedStage(
            index=stage.index,
            name=stage.name,
            base=instead or self._base(stage),
            # What the build was given under a stage's name stands for what the stage comes to.
            instructions=() if instead else stage.instructions,
            sources={} if instead else self._sources(stage),
            source=stage.start.source,
        )

    def _base(self, stage: Stage) -> Base:
        start = stage.start
        platform = self._platform(stage)  # also where it says nothing: scratch, a stage
        base = self._expanded(start.base, start.source)
        if not base.text:
            raise start.source.error(
                f"base name ({start.base}) should not be blank",
                at=start.base,
                why=_why_empty(base),
                hint="give the ARG a default above the first FROM, or pass --build-arg",
            )
        given = self._given(base.text)
        if isinstance(given, ImageBase):
            return ImageBase(given.reference, platform)
        if given is not None:
            return given
        # A stage's own name is not yet known in its FROM: FROM debian AS debian is an image.
        earlier = self.dockerfile.named(base.text, before=stage.index)
        if earlier is not None:
            return StageBase(earlier.index)
        if base.text == "scratch":
            return ScratchBase(platform)
        return ImageBase(base.text, platform)

    def _given(self, text: str) -> Base | None:
        """Return what the build was given under a name, in any case and with its tag or without."""
        return self.contexts.get(meant_name(text))

    def _stage(self, stage: Stage) -> Base:
        """Return a stage that was named by its number, or what the build was given instead."""
        return self._given(stage.name or "") or StageBase(stage.index)

    def _platform(self, stage: Stage) -> str | None:
        start = stage.start
        if start.platform is None:
            return None
        platform = self._expanded(start.platform, start.source)
        if not platform.text:
            near = next((nearest(name, self.values) for name in platform.unset), None)
            raise start.source.error(
                f"empty platform value from expression {start.platform}"
                + (f" (did you mean {near}?)" if near else ""),
                at=f"--platform={start.platform}",
                why=_why_empty(platform),
                hint=_PLATFORM_HINT,
            )
        try:
            Platform.parse(platform.text)
        except InvalidPlatform as err:
            raise start.source.error(
                f"failed to parse platform {platform.text}",
                at=f"--platform={start.platform}",
                hint=err.hint or _PLATFORM_HINT,
            ) from None
        return platform.text

    def _expanded(self, word: str, source: SourceRange) -> Expansion:
        return expand_global(word, self.values, self.dockerfile.escape, source)

    def _sources(self, stage: Stage) -> dict[str, Base]:
        found: dict[str, Base] = {}
        for each in stage.instructions:
            if isinstance(each, Copy) and each.from_stage is not None:
                found[each.from_stage] = self._copied_from(stage, each, each.from_stage)
            elif isinstance(each, Run):
                for mount in each.mounts:
                    if mount.from_stage:
                        found[mount.from_stage] = self._mounted_from(stage, each, mount)
        return found

    def _copied_from(self, stage: Stage, copy: Copy, text: str) -> Base:
        if given := self._given(text):
            return given
        other = self._meant(text, stage)
        if other is None and text.isdecimal():
            raise copy.source.error(
                f"invalid stage index {text}",
                at=f"--from={text}",
                why=f"there are {len(self.dockerfile.stages)} stages, counted from 0",
                hint="name the stage: FROM image AS name, COPY --from=name",
            )
        if other is None:
            return _outside(text)
        if other.index < stage.index:
            return self._stage(other)
        if self._reaches(other, stage):
            raise copy.source.error(
                f"circular dependency detected on stage: {stage.label}",
                at=f"--from={text}",
                why="to be built, the stage needs its own result",
                hint="copy from another stage, or leave --from out to copy from the context",
            )
        raise copy.source.error(
            f"cannot copy from stage {quoted(other.label)}, it needs to be defined before "
            f"current stage {quoted(stage.label)}",
            at=f"--from={text}",
            hint=f"move the stage of line {other.start.source.start_line} up",
        )

    def _mounted_from(self, stage: Stage, run: Run, mount: RunMount) -> Base:
        text = mount.from_stage or ""
        if given := self._given(text):
            return given
        other = self._meant(text, stage)
        if other is None:
            return _outside(text)
        if other.index < stage.index:
            return self._stage(other)
        raise run.source.error(
            f"cannot mount from stage {quoted(text)} to {quoted(mount.target or '')}, "
            "stage needs to be defined before current command",
            at=f"from={text}",
            hint=f"move the stage of line {other.start.source.start_line} up",
        )

    def _reaches(self, start: Stage, goal: Stage) -> bool:
        """Tell whether ``start`` is or needs ``goal``, by way of any stage."""
        seen: set[int] = set()
        waiting = [start]
        while waiting:
            stage = waiting.pop()
            if stage.index == goal.index:
                return True
            if stage.index not in seen:
                seen.add(stage.index)
                waiting.extend(self._direct_needs(stage))
        return False

    def _direct_needs(self, stage: Stage) -> Iterator[Stage]:
        base = self.dockerfile.named(stage.start.base, before=stage.index)
        texts = [each.from_stage for each in stage.instructions if isinstance(each, Copy)]
        copied = [self._meant(text, stage) for text in texts if text is not None]
        return (each for each in (base, *copied) if each is not None)

    def _meant(self, text: str, stage: Stage) -> Stage | None:
        """Find the stage that ``from`` names: by name, the last before ``stage``, or by index."""
        named = self.dockerfile.named(text, before=stage.index) or self.dockerfile.named(text)
        if named is None and text.isascii() and text.isdecimal() and len(text) < 10:
            return next(iter(self.dockerfile.stages[int(text) :][:1]), None)
        return named


def _outside(text: str) -> Base:
    return ScratchBase() if text == "scratch" else ImageBase(text)


def _why_empty(found: Expansion) -> str | None:
    if not found.unset:
        return None
    return f"{', '.join(found.unset)} has no value: FROM sees only ARGs above the first FROM"


def expand_global(
    word: str, values: Mapping[str, str], escape: str, source: SourceRange
) -> Expansion:
    """Expand a word outside the stages.

    Raises:
        DockerfileError: for a bad substitution.
    """
    try:
        return expansion(word, values, escape=escape)
    except BadWord as err:
        raise source.error(err.what, at=err.fragment, why=err.why, hint=err.hint) from None
