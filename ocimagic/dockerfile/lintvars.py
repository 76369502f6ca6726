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
from ocimagic.dockerfile.scope import Expanded, Scope
from ocimagic.dockerfile.substitute import BadWord
from ocimagic.dockerfile.words import expansion
from ocimagic.errors import DockerfileError
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.dockerfile.instructions import Instruction
    from ocimagic.dockerfile.parse import Dockerfile, Stage
    from ocimagic.dockerfile.source import SourceRange

_AUTOMATIC = frozenset(PlatformArgs().args()) | {"TARGETSTAGE"}
_MOST_EXPANDED = 64 << 20
_MOST_COMPARED = 200_000  # names
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
    judge = _Judge(dockerfile)
    for seen in in_scope(dockerfile):
        for name in seen.unset:
            yield from judge.of(seen, name)


@dataclass(frozen=True, slots=True)
class Seen:
    """An instruction with what it sees: its file's values, no base's.

    Attributes:
        unset: names it uses in vain; none where it needs a value that only the build knows,
            ``${X:?}`` for one.
    """

    stage: Stage
    scope: Scope
    instruction: Instruction
    unset: tuple[str, ...]


def in_scope(dockerfile: Dockerfile) -> Iterator[Seen]:
    """Walk through all instructions.

    A file whose variables grow without end is left where it becomes too much: the build says so.
    """
    scopes: dict[int, Scope] = {}
    left = _MOST_EXPANDED
    for stage in dockerfile.stages:
        base = dockerfile.base(stage)
        scope = scopes[base.index] if base else Scope(escape=dockerfile.escape)
        for instruction in stage.instructions:
            try:
                found = scope.looked_at(instruction)
            except DockerfileError:
                found = Expanded(instruction, 0, ())
            yield Seen(stage, scope, instruction, found.unset)
            scope, left = scope.after(found.instruction), left - found.size
            if left < 0:
                return
        scopes[stage.index] = scope


class _Judge:
    """Says of undefined names which are worth a word."""

    def __init__(self, dockerfile: Dockerfile) -> None:
        self._dockerfile = dockerfile
        self._global = _names(dockerfile.global_args) | _AUTOMATIC
        self._declared: dict[int, frozenset[str]] = {}
        self._left = _MOST_COMPARED

    def of(self, seen: Seen, name: str) -> Iterator[tuple[SourceRange, str]]:
        if name in _USUAL or not name.isidentifier():
            return
        message = f"Usage of undefined variable '${name}'"
        source = seen.instruction.source
        if name in self._global:
            # Declared for FROM only: the beginner's classic.
            yield source, f"{message} (write ARG {name} after FROM to see its value)"
        elif near := self._near(seen.scope, name):
            yield source, f"{message} (did you mean ${near}?)"
        elif self._root(seen.stage).start.base == "scratch" or name in self._names_of(seen.stage):
            yield source, message

    def _near(self, scope: Scope, name: str) -> str | None:
        """Find a name that is meant perhaps; in a file with very many, only for the first."""
        known = {"PATH", *scope.seen, *scope.args} - {name} if self._left > 0 else {"PATH"}
        self._left -= len(known)
        return _near(name, known)

    def _root(self, stage: Stage) -> Stage:
        return (stage, *self._dockerfile.bases(stage))[-1]

    def _names_of(self, stage: Stage) -> frozenset[str]:
        if stage.index not in self._declared:
            self._declared[stage.index] = _declared_in(stage)
        return self._declared[stage.index]


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
