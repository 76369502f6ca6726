"""Shift-Tab on what Python does not know: options, Dockerfile instructions, compose keys.

IPython looks up the Python name at the cursor.  In our lines and cells there are other words,
so the kernel is asked here first, and IPython where we have nothing to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ocimagic.cli.grammar import execute, explain_option, find
from ocimagic.cli.session import Session
from ocimagic.cli.values import HelpText
from ocimagic.dockerfile.interpret import FLAGS
from ocimagic.dockerfile.reference import ENTRIES
from ocimagic.magics import place
from ocimagic.render.explained import Explained, explained_html, explained_text

if TYPE_CHECKING:
    from ocimagic.magics.completer import Completer
    from ocimagic.magics.session import KernelSession

_SETTINGS = " It makes no layer: it changes the image's configuration."


class Inspector:
    """Answers what the thing at the cursor is.

    Args:
        session: knows the last build.
        completer: knows which magics are ours.
    """

    def __init__(self, session: KernelSession, completer: Completer) -> None:
        self._session = session
        self._completer = completer

    def answer(self, code: str, position: int) -> dict[str, Any] | None:
        """Answer the kernel's inspect request; None when it is nothing of ours."""
        found = self.at(code, position)
        if found is None:
            return None
        data = {"text/plain": explained_text(found), "text/html": explained_html(found)}
        return {"status": "ok", "found": True, "data": data, "metadata": {}}

    def at(self, code: str, position: int) -> Explained | None:
        """Explain what is at a position of a cell; None when it is nothing of ours."""
        # The whole word counts, wherever in it the cursor is.
        tail = re.match(r"\S*", code[position:])
        end = position + (len(tail[0]) if tail else 0)
        number = code.count("\n", 0, end)
        column = end - (code.rfind("\n", 0, end) + 1)
        match place.find(code, number, column, self._completer.words_of):
            case place.CommandPlace() as here:
                return _command(here)
            case place.DockerfilePlace() as here:
                return self._instruction(here)
            case place.ComposePlace() as here:
                return _key(here)
            case None:
                return None

    def _instruction(self, here: place.DockerfilePlace) -> Explained | None:
        typed = [*here.words, here.fragment]
        keyword = typed[0].upper()
        if keyword == "ONBUILD" and len(typed) > 1 and typed[1].upper() in ENTRIES:
            keyword = typed[1].upper()
        entry = ENTRIES.get(keyword)
        if entry is None or here.quiet:
            return None
        flag = here.fragment.removeprefix("--").partition("=")[0]
        if here.fragment.startswith("--") and flag in entry.flags:
            value = "" if FLAGS[keyword][flag].value == "switch" else "=…"
            return Explained(title=f"{keyword} --{flag}{value}", text=entry.flags[flag] + ".")
        last = self._session.last_build
        return Explained(
            title=entry.form,
            text=entry.does + ("" if entry.makes_layer or not entry.lasts else _SETTINGS),
            rows=tuple((f"--{name}", text) for name, text in entry.flags.items()),
            example=entry.example,
            facts=last.about(_logical(here)) if last else (),
        )


def _logical(here: place.DockerfilePlace) -> str:
    """Return the whole instruction on one line, comments in it left out."""
    parts: list[str] = []
    for line in here.lines[here.first :]:
        if parts and (line.lstrip().startswith("#") or not line.strip()):
            continue
        parts.append(line.rstrip().removesuffix("\\"))
        if not line.rstrip().endswith("\\"):
            break
    return " ".join(parts)


def _command(here: place.CommandPlace) -> Explained | None:
    word = here.fragment
    if found := explain_option(here.argv, word):
        return Explained(title=found[0], text=found[1])
    argv = [*here.argv, word] if find([*here.argv, word]) is not None else here.argv
    verb = find(argv)
    if verb is None:
        return None
    while argv and find(argv[:-1]) is verb:
        argv = argv[:-1]
    value = execute([*argv, "--help"], Session(engine=_no_engine))
    return (
        Explained(title=" ".join(["docker", *argv]), text=value.text)
        if isinstance(value, HelpText)
        else None
    )


def _no_engine() -> Any:  # noqa: ANN401  never returns
    raise AssertionError("help needs no engine")


def _key(here: place.ComposePlace) -> Explained | None:
    from ocimagic.compose.keys import keys_at, path_at

    line = here.lines[here.number]
    found = re.match(r"^( *)((?:- +)*)([\w.\-]+):", line)
    if found is None:
        return None
    path = path_at(here.lines, here.number, len(found[1]), in_list=bool(found[2]))
    said = keys_at(path).get(found[3])
    if said is None:
        return None
    inside = keys_at((*path, found[3]))
    rows = tuple((key, text) for key, text in sorted(inside.items()))
    title = ".".join([*(each for each in path if each != "-"), found[3]])
    return Explained(title=title, text=said, rows=rows)
