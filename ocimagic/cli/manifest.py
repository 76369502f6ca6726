"""``docker manifest``: inspect, create, annotate, push, rm."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli import refused
from ocimagic.cli.parser import Noun, Verb
from ocimagic.cli.values import ManifestsText, ManifestText, Names
from ocimagic.model.distribution import PlatformChange

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.distribution import ListPushed, ManifestList

verb = partial(click.command, cls=Verb)


@verb(
    "inspect",
    takes="image",
    refused=refused.MANIFEST,
    usage="[OPTIONS] [MANIFEST_LIST] MANIFEST",
)
@click.option("-v", "--verbose", is_flag=True, help="Show each image's manifest and platform")
@click.argument("names", nargs=-1, required=True, metavar="[MANIFEST_LIST] MANIFEST")
@click.pass_obj
def inspect(
    session: Session, names: tuple[str, ...], *, verbose: bool
) -> ManifestText | ManifestsText:
    """Show a manifest or an index as it is in its registry."""
    if len(names) > 2:
        raise click.UsageError(f"got unexpected extra argument ({names[2]})")
    within = names[0] if len(names) == 2 else None
    manifests = session.engine().manifests
    if not verbose and within is None:
        return ManifestText(manifests.inspect(names[-1], on_event=session.on_event))
    return ManifestsText(manifests.details(names[-1], within=within, on_event=session.on_event))


@verb(
    "create",
    takes="image",
    refused=refused.MANIFEST,
    usage="[OPTIONS] MANIFEST_LIST MANIFEST [MANIFEST...]",
)
@click.option("-a", "--amend", is_flag=True, help="Add to a list that is there")
@click.argument("name", metavar="MANIFEST_LIST")
@click.argument("images", nargs=-1, required=True, metavar="MANIFEST...")
@click.pass_obj
def create(session: Session, name: str, images: tuple[str, ...], *, amend: bool) -> ManifestList:
    """Begin an index of images for several platforms, from here or from registries."""
    return session.engine().manifests.create(name, images, amend=amend)


@verb(
    "annotate",
    takes="image",
    refused=refused.MANIFEST,
    usage="[OPTIONS] MANIFEST_LIST MANIFEST",
)
@click.option("--os", "os_name", metavar="OS", help="Set the operating system")
@click.option("--arch", metavar="ARCH", help="Set the architecture")
@click.option("--variant", metavar="VARIANT", help="Set the architecture's variant")
@click.option("--os-version", metavar="VERSION", help="Set the operating system's version")
@click.option("--os-features", multiple=True, metavar="FEATURE", help="Set what it must have")
@click.argument("name", metavar="MANIFEST_LIST")
@click.argument("image", metavar="MANIFEST")
@click.pass_obj
def annotate(  # noqa: PLR0913, PLR0917  docker's options
    session: Session,
    name: str,
    image: str,
    os_name: str | None,
    arch: str | None,
    variant: str | None,
    os_version: str | None,
    os_features: tuple[str, ...],
) -> None:
    """Say which platform an image of an index is for."""
    features = tuple(part for each in os_features for part in each.split(",") if part)
    change = PlatformChange(
        os=os_name,
        architecture=arch,
        variant=variant,
        os_version=os_version,
        os_features=features or None,
    )
    session.engine().manifests.annotate(name, image, change)


@verb(
    "push",
    takes="image",
    refused=refused.MANIFEST,
    cancellable=True,
    usage="[OPTIONS] MANIFEST_LIST",
)
@click.option("-p", "--purge", is_flag=True, help="Take the list away here afterwards")
@click.option(
    "--compression",
    type=click.Choice(["gzip", "zstd"]),
    default="gzip",
    help="Of layers that were built here (not in docker)",
)
@click.argument("name", metavar="MANIFEST_LIST")
@click.pass_obj
def push(session: Session, name: str, compression: str, *, purge: bool) -> ListPushed:
    """Bring an index to its registry, with all images it names."""
    return session.engine().manifests.push(
        name,
        purge=purge,
        compression=compression,
        on_event=session.on_event,
        cancelled=session.cancelled,
    )


@verb("rm", takes="image", usage="MANIFEST_LIST [MANIFEST_LIST...]")
@click.argument("names", nargs=-1, required=True, metavar="MANIFEST_LIST...")
@click.pass_obj
def rm(session: Session, names: tuple[str, ...]) -> Names:
    """Take indexes away that were created here; registries keep theirs."""
    return Names(session.engine().manifests.remove(*names))


manifest = Noun(
    "manifest",
    help="Look at manifests, and make indexes for several platforms.",
    commands=[inspect, create, annotate, push, rm],
)
