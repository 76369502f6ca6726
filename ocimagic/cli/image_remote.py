"""``image`` verbs on what is in registries: copy, referrers.  docker has none of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.cli.run_options import platform
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption
from ocimagic.model.event import ignore

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.distribution import CopyResult

verb = partial(click.command, cls=Verb)


@verb("copy", takes="image", cancellable=True, usage="[OPTIONS] SOURCE[:TAG|@DIGEST] TARGET[:TAG]")
@click.option("-a", "--all", "everything", is_flag=True, help="All platforms, and their index")
@click.option("--platform", "platform_name", metavar="OS/ARCH", help="Choose one of an index")
@click.option("-q", "--quiet", is_flag=True, help="Show only the name at the end")
@click.argument("source")
@click.argument("target")
@click.pass_obj
def copy(
    session: Session,
    source: str,
    target: str,
    platform_name: str | None,
    *,
    everything: bool,
    quiet: bool,
) -> CopyResult | Names:
    """Copy an image from registry to registry, past the store (not in docker)."""
    if everything and platform_name:
        raise InvalidOption("--all and --platform exclude each other", hint="leave one out")
    done = session.engine().images.copy(
        source,
        target,
        all=everything,
        platform=platform(platform_name),
        on_event=ignore if quiet else session.on_event,
        cancelled=session.cancelled,
    )
    return Names((done.reference,)) if quiet else done


VERBS = (copy,)
