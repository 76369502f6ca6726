"""``image adopt``: images of a dockerd or podman on this machine (not in docker)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption
from ocimagic.model.event import ignore

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.archive import Adoptable, Adopted

verb = partial(click.command, cls=Verb)


@verb("adopt", cancellable=True, usage="[OPTIONS] [IMAGE...]")
@click.option(
    "--from",
    "source",
    metavar="docker|podman|unix:///PATH|tcp://HOST:PORT",
    help="The engine that has them, instead of the first that is found",
)
@click.option("-a", "--all", "wants_all", is_flag=True, help="Adopt all images that have a name")
@click.option("-q", "--quiet", is_flag=True, help="Show only image IDs at the end")
@click.argument("names", nargs=-1, metavar="[IMAGE...]")
@click.pass_obj
def adopt(
    session: Session, names: tuple[str, ...], source: str | None, *, wants_all: bool, quiet: bool
) -> Adoptable | Adopted | Names:
    """Bring images here from a running docker or podman; without IMAGE, list what it has."""
    images = session.engine().images
    if names and wants_all:
        raise InvalidOption("--all and the names of images exclude each other")
    found: Adoptable | Adopted
    if names or wants_all:
        found = images.adopt(
            names,
            source=source,
            all=wants_all,
            on_event=ignore if quiet else session.on_event,
            cancelled=session.cancelled,
        )
    else:
        found = images.adoptable(source, cancelled=session.cancelled)
    return Names(tuple(str(each.image_id) for each in found.images)) if quiet else found
