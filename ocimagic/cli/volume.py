"""``docker volume``, and podman's export and import of one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.each import forgiving, on_each
from ocimagic.cli.inspecting import inspected
from ocimagic.cli.parser import Noun, Verb
from ocimagic.cli.rows import VolumeRows
from ocimagic.cli.tar_output import into_file, streamed
from ocimagic.cli.texts import pairs
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption
from ocimagic.model.volume import LOCAL, VolumeOptions, check_driver_options, check_volume_driver
from ocimagic.wire.filters import keep_volumes

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.cli.values import InspectDocument, TarBytes
    from ocimagic.model.volume import VolumesPruned

verb = partial(click.command, cls=Verb)
_FORMAT = click.option(
    "-f", "--format", "template", default="", metavar="TEMPLATE", help="json or fields"
)
_WARNING = "WARNING! This will remove {} volumes not used by at least one container."
_NO = "Cluster volumes need a swarm, and this is an engine for one machine"


@verb("create", usage="[OPTIONS] [VOLUME]")
@click.option("-d", "--driver", default=LOCAL, metavar="local", help="Driver of the volume")
@click.option("--label", multiple=True, metavar="KEY[=VALUE]", help="Set a label")
@click.option("-o", "--opt", multiple=True, metavar="KEY=VALUE", help="Option of the driver")
@click.argument("name", required=False, default="", metavar="VOLUME")
@click.pass_obj
def create(
    session: Session, /, name: str, driver: str, label: tuple[str, ...], opt: tuple[str, ...]
) -> Names:
    """Make a volume."""
    options = VolumeOptions(
        name=name,
        driver=check_volume_driver(driver),
        labels=pairs("--label", label),
        options=check_driver_options(pairs("--opt", opt)),
    )
    return Names((session.engine().volumes.create(options).name,))


@verb("ls", usage="[OPTIONS]")
@click.option(
    "-f",
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Keep what fits: name, label, driver, dangling",
)
@click.option("-q", "--quiet", is_flag=True, help="Show only names")
@click.option("--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.pass_obj
def ls(
    session: Session, conditions: tuple[str, ...], template: str, *, quiet: bool
) -> VolumeRows | Names:
    """List volumes."""
    rows = keep_volumes(session.engine().volumes.all(), conditions)
    if quiet:
        return Names(tuple(each.name for each in rows))
    return VolumeRows(rows, template="" if template == "table" else template)


@verb("inspect", takes="volume", usage="[OPTIONS] VOLUME [VOLUME...]")
@_FORMAT
@click.argument("names", nargs=-1, required=True, metavar="VOLUME...")
@click.pass_obj
def inspect(session: Session, names: tuple[str, ...], template: str) -> InspectDocument | Names:
    """Show everything known of one or more volumes."""
    return inspected(session, names, template, kind="volume")


@verb("rm", takes="volume", usage="[OPTIONS] VOLUME [VOLUME...]")
@click.option("-f", "--force", is_flag=True, help="One that is not there is no error")
@click.argument("names", nargs=-1, required=True, metavar="VOLUME...")
@click.pass_obj
def rm(session: Session, names: tuple[str, ...], *, force: bool) -> Names:
    """Remove volumes with their files."""
    remove = forgiving(session.engine().volumes.remove, "{}", force=force)
    return Names(tuple(on_each(session, names, remove)))


@verb("prune", usage="[OPTIONS]")
@click.option("-a", "--all", "everything", is_flag=True, help="Volumes with a name, too")
@click.option("-f", "--force", is_flag=True, help="Do not ask")
@click.option("--filter", "conditions", multiple=True, metavar="KEY=VALUE", help="label, all")
@click.pass_obj
def prune(
    session: Session, conditions: tuple[str, ...], *, everything: bool, force: bool
) -> VolumesPruned | Names:
    """Remove volumes nobody named that no container was made with; with -a all of these."""
    volumes = session.engine().volumes
    wide = [each for each in conditions if each in ("all=1", "all=true")]
    everything = everything or bool(wide)
    others = [each for each in conditions if not each.startswith("all=")]
    wanted = {each.name for each in keep_volumes(volumes.all(), others)}
    warning = _WARNING.format("all local" if everything else "anonymous local")
    if not force and not session.confirm(warning):
        return Names(())
    return volumes.prune(lambda each: each.name not in wanted, all=everything)


@verb("export", takes="volume", usage="[OPTIONS] VOLUME")
@click.option("-o", "--output", metavar="FILE", help="Write to a file instead of standard output")
@click.argument("name", metavar="VOLUME")
@click.pass_obj
def export(session: Session, name: str, output: str | None) -> TarBytes | None:
    """Write all files of a volume as a tar."""
    volumes = session.engine().volumes
    if output is None:
        return streamed(session, lambda out: volumes.export(name, out))
    into_file(session, output, lambda write: volumes.export(name, write))
    return None


@verb("import", takes="volume path", usage="VOLUME FILE|-")
@click.argument("name", metavar="VOLUME")
@click.argument("source", metavar="FILE|-")
@click.pass_obj
def load(session: Session, name: str, source: str) -> None:
    """Unpack a tar into a volume that is there; - reads standard input."""
    volumes = session.engine().volumes
    if source == "-":
        if session.stdin is None:
            raise InvalidOption("there is no standard input", hint="%%docker … takes the cell")
        volumes.load(name, session.stdin)
        return
    try:
        with open(session.path(source), "rb") as file:
            volumes.load(name, file.fileno())
    except OSError as err:
        raise InvalidOption(f"cannot read {source}", why=err.strerror) from err


volume = Noun(
    "volume",
    help="Volumes: files that outlive containers.",
    commands={
        "create": create,
        "ls": ls,
        "inspect": inspect,
        "rm": rm,
        "prune": prune,
        "export": export,
        "import": load,
    },
    aliases={"list": "ls", "remove": "rm"},
    later={"update": _NO},
)
