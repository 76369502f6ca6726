"""``image explore`` and ``image tree``: an image file by file (neither is in docker)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.explored import Explored, FileTree

verb = partial(click.command, cls=Verb)
_DEPTH = 2


@verb("explore", takes="image", usage="IMAGE")
@click.argument("name", metavar="IMAGE")
@click.pass_obj
def explore(session: Session, name: str) -> Explored:
    """Show which lines made, changed and deleted which files, and what they waste (not in docker).

    In a notebook it is a tree to walk through; the same as text everywhere.
    """
    return session.engine().images.explore(name)


@verb("tree", takes="image", usage="[OPTIONS] IMAGE")
@click.option("--layer", type=int, metavar="N", help="Only what layer N did, the lowest being 0")
@click.option("--grep", "pattern", default="", metavar="REGEX", help="Only paths that fit")
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Show N levels; {_DEPTH} if nothing else is chosen",
)
@click.argument("name", metavar="IMAGE")
@click.pass_obj
def tree(
    session: Session, name: str, layer: int | None, pattern: str, depth: int | None
) -> FileTree:
    """Show the files of an image as a tree, with what each layer did (not in docker)."""
    if depth is None and layer is None and not pattern:
        depth = _DEPTH
    return session.engine().images.explore(name).tree(layer=layer, pattern=pattern, depth=depth)


VERBS = (explore, tree)
