"""``docker compose`` verbs on streams and commands: logs, exec, run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ocimagic.cli.compose_project import compose, input_of, is_terminal, known, verb, wants_colors
from ocimagic.cli.container_streams import exec_in_terminal, start_attached
from ocimagic.cli.texts import environment, pairs
from ocimagic.cli.values import Acted, LogText, Names
from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.model.moment import moment_ns
from ocimagic.model.network import published_ports
from ocimagic.model.request import ExecOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.cli.session import Session
    from ocimagic.compose.asked import OneOff
    from ocimagic.compose.following import Prefixes
    from ocimagic.compose.there import Instance
    from ocimagic.compose.verbs import Compose
    from ocimagic.model.options import RunOptions
    from ocimagic.model.report import ExecResult
    from ocimagic.model.result import RunResult

_SERVICES = click.argument("services", nargs=-1, metavar="[SERVICE...]")


@verb("logs", cancellable=True, usage="[OPTIONS] [SERVICE...]")
@click.option("-f", "--follow", is_flag=True, help="Wait for more until they exit")
@click.option("-n", "--tail", default="all", metavar="N", help="Show the last N lines of each")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written")
@click.option("--since", metavar="TIME", help="Show what is newer: 10m, 2026-03-21T12:00")
@click.option("--until", metavar="TIME", help="Show what is older")
@click.option("--no-color", is_flag=True, help="No colours")
@click.option("--no-log-prefix", is_flag=True, help="No names before the lines")
@click.option("--index", type=int, metavar="N", help="Of this one of several containers")
@_SERVICES
@click.pass_obj
def logs(session: Session, /, services: tuple[str, ...], **given: Any) -> LogText:  # noqa: ANN401
    """Show what services wrote."""
    from ocimagic.compose.following import Prefixes

    project = known(session, given)
    found = project.instances(services)
    if given["index"] is not None:
        found = tuple(each for each in found if each.number == given["index"])
    prefixes = Prefixes(
        [each.name for each in found],
        plain=given["no_log_prefix"],
        times=given["timestamps"],
        colors=wants_colors(session, given),
    )
    if given["follow"]:
        return _followed(session, project, found, prefixes, given)
    return _written(session, project, found, prefixes, given)


def _times(given: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Return ``--tail``, ``--since`` and ``--until``."""
    now = datetime.now().astimezone()
    tail = None
    if given["tail"] != "all":
        if not given["tail"].lstrip("-").isdigit():
            raise InvalidOption(f"--tail takes a number of lines or all, not {given['tail']!r}")
        tail = None if given["tail"].startswith("-") else int(given["tail"])
    since, until = given["since"], given["until"]
    return (
        tail,
        moment_ns(since, now, option="--since") if since else None,
        moment_ns(until, now, option="--until") if until else None,
    )


def _written(
    session: Session,
    project: Compose,
    instances: tuple[Instance, ...],
    prefixes: Prefixes,
    given: Mapping[str, Any],
) -> LogText:
    from ocimagic.compose.following import written

    tail, since_ns, until_ns = _times(given)
    found = written(session.engine(), instances, tail=tail, since_ns=since_ns, until_ns=until_ns)
    entries = [
        (when, stream, lines)
        for when, name, stream, data in found
        if (lines := prefixes.lines(name, when, stream, data))
    ]
    entries += [
        ("", stream, line) for each in instances for stream, line in prefixes.end(each.name)
    ]
    return LogText(project.project.name, tuple(entries))


def _followed(
    session: Session,
    project: Compose,
    instances: tuple[Instance, ...],
    prefixes: Prefixes,
    given: Mapping[str, Any],
) -> LogText:
    import threading

    from ocimagic.compose.following import Follower

    tail, since_ns, _ = _times(given)
    cancelled = session.cancelled or threading.Event()
    follower = Follower(session.engine(), prefixes, session.on_event, cancelled)
    for each in instances:
        follower.follow(each, since_ns=since_ns, tail=tail)
    while not cancelled.is_set() and not follower.wait_some(0.2):
        pass
    follower.join()
    return LogText(project.project.name, streamed=True)


@verb("exec", options_first=True, cancellable=True, usage="[OPTIONS] SERVICE COMMAND [ARG...]")
@click.option("-d", "--detach", is_flag=True, help="Run in the background")
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable")
@click.option("--index", type=int, metavar="N", help="In this one of several containers")
@click.option("-T", "--no-tty", "--no-TTY", is_flag=True, help="Give it no terminal")
@click.option("-t", "--tty", is_flag=True, hidden=True)
@click.option("-i", "--interactive", is_flag=True, hidden=True)
@click.option("--privileged", is_flag=True, help="Give it all capabilities")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="User name or ID")
@click.option("-w", "--workdir", metavar="DIR", help="Working directory in the container")
@click.argument("words", nargs=-1, required=True, metavar="SERVICE COMMAND")
@click.pass_obj
def exec_(session: Session, /, words: tuple[str, ...], **given: Any) -> ExecResult | Acted:  # noqa: ANN401
    """Run a command in a running service."""
    service, *command = words
    if not command:
        raise InvalidOption("exec wants a command after the service", hint="for example sh")
    project = known(session, given)
    instance = project.instance(service, given["index"])
    session = replace(session, stdin=input_of(session, given))
    has_terminal = is_terminal(session) and session.console is not None
    options = ExecOptions(
        command=tuple(command),
        env=tuple(environment(session, (), given["env"])),
        working_dir=given["workdir"],
        user=given["user"],
        interactive=session.stdin is not None and not given["detach"],
        tty=has_terminal and not given["no_tty"],
        detach=given["detach"],
        privileged=given["privileged"],
    )
    if options.tty and session.console is not None and not options.detach:
        return exec_in_terminal(session, session.console, instance.container_id, options)
    done = session.engine().containers.exec(
        instance.container_id,
        options,
        stdin=session.stdin if options.interactive else None,
        on_event=session.on_event,
        cancelled=session.cancelled,
    )
    return Acted("started a command in", (instance.name,)) if done is None else done


@verb("run", options_first=True, cancellable=True, usage="[OPTIONS] SERVICE [COMMAND] [ARG...]")
@click.option("-d", "--detach", is_flag=True, help="Let it run in the background")
@click.option("--rm", "removes", is_flag=True, help="Remove it when it has ended")
@click.option("--name", default="", metavar="NAME", help="What it is called")
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable")
@click.option("--env-from-file", multiple=True, metavar="FILE", help="Read variables from a file")
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="Set a label")
@click.option("--entrypoint", default=None, metavar="COMMAND", help="Instead of the image's")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="User name or ID")
@click.option("-w", "--workdir", metavar="DIR", help="Working directory in the container")
@click.option("-v", "--volume", multiple=True, metavar="VOLUME", help="One more volume")
@click.option("-p", "--publish", multiple=True, metavar="PORT", help="Publish a port")
@click.option("-P", "--service-ports", is_flag=True, help="Publish the service's ports")
@click.option("--use-aliases", is_flag=True, help="Others find it by the service's name")
@click.option("--no-deps", is_flag=True, help="Do not start what it needs")
@click.option("--build", is_flag=True, help="Build the image before")
@click.option("--pull", default="policy", metavar="WORD", help="Pull: always, missing, never")
@click.option("--quiet-pull", is_flag=True, help="No progress of pulls")
@click.option("-q", "--quiet", is_flag=True, hidden=True)
@click.option("-T", "--no-tty", "--no-TTY", is_flag=True, help="Give it no terminal")
@click.option("-i", "--interactive", is_flag=True, hidden=True)
@click.option("-t", "--tty", is_flag=True, hidden=True)
@click.option("--cap-add", multiple=True, metavar="NAME", help="Add a capability")
@click.option("--cap-drop", multiple=True, metavar="NAME", help="Drop a capability")
@click.option("--remove-orphans", is_flag=True, hidden=True)
@click.argument("words", nargs=-1, required=True, metavar="SERVICE COMMAND")
@click.pass_obj
def run(session: Session, /, words: tuple[str, ...], **given: Any) -> RunResult | Acted | Names:  # noqa: ANN401
    """Run a service once, with another command."""
    service, *command = words
    project = compose(session, given, live=False)
    session = replace(session, stdin=input_of(session, given))
    options, put_files = project.one_off(
        service, _change(session, tuple(command), given), _one_off(given)
    )
    containers = session.engine().containers
    made = containers.create(options, on_event=session.on_event)
    try:
        put_files(made.container_id)
        if given["detach"]:
            containers.start(made.container_id)
            return Names((made.name,))
        return start_attached(
            session, made.container_id, interactive=options.interactive, detach_keys=""
        )
    except BaseException:
        if given["removes"]:
            with suppress(OcimagicError):
                containers.remove(made.container_id, force=True, volumes=True)
        raise


def _one_off(given: Mapping[str, Any]) -> OneOff:
    from ocimagic.cli.compose_images import images_wanted
    from ocimagic.compose.asked import OneOff

    return OneOff(
        name=given["name"],
        with_needs=not given["no_deps"],
        ports=given["service_ports"],
        aliased=given["use_aliases"],
        images=images_wanted(given),
    )


def _change(
    session: Session, command: tuple[str, ...], given: Mapping[str, Any]
) -> Callable[[RunOptions], RunOptions]:
    """Return what puts the command line into the service's options."""
    from ocimagic.cli.mount_options import volume
    from ocimagic.model.policy import RestartPolicy

    has_terminal = is_terminal(session) and session.console is not None
    tty = has_terminal and not given["no_tty"]

    def change(options: RunOptions) -> RunOptions:
        changes: dict[str, Any] = {
            "env": (*options.env, *environment(session, given["env_from_file"], given["env"])),
            "labels": {**options.labels, **pairs("--label", given["label"])},
            "volumes": (*options.volumes, *(volume(session, each) for each in given["volume"])),
            "ports": (
                *options.ports,
                *(port for each in given["publish"] for port in published_ports(each)),
            ),
            "cap_add": (*options.cap_add, *given["cap_add"]),
            "cap_drop": (*options.cap_drop, *given["cap_drop"]),
            "restart": RestartPolicy(),
            "tty": tty or (options.tty and not given["no_tty"] and given["detach"]),
            "interactive": session.stdin is not None and not given["detach"],
            "detach": given["detach"],
            "remove": given["removes"],
        }
        if command:
            changes["command"] = command
        if given["entrypoint"] is not None:
            words = tuple(given["entrypoint"].split())
            changes |= {"entrypoint": words, "command": command}
        for key, field in (("user", "user"), ("workdir", "working_dir")):
            if given[key] is not None:
                changes[field] = given[key]
        if tty and session.console is not None:
            changes["console_size"] = session.console.size()
        return replace(options, **changes)

    return change


VERBS = (logs, exec_, run)
