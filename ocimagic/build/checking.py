"""Build checks at work: what is probably not meant is told before anything is done.

A Dockerfile that cannot be built is checked too, as far as it was understood: what looks odd
above a mistake is often what explains it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.build.context import ignore_rules
from ocimagic.dockerfile.lint import CHECK_ARG, CheckOptions, LintWarning, lint
from ocimagic.dockerfile.parse import Dockerfile, parse_as_far
from ocimagic.dockerfile.places import is_fetched
from ocimagic.errors import BuildFailed
from ocimagic.model.event import Notice, OnEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.model.options import BuildOptions


def parsed(options: BuildOptions, on_event: OnEvent) -> Dockerfile:
    """Parse the Dockerfile of a build.

    Raises:
        DockerfileError: it cannot be understood; what was found above was told.
    """
    dockerfile, mistake = parse_as_far(options.dockerfile or "")
    if mistake is None:
        return dockerfile
    _tell(lint_warnings(dockerfile, options, is_whole=False), on_event)
    raise mistake


def lint_warnings(
    dockerfile: Dockerfile, options: BuildOptions, *, is_whole: bool = True
) -> tuple[LintWarning, ...]:
    """Check a Dockerfile, and whether it copies what the context's .dockerignore leaves out.

    Args:
        dockerfile: all of it, or what is above a mistake.
        options: of the build.
        is_whole: there is no mistake.
    """
    directory = options.context if is_whole else None
    has_files = directory and not is_fetched(directory)
    ignore = ignore_rules(directory, options.dockerfile_name) if directory and has_files else None
    return lint(
        dockerfile,
        options=_check_options(dockerfile, options),
        ignore=ignore,
        is_whole=is_whole,
    )


def told_warnings(
    dockerfile: Dockerfile, options: BuildOptions, on_event: OnEvent
) -> tuple[str, ...]:
    """Check the Dockerfile and tell what was found.

    Raises:
        BuildFailed: it says ``# check=error=true`` and something was found.
    """
    found = lint_warnings(dockerfile, options)
    _tell(found, on_event)
    if found and _check_options(dockerfile, options).error:
        rules = ", ".join(dict.fromkeys(each.rule for each in found))
        raise BuildFailed(
            f"lint violation found for rules: {rules}",
            why="the Dockerfile says check=error=true",
            where=f"Dockerfile line {found[0].line}: {found[0].message}",
            hint="correct it, or silence the rule: # check=skip=RULE",
        )
    return tuple(f"{each.rule}: {each.message} (line {each.line})" for each in found)


def _tell(found: Iterable[LintWarning], on_event: OnEvent) -> None:
    for each in found:
        on_event(Notice(f"{each.rule}: {each.message}", each.line))


def _check_options(dockerfile: Dockerfile, options: BuildOptions) -> CheckOptions:
    said = options.build_args.get(CHECK_ARG)
    return CheckOptions.parse(dockerfile.directives.check if said is None else said)
