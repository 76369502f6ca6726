"""One grammar, docker's words, for the shell, ``%docker`` and every magic.

``execute`` gives back values and raises errors; it prints nothing and never exits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ocimagic.cli import container as containers
from ocimagic.cli import image as images
from ocimagic.cli import image_archive, image_remote, refused
from ocimagic.cli.disk import builder, buildx
from ocimagic.cli.image_build import build
from ocimagic.cli.login import login, logout
from ocimagic.cli.manifest import manifest
from ocimagic.cli.network import network
from ocimagic.cli.parser import HelpAsked, Noun, Refused, Verb
from ocimagic.cli.registry import registry
from ocimagic.cli.system import doctor, info, inspect, system, version
from ocimagic.cli.values import HelpText
from ocimagic.cli.volume import volume
from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.cli.session import Session

_HELP_WIDTH = 90

ROOT = Noun(
    None,
    help="An OCI container engine that lives in a notebook kernel.",
    commands={
        "image": images.image,
        "container": containers.container,
        "manifest": manifest,
        "network": network,
        "volume": volume,
        "system": system,
        "registry": registry,
        "builder": builder,
        "buildx": buildx,
        "login": login,
        "logout": logout,
        "pull": images.pull,
        "push": images.push,
        "build": build,
        "images": images.ls,
        "rmi": images.rm,
        "tag": images.tag,
        "history": images.history,
        "search": image_remote.search,
        **{str(verb.name): verb for verb in image_archive.VERBS},
        # Every verb on containers is a word of its own, too; docker knows prune only as theirs.
        **{
            name: verb
            for name, verb in containers.container.commands.items()
            if name not in ("ls", "prune", "inspect")
        },
        "ps": containers.container.commands["ls"],
        "inspect": inspect,
        "info": info,
        "doctor": doctor,
        "version": version,
    },
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
    try:
        with ROOT.make_context(
            session.program, list(argv), obj=session, terminal_width=_HELP_WIDTH
        ) as ctx:
            return ROOT.invoke(ctx)
    except HelpAsked as asked:
        return HelpText(asked.text)
    except click.UsageError as err:
        raise _usage_error(err) from err


def find(argv: Sequence[str]) -> Verb | None:
    """Return the verb that a line asks for, None if it names none."""
    node, _ = _walk(argv)
    return node if isinstance(node, Verb) else None


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
    """Say what the next argument of a line names: ``image``, ``container``, ``path`` or ""."""
    node, rest = _walk(argv)
    if not isinstance(node, Verb) or _in_command(node, rest) or _wants_value(node, rest):
        return ""
    return node.takes


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
    rest = list(argv)
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


def _wants_value(verb: Verb, rest: Sequence[str]) -> bool:
    """Say whether the last word is an option that still waits for its value."""
    if not rest or not rest[-1].startswith("-") or "=" in rest[-1]:
        return False
    last = rest[-1] if rest[-1].startswith("--") else f"-{rest[-1][-1]}"
    option = verb.spellings().get(last)
    if isinstance(option, Refused):
        return option.takes_value
    return option is not None and not option.is_flag


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
