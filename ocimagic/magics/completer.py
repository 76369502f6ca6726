"""Completion for our magics: commands, options, images, containers, files, Dockerfile words."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ocimagic.cli.grammar import complete, expects
from ocimagic.errors import OcimagicError
from ocimagic.magics.commands import DockerMagic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from ocimagic.magics.session import KernelSession

_COMMAND = re.compile(
    r"^\s*(?:[\w.\s,]+=\s*)?(?:(?P<mark>%{1,2})(?P<name>\w+)|(?:\$\s+)?docker)\s+(?P<rest>.*)$",
    re.DOTALL,
)
_INSTRUCTIONS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip
_STAGE = re.compile(r"^\s*FROM\s.*\sAS\s+(\S+)", re.IGNORECASE)
_BUILDS = frozenset({"dockerfile", "image_build"})

Candidate = tuple[str, str]  # what is typed, and its kind for the list


class Completer:
    """Finds what could come next in the text of a cell."""

    def __init__(self, session: KernelSession) -> None:
        self._session = session

    def matcher(self) -> Callable[[CompletionContext], SimpleMatcherResult]:
        """Return the matcher for IPython."""
        from IPython.core.completer import SimpleCompletion, context_matcher

        @context_matcher(identifier="ocimagic", priority=100)
        def ocimagic_matcher(context: CompletionContext) -> SimpleMatcherResult:
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

        matcher: Callable[[CompletionContext], SimpleMatcherResult] = ocimagic_matcher
        return matcher

    def candidates(
        self, text: str, line_number: int, column: int
    ) -> tuple[str, list[Candidate]] | None:
        """Return the fragment before the cursor and what it could become.

        None when the place is not ours.
        """
        lines = text.split("\n")
        before = lines[line_number][:column]
        top = re.match(r"%%(\w+)", lines[0])
        if top and line_number:
            if top[1] not in _BUILDS:
                return None
            return _fragment(before), self._in_dockerfile(lines, line_number, before)
        found = _COMMAND.match(_joined(lines, line_number, before))
        words = self._words(found["name"]) if found else None
        if not found or words is None:
            return None
        fragment = _fragment(before)
        if "{" in fragment:
            return None  # a Python name: Python's own completion knows it
        typed = found["rest"].replace("\\\n", " ").split()
        argv = [*words, *(typed[:-1] if fragment else typed)]
        return fragment, self._in_command(argv, fragment, is_build_cell=found["name"] in _BUILDS)

    def _words(self, magic: str | None) -> tuple[str, ...] | None:
        """Return what a magic puts before its line, None for a magic that is not ours."""
        if magic is None:
            return ()
        table = self._session.ip.magics_manager.magics
        found = table["line"].get(magic) or table["cell"].get(magic)
        return found.words if isinstance(found, DockerMagic) else None

    def _in_command(
        self, argv: list[str], fragment: str, *, is_build_cell: bool
    ) -> list[Candidate]:
        found = [(each.text, each.kind) for each in complete(argv, fragment)]
        if found or fragment.startswith("-"):
            return found
        kind = "path" if is_build_cell else expects(argv)
        names = {"image": self._images, "container": self._containers}.get(kind)
        if names:
            return _starting(fragment, ((name, kind) for name in names()))
        return list(_files(fragment)) if kind == "path" else []

    def _in_dockerfile(self, lines: list[str], number: int, before: str) -> list[Candidate]:
        fragment = _fragment(before)
        typed = before.split()
        words = typed[:-1] if fragment else typed
        if not words:
            if number > 1 and lines[number - 1].rstrip().endswith("\\"):
                return list(_files(fragment))
            shown = [word if not fragment.islower() else word.lower() for word in _INSTRUCTIONS]
            return _starting(fragment, ((word, "keyword") for word in shown))
        stages = [(found[1], "stage") for line in lines[:number] if (found := _STAGE.match(line))]
        if fragment.startswith("--from="):
            named = [*stages, *((name, "image") for name in self._images())]
            return _starting(fragment, ((f"--from={name}", kind) for name, kind in named))
        instruction = words[0].upper()
        if instruction == "FROM" and len(words) == 1:
            images = ((name, "image") for name in self._images())
            return _starting(fragment, [*images, *stages, ("scratch", "image")])
        return list(_files(fragment)) if instruction in {"COPY", "ADD"} else []

    def _images(self) -> list[str]:
        try:
            images = self._session.engine().images.list()
        except OcimagicError:
            return []
        names = (each.name for each in images if "<none>" not in each.name)
        return sorted(set(names))

    def _containers(self) -> list[str]:
        try:
            containers = self._session.engine().containers.list(all=True)
        except OcimagicError:
            return []
        return sorted(each.name for each in containers)


def _joined(lines: list[str], number: int, before: str) -> str:
    """Return the command up to the cursor with the lines it continues."""
    first = number
    while first and lines[first - 1].endswith("\\"):
        first -= 1
    return "\n".join([*lines[first:number], before])


def _fragment(before: str) -> str:
    """Return what is typed of the word at the cursor."""
    found = re.search(r"\S*$", before)
    return found[0] if found else ""


def _starting(fragment: str, candidates: Any) -> list[Candidate]:  # noqa: ANN401  any iterable
    return [(text, kind) for text, kind in candidates if text.startswith(fragment)]


def _files(fragment: str) -> Iterator[Candidate]:
    """Yield files and folders under the current directory."""
    folder, start = os.path.split(fragment)
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
            tail = "/" if entry.is_dir() else ""
            yield os.path.join(folder, entry.name) + tail, "path"
