"""Verbs on what is in registries: copy, referrers, and docker's search."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.cli.platforms import platform
from ocimagic.cli.rows import SearchRows, row_template
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption
from ocimagic.model.distribution import SEARCH_LIMIT
from ocimagic.model.event import ignore
from ocimagic.wire.filters import check_hits, keep_hits

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.distribution import CopyResult, ReferrerReport

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


@verb("referrers", takes="image", usage="[OPTIONS] NAME[:TAG|@DIGEST]")
@click.option("--artifact-type", default="", metavar="TYPE", help="Only those of one type")
@click.option("--platform", "platform_name", metavar="OS/ARCH", help="About one of an index")
@click.option("-q", "--quiet", is_flag=True, help="Show only digests")
@click.argument("name")
@click.pass_obj
def referrers(
    session: Session, name: str, artifact_type: str, platform_name: str | None, *, quiet: bool
) -> ReferrerReport | Names:
    """List signatures, bills of materials and the like of an image (not in docker)."""
    found = session.engine().images.referrers(
        name, artifact_type=artifact_type, platform=platform(platform_name)
    )
    return Names(tuple(str(each.digest) for each in found.referrers)) if quiet else found


@verb("search", cancellable=True, usage="[OPTIONS] TERM")
@click.option(
    "-f",
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Keep what fits: is-official=true, stars=N",
)
@click.option("--limit", default=SEARCH_LIMIT, metavar="N", help="At most so many, up to 100")
@click.option("--no-trunc", is_flag=True, help="Show whole descriptions")
@click.option("--format", "template", default="", metavar="TEMPLATE", help="table, json or fields")
@click.argument("term")
@click.pass_obj
def search(
    session: Session,
    term: str,
    limit: int,
    conditions: tuple[str, ...],
    template: str,
    *,
    no_trunc: bool,
) -> SearchRows:
    """Search Docker Hub for images, or another registry: HOST/TERM."""
    check_hits(conditions)
    hits = session.engine().images.search(
        term, limit=limit or SEARCH_LIMIT, cancelled=session.cancelled
    )
    return SearchRows(
        keep_hits(hits, conditions), template=row_template(template), no_trunc=no_trunc
    )


VERBS = (copy, referrers, search)
