"""The plan of a build: which stages are needed, in which order, and on what each stands.

Nothing is fetched and nothing runs: a plan follows from the text, the build arguments and
the platforms alone.

Source: Dockerfile reference, "FROM", "ARG" and multi-stage builds; facts/build.md section 1.2.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from ocimagic.dockerfile.instructions import Arg
from ocimagic.dockerfile.resolve import PlannedStage, Resolver, expand_global
from ocimagic.dockerfile.source import quoted
from ocimagic.errors import InvalidOption
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.dockerfile.parse import Dockerfile, Stage
    from ocimagic.dockerfile.resolve import Base

_MOST_GLOBAL = 8 << 20
PROXY_ARGS = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
"""Arguments every RUN sees without ARG, and no cache key or history does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformArgs:
    """The platforms of a build, as ``os/arch[/variant]``.

    Args:
        target: what the image is for.
        build: what the builder runs on.
        target_os_version: the target's OS version, where there is one (Windows).
        build_os_version: the builder's.
    """

    target: str = "linux/amd64"
    build: str = "linux/amd64"
    target_os_version: str = ""
    build_os_version: str = ""

    def args(self) -> dict[str, str]:
        """Return the automatic global arguments, all but TARGETSTAGE."""
        found: dict[str, str] = {}
        for prefix, platform, version in (
            ("TARGET", self.target, self.target_os_version),
            ("BUILD", self.build, self.build_os_version),
        ):
            os, _, rest = platform.partition("/")
            arch, _, variant = rest.partition("/")
            found |= {
                f"{prefix}PLATFORM": platform,
                f"{prefix}OS": os,
                f"{prefix}OSVERSION": version,
                f"{prefix}ARCH": arch,
                f"{prefix}VARIANT": variant,
            }
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to build.

    Args:
        stages: the needed ones; each comes after all it needs, the target last.
        global_args: values of ARGs before the first FROM and of the automatic ones; a name
            that was declared without a value is missing.
        build_args: as given.
        unused_build_args: names that no ARG declares, sorted.
        escape: the file's escape character.
    """

    stages: tuple[PlannedStage, ...]
    global_args: Mapping[str, str]
    build_args: Mapping[str, str] = field(default_factory=dict)
    unused_build_args: tuple[str, ...] = ()
    escape: str = "\\"

    @property
    def target(self) -> PlannedStage:
        """The stage that becomes the image."""
        return self.stages[-1]

    def stage(self, index: int) -> PlannedStage:
        """Return a needed stage by its number in the Dockerfile."""
        place = bisect_left(self.stages, index, key=lambda stage: stage.index)
        return self.stages[place]


def plan(
    dockerfile: Dockerfile,
    *,
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    platform: PlatformArgs | None = None,
    contexts: Mapping[str, Base] | None = None,
) -> Plan:
    """Decide what the target needs.

    Args:
        dockerfile: from `parse`.
        build_args: ``--build-arg``.
        target: name of a stage, in any case, or None for the last.
        platform: the platforms; both linux/amd64 if not given.
        contexts: ``--build-context``, by name in lower case.

    Raises:
        InvalidOption: if there is no such target.
        DockerfileError: for a FROM that expands to nothing, or a stage that needs a later
            one or itself.  Stages the target does not need are not looked at.
    """
    given = build_args or {}
    last = _target(dockerfile.stages, target)
    automatic = (platform or PlatformArgs()).args() | {"TARGETSTAGE": last.name or "default"}
    values = global_values(dockerfile, automatic, given)
    resolver = Resolver(dockerfile=dockerfile, values=values, contexts=contexts or {})
    return Plan(
        stages=resolver.needed_by(last),
        global_args=values,
        build_args=given,
        unused_build_args=_unused(dockerfile, given, automatic),
        escape=dockerfile.escape,
    )


def _target(stages: Sequence[Stage], target: str | None) -> Stage:
    if target is None:
        return stages[-1]
    # A name may be given twice; the later stage has it.
    for stage in reversed(stages):
        if stage.name == target.lower():
            return stage
    names = [stage.name for stage in stages if stage.name]
    near = nearest(target.lower(), names)
    raise InvalidOption(
        f"target stage {quoted(target)} could not be found"
        + (f" (did you mean {near}?)" if near else ""),
        hint="the stages are " + ", ".join(names) if names else "name a stage: FROM image AS name",
    )


def global_values(
    dockerfile: Dockerfile, automatic: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """Return the values of the ARGs above the first FROM, and of the automatic ones.

    Raises:
        DockerfileError: for a bad substitution, or values that are far too long.
    """
    values = {name: given.get(name, value) for name, value in automatic.items()}
    size = 0
    for arg in dockerfile.global_args:
        for declared in arg.args:
            if declared.name in given:
                values[declared.name] = given[declared.name]
            elif declared.default is not None:
                found = expand_global(declared.default, values, dockerfile.escape, arg.source)
                values[declared.name] = found.text
                size += len(found.text)
                if size > _MOST_GLOBAL:
                    raise arg.source.error(
                        f"the ARGs above FROM have more than {_MOST_GLOBAL} characters",
                        hint="what is large goes into a file, and COPY takes it",
                    )
    return values


def _unused(
    dockerfile: Dockerfile, given: Mapping[str, str], automatic: Mapping[str, str]
) -> tuple[str, ...]:
    # All stages, not only those needed: an argument of another target is no mistake.
    instructions = [each for stage in dockerfile.stages for each in stage.instructions]
    args = [each for each in (*dockerfile.global_args, *instructions) if isinstance(each, Arg)]
    used = {declared.name for arg in args for declared in arg.args} | PROXY_ARGS | set(automatic)
    return tuple(
        sorted(
            name
            for name in given
            if name not in used and not name.startswith("BUILDKIT_") and name != "SOURCE_DATE_EPOCH"
        )
    )
