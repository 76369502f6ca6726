"""One grammar, docker's words, for the shell, ``%docker`` and every magic.

``execute`` gives back values and raises errors; it prints nothing and never exits.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from ocimagic.cli import refused
from ocimagic.cli.compose_words import hoisted
from ocimagic.cli.parser import HelpAsked, Noun, OnDemand, Refused, Verb
from ocimagic.cli.values import HelpText
from ocimagic.errors import InvalidOption
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.cli.session import Session

_HELP_WIDTH = 90

# Every verb on containers is a word of its own, too; docker knows prune, ls and inspect as theirs.
_OF_CONTAINERS = (
    "attach", "bundle", "commit", "cp", "create", "diff", "exec", "export", "kill", "layers",
    "logs", "ns", "pause", "port", "rename", "restart", "rm", "run", "start", "stats", "stop",
    "top", "unpause", "update", "wait",
)  # fmt: skip
_NOUNS = ("container", "image", "manifest", "network", "registry", "system", "volume")

ROOT = Noun(
    None,
    help="An OCI container engine that lives in a notebook kernel.",
    commands=OnDemand(
        {word: f"{word}:{word}" for word in _NOUNS}
        | {word: f"container:container.{word}" for word in _OF_CONTAINERS}
        | {
            "builder": "disk:builder",
            "buildx": "disk:buildx",
            "compose": "compose:compose_noun",
            "context": "serve:context",
            "serve": "serve:serve",
            "login": "login:login",
            "logout": "login:logout",
            "pull": "image:pull",
            "push": "image:push",
            "build": "image_build:build",
            "images": "image:ls",
            "rmi": "image:rm",
            "tag": "image:tag",
            "history": "image:history",
            "search": "image_remote:search",
            "save": "image_archive:save",
            "load": "image_archive:load",
            "import": "image_archive:import_",
            "ps": "container:container.ls",
            "inspect": "system:inspect",
            "explain": "explain:explain",
            "info": "system:info",
            "doctor": "system:doctor",
            "version": "system:version",
            "dashboard": "dashboard:dashboard",
            "events": "events:events",
        }
    ),
    aliases={"--version": "version", "-v": "version"},
    later=refused.ROOT_WORDS,
)


@dataclass(frozen=True, slots=True)
class Completion:
    """One thing that could be typed next.

    Attributes:
        kind: ``command`` or ``option``.
        help: one sentence about it.
    """

    text: str
    kind: str
    help: str = ""


def execute(argv: Sequence[str], session: Session) -> object:
    """Run one command.

    Args:
        argv: the words after ``docker``.
        session: what it runs in.

    Returns:
        A result of the model, a value of ``cli.values``, or None when there is nothing to say.

    Raises:
        OcimagicError: whatever goes wrong; what cannot be understood is an InvalidOption.
    """
    session.line = session.line or shlex.join(["docker", *argv])
    try:
        with ROOT.make_context(
            session.program, hoisted(argv), obj=session, terminal_width=_HELP_WIDTH
        ) as ctx:
            return ROOT.invoke(ctx)
    except HelpAsked as asked:
        return HelpText(asked.text)
    except click.UsageError as err:
        raise _usage_error(err) from err


def parsed(argv: Sequence[str]) -> dict[str, object]:
    """Return the options and arguments of a line by name, without running it.

    Raises:
        InvalidOption: it cannot be understood.
        HelpAsked: it only asks how the command is called.
    """
    verb = find(argv)
    if verb is None:
        raise InvalidOption(f"{' '.join(argv)!r} is no command")
    _, rest = _walk(argv)
    try:
        path = " ".join(["docker", *argv[: len(argv) - len(rest)]])
        return verb.make_context(path, rest, terminal_width=_HELP_WIDTH).params
    except click.UsageError as err:
        raise _usage_error(err) from err


def find(argv: Sequence[str]) -> Verb | None:
    """Return the verb that a line asks for, None if it names none."""
    node, _ = _walk(argv)
    return node if isinstance(node, Verb) else None


# What the values of options name, by the option's long name.
_NAMED_BY = {
    **dict.fromkeys(("--network", "--net"), "network"),
    "--volume": "volume",
    "--volumes-from": "container",
    "--target": "stage",
    "--build-arg": "arg",
    **dict.fromkeys(
        ("--file", "--env-file", "--label-file", "--cidfile", "--iidfile", "--metadata-file",
         "--output", "--input", "--context"), "path",
    ),
}  # fmt: skip
# Where they are one of a few words.
_WORDS = {
    "--platform": ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"),
    "--restart": ("always", "no", "on-failure", "unless-stopped"),
    "--pull": ("always", "missing", "never"),
    **dict.fromkeys(
        ("--signal", "--stop-signal"), ("SIGHUP", "SIGINT", "SIGKILL", "SIGTERM", "SIGUSR1")
    ),
}


def complete(argv: Sequence[str], incomplete: str) -> list[Completion]:
    """List what could follow a line: commands, or the options of its command.

    Args:
        argv: the whole words before the cursor, without ``docker``.
        incomplete: what is typed of the next one.
    """
    node, rest = _walk(argv)
    if isinstance(node, Noun):
        found = _commands(node) if not rest else iter(())
    elif isinstance(node, Verb) and incomplete.startswith("-") and not _in_command(node, rest):
        found = _options(node)
    else:
        return []
    return [each for each in found if each.text.startswith(incomplete)]


def expects(argv: Sequence[str]) -> str:
    """Say what the next argument of a line, or value of an option, names.

    Returns:
        ``image``, ``container``, ``network``, ``volume``, ``path``, ``container:path``,
        ``stage`` or ``arg`` of a Dockerfile, or "".
    """
    node, rest = _walk(argv)
    if not isinstance(node, Verb) or _in_command(node, rest):
        return ""
    if _wants_value(node, rest):
        return _NAMED_BY.get(_long_name(node, rest[-1]), "")
    kinds = node.takes.split(" ")
    return kinds[min(len(_arguments(node, rest)), len(kinds) - 1)]


def words_for(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the few words that the option at the end of a line takes; none if it takes any."""
    node, rest = _walk(argv)
    if not isinstance(node, Verb) or not _wants_value(node, rest):
        return ()
    return _WORDS.get(_long_name(node, rest[-1]), ())


def explain_option(argv: Sequence[str], word: str) -> tuple[str, str] | None:
    """Return how an option of a line's command is written and what it does.

    Args:
        argv: the whole words before it, without ``docker``.
        word: as typed: long, short, several short ones, or with its value.
    """
    node, rest = _walk(argv)
    if not isinstance(node, Verb) or _in_command(node, rest) or not word.startswith("-"):
        return None
    name = word.partition("=")[0]
    known = node.spellings()
    option = known.get(name) or known.get(f"-{name[-1:]}" if name[:2] != "--" else "")
    option = option or (known.get(name[:2]) if name[:2] != "--" else None)
    if isinstance(option, Refused):
        text = f"{option.why}; docker has it, this version has not"
        return ", ".join(option.names), f"{text}. Try: {option.hint}" if option.hint else text
    if option is None:
        return None
    record = option.get_help_record(click.Context(node))
    return record or (", ".join(option.opts), option.help or "")


def docker_words() -> dict[str, tuple[str, ...]]:
    """Map the name of every magic to its words: ``image_pull`` to ``("image", "pull")``."""
    nouns = [(word, each) for word, each in ROOT.commands.items() if isinstance(each, Noun)]
    return {"_".join(words): words for word, noun in nouns for words in _verbs(noun, (word,))}


def _verbs(noun: Noun, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the words of every verb below a noun."""
    for word, command in noun.commands.items():
        if isinstance(command, Noun):
            yield from _verbs(command, (*path, word))
        else:
            yield (*path, word)


def _walk(argv: Sequence[str]) -> tuple[click.Command, list[str]]:
    """Follow a line to its noun or verb; return that and the words left."""
    node: click.Command = ROOT
    rest = hoisted(argv)
    while isinstance(node, Noun) and rest:
        found = node.verb(rest[0])
        if found is None:
            break
        node, rest = found, rest[1:]
    return node, rest


def _in_command(verb: Verb, rest: Sequence[str]) -> bool:
    """Say whether the image of a ``run`` is there already: what follows is its command."""
    if not verb.options_first:
        return False
    skip = False
    for number, word in enumerate(rest):
        if skip:
            skip = False
        elif not word.startswith("-"):
            return True
        else:
            skip = _wants_value(verb, rest[: number + 1])
    return False


def _arguments(verb: Verb, rest: Sequence[str]) -> list[str]:
    """Return the words that are neither options nor their values."""
    return [
        word
        for number, word in enumerate(rest)
        if not word.startswith("-") and not _wants_value(verb, rest[:number])
    ]


def _wants_value(verb: Verb, rest: Sequence[str]) -> bool:
    """Say whether the last word is an option that still waits for its value."""
    if not rest or not rest[-1].startswith("-") or "=" in rest[-1]:
        return False
    last = rest[-1] if rest[-1].startswith("--") else f"-{rest[-1][-1]}"
    option = verb.spellings().get(last)
    if isinstance(option, Refused):
        return option.takes_value
    return option is not None and not option.is_flag


def _long_name(verb: Verb, word: str) -> str:
    """Return the long name of the option that a word ends with."""
    last = word if word.startswith("--") else f"-{word[-1]}"
    option = verb.spellings().get(last)
    names = option.names if isinstance(option, Refused) else option.opts if option else (last,)
    return max(names, key=len)


def _commands(noun: Noun) -> Iterator[Completion]:
    for word in noun.words():
        found = noun.verb(word)
        yield Completion(word, "command", found.get_short_help_str() if found else "")


def _options(verb: Verb) -> Iterator[Completion]:
    for name, option in sorted(verb.spellings().items()):
        if isinstance(option, click.Option) and name.startswith("--") and not option.hidden:
            yield Completion(name, "option", option.help or "")


def _usage_error(err: click.UsageError) -> InvalidOption:
    path = err.ctx.command_path if err.ctx else ""
    what = err.format_message().rstrip(".")
    return InvalidOption(what[:1].lower() + what[1:], hint=f"{path} --help".strip())
