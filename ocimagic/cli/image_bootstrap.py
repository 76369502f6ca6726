"""``image bootstrap``: a base image of a distribution's own packages (not in docker)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.cli.values import Names
from ocimagic.model.event import ignore
from ocimagic.model.request import BootstrapOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.cli.session import Session
    from ocimagic.model.report import Bootstrapped

verb = partial(click.command, cls=Verb)


# The words of the options are debootstrap's and mmdebstrap's.
@verb("bootstrap", cancellable=True, usage="[OPTIONS] debian:SUITE")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="Name the result")
@click.option("--mirror", default="", metavar="URL", help="Fetch from there and nowhere else")
@click.option(
    "--include", multiple=True, metavar="PACKAGE[,PACKAGE]", help="Add packages to the smallest set"
)
@click.option(
    "--keyring", "keyrings", multiple=True, metavar="FILE", help="The keys that count instead"
)
@click.option(
    "--no-check-gpg",
    "check_signature",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Believe the mirror without a signature",
)
@click.option(
    "--no-check-valid-until",
    "check_valid_until",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Take a mirror of the past",
)
@click.option("--no-cache", is_flag=True, help="Unpack and configure anew")
@click.option("-q", "--quiet", is_flag=True, help="Show only the image ID at the end")
@click.argument("name", metavar="debian:SUITE")
@click.pass_obj
def bootstrap(
    session: Session,
    /,
    name: str,
    include: Sequence[str],
    keyrings: Sequence[str],
    *,
    quiet: bool,
    **given: object,
) -> Bootstrapped | Names:
    """Make a base image from the packages of a Debian mirror, without a registry."""
    options = BootstrapOptions(
        name=name,
        include=tuple(each for some in include for each in some.split(",") if each),
        keyrings=tuple(session.path(each) for each in keyrings),
        **given,  # type: ignore[arg-type]
    )
    done = session.engine().images.bootstrap(
        options,
        on_event=ignore if quiet else session.on_event,
        cancelled=session.cancelled,
    )
    return Names((str(done.image_id),)) if quiet else done
