"""``docker system df`` and the prunes of images, build cache and all."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.image_build import build
from ocimagic.cli.parser import Noun, Verb
from ocimagic.cli.template import fill
from ocimagic.cli.values import Names, UsageDetails
from ocimagic.wire.filters import image_keeper

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.report import CachePruned, DiskUsage, ImagesPruned, SystemPruned

verb = partial(click.command, cls=Verb)
_force = click.option("-f", "--force", is_flag=True, help="Do not ask")


@verb("df", usage="[OPTIONS]")
@click.option("-v", "--verbose", is_flag=True, help="Show each image and container")
@click.option("--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.pass_obj
def df(session: Session, template: str, *, verbose: bool) -> DiskUsage | UsageDetails | Names:
    """Show how much images, containers, volumes and the build cache take on disk."""
    usage = session.engine().system.disk.usage()
    if template:
        from ocimagic.render.report import usage_rows

        text = "{{json .}}" if template == "json" else template
        return Names(tuple(fill(text, dict(row)) for row in usage_rows(usage)))
    return UsageDetails(usage) if verbose else usage


@verb("prune", usage="[OPTIONS]")
@click.option("-a", "--all", "everything", is_flag=True, help="Images with a name, too")
@_force
@click.option(
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Remove only what fits: until=TIME, label=KEY, label!=KEY, dangling=BOOL",
)
@click.pass_obj
def prune_images(
    session: Session, conditions: tuple[str, ...], *, everything: bool, force: bool
) -> ImagesPruned | Names:
    """Remove images that have no name; with -a all that no container was made from."""
    keep, takes_named = image_keeper(conditions)
    everything = everything or takes_named
    what = "images without at least one container associated to them"
    warning = f"WARNING! This will remove all {what if everything else 'dangling images'}."
    if not force and not session.confirm(warning):
        return Names(())
    return session.engine().system.disk.prune_images(all=everything, keep=keep)


@verb("prune", usage="[OPTIONS]")
@click.option("-a", "--all", is_flag=True, hidden=True, expose_value=False)
@_force
@click.pass_obj
def prune_cache(session: Session, *, force: bool) -> CachePruned | Names:
    """Remove the build cache."""
    warning = "WARNING! This will remove all build cache: the next build does all steps anew."
    if not force and not session.confirm(warning):
        return Names(())
    return session.engine().system.disk.prune_cache()


@verb("prune", usage="[OPTIONS]")
@click.option("-a", "--all", "everything", is_flag=True, help="Images with a name, too")
@_force
@click.option("--volumes", is_flag=True, help="Volumes that nobody named, too")
@click.pass_obj
def prune_system(
    session: Session, *, everything: bool, force: bool, volumes: bool
) -> SystemPruned | Names:
    """Remove stopped containers, unused images and the build cache."""
    images = "images without at least one container" if everything else "dangling images"
    warning = (
        "WARNING! This will remove:\n  - all stopped containers\n"
        + ("  - all anonymous volumes not used by at least one container\n" if volumes else "")
        + f"  - all {images}\n  - all build cache"
    )
    if not force and not session.confirm(warning):
        return Names(())
    return session.engine().system.disk.prune(all=everything, volumes=volumes)


# docker has build and prune under two more names, which tutorials use.
builder = Noun(
    "builder", help="Build, and manage the build cache.",
    commands={"build": build, "prune": prune_cache},
)  # fmt: skip
buildx = Noun(
    "buildx", help="Build with docker's newer words; there is one builder here.",
    commands={"build": build, "prune": prune_cache},
)  # fmt: skip
