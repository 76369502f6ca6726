"""``docker container`` verbs on streams: logs, attach, exec."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.cli.texts import environment
from ocimagic.cli.values import Acted, Exits, LogText, stamped
from ocimagic.errors import Cancelled, InvalidOption, InvalidState
from ocimagic.model.event import Output
from ocimagic.model.moment import moment_ns
from ocimagic.model.report import ExecResult
from ocimagic.model.request import ExecOptions
from ocimagic.model.result import RunResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.cli.session import Console, Session
    from ocimagic.model.containers import AttachmentAPI
    from ocimagic.model.result import ContainerSummary

verb = partial(click.command, cls=Verb)
_keys = click.option("--detach-keys", default="", metavar="KEYS", help="Keys that let go of it")
_INTERRUPT_GRACE_S = 0.5


@verb("logs", takes="container", cancellable=True, usage="[OPTIONS] CONTAINER")
@click.option("-f", "--follow", is_flag=True, help="Wait for more until the container exits")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written")
@click.option("-n", "--tail", default="all", metavar="N", help="Show the last N lines")
@click.option("--since", metavar="TIME", help="Show what is newer: 10m, 2026-03-21T12:00")
@click.option("--until", metavar="TIME", help="Show what is older")
@click.option("--details", is_flag=True, help="Show extra attributes given to the log")
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def logs(  # noqa: PLR0913  docker's options
    session: Session,
    name: str,
    tail: str,
    since: str | None,
    until: str | None,
    *,
    follow: bool,
    timestamps: bool,
    details: bool,
) -> LogText:
    """Show what a container wrote."""
    now = datetime.now().astimezone()
    entries: Iterable[tuple[str, str, bytes]] = session.engine().containers.logs(
        name,
        follow=follow,
        tail=_tail(tail),
        since_ns=moment_ns(since, now, option="--since") if since else None,
        until_ns=moment_ns(until, now, option="--until") if until else None,
        cancelled=session.cancelled,
    )
    if details:
        # Attributes come from --log-opt labels and env, which there are none of; docker
        # writes the blank behind them all the same.
        entries = ((when, stream, b" " + data) for when, stream, data in entries)
    if not follow:
        return LogText(name, tuple(entries), timestamps)
    for when, stream, data in entries:
        session.on_event(Output(stream, stamped(when, data) if timestamps else data))
        if session.cancelled and session.cancelled.is_set():
            break
    return LogText(name, timestamps=timestamps, streamed=True)


def _tail(text: str) -> int | None:
    """Read a number of lines; docker shows everything for what is negative."""
    if text == "all" or re.fullmatch(r"-[0-9]{1,18}", text):
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise InvalidOption(f"--tail takes a number of lines or all, not {text!r}")
    return int(text)


@verb("attach", takes="container", cancellable=True, usage="[OPTIONS] CONTAINER")
@click.option("--no-stdin", is_flag=True, help="Do not send what is typed")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass an interrupt on")
@_keys
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def attach(
    session: Session, name: str, detach_keys: str, *, no_stdin: bool, sig_proxy: bool
) -> Exits | Acted:
    """See what a running container writes, and type into it."""
    containers = session.engine().containers
    options = containers.inspect(name).options
    listens = options.interactive and not no_stdin
    console = session.console_for(tty=options.tty, interactive=listens)
    if console:
        attachment = containers.open_attached(name)
        word = drive(session, console, attachment, detach_keys)
        if attachment.exit is None:
            return Acted(word, (name,))
        return Exits("attach", ((name, attachment.exit),))
    ended = containers.attach(
        name,
        stdin=session.stdin if listens else None,
        sig_proxy=sig_proxy,
        on_event=session.on_event,
        cancelled=session.cancelled,
    )
    return Exits("attach", ((name, ended),))


def drive(
    session: Session,
    console: Console,
    attachment: AttachmentAPI,
    detach_keys: str,
    *,
    ends: bool = False,
) -> str:
    """Let somebody at a console have the terminal of a process.

    Args:
        session: cancelling it stops this.
        console: where.
        attachment: to the process; closed here, unless the console goes on by itself.
        detach_keys: what lets go of it.
        ends: the process ends when this is cancelled.

    Returns:
        What has become of us, if the process has not ended: ``attached to`` or
        ``detached from``.

    Raises:
        Cancelled: the user wanted no more of it.
    """
    goes_on = False
    try:
        terminal = attachment.terminal(detach_keys)
        if size := console.size():
            terminal.resize(*size)
        goes_on = console.drive(attachment, terminal)
        cancelled = session.cancelled is not None and session.cancelled.is_set()
        if cancelled and ends and attachment.exit is None:
            attachment.end()
    finally:
        if not goes_on:
            attachment.close()
    if cancelled:
        raise Cancelled(f"stopped by you in the terminal of container {attachment.name}")
    return "attached to" if goes_on else "detached from"


def start_attached(
    session: Session, name: str, *, interactive: bool, detach_keys: str
) -> Acted | RunResult:
    """Start a container with its streams in hand: ``start -a -i``.

    Raises:
        Cancelled: the user stopped it.
    """
    containers = session.engine().containers
    details = containers.inspect(name)
    with_input = interactive and details.options.interactive
    console = session.console_for(tty=details.options.tty, interactive=with_input)
    began = time.monotonic()
    attachment = containers.start_attached(name, stdin=with_input)
    out = err = b""
    word = "detached from"
    if console:
        word = drive(session, console, attachment, detach_keys)
    else:
        with attachment:
            out, err = _followed(session, attachment, with_input=with_input)
    if attachment.exit is None:
        return Acted(word, (name,))
    return _result(details.summary, attachment, out, err, time.monotonic() - began)


def _followed(
    session: Session, attachment: AttachmentAPI, *, with_input: bool
) -> tuple[bytes, bytes]:
    if with_input:
        attachment.feed(session.stdin)
    out, err = attachment.follow(session.on_event, session.cancelled)
    if attachment.exit is None:
        end(session, attachment.container_id)
        done = "killed" if session.on_interrupt == "kill" else "stopped"
        raise Cancelled(
            f"stopped by you: container {attachment.name} was {done}",
            hint=f"%container_logs {attachment.name} shows what it wrote",
        )
    return out, err


def end(session: Session, container_id: str) -> None:
    """End a container whose user pressed stop, in the way that is set."""
    containers = session.engine().containers
    if session.on_interrupt == "kill":
        containers.kill(container_id)
        containers.wait(container_id)
    else:
        containers.stop(container_id, grace_s=_INTERRUPT_GRACE_S)


def _result(
    summary: ContainerSummary,
    attachment: AttachmentAPI,
    out: bytes,
    err: bytes,
    duration_s: float,
) -> RunResult:
    if attachment.exit is None:
        raise InvalidState(f"container {attachment.name} has not ended")
    return RunResult(
        container_id=summary.container_id,
        name=summary.name,
        image=summary.image,
        exit_code=attachment.exit.code,
        stdout=out,
        stderr=err,
        duration_s=duration_s,
        removed=False,
        network=summary.network,
    )


@verb(
    "exec",
    takes="container",
    options_first=True,
    cancellable=True,
    usage="[OPTIONS] CONTAINER COMMAND [ARG...]",
)
@click.option("-d", "--detach", is_flag=True, help="Run in the background")
@click.option("-i", "--interactive", is_flag=True, help="Keep standard input open")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal")
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable")
@click.option("--env-file", multiple=True, metavar="FILE", help="Read variables from a file")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="User name or ID")
@click.option("-w", "--workdir", metavar="DIR", help="Working directory in the container")
@click.option("--privileged", is_flag=True, help="Give it all capabilities")
@_keys
@click.argument("words", nargs=-1, required=True, metavar="CONTAINER COMMAND")
@click.pass_obj
def exec_(
    session: Session, /, words: tuple[str, ...], *, detach: bool, **given: object
) -> ExecResult | Acted:
    """Run a command in a running container."""
    name, *command = words
    if not command:
        raise InvalidOption("exec wants a command after the container", hint="for example sh")
    options = _exec_options(session, tuple(command), detach=detach, given=given)
    containers = session.engine().containers
    console = session.console_for(tty=options.tty, interactive=options.interactive and not detach)
    if console:
        return exec_in_terminal(session, console, name, options)
    done = containers.exec(
        name,
        options,
        stdin=session.stdin if options.interactive else None,
        on_event=session.on_event,
        cancelled=session.cancelled,
    )
    return Acted("started a command in", ()) if done is None else done


def _exec_options(
    session: Session, command: tuple[str, ...], *, detach: bool, given: dict[str, object]
) -> ExecOptions:
    def texts(name: str) -> tuple[str, ...]:
        found = given[name]
        assert isinstance(found, tuple)
        return found

    def text(name: str) -> str | None:
        found = given[name]
        return None if found is None else str(found)

    return ExecOptions(
        command=command,
        env=tuple(environment(session, texts("env_file"), texts("env"))),
        working_dir=text("workdir"),
        user=text("user"),
        interactive=bool(given["interactive"]),
        tty=bool(given["tty"]),
        detach=detach,
        privileged=bool(given["privileged"]),
        detach_keys=str(given["detach_keys"]),
    )


def exec_in_terminal(
    session: Session, console: Console, name: str, options: ExecOptions
) -> ExecResult | Acted:
    """Run a command in a container whose terminal somebody sits at."""
    began = time.monotonic()
    options = replace(options, console_size=console.size())
    attachment = session.engine().containers.exec_attached(name, options)
    word = drive(session, console, attachment, options.detach_keys, ends=True)
    if attachment.exit is None:
        return Acted(f"{word} a command in", (name,))
    return ExecResult(
        container_id=attachment.container_id,
        name=attachment.name,
        exit_code=attachment.exit.code,
        stdout=b"",
        stderr=b"",
        duration_s=time.monotonic() - began,
        exec_id=attachment.exec_id,
    )


VERBS = (logs, attach, exec_)
