"""Completion for our magics: commands, options, names of all kinds, files, Dockerfile words."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ocimagic.cli.grammar import complete, expects, words_for
from ocimagic.magics import place
from ocimagic.magics.completer_files import (
    compose_candidates,
    context_of,
    dockerfile_candidates,
    variables,
)
from ocimagic.magics.completer_files import stages as stages_of
from ocimagic.magics.known import Known, files
from ocimagic.magics.magic import Magic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from ocimagic.magics.completer_files import Candidate
    from ocimagic.magics.session import KernelSession


class Completer:
    """Finds what could come next in the text of a cell."""

    def __init__(self, session: KernelSession) -> None:
        self._session = session
        self._known = Known(session)

    def match(self, context: CompletionContext) -> SimpleMatcherResult:
        """Answer IPython."""
        from IPython.core.completer import SimpleCompletion

        found = self.candidates(context.full_text, context.cursor_line, context.cursor_position)
        if found is None:
            return {"completions": []}
        fragment, candidates = found
        # An empty list would not keep Python's names out; the fragment itself does.
        shown: list[Any] = [SimpleCompletion(text, type=kind) for text, kind in candidates] or [
            SimpleCompletion(fragment)
        ]
        # Without the fragment IPython would cut at ":" and "/" and offer bool for debian:bo.
        return {
            "completions": shown,
            "matched_fragment": fragment,
            "suppress": True,
            "ordered": True,
        }

    def candidates(
        self, text: str, line_number: int, column: int
    ) -> tuple[str, list[Candidate]] | None:
        """Return the fragment before the cursor and what it could become.

        None when the place is not ours.
        """
        match place.find(text, line_number, column, self.words_of):
            case place.CommandPlace() as here:
                if "{" in here.fragment:
                    return None  # a Python name: Python's own completion knows it
                return here.fragment, self._in_command(here)
            case place.DockerfilePlace() as here:
                return here.fragment, dockerfile_candidates(here, self._known)
            case place.ComposePlace() as here:
                return compose_candidates(here, self._known)
            case None:
                return None

    def words_of(self, magic: str) -> tuple[str, ...] | None:
        """Return what a magic puts before its line, None for a magic that is not ours."""
        table = self._session.ip.magics_manager.magics
        found = table["line"].get(magic) or table["cell"].get(magic)
        return found.words if isinstance(found, Magic) else None

    def _in_command(self, here: place.CommandPlace) -> list[Candidate]:
        argv, fragment = here.argv, here.fragment
        option, equals, value = fragment.partition("=")
        if option.startswith("--") and equals:
            found = self._values(here, (*argv, option), value)
            return [(f"{option}={text}", kind) for text, kind in found]
        known = [(each.text, each.kind) for each in complete(argv, fragment)]
        if known or fragment.startswith("-"):
            return known
        return self._values(here, argv, fragment)

    def _values(
        self, here: place.CommandPlace, argv: tuple[str, ...], fragment: str
    ) -> list[Candidate]:
        """Return what an argument, or the value of an option, could be."""
        if words := words_for(argv):
            return starting(fragment, ((word, "value") for word in words))
        kind = expects(argv)
        if here.magic in place.BUILDS and kind in {"", "image"}:
            kind = "path"
        kinds: dict[str, Callable[[], Iterable[Candidate]]] = {
            "image": lambda: self._images(fragment),
            "container": lambda: ((name, kind) for name in self._known.containers()),
            "network": lambda: ((name, kind) for name in self._known.networks()),
            "volume": lambda: self._mounted(fragment),
            "container:path": lambda: self._copied(fragment),
            "path": lambda: ((name, "path") for name in files(fragment)),
            "stage": lambda: ((name, kind) for name in stages_of(_dockerfile(here))),
            "arg": lambda: (
                (f"{name}=", "variable") for name in variables(_dockerfile(here), only="ARG")
            ),
        }
        return starting(fragment, kinds[kind]()) if kind in kinds else []

    def _images(self, fragment: str) -> list[Candidate]:
        here = starting(fragment, ((name, "image") for name in self._known.images()))
        there = starting(fragment, ((name, "tag") for name in self._known.remote(fragment)))
        return [*here, *(each for each in there if (each[0], "image") not in here)]

    def _mounted(self, fragment: str) -> list[Candidate]:
        """Complete what stands before the colon of ``-v``: a volume or a path of this machine."""
        if ":" in fragment:
            return []
        if fragment.startswith(("/", ".", "~")):
            return [(name, "path") for name in files(fragment)]
        return starting(fragment, ((name, "volume") for name in self._known.volumes()))

    def _copied(self, fragment: str) -> list[Candidate]:
        """Complete an argument of ``cp``: ``CONTAINER:PATH``, or a path of this machine."""
        name, colon, path = fragment.partition(":")
        if colon and "/" not in name:
            folder = os.path.split(path)[0]
            found = self._known.in_container(name, folder or "/")
            texts = (f"{name}:{os.path.join(folder or '/', each)}" for each in found)
            wanted = fragment if path.startswith("/") else f"{name}:/{path}"
            # Typed without the first slash it is still looked for, from the root.
            return [(fragment + text[len(wanted) :], "path") for text in texts
                    if text.startswith(wanted)]  # fmt: skip
        names = ((f"{each}:", "container") for each in self._known.containers())
        return [*starting(fragment, names), *((each, "path") for each in files(fragment))]


def starting(fragment: str, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Keep what begins as typed."""
    return [(text, kind) for text, kind in candidates if text.startswith(fragment)]


def _dockerfile(here: place.CommandPlace) -> list[str]:
    """Return the lines of the Dockerfile that a build command is about."""
    if here.magic:
        return here.body.split("\n")
    named = re.search(r"(?:^| )(?:-f|--file)[ =](\S+)", " ".join(here.argv))
    path = named[1] if named else os.path.join(context_of(here.argv), "Dockerfile")
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16).split("\n")
    except OSError:
        return []
