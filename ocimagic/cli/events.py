"""``docker events``: what happens, while it happens."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.cli.template import fill
from ocimagic.cli.values import Names
from ocimagic.model.event import Output
from ocimagic.model.moment import moment_ns, unix_ns
from ocimagic.render.events import event_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.cli.session import Session
    from ocimagic.model.system_event import SystemEvent

verb = partial(click.command, cls=Verb)


@verb("events", cancellable=True, usage="[OPTIONS]")
@click.option("--since", metavar="TIME", help="Show what happened since: 10m, 2026-03-21T12:00")
@click.option("--until", metavar="TIME", help="End then; without it this goes on until stopped")
@click.option(
    "-f",
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Keep what fits: type, event, container, image, network, volume, label",
)
@click.option("--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.pass_obj
def events(
    session: Session,
    since: str | None,
    until: str | None,
    conditions: tuple[str, ...],
    template: str,
) -> tuple[SystemEvent, ...] | Names:
    """Show what happens to containers, images, networks and volumes."""
    now = datetime.now().astimezone()
    until_ns = moment_ns(until, now, option="--until") if until else None
    found = session.engine().system.events(
        since_ns=moment_ns(since, now, option="--since") if since else None,
        until_ns=until_ns,
        conditions=conditions,
        cancelled=session.cancelled,
    )
    line = _line(template)
    if until_ns is not None and until_ns <= unix_ns(now):
        told = tuple(found)
        return Names(tuple(map(line, told))) if template or not told else told
    for event in found:
        session.on_event(Output("stdout", f"{line(event)}\n".encode()))
    return Names(())


def _line(template: str) -> Callable[[SystemEvent], str]:
    """Return what writes an event."""
    if not template:
        return event_line
    from ocimagic.wire.system import event_fields, event_message

    if template in ("json", "{{json .}}"):
        return lambda event: fill("{{json .}}", event_message(event))
    return lambda event: fill(template, event_fields(event))
