"""The magics themselves: a line, and maybe a cell, become docker's words."""

from __future__ import annotations

import inspect
import sys
from collections import ChainMap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocimagic.cli.compose_words import hoisted, parted
from ocimagic.cli.grammar import execute, find, parsed
from ocimagic.cli.parser import HelpAsked
from ocimagic.cli.session import Session
from ocimagic.cli.values import HelpText
from ocimagic.errors import BadInput, InvalidOption, NotBuiltYet
from ocimagic.home.disk import storage_errors
from ocimagic.home.location import write_atomic
from ocimagic.magics.cell_lines import LineShift
from ocimagic.magics.docker_host import DockerHostMagic
from ocimagic.magics.drawing import inspected
from ocimagic.magics.expansion import split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.magics.session import KernelSession

_CELL_HELP = {
    "dockerfile": "The cell below is the Dockerfile, taken as it is; PATH is the notebook's "
    "folder when left out, --context URL the files of a repository or an archive. "
    "--file NAME={variable} puts a text, bytes or a DataFrame (as CSV) of this notebook into the "
    "context as a file; --save PATH writes the cell to a file once it was built: docker itself "
    "can build it.",
    "container_run": "As %%container_run the cell is the command's input; without a command "
    "it is a script for sh -e.",
    "container_exec": "As %%container_exec the cell is the command's input; without a command "
    "it is a script for sh -e.",
    "compose": "As %%compose the cell is the compose file, taken as it is: its $NAMES are "
    "variables of the environment and of .env. Without a verb it is up -d. %compose and its "
    "verbs without -f go on with the last such cell, else with the file in the notebook's folder.",
    "docker": "As %%docker the cell is the command's input.",
}


class DockerMagic:
    """One magic over docker's grammar; ``%docker`` is the one without words of its own.

    Args:
        session: runs the command.
        name: of the magic.
        words: what stands before the words of the line.
    """

    def __init__(self, session: KernelSession, name: str, words: tuple[str, ...]) -> None:
        self.session = session
        self.words = words
        self.__name__ = name

    def __call__(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, object] | None = None
    ) -> object:
        """Run the line, the cell being what the command reads."""
        taken = split(line, _names(self.session, local_ns))
        is_file = cell is not None and self.words == ("image", "build")
        rest, path = _place_to_save(list(taken.words)) if is_file else (list(taken.words), "")
        words = [*self.words, *rest]
        if words[:1] == ["compose"]:
            value = self._compose(words[1:], cell, quiet=taken.quiet)
        elif cell is None or _asks_help(words):
            value = self.session.run(words, quiet=taken.quiet)
        elif self.words == ("image", "build"):
            value = self._build(rest, cell, path, quiet=taken.quiet)
        elif self.words == ("container", "run"):
            value = self._script(list(taken.words), cell, quiet=taken.quiet)
        elif self.words == ("container", "exec"):
            value = self._exec(list(taken.words), cell, quiet=taken.quiet)
        else:
            shift = LineShift(self._above("docker")) if _is_build(words) else None
            value = self.session.run(words, stdin=cell.encode(), quiet=taken.quiet, shift=shift)
        if isinstance(value, HelpText):
            sys.stdout.write(f"{value.text}\n")
            return None
        return value

    def getdoc(self) -> str:
        """Return docker's help for this command: what ``%name?`` and Shift-Tab show."""
        value = execute([*self.words, "--help"], Session(engine=self.session.engine))
        text = value.text if isinstance(value, HelpText) else ""
        more = _CELL_HELP.get(self.__name__)
        return f"{text}\n\n{more}" if more else text

    def _build(self, words: list[str], cell: str, path: str, *, quiet: bool) -> object:
        words = _files_in_context(words)
        given = _parsed(self.words, words)
        if given["file"] is not None:
            raise InvalidOption(
                "%%dockerfile takes no -f: the cell is the Dockerfile",
                hint="%image_build -f FILE PATH builds from a file; "
                "--file NAME={variable} puts a file of this notebook into the context",
            )
        context = [] if given["context"] or given["place"] else ["."]
        value = self.session.run(
            [*self.words, "-f", "-", *words, *context],
            stdin=cell.encode(),
            quiet=quiet,
            shift=LineShift(self._above(self.__name__)),
        )
        if path:
            with storage_errors(Path(path)):
                write_atomic(Path(path).expanduser(), cell.encode(), mode=0o644)
        return value

    def _script(self, words: list[str], cell: str, *, quiet: bool) -> object:
        """Run a command with the cell as its input, or the cell itself as the command."""
        given = _parsed(self.words, words)
        if len(given["words"] or ()) != 1 or given["entrypoint"] is not None:
            line = [*self.words, "--interactive", *words]
            return self.session.run(line, stdin=cell.encode(), quiet=quiet)
        # An argument, not the input: a command of the script may read input itself.
        line = [*self.words, "--entrypoint", "sh", *words, "-e", "-c", cell]
        return self.session.run(line, quiet=quiet)

    def _exec(self, words: list[str], cell: str, *, quiet: bool) -> object:
        """Run a command in a container with the cell as its input, or the cell as the command."""
        if len(_parsed(self.words, words)["words"] or ()) != 1:
            line = [*self.words, "--interactive", *words]
            return self.session.run(line, stdin=cell.encode(), quiet=quiet)
        return self.session.run([*self.words, *words, "sh", "-e", "-c", cell], quiet=quiet)

    def _compose(self, words: list[str], cell: str | None, *, quiet: bool) -> object:
        """Run a verb on a cell that is the compose file, or on the last one that was."""
        own, rest = parted(words)
        names_file = any(word.partition("=")[0] == "--file" for word in (*own, *rest))
        if names_file or "--help" in rest or (cell is None and not rest):
            stdin = None if cell is None else cell.encode()
            return self.session.run(["compose", *own, *rest], stdin=stdin, quiet=quiet)
        if cell is None:
            stdin, said = self.session.compose_file or (None, ())
            line = hoisted(["compose", *said, *own, *rest])
            return self.session.run(line, stdin=stdin, quiet=quiet)
        if not rest or rest[0].startswith("-"):
            rest = ["up", "-d", *rest]
        # Blank lines, so that errors have the lines of the cell.
        stdin = b"\n" * self._above(self.__name__) + cell.encode()
        own = ["--file=-", *own]
        is_one = True
        try:
            return self.session.run(hoisted(["compose", *own, *rest]), stdin=stdin, quiet=quiet)
        except (BadInput, NotBuiltYet):
            is_one = False  # the cell before it is still the one that runs
            raise
        finally:
            if is_one:
                self.session.compose_file = (stdin, tuple(own))

    def _above(self, name: str) -> int:
        """Return how many lines of the cell stand above its body: blank ones and the magic's."""
        parent = self.session.ip.get_parent() if hasattr(self.session.ip, "get_parent") else {}
        code = parent.get("content", {}).get("code", "") if parent else ""
        for above, text in enumerate(str(code).splitlines()):
            if text.strip():
                return above + 1 if text.lstrip().startswith(f"%%{name}") else 1
        return 1


class ExploreMagic:
    """``%explore``: a search box over what inspect knows.

    Usage: %explore NAME

    NAME is a variable, or the name of an image or a container.
    """

    def __init__(self, session: KernelSession) -> None:
        self.session = session

    def __call__(self, line: str, local_ns: Mapping[str, object] | None = None) -> object:
        """Look a name up and return its document, which is shown with a search box."""
        names = _names(self.session, local_ns)
        taken = split(line, names)
        if taken.words == ("--help",) or len(taken.words) != 1:
            sys.stdout.write(f"{self.getdoc()}\n")
            return None
        [word] = taken.words
        known = word in names and line.strip().rstrip(";").strip() == word
        value = names[word] if known else self.session.run(["inspect", word])
        return inspected(value)

    def getdoc(self) -> str:
        """Return how it is called."""
        return inspect.cleandoc(type(self).__doc__ or "")


class DashboardMagic:
    """``%dashboard``: live and with buttons where there is a page, else as text."""

    def __init__(self, session: KernelSession) -> None:
        self.session = session

    def __call__(self, line: str, local_ns: Mapping[str, object] | None = None) -> object:
        """Show all containers; in a page they stay live after the cell has ended."""
        taken = split(line, _names(self.session, local_ns))
        words = ["dashboard", *taken.words]
        try:
            given = parsed(words)
        except HelpAsked as asked:
            sys.stdout.write(f"{asked.text}\n")
            return None
        live = self.session.live
        if not live.allowed() or given["no_stream"]:
            only_once = [] if live.can_change() else ["--no-stream"]
            return self.session.run([*words, *only_once], quiet=taken.quiet)
        live.dashboard(
            self.session.engine().containers,
            every_s=float(str(given["every_s"])),
            show_all=bool(given["show_all"]),
        )
        return None

    def getdoc(self) -> str:
        """Return docker's help for this command: what ``%name?`` and Shift-Tab show."""
        value = execute(["dashboard", "--help"], Session(engine=self.session.engine))
        return value.text if isinstance(value, HelpText) else ""


def command(
    session: KernelSession, name: str, words: tuple[str, ...]
) -> DockerMagic | ExploreMagic | DashboardMagic | DockerHostMagic:
    """Return what runs the magic of a name."""
    match name:
        case "explore":
            return ExploreMagic(session)
        case "dashboard":
            return DashboardMagic(session)
        case "docker_host":
            return DockerHostMagic(session)
        case _:
            return DockerMagic(session, name, words)


def _names(session: KernelSession, local_ns: Mapping[str, object] | None) -> Mapping[str, object]:
    return ChainMap(dict(local_ns or {}), session.ip.user_ns)


def _asks_help(words: list[str]) -> bool:
    """Tell a line that only asks how the command is called."""
    verb = find(words)
    try:
        if verb is not None:
            rest = _after_verb(words)
            path = " ".join(["docker", *words[: len(words) - len(rest)]])
            verb.make_context(path, rest, resilient_parsing=True)
    except HelpAsked:
        return True
    return verb is None


def _files_in_context(words: list[str]) -> list[str]:
    """Take ``--file NAME=TEXT`` as a file for the context: here the cell is the Dockerfile."""
    taken = []
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        value = words[number + 1] if word == "--file" and number + 1 < len(words) else ""
        is_file = "=" in value or (word.startswith("--file=") and "=" in word[len("--file=") :])
        is_file = is_file and before not in ("-t", "--tag")
        taken.append(word.replace("--file", "--context-file", 1) if is_file else word)
    return taken


def _place_to_save(words: list[str]) -> tuple[list[str], str]:
    """Take ``--save PATH`` out of a line; "" if it is not there.

    Raises:
        InvalidOption: without a path.
    """
    for number, word in enumerate(words):
        if word == "--save":
            if not words[number + 1 :]:
                raise InvalidOption("--save needs the path of a file", hint="--save Dockerfile")
            return [*words[:number], *words[number + 2 :]], words[number + 1]
        if word.startswith("--save="):
            return [*words[:number], *words[number + 1 :]], word[len("--save=") :]
    return words, ""


def _parsed(words: tuple[str, ...], line: list[str]) -> dict[str, Any]:
    """Return a line's options and arguments by name, None for those not given."""
    verb = find(words)
    assert verb is not None
    path = " ".join(("docker", *words))
    return verb.make_context(path, list(line), resilient_parsing=True).params


def _is_build(words: list[str]) -> bool:
    verb = find(words)
    return verb is not None and verb.name == "build"


def _after_verb(words: list[str]) -> list[str]:
    """Return what follows the verb: one word of docker's own, or two."""
    words = hoisted(words)
    return words[1:] if find(words[:1]) is not None else words[2:]
