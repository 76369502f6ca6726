"""``docker image`` verbs on files: save, load, import."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli import refused
from ocimagic.cli.parser import Verb
from ocimagic.cli.platforms import platform
from ocimagic.cli.tar_output import into_file, streamed
from ocimagic.errors import InvalidOption
from ocimagic.model.event import ignore
from ocimagic.model.request import ImportOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.cli.session import Session
    from ocimagic.cli.values import TarBytes
    from ocimagic.model.archive import ArchiveFormat, Imported, Loaded, Saved

verb = partial(click.command, cls=Verb)


@verb(
    "save",
    takes="image",
    refused=refused.IMAGE_ONE_PLATFORM,
    cancellable=True,
    usage="[OPTIONS] IMAGE [IMAGE...]",
)
@click.option("-o", "--output", metavar="FILE", help="Write to a file instead of standard output")
@click.option(
    "--format",
    "archive_format",
    type=click.Choice(["docker", "oci"]),
    default="docker",
    help="docker is for every tool; oci leaves docker's own files out (not in docker)",
)
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.pass_obj
def save(
    session: Session, names: tuple[str, ...], output: str | None, archive_format: ArchiveFormat
) -> Saved | TarBytes | None:
    """Save one or more images to a tar archive."""
    images = session.engine().images

    def give(write: Callable[[bytes], object]) -> Saved:
        return images.save(names, write, format=archive_format, cancelled=session.cancelled)

    return streamed(session, give) if output is None else into_file(session, output, give)


@verb("load", takes="path", cancellable=True, usage="[OPTIONS]")
@click.option(
    "-i",
    "--input",
    "path",
    metavar="FILE",
    help="Read a file, or a directory that is an OCI layout, instead of standard input",
)
@click.option("-q", "--quiet", is_flag=True, help="Do not show how far it is")
@click.option(
    "--platform", "platform_name", metavar="OS/ARCH", help="Load one platform only; all by default"
)
@click.pass_obj
def load(session: Session, path: str | None, platform_name: str | None, *, quiet: bool) -> Loaded:
    """Load images from a tar archive: of docker, podman, skopeo, or an OCI layout."""
    source = _stdin(session, "load", "-i FILE") if path is None else session.path(path)
    return session.engine().images.load(
        source,
        platform=platform(platform_name),
        on_event=ignore if quiet else session.on_event,
        cancelled=session.cancelled,
    )


@verb(
    "import",
    takes="path",
    cancellable=True,
    usage="[OPTIONS] FILE|URL|- [REPOSITORY[:TAG]]",
)
@click.option(
    "-c",
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="Apply a Dockerfile instruction: CMD, ENV, LABEL, …",
)
@click.option("-m", "--message", default="", metavar="TEXT", help="Comment in the history")
@click.option("--platform", "platform_name", metavar="OS/ARCH", help="What the files are for")
@click.argument("path", metavar="FILE|URL|-")
@click.argument("reference", default="", metavar="[REPOSITORY[:TAG]]")
@click.pass_obj
def import_(
    session: Session, /, path: str, reference: str, platform_name: str | None, **given: object
) -> Imported:
    """Make an image of the files of a root, from a tar."""
    options = ImportOptions(
        reference=reference,
        platform=platform(platform_name),
        **given,  # type: ignore[arg-type]
    )
    source: str | int | bytes = path
    if path == "-":
        source = _stdin(session, "import", "FILE")
    elif not path.startswith(("http://", "https://")):
        source = session.path(path)
    return session.engine().images.import_(
        source, options, on_event=session.on_event, cancelled=session.cancelled
    )


def _stdin(session: Session, verb_name: str, instead: str) -> int | bytes:
    """Return where an archive comes from when no file is named.

    Raises:
        InvalidOption: nothing comes from there.
    """
    stdin = session.stdin
    if stdin is None or (isinstance(stdin, int) and os.isatty(stdin)):
        raise InvalidOption(
            f"requested {verb_name} from stdin, but stdin is empty", hint=f"name it: {instead}"
        )
    return stdin


VERBS = (save, load, import_)
