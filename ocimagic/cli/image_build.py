"""``docker build``: an image from a Dockerfile, and what is written down of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ocimagic.cli import refused
from ocimagic.cli.build_options import build_options
from ocimagic.cli.parser import Verb
from ocimagic.cli.quantities import BYTES, Reader
from ocimagic.cli.values import Names
from ocimagic.dockerfile.places import STDIN
from ocimagic.errors import InvalidOption
from ocimagic.model.event import ignore
from ocimagic.model.name_words import extra_host

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.built import BuildChecked, BuildResult


@click.command(
    "build",
    cls=Verb,
    takes="path",
    refused=refused.BUILD,
    cancellable=True,
    usage="[OPTIONS] PATH | URL | -",
)
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="Name the result")
@click.option(
    "-f", "--file", metavar="FILE|URL|-", help="The Dockerfile; PATH/Dockerfile by default"
)
@click.option(
    "--context",
    "place",
    metavar="PATH|URL|-",
    help="The same as PATH, where that is easier to read (not in docker)",
)
@click.option("--build-arg", multiple=True, metavar="KEY[=VALUE]", help="Set a value for ARG")
@click.option("--label", multiple=True, metavar="KEY[=VALUE]", help="Set a label")
@click.option("--annotation", multiple=True, metavar="KEY=VALUE", help="Annotate the manifest")
@click.option(
    "--build-context",
    multiple=True,
    metavar="NAME=PLACE",
    help="One more place for --from, or another base for a FROM: a directory, a URL, "
    "docker-image://IMAGE or oci-layout://DIR[:TAG][@DIGEST]",
)
@click.option("--target", metavar="STAGE", help="Stop at this stage")
@click.option("--no-cache", is_flag=True, help="Run every step anew")
@click.option("--no-cache-filter", multiple=True, metavar="STAGE", help="Run a stage anew")
@click.option(
    "--cache-from",
    multiple=True,
    metavar="IMAGE|type=TYPE,…",
    help="Find steps there that were done elsewhere: type=registry,ref= or local,src=",
)
@click.option(
    "--cache-to",
    multiple=True,
    metavar="type=TYPE,…",
    help="Leave the steps there: type=registry,ref=, local,dest= (mode=max: of all stages), inline",
)
@click.option("--pull", is_flag=True, help="Ask the registry for every base")
@click.option(
    "--platform",
    multiple=True,
    metavar="OS/ARCH,...",
    help="Platforms of the result; several make an index",
)
@click.option("--network", metavar="none|host", help="Network of RUN steps")
@click.option(
    "--secret", multiple=True, metavar="id=ID[,src=FILE|,env=VAR]", help="Let RUN --mount have it"
)
@click.option("--ssh", multiple=True, metavar="default|ID[=SOCKET]", help="Let RUN use an agent")
@click.option(
    "--allow",
    multiple=True,
    metavar="security.insecure|network.host",
    help="Let RUN ask for what is not safe",
)
@click.option(
    "--add-host",
    multiple=True,
    type=Reader("host", extra_host),
    metavar="HOST:IP",
    help="Let RUN know a host",
)
@click.option("--shm-size", type=BYTES, default=0, metavar="BYTES", help="Size of RUN's /dev/shm")
@click.option("--ulimit", multiple=True, metavar="NAME=SOFT[:HARD]", help="Limit RUN's processes")
@click.option(
    "-o",
    "--output",
    multiple=True,
    metavar="DIR|type=TYPE,dest=PATH",
    help="Write the result there too: type=local, tar, oci or docker",
)
@click.option(
    "--timestamp",
    type=click.IntRange(0, 0o77777777777),
    metavar="SECONDS",
    help="Nothing in the image is later: equal input makes an equal image (not in docker)",
)
@click.option("--squash", is_flag=True, help="Make one layer of all that was added to the base")
@click.option("--context-file", multiple=True, metavar="NAME=TEXT", hidden=True)
@click.option("--push", is_flag=True, help="Push the result under its names")
@click.option(
    "--iidfile", metavar="FILE", help="Write the image ID, or an index's digest, to a file"
)
@click.option("--metadata-file", metavar="FILE", help="Write what was built to a file, as JSON")
@click.option("--check", is_flag=True, help="Only look for what is probably not meant")
@click.option("--call", metavar="build|check", default="build", help="Build, or only check")
@click.option("-q", "--quiet", is_flag=True, help="Show only the image ID at the end")
# docker's own defaults, said aloud in many tutorials; here they change nothing.
@click.option("--rm/--no-rm", default=True, hidden=True, expose_value=False)
@click.option("--force-rm", is_flag=True, hidden=True, expose_value=False)
@click.option("--compress", is_flag=True, hidden=True, expose_value=False)
@click.option("--load", is_flag=True, hidden=True, expose_value=False)
@click.option("--progress", hidden=True, expose_value=False)
@click.argument("context", metavar="PATH|URL|-", required=False)
@click.pass_obj
def build(
    session: Session, /, context: str | None, place: str | None, *, quiet: bool, **given: object
) -> BuildResult | BuildChecked | Names:
    """Build an image from a Dockerfile."""
    options = build_options(session, _one_context(context, place), given)
    images = session.engine().images
    stdin = session.stdin if options.context == STDIN else None
    if given["call"] not in ("build", "check"):
        raise InvalidOption(f"--call {given['call']} is not known", hint="it is build or check")
    if given["check"] or given["call"] == "check":
        return images.check(
            options, stdin=stdin, on_event=session.on_event, cancelled=session.cancelled
        )
    if given["push"] and not options.tags:
        raise InvalidOption("--push needs a name", hint="add -t REGISTRY/NAME:TAG")
    result = images.build(
        options,
        stdin=stdin,
        on_event=ignore if quiet else session.on_event,
        cancelled=session.cancelled,
    )
    _write_down(session, result, given)
    for name in result.tags if given["push"] else ():
        images.push(name, on_event=session.on_event, cancelled=session.cancelled)
    return Names((_main_digest(result),)) if quiet else result


def _main_digest(result: BuildResult) -> str:
    """Return what identifies a result: the image ID, or the digest of an index."""
    return str(result.digest if result.platforms else result.image_id)


def _one_context(argument: str | None, option: str | None) -> str:
    """Return the context, wherever on the line it is said.

    Raises:
        InvalidOption: it is said twice.
        click.MissingParameter: it is not said.
    """
    if argument is not None and option is not None:
        raise InvalidOption(
            f"the context is said twice: {option} and {argument}", hint="leave one out"
        )
    said = argument if option is None else option
    if said is None:
        raise click.MissingParameter(param_hint="'PATH|URL|-'", param_type="argument")
    return said


def _write_down(session: Session, result: BuildResult, given: dict[str, object]) -> None:
    """Write the files that were asked for: the image ID alone, and what buildx says of a build.

    For several platforms both hold the digest of the index.
    """
    if given["iidfile"] is None and given["metadata_file"] is None:
        return
    metadata = {
        **({} if result.platforms else {"containerimage.config.digest": str(result.image_id)}),
        "containerimage.digest": str(result.digest),
        **({"image.name": ",".join(result.tags)} if result.tags else {}),
    }
    texts = {"iidfile": _main_digest(result), "metadata_file": json.dumps(metadata, indent=2)}
    for name, text in texts.items():
        path = given[name]
        if path is None:
            continue
        try:
            with open(session.path(str(path)), "w", encoding="utf-8") as file:
                file.write(text)
        except (OSError, ValueError) as err:
            why = getattr(err, "strerror", None) or str(err)
            option = "--" + name.replace("_", "-")
            raise InvalidOption(f"{option} {path} cannot be written", why=why) from err
