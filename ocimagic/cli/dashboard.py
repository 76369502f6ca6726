"""``dashboard``: all containers and what they use, live (not in docker)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.model.event import Refreshed

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.overview import Overview

verb = partial(click.command, cls=Verb)
EVERY_S = 2.0


@verb("dashboard", cancellable=True, usage="[OPTIONS]")
@click.option("-a", "--all", "show_all", is_flag=True, help="Show those that do not run too")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.2),
    default=EVERY_S,
    metavar="S",
    help="Seconds from one sample of what they use to the next",
)
@click.option("--no-stream", is_flag=True, help="Show it once")
@click.pass_obj
def dashboard(
    session: Session, *, show_all: bool, every_s: float, no_stream: bool
) -> Overview | None:
    """Show containers and what they use, live until it is stopped (not in docker)."""
    shown = None
    containers = session.engine().containers
    for shown in containers.watch(all=show_all, interval_s=every_s, cancelled=session.cancelled):
        if no_stream and shown.is_measured:
            break
        if not no_stream:
            session.on_event(Refreshed(shown))
    return shown
