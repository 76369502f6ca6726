"""``docker image``: pull, ls, inspect, history, layers, tag, rm, build; files are next door."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli import refused
from ocimagic.cli.parser import Noun, OnDemand, Verb
from ocimagic.cli.platforms import platform
from ocimagic.cli.rows import HistoryRows, ImageRows, TreeRows, row_template
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption
from ocimagic.model.event import ignore

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.cli.values import InspectDocument
    from ocimagic.model.accounts import Accounts
    from ocimagic.model.difference import ImageDiff
    from ocimagic.model.report import Verified
    from ocimagic.model.result import LayerReport, PullResult, PushResult, Removed

verb = partial(click.command, cls=Verb)


@verb(
    "pull",
    takes="image",
    refused=refused.PULL,
    cancellable=True,
    usage="[OPTIONS] NAME[:TAG|@DIGEST]",
)
@click.option(
    "--platform", "platform_name", metavar="OS/ARCH", help="Choose among the image's platforms"
)
@click.option("-a", "--all-tags", is_flag=True, help="Download all tags of the repository")
@click.option("-q", "--quiet", is_flag=True, help="Show only the name at the end")
@click.argument("reference")
@click.pass_obj
def pull(
    session: Session, reference: str, platform_name: str | None, *, all_tags: bool, quiet: bool
) -> PullResult | tuple[PullResult, ...] | Names:
    """Download an image from a registry."""
    wanted = platform(platform_name)
    images = session.engine().images
    on_event = ignore if quiet else session.on_event
    if all_tags:
        done = images.pull_all(
            reference, platform=wanted, on_event=on_event, cancelled=session.cancelled
        )
    else:
        done = (
            images.pull(reference, platform=wanted, on_event=on_event, cancelled=session.cancelled),
        )
    if quiet:
        return Names(tuple(each.reference for each in done))
    return done[0] if len(done) == 1 else done


@verb(
    "push",
    takes="image",
    refused=refused.PUSH,
    cancellable=True,
    usage="[OPTIONS] NAME[:TAG]",
)
@click.option("-a", "--all-tags", is_flag=True, help="Push all tags of the repository")
@click.option(
    "--platform", "platform_name", metavar="OS/ARCH", help="Push the image of one platform only"
)
@click.option("-q", "--quiet", is_flag=True, help="Show only the name at the end")
@click.option(
    "--compression",
    type=click.Choice(["gzip", "zstd"]),
    default="gzip",
    help="Of layers that were built here (not in docker)",
)
@click.argument("name")
@click.pass_obj
def push(
    session: Session,
    name: str,
    compression: str,
    platform_name: str | None,
    *,
    all_tags: bool,
    quiet: bool,
) -> PushResult | tuple[PushResult, ...] | Names:
    """Upload an image to a registry."""
    done = session.engine().images.push(
        name,
        all_tags=all_tags,
        platform=platform(platform_name),
        compression=compression,
        on_event=ignore if quiet else session.on_event,
        cancelled=session.cancelled,
    )
    if quiet:
        return Names(tuple(each.reference for each in done))
    return done[0] if len(done) == 1 else done


@verb("ls", takes="image", usage="[OPTIONS] [REPOSITORY[:TAG]]")
@click.option("-a", "--all", "show_all", is_flag=True, help="Show what build steps came to, too")
@click.option("-q", "--quiet", is_flag=True, help="Show only image IDs")
@click.option("--digests", is_flag=True, help="Show digests")
@click.option("--no-trunc", is_flag=True, help="Show whole IDs")
@click.option(
    "-f",
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Keep what fits: reference=PATTERN, dangling=true, label=KEY, before=IMAGE, since=IMAGE",
)
@click.option("--tree", is_flag=True, help="Show all platforms of each image, and which are here")
@click.option("--format", "template", default="", metavar="TEMPLATE", help="table, json or fields")
@click.argument("name", required=False)
@click.pass_obj
def ls(  # noqa: PLR0913  docker's options
    session: Session,
    name: str | None,
    conditions: tuple[str, ...],
    template: str,
    *,
    show_all: bool,
    quiet: bool,
    digests: bool,
    no_trunc: bool,
    tree: bool,
) -> ImageRows | TreeRows | Names:
    """List images."""
    from ocimagic.wire.filters import keep_images

    engine = session.engine()
    images = keep_images(engine.images.list(name, all=show_all), conditions, engine)
    if tree:
        for option, given in (("quiet", quiet), ("digests", digests), ("format", bool(template))):
            if given:
                raise InvalidOption(f"--{option} and --tree exclude each other")
        kept = {each.digest for each in images}
        trees = (each for each in engine.images.trees() if each.digest in kept)
        return TreeRows(trees, no_trunc=no_trunc)
    if quiet:
        return Names(
            tuple(str(each.image_id) if no_trunc else each.image_id.short for each in images)
        )
    return ImageRows(images, template=row_template(template), digests=digests, no_trunc=no_trunc)


@verb(
    "inspect", takes="image", refused=refused.IMAGE_ONE_PLATFORM, usage="[OPTIONS] IMAGE [IMAGE...]"
)
@click.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.pass_obj
def inspect(session: Session, names: tuple[str, ...], template: str) -> InspectDocument | Names:
    """Show everything known of one or more images."""
    from ocimagic.cli.inspecting import inspected

    return inspected(session, names, template, kind="image")


@verb("history", takes="image", refused=refused.IMAGE_ONE_PLATFORM, usage="[OPTIONS] IMAGE")
@click.option("--no-trunc", is_flag=True, help="Show whole commands and IDs")
@click.option("-q", "--quiet", is_flag=True, help="Show only image IDs")
@click.option("-H", "--human/--no-human", default=True, hidden=True)
@click.option("--format", "template", default="", metavar="TEMPLATE", help="table, json or fields")
@click.argument("name", metavar="IMAGE")
@click.pass_obj
def history(
    session: Session, name: str, template: str, *, no_trunc: bool, quiet: bool, human: bool
) -> HistoryRows | Names:
    """Show how an image was made, newest step first."""
    lines = session.engine().images.history(name)
    if quiet:
        ids = (line.image_id for line in lines)
        return Names(
            tuple((str(each) if no_trunc else each.short) if each else "<missing>" for each in ids)
        )
    rows = HistoryRows(lines, template=row_template(template), no_trunc=no_trunc, human=human)
    rows.report = lambda: session.engine().images.layers(name)
    return rows


@verb("layers", takes="image", usage="IMAGE [IMAGE...]")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.pass_obj
def layers(session: Session, names: tuple[str, ...]) -> LayerReport:
    """Show the layers of images and what they share (not in docker)."""
    return session.engine().images.layers(*names)


@verb("waste", takes="image", usage="IMAGE")
@click.argument("name", metavar="IMAGE")
@click.pass_obj
def waste(session: Session, name: str) -> Accounts:
    """Show what each layer changes, and what of it the image does not show (not in docker)."""
    return session.engine().images.waste(name)


@verb("diff", takes="image", usage="IMAGE IMAGE")
@click.argument("first", metavar="IMAGE")
@click.argument("second", metavar="IMAGE")
@click.pass_obj
def diff(session: Session, first: str, second: str) -> ImageDiff:
    """Show why two images are not the same, down to files and their attributes (not in docker)."""
    return session.engine().images.diff(first, second)


@verb("verify", takes="image", cancellable=True, usage="[IMAGE...]")
@click.argument("names", nargs=-1, metavar="IMAGE...")
@click.pass_obj
def verify(session: Session, names: tuple[str, ...]) -> Verified:
    """Recheck every byte of images, all of them without IMAGE (not in docker)."""
    return session.engine().images.verify(
        *names, on_event=session.on_event, cancelled=session.cancelled
    )


@verb("tag", takes="image", usage="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]")
@click.argument("source")
@click.argument("target")
@click.pass_obj
def tag(session: Session, source: str, target: str) -> None:
    """Give an image one more name."""
    session.engine().images.tag(source, target)


@verb("rm", takes="image", refused=refused.IMAGE_RM, usage="[OPTIONS] IMAGE [IMAGE...]")
@click.option("-f", "--force", is_flag=True, help="Remove even if a stopped container needs it")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.pass_obj
def rm(session: Session, names: tuple[str, ...], *, force: bool) -> Removed:
    """Remove one or more images."""
    return session.engine().images.remove(*names, force=force)


image = Noun(
    "image",
    help="Manage images.",
    commands=OnDemand(
        {word: f"image:{word}" for word in (
            "pull", "push", "ls", "inspect", "history", "layers", "waste", "diff", "verify", "tag",
            "rm",
        )}
        | {
            "prune": "disk:prune_images",
            "build": "image_build:build",
            "bootstrap": "image_bootstrap:bootstrap",
            "adopt": "image_adopt:adopt",
            "explore": "image_looking:explore",
            "tree": "image_looking:tree",
            "save": "image_archive:save",
            "load": "image_archive:load",
            "import": "image_archive:import_",
            "copy": "image_remote:copy",
            "referrers": "image_remote:referrers",
            "search": "image_remote:search",
        }
    ),
    aliases={"list": "ls", "remove": "rm"},
    later=refused.IMAGE_WORDS,
)  # fmt: skip
