"""Which project a ``compose`` verb is about, and how it is told what happens to it."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ocimagic.cli.compose_rows import ComposeRows
from ocimagic.cli.parser import Refused, Verb
from ocimagic.cli.texts import MAX_TEXT_BYTES
from ocimagic.errors import InvalidOption
from ocimagic.model.event import (
    LayerProgress,
    Notice,
    Output,
    Refreshed,
    StepDone,
    StepStarted,
    TransferStarted,
)
from ocimagic.model.explanation import PROJECT_DEED, Deed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.cli.session import Session
    from ocimagic.compose.files import Surroundings
    from ocimagic.compose.model import Project
    from ocimagic.compose.verbs import Compose
    from ocimagic.model.event import Event, OnEvent

F = TypeVar("F", bound="Callable[..., Any]")
_STDIN = "-"

_PROJECT = (
    click.option("--file", "files", multiple=True, hidden=True, metavar="FILE"),
    click.option("--project-name", default="", hidden=True, metavar="NAME"),
    click.option("--profile", "profiles", multiple=True, hidden=True, metavar="NAME"),
    click.option("--env-file", "env_files", multiple=True, hidden=True, metavar="FILE"),
    click.option("--project-directory", default="", hidden=True, metavar="DIR"),
    click.option("--ansi", hidden=True, default="auto",
                 type=click.Choice(("auto", "never", "always"))),
    click.option("--progress", hidden=True, default="auto",
                 type=click.Choice(("auto", "tty", "plain", "quiet"))),
)  # fmt: skip
_REFUSED = (
    Refused(("--compatibility",), takes_value=False, why="names with _ are those of compose 1"),
    Refused(("--dry-run",), takes_value=False, why="what up would do cannot be shown alone yet"),
    Refused(("--all-resources",), takes_value=False, why="config shows what its services use"),
    Refused(("--parallel",), takes_value=True, why="how much is done at once is decided here"),
    Refused(("--verbose",), takes_value=False, why="there is nothing more to say"),
)
EPILOG = (
    "Before the verb: -f FILE (several; - is standard input), -p NAME, --profile NAME, "
    "--env-file FILE, --project-directory DIR."
)


def verb(name: str, *, refused: tuple[Refused, ...] = (), **rest: Any) -> Callable[[F], Any]:  # noqa: ANN401  click's
    """Make a verb of compose, which knows the options of the project."""

    def decorate(function: F) -> Any:  # noqa: ANN401  a click command
        decorated: Any = function
        for option in reversed(_PROJECT):
            decorated = option(decorated)
        command = click.command(
            name, cls=Verb, refused=(*refused, *_REFUSED), epilog=EPILOG, **rest
        )
        return command(decorated)

    return decorate


def surroundings(session: Session) -> Surroundings:
    """Return where a compose file is read."""
    from ocimagic.compose.files import Surroundings

    is_cell = session.stays and isinstance(session.stdin, bytes)
    return Surroundings(
        cwd=session.path("."),
        env=session.env,
        stdin=session.stdin if isinstance(session.stdin, bytes) else None,
        stdin_name="cell" if is_cell else "standard input",
        warn=lambda text: session.on_event(Notice(text)),
    )


def _with_stdin(session: Session, files: tuple[str, ...]) -> Session:
    """Return a session whose standard input was read, if the file is to come from there."""
    if _STDIN not in files or isinstance(session.stdin, bytes):
        return session
    if session.stdin is None:
        return session
    with open(session.stdin, "rb", closefd=False) as file:
        return replace(session, stdin=file.read(MAX_TEXT_BYTES))


def loaded(
    session: Session, given: Mapping[str, Any], *, profiles: tuple[str, ...] = (),
    interpolates: bool = True,
) -> Project:  # fmt: skip
    """Return the project that the words before a verb name.

    Args:
        session: for the current directory and the user's variables.
        given: click's values by parameter name.
        profiles: that count besides those asked for.
        interpolates: False leaves variables as they are.

    Raises:
        InvalidDocument: a file that cannot be understood.
        InvalidOption: no file.
    """
    from ocimagic.compose.load import LoadOptions, load

    session = _with_stdin(session, given["files"])
    options = LoadOptions(
        files=given["files"],
        name=given["project_name"],
        profiles=(*given["profiles"], *profiles),
        env_files=given["env_files"],
        directory=given["project_directory"],
        interpolates=interpolates,
    )
    return load(options, surroundings(session))


def compose(session: Session, given: Mapping[str, Any], *, live: bool = True) -> Compose:
    """Return the verbs on the project that is said; its file has to be there."""
    session = replace(session, on_event=_heard(session.on_event, given))
    return _verbs(session, loaded(session, given), live=live, progress=given["progress"])


def begin_story(session: Session, project: str) -> None:
    """Have what is done from now on told as one story of a project."""
    session.deeds.append(Deed(time.time(), PROJECT_DEED, project, "Up"))


def _heard(on_event: OnEvent, given: Mapping[str, Any]) -> OnEvent:
    """Return who hears what happens: ``-q`` leaves warnings, ``--quiet-pull`` all but pulls."""
    left_out: tuple[type, ...] = ()
    if given.get("quiet_pull"):
        left_out = (TransferStarted, LayerProgress)
    if given.get("quiet"):
        left_out = (TransferStarted, LayerProgress, StepStarted, StepDone, Output, Refreshed)

    def hear(event: Event) -> None:
        if not isinstance(event, left_out):
            on_event(event)

    return hear if left_out else on_event


def known(session: Session, given: Mapping[str, Any], *, live: bool = False) -> Compose:
    """Return the verbs on a project that may be known by its containers alone: ``-p NAME``.

    All profiles count: what is there is there.
    """
    from ocimagic.compose.known import project_there

    name = given["project_name"] or session.env.get("COMPOSE_PROJECT_NAME", "")
    try:
        project = loaded(session, given, profiles=("*",))
    except InvalidOption as err:
        if not name or given["files"] or "no compose file" not in err.what:
            raise
        project = project_there(session.engine(), name)
    return _verbs(session, project, live=live, progress=given["progress"])


def _verbs(session: Session, project: Project, *, live: bool, progress: str) -> Compose:
    from ocimagic.compose.verbs import Compose

    return Compose(
        session.engine(),
        project,
        on_event=session.on_event,
        tell=Telling(session, project.name, live=live and session.stays, quiet=progress == "quiet"),
        cancelled=session.cancelled,
    )


class Telling:
    """Says what was done: a line each, or in a notebook the table of services anew.

    Args:
        session: hears it.
        project: whose services.
        live: show the table.
        quiet: say nothing.
    """

    def __init__(self, session: Session, project: str, *, live: bool, quiet: bool = False) -> None:
        self._session = session
        self._project = project
        self._live = live
        self._quiet = quiet
        self._lock = threading.Lock()

    def __call__(self, kind: str, name: str, word: str) -> None:
        """Say one thing."""
        self._session.deeds.append(Deed(time.time(), kind, name, word))
        if self._quiet:
            return
        # A notebook draws standard error as if something had gone wrong.
        stream = "stdout" if self._session.stays else "stderr"
        with self._lock:
            if not self._live:
                line = f" {kind} {name}  {word}\n"
                self._session.on_event(Output(stream, line.encode()))
            elif kind == "Container":
                self._session.on_event(Refreshed(services_now(self._session, self._project)))


def services_now(session: Session, project: str, *, all_of: bool = True) -> ComposeRows:
    """Return the containers of a project as they are now."""
    from ocimagic.compose.there import look

    found = (each.summary for each in look(session.engine(), project))
    return ComposeRows([each for each in found if all_of or each.pid])


def shown(session: Session, project: str) -> ComposeRows | None:
    """Return what a verb that changed services leaves: their table, in a notebook."""
    if not session.stays:
        return None
    rows = services_now(session, project)
    session.on_event(Refreshed(rows))
    return rows


def input_of(session: Session, given: Mapping[str, Any]) -> int | bytes | None:
    """Return the input of a command in a container: not what was the compose file."""
    return None if _STDIN in given["files"] else session.stdin


def grace(seconds: int | None) -> float | None:
    """Return ``-t`` in seconds; None where it was not said."""
    return None if seconds is None else float(max(seconds, 0))


def wants_colors(session: Session, given: Mapping[str, Any]) -> bool:
    """Tell whether names are to be coloured: on a terminal, unless something says otherwise."""
    if given["ansi"] == "always":
        return True
    if (
        session.stays
        or given["no_color"]
        or given["ansi"] == "never"
        or session.env.get("NO_COLOR")
    ):
        return False
    return is_terminal(session) and os.isatty(1)


def is_terminal(session: Session) -> bool:
    """Tell whether somebody types."""
    return isinstance(session.stdin, int) and os.isatty(session.stdin)
