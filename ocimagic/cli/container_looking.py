"""``docker container`` verbs that look: ls, inspect, top, stats, port."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.inspecting import inspected
from ocimagic.cli.parser import Verb
from ocimagic.cli.rows import ContainerRows, PortRows, StatsRows, row_template
from ocimagic.cli.values import InspectDocument, Names, Places
from ocimagic.errors import InvalidOption
from ocimagic.model.event import Refreshed
from ocimagic.wire.filters import keep_containers, wants_all

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.insides import BundleView, ContainerNamespaces
    from ocimagic.model.report import ProcessTable

verb = partial(click.command, cls=Verb)
_NAMES_USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
_FORMAT_HELP = "table, table with columns, json, or fields"
_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp|sctp))?", re.ASCII)


@verb("ls", usage="[OPTIONS]")
@click.option("-a", "--all", "show_all", is_flag=True, help="Show those that do not run too")
@click.option("-q", "--quiet", is_flag=True, help="Show only container IDs")
@click.option("--no-trunc", is_flag=True, help="Show whole IDs and commands")
@click.option("-s", "--size", is_flag=True, help="Show how much they take on disk")
@click.option("-n", "--last", type=int, default=-1, metavar="N", help="Show the N newest")
@click.option("-l", "--latest", is_flag=True, help="Show the newest")
@click.option(
    "-f",
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Keep what fits: name, id, status, label, ancestor, exited, health, volume, …",
)
@click.option("--format", "template", default="", metavar="TEMPLATE", help=_FORMAT_HELP)
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
    size: bool,
) -> ContainerRows | Names:
    """List containers."""
    newest = 1 if latest else last
    everything = show_all or newest >= 0 or wants_all(conditions)
    sized = size or ".Size" in template
    found = session.engine().containers.list(all=everything, size=sized)
    rows = keep_containers(found, conditions, session.engine())
    rows = rows if newest < 0 else rows[:newest]
    if quiet:
        return Names(
            tuple(each.container_id if no_trunc else each.container_id[:12] for each in rows)
        )
    more = {"size": size, "memory": session.measures}
    return ContainerRows(
        rows,
        template=row_template(template),
        no_trunc=no_trunc,
        **{name: True for name, wanted in more.items() if wanted},
    )


@verb("inspect", takes="container", usage=_NAMES_USAGE)
@click.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.option("-s", "--size", is_flag=True, help="Show how much they take on disk")
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")
@click.pass_obj
def inspect(
    session: Session, names: tuple[str, ...], template: str, *, size: bool
) -> InspectDocument | Names:
    """Show everything known of one or more containers."""
    return inspected(session, names, template, kind="container", size=size)


@verb("top", takes="container", options_first=True, usage="CONTAINER [ps OPTIONS]")
@click.argument("words", nargs=-1, required=True, metavar="CONTAINER")
@click.pass_obj
def top(session: Session, words: tuple[str, ...]) -> ProcessTable:
    """Show the processes of a container."""
    name, *options = words
    return session.engine().containers.top(name, options)


@verb("ns", takes="container", usage="CONTAINER")
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def namespaces(session: Session, name: str) -> ContainerNamespaces:
    """Show a container's namespaces, cgroups and processes (not in docker)."""
    return session.engine().containers.namespaces(name)


@verb("bundle", takes="container", usage="CONTAINER")
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def bundle(session: Session, name: str) -> BundleView:
    """Show the OCI bundle that a container is made from (not in docker)."""
    return session.engine().containers.bundle(name)


@verb("stats", takes="container", cancellable=True, usage="[OPTIONS] [CONTAINER...]")
@click.option("-a", "--all", "show_all", is_flag=True, help="Show those that do not run too")
@click.option("--no-stream", is_flag=True, help="Show it once")
@click.option("--no-trunc", is_flag=True, help="Show whole IDs")
@click.option("--format", "template", default="", metavar="TEMPLATE", help=_FORMAT_HELP)
@click.argument("names", nargs=-1, metavar="CONTAINER")
@click.pass_obj
def stats(
    session: Session,
    names: tuple[str, ...],
    template: str,
    *,
    show_all: bool,
    no_stream: bool,
    no_trunc: bool,
) -> StatsRows:
    """Show what containers use, live until it is stopped."""
    shown = StatsRows(template=row_template(template), no_trunc=no_trunc)
    containers = session.engine().containers
    for rows in containers.stats(*names, all=show_all, cancelled=session.cancelled):
        shown = StatsRows(rows, template=row_template(template), no_trunc=no_trunc)
        if no_stream:
            break
        session.on_event(Refreshed(shown))
    return shown


@verb("port", takes="container", usage="CONTAINER [PRIVATE_PORT[/PROTO]]")
@click.argument("name", metavar="CONTAINER")
@click.argument("port", required=False, metavar="[PRIVATE_PORT[/PROTO]]")
@click.pass_obj
def port_(session: Session, name: str, port: str | None) -> PortRows | Places:
    """List the published ports of a container."""
    found = session.engine().containers.ports(name)
    if port is None:
        return PortRows(found)
    asked = _PORT.fullmatch(port)
    if not asked:
        raise InvalidOption(f"{port!r} is not a port", hint="for example 80 or 53/udp")
    wanted = f"{asked[1]}/{asked[2] or 'tcp'}"
    lines = [f"{each.host_ip}:{each.host_port}" for each in found if each.container_port == wanted]
    if not lines:
        raise InvalidOption(f"no public port '{port}' published for {name}")
    return Places(tuple(lines), is_tcp=wanted.endswith("/tcp"))


VERBS = (ls, inspect, top, namespaces, bundle, stats, port_)
