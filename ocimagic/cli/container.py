"""``docker container``: run, create, start, ls, logs, wait, stop, kill, inspect, rm."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click

from ocimagic.cli import refused
from ocimagic.cli.filters import keep_containers
from ocimagic.cli.image import row_template
from ocimagic.cli.inspecting import inspected
from ocimagic.cli.parser import Noun, Verb
from ocimagic.cli.run_options import run_options, run_parameters
from ocimagic.cli.values import Acted, ContainerRows, Exits, LogText, Names, stamped
from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.model.event import Notice, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocimagic.cli.session import Session
    from ocimagic.cli.values import InspectDocument
    from ocimagic.model.event import Event
    from ocimagic.model.result import ContainerSummary, RunResult

T = TypeVar("T")

verb = partial(click.command, cls=Verb)
_RUN_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
_NAMES_USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"


@verb(
    "run",
    takes="image",
    options_first=True,
    refused=refused.RUN,
    cancellable=True,
    usage=_RUN_USAGE,
)
@click.option("-d", "--detach", is_flag=True, help="Run in the background")
@run_parameters
@click.pass_obj
def run(
    session: Session, /, words: tuple[str, ...], *, detach: bool, quiet: bool, **given: object
) -> RunResult | ContainerSummary:
    """Make and start a container from an image."""
    options = run_options(session, words, given, detach=detach)
    return session.engine().containers.run_options(
        options,
        stdin=session.stdin if options.interactive else None,
        on_event=_without_progress(session) if quiet else session.on_event,
        cancelled=session.cancelled,
    )


@verb("create", takes="image", options_first=True, refused=refused.CREATE, usage=_RUN_USAGE)
@run_parameters
@click.pass_obj
def create(
    session: Session, /, words: tuple[str, ...], *, quiet: bool, **given: object
) -> ContainerSummary:
    """Make a container without starting it."""
    options = run_options(session, words, given, detach=True)
    on_event = _without_progress(session) if quiet else session.on_event
    return session.engine().containers.create(replace(options, detach=False), on_event=on_event)


@verb("start", takes="container", refused=refused.START, usage=_NAMES_USAGE)
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def start(session: Session, names: tuple[str, ...]) -> Acted:
    """Start one or more containers."""
    return Acted("started", names, tuple(_each(names, session.engine().containers.start)))


@verb("ls", refused=refused.CONTAINER_LS, usage="[OPTIONS]")
@click.option("-a", "--all", "show_all", is_flag=True, help="Show those that do not run too")
@click.option("-q", "--quiet", is_flag=True, help="Show only container IDs")
@click.option("--no-trunc", is_flag=True, help="Show whole IDs and commands")
@click.option("-n", "--last", type=int, default=-1, metavar="N", help="Show the N newest")
@click.option("-l", "--latest", is_flag=True, help="Show the newest")
@click.option(
    "-f",
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Keep what fits: name, id, status, label, ancestor, exited",
)
@click.option("--format", "template", default="", metavar="TEMPLATE", help="table, json or fields")
@click.pass_obj
def ls(  # noqa: PLR0913  docker's options
    session: Session,
    conditions: tuple[str, ...],
    template: str,
    *,
    last: int,
    latest: bool,
    show_all: bool,
    quiet: bool,
    no_trunc: bool,
) -> ContainerRows | Names:
    """List containers."""
    newest = 1 if latest else last
    # A status is asked for by name, so docker looks at all containers then.
    everything = (
        show_all
        or newest >= 0
        or any(each.startswith(("status=", "exited=")) for each in conditions)
    )
    rows = keep_containers(session.engine().containers.list(all=everything), conditions)
    rows = rows if newest < 0 else rows[:newest]
    if quiet:
        return Names(
            tuple(each.container_id if no_trunc else each.container_id[:12] for each in rows)
        )
    return ContainerRows(rows, template=row_template(template), no_trunc=no_trunc)


@verb(
    "logs", takes="container", refused=refused.LOGS, cancellable=False, usage="[OPTIONS] CONTAINER"
)
@click.option("-f", "--follow", is_flag=True, help="Wait for more until the container exits")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written")
@click.option("-n", "--tail", default="all", metavar="N", help="Show the last N lines")
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def logs(session: Session, name: str, tail: str, *, follow: bool, timestamps: bool) -> LogText:
    """Show what a container wrote."""
    entries = session.engine().containers.logs(
        name, follow=follow, tail=_tail(tail), cancelled=session.cancelled
    )
    if not follow:
        return LogText(name, tuple(entries), timestamps)
    for time, stream, data in entries:
        session.on_event(Output(stream, stamped(time, data) if timestamps else data))
        if session.cancelled and session.cancelled.is_set():
            break
    return LogText(name, timestamps=timestamps, streamed=True)


@verb("wait", takes="container", cancellable=True, usage="CONTAINER [CONTAINER...]")
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def wait(session: Session, names: tuple[str, ...]) -> Exits:
    """Wait until containers exit, then show their exit codes."""
    containers = session.engine().containers
    statuses = _each(names, lambda name: containers.wait(name, cancelled=session.cancelled))
    return Exits("wait", tuple(zip(names, statuses, strict=True)))


@verb("stop", takes="container", refused=refused.STOP, usage=_NAMES_USAGE)
@click.option(
    "-t",
    "--timeout",
    "--time",
    "grace",
    type=click.IntRange(0),
    metavar="SECONDS",
    help="Wait this long before SIGKILL",
)
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def stop(session: Session, names: tuple[str, ...], grace: int | None) -> Exits:
    """Stop one or more containers."""
    containers = session.engine().containers
    grace_s = None if grace is None else float(grace)
    statuses = _each(names, lambda name: containers.stop(name, grace_s=grace_s))
    return Exits("stop", tuple(zip(names, statuses, strict=True)))


@verb("kill", takes="container", usage=_NAMES_USAGE)
@click.option("-s", "--signal", default="KILL", metavar="SIGNAL", help="Signal to send")
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def kill(session: Session, names: tuple[str, ...], signal: str) -> Acted:
    """Send a signal to one or more containers."""
    containers = session.engine().containers
    _each(names, lambda name: containers.kill(name, signal=signal))
    return Acted("killed", names)


@verb("inspect", takes="container", refused=refused.INSPECT_SIZE, usage=_NAMES_USAGE)
@click.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def inspect(session: Session, names: tuple[str, ...], template: str) -> InspectDocument | Names:
    """Show everything known of one or more containers."""
    return inspected(session, names, template, kind="container")


@verb("rm", takes="container", refused=refused.RM, usage=_NAMES_USAGE)
@click.option("-f", "--force", is_flag=True, help="Kill it first if it runs")
# There are no anonymous volumes yet, so there is nothing that -v could leave behind.
@click.option("-v", "--volumes", is_flag=True, hidden=True, expose_value=False)
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def rm(session: Session, names: tuple[str, ...], *, force: bool) -> Acted:
    """Remove one or more containers."""
    containers = session.engine().containers
    _each(names, lambda name: containers.remove(name, force=force))
    return Acted("removed", names)


def _each(names: Iterable[str], act: Callable[[str], T]) -> list[T]:
    """Act on every name, then raise the first error, as docker does."""
    results: list[T] = []
    errors: list[OcimagicError] = []
    for name in names:
        try:
            results.append(act(name))
        except OcimagicError as err:
            errors.append(err)
    if errors:
        raise errors[0]
    return results


def _without_progress(session: Session) -> Callable[[Event], None]:
    def hear(event: Event) -> None:
        if isinstance(event, Output | Notice):
            session.on_event(event)

    return hear


def _tail(text: str) -> int | None:
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidOption(f"--tail takes a number of lines or all, not {text!r}")
    return int(text)


container = Noun(
    "container",
    help="Manage containers.",
    commands=[run, create, start, ls, logs, wait, stop, kill, inspect, rm],
    aliases={"list": "ls", "ps": "ls", "remove": "rm"},
    later=refused.CONTAINER_WORDS,
)
