"""The whole Dockerfile: directives, global arguments and stages.

Source: Dockerfile reference, "Format" and "FROM"; facts/build.md section 1.0.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from ocimagic.dockerfile.instructions import Arg, From, Instruction, OnBuild
from ocimagic.dockerfile.interpret import interpret
from ocimagic.dockerfile.lex import DEFAULT_ESCAPE, Directives, lex
from ocimagic.errors import DockerfileError
from ocimagic.spec.record import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.dockerfile.lex import Lexed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One FROM and what follows it, up to the next.

    Args:
        index: 0 for the first FROM; ``COPY --from=0`` means this number.
        start: the FROM.
        instructions: the rest, top down.
    """

    index: int
    start: From
    instructions: tuple[Instruction, ...] = ()

    @property
    def name(self) -> str | None:
        """The name after AS, in lower case."""
        return self.start.name

    @property
    def label(self) -> str:
        """The name, or the index as text: what messages call this stage."""
        return self.start.name or str(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A parsed Dockerfile; it has at least one stage if there is no mistake in it.

    Args:
        directives: the ``# key=value`` lines at the top.
        global_args: ARGs before the first FROM, top down.
        stages: in the order they are written.
        empty_continuations: 1-based last lines of instructions with an empty line inside, for
            lint: where docker reports it.
    """

    directives: Directives
    global_args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    empty_continuations: tuple[int, ...] = ()
    _places: Mapping[str, list[int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Remember which stages have which name: a file may have thousands."""
        places: dict[str, list[int]] = {}
        for place, stage in enumerate(self.stages):
            if stage.name is not None:
                places.setdefault(stage.name, []).append(place)
        object.__setattr__(self, "_places", places)

    @property
    def escape(self) -> str:
        """The escape character."""
        return self.directives.escape

    def with_triggers(self, index: int, triggers: Iterable[str]) -> Dockerfile:
        """Return this Dockerfile with a base's ONBUILD texts as the first lines of a stage.

        A trigger may copy from a stage, so plan again afterwards.

        Raises:
            DockerfileError: as `parse_triggers` does.
        """
        stage = self.stages[index]
        fired = replace(stage, instructions=parse_triggers(triggers) + stage.instructions)
        return replace(self, stages=(*self.stages[:index], fired, *self.stages[index + 1 :]))

    def named(self, name: str, *, before: int | None = None) -> Stage | None:
        """Return the last stage of this name, in any case, with an index below ``before``."""
        places = self._places.get(name.lower(), [])
        count = len(places) if before is None else bisect_left(places, before)
        return self.stages[places[count - 1]] if count else None

    def base(self, stage: Stage) -> Stage | None:
        """Return the stage this one stands on, as far as no variable hides it."""
        return self.named(stage.start.base, before=stage.index)

    def bases(self, stage: Stage) -> tuple[Stage, ...]:
        """Return the stages this one stands on, nearest first; see ``base``."""
        found: list[Stage] = []
        base = self.base(stage)
        while base is not None:
            found.append(base)
            base = self.base(base)
        return tuple(found)


def parse(text: str) -> Dockerfile:
    """Parse a Dockerfile.

    Raises:
        DockerfileError: with line, and where it can be known column, of the first mistake.
    """
    dockerfile, mistake = parse_as_far(text)
    if mistake is not None:
        raise mistake
    return dockerfile


def parse_as_far(text: str) -> tuple[Dockerfile, DockerfileError | None]:
    """Parse a Dockerfile up to its first mistake.

    Returns:
        what is above the mistake, which may be nothing, and the mistake as `parse` raises it;
        or the whole file and None.
    """
    lines = _Lines()
    try:
        _read(text, lines)
    except DockerfileError as mistake:
        return lines.dockerfile(), mistake
    return lines.dockerfile(), None


@dataclass(slots=True)
class _Lines:
    """What is read of a Dockerfile so far."""

    lexed: Lexed | None = None
    global_args: list[Arg] = field(default_factory=list)
    stages: list[tuple[From, list[Instruction]]] = field(default_factory=list)

    def dockerfile(self) -> Dockerfile:
        return Dockerfile(
            directives=self.lexed.directives if self.lexed else Directives(),
            global_args=tuple(self.global_args),
            stages=tuple(
                Stage(index=index, start=start, instructions=tuple(instructions))
                for index, (start, instructions) in enumerate(self.stages)
            ),
            empty_continuations=self.lexed.empty_continuations if self.lexed else (),
        )


def _read(text: str, lines: _Lines) -> None:
    """Read a Dockerfile line by line.

    Raises:
        DockerfileError: as `parse` does.
    """
    lexed = lines.lexed = lex(text)
    if not text.removeprefix("\ufeff").strip():
        raise DockerfileError(
            "the Dockerfile cannot be empty", line=1, hint="the least is FROM and an image"
        )
    if not lexed.lines:
        raise DockerfileError(
            "file with no instructions",
            line=1,
            source=text.partition("\n")[0],
            why="there are only comments",
            hint="the least is FROM and an image",
        )
    for line in lexed.lines:
        instruction = interpret(line, escape=lexed.directives.escape)
        if isinstance(instruction, From):
            lines.stages.append((instruction, []))
        elif lines.stages:
            lines.stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            lines.global_args.append(instruction)
        else:
            raise instruction.source.error(
                "no build stage in current context",
                at=line.keyword,
                why=f"{instruction.keyword} comes before the first FROM; only ARG may",
                hint="start with FROM and an image",
            )
    if not lines.stages:
        raise lexed.lines[-1].source.error(
            "dockerfile contains no stages to build",
            why="there is no FROM",
            hint="add FROM and an image",
        )


def parse_triggers(triggers: Iterable[str]) -> tuple[Instruction, ...]:
    """Parse the ONBUILD texts of a base image into the instructions that fire after FROM.

    Args:
        triggers: the config's ``OnBuild`` list, in order; each may hold heredoc bodies.

    Raises:
        DockerfileError: for a trigger that is no instruction, or is FROM, ONBUILD or
            MAINTAINER; line numbers count inside the trigger.
    """
    found: list[Instruction] = []
    for trigger in triggers:
        for line in lex(trigger, escape=DEFAULT_ESCAPE).lines:
            instruction = interpret(line, escape=DEFAULT_ESCAPE)
            if isinstance(instruction, (From, OnBuild)) or instruction.keyword == "MAINTAINER":
                raise instruction.source.error(
                    f"{instruction.keyword} isn't allowed as an ONBUILD trigger",
                    why="the base image carries this trigger",
                    hint="use another base image, or rebuild it without the trigger",
                )
            found.append(instruction)
    return tuple(found)
