"""``docker container`` verbs on files: cp, diff, export, commit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.cli.rows import ChangeRows
from ocimagic.cli.tar_output import into_file, streamed
from ocimagic.errors import InvalidOption
from ocimagic.model.request import CommitOptions

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.cli.values import TarBytes
    from ocimagic.model.own_layer import ContainerLayers
    from ocimagic.model.report import Committed, Copied

verb = partial(click.command, cls=Verb)


@verb(
    "cp",
    takes="container:path",
    cancellable=False,
    usage="[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-  or  SRC_PATH|- CONTAINER:DEST_PATH",
)
@click.option("-a", "--archive", is_flag=True, help="Keep owners")
@click.option("-L", "--follow-link", is_flag=True, help="Follow a symlink in SRC_PATH")
@click.option("-q", "--quiet", is_flag=True, help="Do not say what was copied")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DEST")
@click.pass_obj
def cp(
    session: Session, source: str, target: str, *, archive: bool, follow_link: bool, quiet: bool
) -> Copied | TarBytes | None:
    """Copy files between a container and this machine."""
    from_name, from_path = _place(source)
    to_name, to_path = _place(target)
    if from_name and to_name:
        raise InvalidOption("copying between containers is not supported")
    if not from_name and not to_name:
        raise InvalidOption(
            "one of the two must be in a container", hint="write CONTAINER:PATH for it"
        )
    containers = session.engine().containers
    if from_name and to_path == "-":
        return streamed(
            session,
            lambda out: containers.read_archive(from_name, from_path, out, follow_link=follow_link),
        )
    if from_name:
        here = _here(session, to_path)
        copied = containers.copy_from(
            from_name, from_path, here, follow_link=follow_link, archive=archive
        )
    elif from_path == "-":
        containers.write_archive(to_name, to_path, _stdin(session))
        return None
    else:
        here = _here(session, from_path)
        copied = containers.copy_to(to_name, here, to_path, follow_link=follow_link)
    return None if quiet else copied


def _place(text: str) -> tuple[str, str]:
    """Split ``CONTAINER:PATH``; a path of this machine has no container.

    A path that begins with ``/`` or ``.`` is one, whatever comes behind.
    """
    name, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/", "~")) or "/" in name:
        return "", text
    return name, path or "/"


def _here(session: Session, path: str) -> str:
    """Make a path absolute, and keep the end of it that docker gives a meaning to."""
    ending = next((each for each in ("/.", "/") if path.endswith(each)), "")
    ending = "/." if path == "." else ending
    absolute = session.path(path)
    return absolute if absolute.endswith("/") and ending == "/" else absolute + ending


def _stdin(session: Session) -> int | bytes:
    if session.stdin is None:
        raise InvalidOption("there is no standard input", hint="%%docker cp - … takes the cell")
    return session.stdin


@verb("diff", takes="container", usage="CONTAINER")
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def diff(session: Session, name: str) -> ChangeRows:
    """Show what changed in a container's files since it was made."""
    return ChangeRows(session.engine().containers.diff(name))


@verb("layers", takes="container", usage="CONTAINER")
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def layers(session: Session, name: str) -> ContainerLayers:
    """Show its read-write layer over those of its image, and what was copied up (not in docker)."""
    return session.engine().containers.layers(name)


@verb("export", takes="container", usage="[OPTIONS] CONTAINER")
@click.option("-o", "--output", metavar="FILE", help="Write to a file instead of standard output")
@click.argument("name", metavar="CONTAINER")
@click.pass_obj
def export(session: Session, name: str, output: str | None) -> TarBytes | None:
    """Write all files of a container as a tar."""
    containers = session.engine().containers
    if output is None:
        return streamed(session, lambda out: containers.export(name, out))
    into_file(session, output, lambda write: containers.export(name, write))
    return None


@verb("commit", takes="container", usage="[OPTIONS] CONTAINER [REPOSITORY[:TAG]]")
@click.option("-a", "--author", default="", metavar="TEXT", help="Author of the image")
@click.option("-m", "--message", default="", metavar="TEXT", help="What was changed")
@click.option(
    "-c",
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="Apply a Dockerfile instruction: CMD, ENV, LABEL, …",
)
@click.option("-p", "--pause/--no-pause", default=True, help="Pause the container meanwhile")
@click.argument("name", metavar="CONTAINER")
@click.argument("reference", default="", metavar="[REPOSITORY[:TAG]]")
@click.pass_obj
def commit(session: Session, /, name: str, **given: object) -> Committed:
    """Make an image of a container's changes."""
    return session.engine().containers.commit(name, CommitOptions(**given))  # type: ignore[arg-type]


VERBS = (cp, diff, layers, export, commit)
