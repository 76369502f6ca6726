"""Docker's way of writing options, on top of click.

Docker's command line (pflag) takes ``-itd``, ``-eFOO=bar``, ``-e=FOO=bar``, ``--opt=v`` and
``--flag=false``; for ``run`` and ``create`` its options end at the image.  click knows most
of that but not the last two, so ``Verb`` first writes the line anew in one plain form; on the
way it refuses options that docker has and we do not, with the reason.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from ocimagic.cli.examples import examples_for
from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True, slots=True)
class Refused:
    """An option that docker has and this version has not.

    Attributes:
        names: as typed, long and short.
        takes_value: whether a value follows.
        why: one sentence without a full stop.
        hint: what to do instead.
        harmless: values that ask for nothing, and so are taken.
    """

    names: tuple[str, ...]
    takes_value: bool
    why: str
    hint: str | None = None
    harmless: frozenset[str] = frozenset()


class HelpAsked(Exception):
    """Help was asked for; ``text`` is it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Verb(click.Command):
    """One command.

    Args:
        takes: what its arguments name, for completion: ``image``, ``container``, ``network``,
            ``volume``, ``path``, ``container:path``, ""; a word each where they differ, the last
            for all that follow.
        options_first: options end at the first argument.
        refused: options that docker has and we do not.
        cancellable: it watches ``Session.cancelled``.
        usage: what follows the name in the usage line.
    """

    def __init__(
        self,
        name: str | None,
        *,
        takes: str = "",
        options_first: bool = False,
        refused: Iterable[Refused] = (),
        cancellable: bool = False,
        usage: str = "",
        **rest: Any,  # noqa: ANN401  click's own arguments
    ) -> None:
        super().__init__(name, add_help_option=False, **rest)
        self.takes = takes
        self.options_first = options_first
        self.refused = tuple(refused)
        self.cancellable = cancellable
        self.usage = usage

    def spellings(self) -> dict[str, click.Option | Refused]:
        """Map every way to write an option to the option."""
        known: dict[str, click.Option | Refused] = {
            name: refused for refused in self.refused for name in refused.names
        }
        for param in self.params:
            if isinstance(param, click.Option):
                known |= dict.fromkeys(param.opts, param)
        return known

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the line anew, then let click check it."""
        line = _Line(self, ctx)
        line.read(args)
        return super().parse_args(ctx, line.rewritten())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show lines to begin with, and say that more options are known than are built."""
        super().format_epilog(ctx, formatter)
        path = ctx.command_path
        if examples := examples_for(path.split()[1:]):
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"{' ' * formatter.current_indent}{path} {example}".rstrip())
                    formatter.write("\n")
        if self.refused:
            more = len(self.refused)
            said = "1 more option" if more == 1 else f"{more} more options"
            each = "it" if more == 1 else "each"
            formatter.write_paragraph()
            formatter.write_text(
                f"docker has {said} for this; {each} says why it is not built yet when you use it."
            )

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what follows the name in the usage line."""
        return [self.usage] if self.usage else super().collect_usage_pieces(ctx)


class Noun(click.Group):
    """A group of verbs, or the root of all commands.

    Args:
        aliases: other words for its verbs.
        later: docker's words that this version has not, with the reason for each.
    """

    def __init__(
        self,
        name: str | None,
        *,
        aliases: Mapping[str, str] | None = None,
        later: Mapping[str, str] | None = None,
        **rest: Any,  # noqa: ANN401  click's own arguments
    ) -> None:
        super().__init__(name, add_help_option=False, **rest)
        self.aliases = dict(aliases or {})
        self.later = dict(later or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show help when no verb is given."""
        if args and args[0] in self.aliases:
            args = [self.aliases[args[0]], *args[1:]]
        if not args or args[0] in {"--help", "-h", "help"}:
            raise HelpAsked(ctx.get_help())
        if args[0].startswith("-") and args[0] != "-":
            raise unknown_option(args[0], (), ctx.command_path)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb.

        Raises:
            NotBuiltYet: docker has it and this version has not.
            InvalidOption: nobody has it; names the nearest word.
        """
        word, *rest = args
        found = self.verb(word)
        if found is None:
            raise self._unknown(word, ctx.command_path)
        return found.name, found, rest

    def verb(self, word: str) -> click.Command | None:
        """Return a command by its name or another word for it."""
        return self.commands.get(self.aliases.get(word, word))

    def words(self) -> list[str]:
        """List every word that may follow."""
        return sorted({*self.commands, *(word for word in self.aliases if word[0] != "-")})

    def _unknown(self, word: str, path: str) -> NotBuiltYet | InvalidOption:
        if word in self.later:
            return NotBuiltYet(f"{path} {word} is not built yet", why=self.later[word])
        near = nearest(word, self.words())
        hint = f"did you mean {path} {near}?" if near else f"{path} --help lists the commands"
        return InvalidOption(f"{path} has no command {word!r}", hint=hint)


class OnDemand(MutableMapping[str, click.Command]):
    """Commands by their words; what defines one is loaded when it is asked for.

    Args:
        places: of each word the module of ``cli`` and the name in it: ``volume:volume``; a
            verb of a noun is named after a dot: ``container:container.run``.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places: dict[str, str | click.Command] = dict(places)

    def __getitem__(self, word: str) -> click.Command:
        found = self._places[word]
        if isinstance(found, str):
            self._places[word] = found = _loaded(found)
        return found

    def __setitem__(self, word: str, command: click.Command) -> None:
        self._places[word] = command

    def __delitem__(self, word: str) -> None:
        del self._places[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, word: object) -> bool:
        return word in self._places  # the mixin's would load it


def _loaded(place: str) -> click.Command:
    module, _, name = place.partition(":")
    name, _, verb = name.partition(".")
    found: click.Command = getattr(import_module(f"ocimagic.cli.{module}"), name)
    if not verb:
        return found
    assert isinstance(found, Noun)
    return found.commands[verb]


class _Line:
    """One command line on its way into plain form."""

    def __init__(self, verb: Verb, ctx: click.Context) -> None:
        self.verb = verb
        self.ctx = ctx
        self.known = verb.spellings()
        self.options: list[tuple[click.Option, str]] = []  # each with its word in plain form
        self.arguments: list[str] = []

    def read(self, args: Sequence[str]) -> None:
        """Sort the words into options and arguments."""
        words = iter(args)
        for word in words:
            if word == "--":
                self.arguments.extend(words)
            elif word.startswith("--"):
                self._long(word, words)
            elif word.startswith("-") and word != "-":
                self._shorts(word, words)
            else:
                self.arguments.append(word)
                if self.verb.options_first:
                    self.arguments.extend(words)

    def rewritten(self) -> list[str]:
        """Return the line in the one form that leaves click nothing to guess."""
        return [*(word for _, word in self.options), "--", *self.arguments]

    def _long(self, word: str, words: Iterator[str]) -> None:
        name, equals, value = word.partition("=")
        self._take(name, value if equals else None, words)

    def _shorts(self, word: str, words: Iterator[str]) -> None:
        """Read ``-itd``, ``-eFOO=bar``, ``-e FOO=bar`` and ``-i=false``."""
        letters = word[1:]
        while letters:
            name, letters = f"-{letters[0]}", letters[1:]
            attached = letters.startswith("=") or self._takes_value(name)
            if letters and attached:
                self._take(name, letters.removeprefix("="), words)
                return
            self._take(name, None, words)

    def _take(self, name: str, value: str | None, words: Iterator[str]) -> None:
        """Note one option; its value is the next word if it has none attached."""
        if name not in self.known:
            if name in {"--help", "-h"}:
                raise HelpAsked(self.ctx.get_help())
            raise unknown_option(name, self._offered(), self.ctx.command_path)
        option = self.known[name]
        if self._takes_value(name):
            value = next(words, None) if value is None else value
            if value is None:
                raise self._wrong(f"option {name} needs a value")
        elif value is not None and not self._truth(name, value):
            self._clear(option)
            return
        if isinstance(option, Refused):
            if value in option.harmless:
                return
            raise NotBuiltYet(f"option {name} is not built yet", why=option.why, hint=option.hint)
        word = max(option.opts, key=len)
        self.options.append((option, f"{word}={value}" if self._takes_value(name) else word))

    def _clear(self, option: click.Option | Refused) -> None:
        """Take ``--flag=false``: it takes back an earlier ``--flag``, and a default of true."""
        self.options = [(each, word) for each, word in self.options if each is not option]
        if isinstance(option, click.Option) and option.secondary_opts:
            self.options.append((option, option.secondary_opts[0]))

    def _offered(self) -> list[str]:
        """Return the spellings that ``--help`` shows."""
        return [name for name, option in self.known.items() if not getattr(option, "hidden", False)]

    def _takes_value(self, name: str) -> bool:
        option = self.known.get(name)
        if isinstance(option, click.Option):
            return not option.is_flag
        return bool(option and option.takes_value)

    def _truth(self, name: str, value: str) -> bool:
        if value not in _TRUE | _FALSE:
            raise self._wrong(f"option {name} takes true or false, not {value!r}")
        return value in _TRUE

    def _wrong(self, what: str) -> InvalidOption:
        return InvalidOption(what, hint=f"{self.ctx.command_path} --help")


def unknown_option(name: str, known: Iterable[str], path: str) -> InvalidOption:
    """Say that an option does not exist, and which one is near."""
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"{path} --help lists the options"
    return InvalidOption(f"{path} has no option {name}", hint=hint)
