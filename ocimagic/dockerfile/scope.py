"""The variables of one stage, from line to line.

ARG gives names that last while the stage is built; ENV gives names that stay in the image.
Where both give a name a value the later line counts, for RUN and for what is expanded, and
FROM counts as a line that says all of its image's ENV.  The reference says that ENV always
wins; BuildKit never did so, and an image must be the same whoever builds it.

Source: Dockerfile reference, "Environment replacement" and "ARG"; BuildKit's behaviour as
``tests/dockerfiles/arg-*`` has it; facts/build.md 1.1, 1.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.plan import PROXY_ARGS
from ocimagic.dockerfile.substitute import BadWord
from ocimagic.dockerfile.values import check_add, check_copy, check_signal, exposed_ports
from ocimagic.dockerfile.variables import Variables
from ocimagic.dockerfile.words import expansion
from ocimagic.spec.record import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.dockerfile.lex import Heredoc
    from ocimagic.dockerfile.plan import Plan
    from ocimagic.dockerfile.source import SourceRange

MOST_IN_INSTRUCTION = 8 << 20

T = TypeVar("T", bound=ins.Instruction)


@dataclass(frozen=True, slots=True)
class Expanded:
    """What became of an instruction.

    Attributes:
        size: characters that its words have now.
        unset: names it uses that neither ARG nor ENV defines.
    """

    instruction: ins.Instruction
    size: int
    unset: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one instruction sees; `after` gives the scope of the next.

    Args:
        env: ENV of the base and of this stage, in the order of first definition.
        args: names declared by ARG; None if they have no value.
        seen: the values that expansion sees, of both.
        global_args: values that ``ARG NAME`` brings in.
        build_args: values that go before any other.
        escape: the escape character.
    """

    env: Variables = field(default_factory=Variables)
    args: Mapping[str, str | None] = field(default_factory=dict)
    seen: Variables = field(default_factory=Variables)
    global_args: Mapping[str, str] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    escape: str = "\\"

    @classmethod
    def of_env(cls, env: Iterable[str], *, escape: str = "\\") -> Scope:
        """Return the scope on a config's ``Env``, each ``NAME=value``, with nothing else."""
        named = Variables(dict(each.partition("=")[::2] for each in env))
        return cls(env=named, seen=named, escape=escape)

    @classmethod
    def of_stage(cls, plan: Plan, *, env: Iterable[str], parent: Scope | None = None) -> Scope:
        """Return the scope right after a FROM.

        Args:
            plan: for its arguments.
            env: the base config's ``Env``, each ``NAME=value``.
            parent: the last scope of the stage this one stands on: its values go on, and are
                no ARGs of this stage.
        """
        own = cls.of_env(env, escape=plan.escape)
        return replace(
            own,
            seen=parent.seen.with_added(own.env) if parent else own.seen,
            global_args=plan.global_args,
            build_args=plan.build_args,
        )

    def run_env(self) -> dict[str, str]:
        """Return the environment of a RUN: ENV, ARG, and proxies without ARG.

        A proxy has its name in capitals and in small letters: programs look for one of them.
        """
        proxies = {k: v for k, v in self.build_args.items() if k in PROXY_ARGS}
        other = {k.swapcase(): v for k, v in proxies.items()}
        return {**other, **proxies, **self.seen}

    def cached_env(self) -> dict[str, str]:
        """Return the part of `run_env` that belongs in a cache key: no undeclared proxies."""
        return dict(self.seen)

    def run_args(self) -> tuple[tuple[str, str], ...]:
        """Return the declared ARGs with what RUN sees for them, in order of declaration.

        History texts show them as ``|N NAME=value``; one without a value shows as "".
        """
        return tuple((name, self.seen.get(name, "")) for name in self.args)

    def expanded(self, instruction: T) -> T:
        """Return a copy with variables expanded where docker expands them.

        All variables see this scope, so ``ENV a=1 b=$a`` has the old ``a``.  EXPOSE becomes
        ``port/protocol`` texts.  RUN, CMD, ENTRYPOINT, SHELL, HEALTHCHECK and ONBUILD
        texts come back as they are, but for the mounts of RUN.

        Raises:
            DockerfileError: for a bad substitution, or a value that does not fit.
        """
        return _Expander(scope=self, source=instruction.source).instruction(instruction)

    def looked_at(self, instruction: ins.Instruction) -> Expanded:
        """Return what `expanded` does, with what lint wants to know of it.

        Raises:
            DockerfileError: as `expanded` does.
        """
        expander = _Expander(scope=self, source=instruction.source)
        expanded = expander.instruction(instruction)
        unset = tuple(name for name in dict.fromkeys(expander.unset) if name not in self.args)
        return Expanded(expanded, expander.size, unset)

    def after(self, instruction: ins.Instruction) -> Scope:
        """Return the scope behind an instruction, which must be an expanded one."""
        if isinstance(instruction, ins.Env):
            added = {pair.key: pair.value for pair in instruction.pairs}
            env, seen = self.env.with_added(added), self.seen.with_added(added)
            return replace(self, env=env, seen=seen)
        if isinstance(instruction, ins.Arg):
            declared = {each.name: self._arg_value(each) for each in instruction.args}
            given = {name: value for name, value in declared.items() if value is not None}
            # Without a value now, a name keeps the one it had.
            args = {**self.args, **{name: self.args.get(name) for name in declared}, **given}
            return replace(self, args=args, seen=self.seen.with_added(given))
        return self

    def _arg_value(self, declared: ins.Declared) -> str | None:
        if declared.name in self.build_args:
            return self.build_args[declared.name]
        if declared.default is not None:
            return declared.default
        return self.global_args.get(declared.name)


@dataclass(slots=True, kw_only=True)
class _Expander:
    """Expands the fields of one instruction and notes the names it did not find."""

    scope: Scope
    source: SourceRange
    unset: list[str] = field(default_factory=list)
    size: int = 0

    def instruction(self, given: T) -> T:
        # One line per kind; the casts say that a copy has the type of its original.
        changed: ins.Instruction
        match given:
            case ins.Copy() | ins.Add():
                changed = self._files(given)
            case ins.Env() | ins.Label():
                pairs = tuple(ins.Pair(self.word(p.key), self.word(p.value)) for p in given.pairs)
                if isinstance(given, ins.Env) and not all(pair.key for pair in pairs):
                    raise self.source.error(
                        "ENV names can not be blank", why="a variable in the name has no value"
                    )
                changed = replace(given, pairs=pairs)
            case ins.Arg():
                changed = replace(given, args=tuple(map(self._declared, given.args)))
            case ins.Expose():
                changed = replace(given, ports=self._ports(given))
            case ins.StopSignal():
                changed = replace(given, signal=self.word(given.signal))
                check_signal(changed.signal, self.source)
            case ins.User():
                changed = replace(given, user=self.word(given.user))
            case ins.Volume():
                changed = replace(given, paths=tuple(map(self.word, given.paths)))
            case ins.Workdir():
                changed = replace(given, path=self.word(given.path))
            case ins.Run():
                mounts = tuple(each.expanded(self.word, self.source) for each in given.mounts)
                changed = replace(given, mounts=mounts)
            case _:
                changed = given
        return changed  # type: ignore[return-value]  # replace() keeps the class

    def word(self, text: str) -> str:
        return self._words(text)[0]

    def _words(self, text: str, *, quotes: bool = True) -> tuple[str, tuple[str, ...]]:
        scope = self.scope
        try:
            found = expansion(text, scope.seen, escape=scope.escape, quotes=quotes)
        except BadWord as err:
            raise self.source.error(err.what, at=err.fragment, why=err.why, hint=err.hint) from None
        self.unset.extend(found.unset)
        self.size += len(found.text)
        if self.size > MOST_IN_INSTRUCTION:
            raise self.source.error(
                f"variables make this longer than {MOST_IN_INSTRUCTION} characters",
                hint="what is large goes into a file, and COPY takes it",
            )
        return found.text, found.words

    def _maybe(self, text: str | None) -> str | None:
        return None if text is None else self.word(text)

    def _declared(self, given: ins.Declared) -> ins.Declared:
        return ins.Declared(self.word(given.name), self._maybe(given.default))

    def _ports(self, given: ins.Expose) -> tuple[str, ...]:
        words = [word for text in given.ports for word in self._words(text)[1]]
        ports = (port for word in words for port in exposed_ports(word, self.source))
        return tuple(dict.fromkeys(ports))

    def _files(self, given: ins.Copy | ins.Add) -> ins.Copy | ins.Add:
        # Not --from and not --exclude: docker expands neither.
        changed = replace(
            given,
            sources=tuple(map(self.word, given.sources)),
            destination=self.word(given.destination),
            heredocs=tuple(map(self._heredoc, given.heredocs)),
            chown=self._maybe(given.chown) or None,  # a variable without a value: not given
            chmod=self._maybe(given.chmod) or None,
        )
        if isinstance(changed, ins.Copy):
            check_copy(changed)
            return changed
        changed = replace(changed, checksum=self._maybe(changed.checksum))
        check_add(changed)
        return changed

    def _heredoc(self, given: Heredoc) -> Heredoc:
        if not given.expand:
            return given
        # Tabs go first: a variable's value may start with one that is meant.
        body = self._words(given.content, quotes=False)[0]
        return replace(given, body=body, expand=False, strip_tabs=False)
