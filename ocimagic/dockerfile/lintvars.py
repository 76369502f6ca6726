"""Lint rules about variables that nothing defines.

What a base image defines is not known here.  So a name that only such an image could define
is reported only when the file itself makes it suspicious: it is declared, but above the
first FROM or further down, or it is nearly the same as a name that is defined.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ocimagic.dockerfile.instructions import Arg, Env
from ocimagic.dockerfile.plan import PROXY_ARGS, PlatformArgs
from ocimagic.dockerfile.scope import Scope
from ocimagic.dockerfile.substitute import BadWord
from ocimagic.dockerfile.words import expansion
from ocimagic.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.dockerfile.instructions import Instruction
    from ocimagic.dockerfile.parse import Dockerfile, Stage
    from ocimagic.dockerfile.source import SourceRange

_AUTOMATIC = frozenset(PlatformArgs().args()) | {"TARGETSTAGE"}
_MOST_EXPANDED = 64 << 20
_USUAL = frozenset({"PATH", "HOME", "USER", "PWD", "LANG", "LC_ALL", "TERM", "HOSTNAME", "SHELL"})


def undefined_args_in_from(dockerfile: Dockerfile) -> Iterator[tuple[SourceRange, str]]:
    """Find names in FROM that no ARG above the first FROM declares."""
    declared = _names(dockerfile.global_args) | _AUTOMATIC | PROXY_ARGS
    for stage in dockerfile.stages:
        for word in (stage.start.base, stage.start.platform or ""):
            try:
                unset = expansion(word, {}, escape=dockerfile.escape).unset
            except BadWord:
                continue  # the plan refuses it, with a better message
            for name in unset:
                if name not in declared:
                    near = _near(name, declared)
                    message = f"FROM argument '{name}' is not declared"
                    yield (
                        stage.start.source,
                        message + (f" (did you mean {near}?)" if near else ""),
                    )


def undefined_variables(dockerfile: Dockerfile) -> Iterator[tuple[SourceRange, str]]:
    """Find names in a stage that neither ARG nor ENV defines there."""
    for stage, scope, instruction in in_scope(dockerfile):
        try:
            unset = scope.undefined(instruction)
        except DockerfileError:
            continue  # it needs a value that only the build knows, ${X:?} for one
        for name in unset:
            yield from _judged(dockerfile, stage, scope, instruction, name)


def in_scope(dockerfile: Dockerfile) -> Iterator[tuple[Stage, Scope, Instruction]]:
    """Walk through all instructions, each with what it sees: its file's values, no base's.

    A file whose variables grow without end is left where it becomes too much: the build says so.
    """
    scopes: dict[int, Scope] = {}
    left = _MOST_EXPANDED
    for stage in dockerfile.stages:
        base = dockerfile.base(stage)
        scope = scopes[base.index] if base else Scope(escape=dockerfile.escape)
        for instruction in stage.instructions:
            yield stage, scope, instruction
            try:
                expanded, size = scope.expanded_and_size(instruction)
                scope, left = scope.after(expanded), left - size
            except DockerfileError:
                scope = scope.after(instruction)
            if left < 0:
                return
        scopes[stage.index] = scope


def _judged(
    dockerfile: Dockerfile, stage: Stage, scope: Scope, instruction: Instruction, name: str
) -> Iterator[tuple[SourceRange, str]]:
    root = (stage, *dockerfile.bases(stage))[-1]
    if name in _USUAL or not name.isidentifier():
        return
    message = f"Usage of undefined variable '${name}'"
    if name in _names(dockerfile.global_args) | _AUTOMATIC:
        # Declared for FROM only: the beginner's classic.
        yield instruction.source, f"{message} (write ARG {name} after FROM to see its value)"
    elif near := _near(name, {"PATH", *scope.env, *scope.args} - {name}):
        yield instruction.source, f"{message} (did you mean ${near}?)"
    elif root.start.base == "scratch" or name in _declared_in(stage):
        yield instruction.source, message


def _declared_in(stage: Stage) -> frozenset[str]:
    """Return the names that a stage gives a value somewhere, if only further down."""
    env = (pair.key for each in stage.instructions if isinstance(each, Env) for pair in each.pairs)
    return _names(each for each in stage.instructions if isinstance(each, Arg)) | frozenset(env)


def _names(args: Iterable[Arg]) -> frozenset[str]:
    return frozenset(declared.name for arg in args for declared in arg.args)


def _near(name: str, known: Iterable[str]) -> str | None:
    # Closer than errors.nearest: NODE_VERSION may be the base's, even if YARN_VERSION is ours.
    words = sorted(known)
    found = difflib.get_close_matches(name, words, n=1, cutoff=0.85)
    mixed_up = (each for each in words if sorted(each) == sorted(name))  # PAHT
    return found[0] if found else next(mixed_up, None)
