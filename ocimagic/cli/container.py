"""``docker container``: the verbs of a container's life, from run to rm and prune."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli import container_files, container_looking, container_streams, refused
from ocimagic.cli.each import on_each, without_progress
from ocimagic.cli.parser import Noun, Verb
from ocimagic.cli.policy_options import restart_policy
from ocimagic.cli.resource_options import limit_parameters, resource_options
from ocimagic.cli.run_options import foreground_parameters, run_options, run_parameters
from ocimagic.cli.values import Acted, Exits, Names
from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.model.event import Notice
from ocimagic.model.request import UpdateOptions
from ocimagic.model.resources import ResourceOptions
from ocimagic.model.result import ContainerSummary, RunResult
from ocimagic.wire.filters import prune_keeper

if TYPE_CHECKING:
    from ocimagic.cli.session import Console, Session
    from ocimagic.model.event import OnEvent
    from ocimagic.model.options import RunOptions
    from ocimagic.model.report import Pruned

verb = partial(click.command, cls=Verb)
_RUN_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
_NAMES_USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
_names = click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
_grace = click.option(
    "-t",
    "--timeout",
    "--time",
    "grace",
    type=int,
    metavar="SECONDS",
    help="Wait this long before SIGKILL, -1 for ever",
)
_signal = click.option("-s", "--signal", metavar="SIGNAL", help="Signal to stop it with")
_FOREVER_S = 1e9


@verb(
    "run",
    takes="image",
    options_first=True,
    refused=refused.RUN,
    cancellable=True,
    usage=_RUN_USAGE,
)
@click.option("-d", "--detach", is_flag=True, help="Run in the background")
@foreground_parameters
@run_parameters
@click.pass_obj
def run(
    session: Session, /, words: tuple[str, ...], *, detach: bool, quiet: bool, **given: object
) -> RunResult | ContainerSummary:
    """Make and start a container from an image."""
    options = replace(run_options(session, words, given, detach=detach), line=session.line)
    if session.on_interrupt == "detach":
        options = replace(options, sig_proxy=False)
    options = replace(options, kill_at_interrupt=session.on_interrupt == "kill")
    on_event = without_progress(session) if quiet else session.on_event
    console = session.console_for(tty=options.tty, interactive=options.interactive and not detach)
    if console:
        return _in_terminal(session, console, options, on_event)
    return session.engine().containers.run_options(
        options,
        stdin=session.stdin if options.interactive else None,
        on_event=on_event,
        cancelled=session.cancelled,
    )


def _in_terminal(
    session: Session, console: Console, options: RunOptions, on_event: OnEvent
) -> RunResult | ContainerSummary:
    """Run a container whose terminal somebody sits at."""
    options = replace(options, console_size=console.size())
    containers = session.engine().containers
    began = time.monotonic()
    attachment = containers.run_attached(options, on_event=on_event)
    try:
        container_streams.drive(session, console, attachment, options.detach_keys)
    except BaseException:  # nobody will see the end of it
        with suppress(OcimagicError):
            container_streams.end(session, attachment.container_id)
            if options.remove:
                containers.remove(attachment.container_id, force=True)
        raise
    ended = attachment.exit
    if ended is None:
        return containers.get(attachment.container_id)
    return RunResult(
        container_id=attachment.container_id,
        name=attachment.name,
        image=options.image,
        exit_code=ended.code,
        stdout=b"",
        stderr=b"",
        duration_s=time.monotonic() - began,
        removed=options.remove,
        network=options.network.value,
    )


@verb("create", takes="image", options_first=True, refused=refused.CREATE, usage=_RUN_USAGE)
@run_parameters
@click.pass_obj
def create(
    session: Session, /, words: tuple[str, ...], *, quiet: bool, **given: object
) -> ContainerSummary:
    """Make a container without starting it."""
    options = replace(run_options(session, words, given, detach=False), line=session.line)
    on_event = without_progress(session) if quiet else session.on_event
    return session.engine().containers.create(options, on_event=on_event)


@verb("start", takes="container", refused=refused.START, cancellable=True, usage=_NAMES_USAGE)
@click.option("-a", "--attach", is_flag=True, help="Show its output and pass signals on")
@click.option("-i", "--interactive", is_flag=True, help="Send it what is typed")
@click.option("--detach-keys", default="", metavar="KEYS", help="Keys that let go of it")
@_names
@click.pass_obj
def start(
    session: Session, names: tuple[str, ...], detach_keys: str, *, attach: bool, interactive: bool
) -> Acted | RunResult:
    """Start one or more containers."""
    if not attach and not interactive:
        started = on_each(session, names, session.engine().containers.start)
        return Acted("started", names, tuple(started))
    if len(names) > 1:
        raise InvalidOption("you cannot start and attach multiple containers at once")
    return container_streams.start_attached(
        session, names[0], interactive=interactive, detach_keys=detach_keys
    )


@verb("stop", takes="container", usage=_NAMES_USAGE)
@_grace
@_signal
@_names
@click.pass_obj
def stop(session: Session, names: tuple[str, ...], grace: int | None, signal: str | None) -> Exits:
    """Stop one or more containers."""
    containers = session.engine().containers
    grace_s = _seconds(grace)
    statuses = on_each(
        session, names, lambda name: containers.stop(name, grace_s=grace_s, signal=signal)
    )
    return Exits("stop", tuple(zip(names, statuses, strict=True)))


@verb("restart", takes="container", usage=_NAMES_USAGE)
@_grace
@_signal
@_names
@click.pass_obj
def restart(
    session: Session, names: tuple[str, ...], grace: int | None, signal: str | None
) -> Acted:
    """Stop one or more containers and start them again."""
    containers = session.engine().containers
    grace_s = _seconds(grace)
    started = on_each(
        session, names, lambda name: containers.restart(name, grace_s=grace_s, signal=signal)
    )
    return Acted("restarted", names, tuple(started))


def _seconds(grace: int | None) -> float | None:
    if grace is None:
        return None
    return _FOREVER_S if grace < 0 else float(grace)


@verb("kill", takes="container", usage=_NAMES_USAGE)
@click.option("-s", "--signal", default="KILL", metavar="SIGNAL", help="Signal to send")
@_names
@click.pass_obj
def kill(session: Session, names: tuple[str, ...], signal: str) -> Acted:
    """Send a signal to one or more containers."""
    containers = session.engine().containers
    on_each(session, names, lambda name: containers.kill(name, signal=signal))
    return Acted("killed", names)


@verb("pause", takes="container", usage="CONTAINER [CONTAINER...]")
@_names
@click.pass_obj
def pause(session: Session, names: tuple[str, ...]) -> Acted:
    """Stop all processes of one or more containers where they are."""
    containers = session.engine().containers
    on_each(session, names, containers.pause)
    return Acted("paused", names)


@verb("unpause", takes="container", usage="CONTAINER [CONTAINER...]")
@_names
@click.pass_obj
def unpause(session: Session, names: tuple[str, ...]) -> Acted:
    """Let the processes of one or more paused containers go on."""
    containers = session.engine().containers
    on_each(session, names, containers.unpause)
    return Acted("unpaused", names)


@verb("wait", takes="container", cancellable=True, usage="CONTAINER [CONTAINER...]")
@_names
@click.pass_obj
def wait(session: Session, names: tuple[str, ...]) -> Exits:
    """Wait until containers exit, then show their exit codes."""
    containers = session.engine().containers
    statuses = on_each(
        session, names, lambda name: containers.wait(name, cancelled=session.cancelled)
    )
    return Exits("wait", tuple(zip(names, statuses, strict=True)))


@verb("rename", takes="container", usage="CONTAINER NEW_NAME")
@click.argument("name", metavar="CONTAINER")
@click.argument("new_name", metavar="NEW_NAME")
@click.pass_obj
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a container another name."""
    session.engine().containers.rename(name, new_name)


@verb("update", takes="container", usage=_NAMES_USAGE)
@limit_parameters
@click.option("--restart", metavar="POLICY", help="Restart policy when the container exits")
@_names
@click.pass_obj
def update(
    session: Session, /, names: tuple[str, ...], restart: str | None, **given: object
) -> Acted:
    """Change the limits or the restart policy of one or more containers."""
    options = UpdateOptions(
        resources=resource_options(given),
        restart=None if restart is None else restart_policy(restart),
    )
    if options == UpdateOptions(resources=ResourceOptions()):
        raise InvalidOption(
            "you must provide one or more flags when using this command",
            hint="for example --memory 512m or --restart always",
        )
    containers = session.engine().containers
    for warnings in on_each(session, names, lambda name: containers.update(name, options)):
        for text in warnings:
            session.on_event(Notice(text))
    return Acted("updated", names)


@verb("rm", takes="container", usage=_NAMES_USAGE)
@click.option("-f", "--force", is_flag=True, help="Kill it first if it runs")
@click.option("-l", "--link", is_flag=True, help="Remove a link, CONTAINER/NAME, and no container")
@click.option("-v", "--volumes", is_flag=True, help="Remove its volumes that have no name, too")
@_names
@click.pass_obj
def rm(
    session: Session, names: tuple[str, ...], *, force: bool, link: bool, volumes: bool
) -> Acted:
    """Remove one or more containers."""
    containers = session.engine().containers
    if link:
        on_each(session, names, containers.unlink)
        return Acted("removed", names)
    on_each(session, names, lambda name: containers.remove(name, force=force, volumes=volumes))
    return Acted("removed", names)


@verb("prune", usage="[OPTIONS]")
@click.option("-f", "--force", is_flag=True, help="Do not ask")
@click.option(
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Remove only what fits: until=TIME, label=KEY, label!=KEY",
)
@click.pass_obj
def prune(session: Session, conditions: tuple[str, ...], *, force: bool) -> Pruned | Names:
    """Remove all containers that do not run."""
    keep = prune_keeper(conditions)
    if not force and not session.confirm("WARNING! This will remove all stopped containers."):
        return Names(())
    return session.engine().containers.prune(keep)


container = Noun(
    "container",
    help="Manage containers.",
    commands=[
        run, create, start, stop, restart, kill, pause, unpause, wait, rename, update, rm, prune,
        *container_looking.VERBS, *container_streams.VERBS, *container_files.VERBS,
    ],
    aliases={"list": "ls", "ps": "ls", "remove": "rm"},
    later=refused.CONTAINER_WORDS,
)  # fmt: skip
