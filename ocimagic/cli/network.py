"""``docker network``: create, ls, inspect, rm, prune, connect, disconnect."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ocimagic.cli.each import forgiving, on_each
from ocimagic.cli.inspecting import inspected
from ocimagic.cli.network_options import made_network
from ocimagic.cli.parser import Noun, Verb
from ocimagic.cli.rows import NetworkRows
from ocimagic.cli.values import Names
from ocimagic.errors import OcimagicError
from ocimagic.model.network import NetworkChoice, NetworkMap, check_mac
from ocimagic.wire.filters import keep_networks

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.cli.values import InspectDocument

verb = partial(click.command, cls=Verb)
_FORMAT = click.option(
    "--format", "template", default="", metavar="TEMPLATE", help="json or fields"
)


@verb("create", usage="[OPTIONS] NETWORK")
@click.option("--attachable", is_flag=True, help="Kept for whoever looks")
@click.option("--aux-address", multiple=True, metavar="NAME=IP", help="An address nobody gets")
@click.option("-d", "--driver", default="bridge", metavar="DRIVER", help="bridge")
@click.option("--gateway", multiple=True, metavar="IP", help="This machine's address in it")
@click.option("--internal", is_flag=True, help="No way out")
@click.option("--ip-range", multiple=True, metavar="CIDR", help="Give addresses of this part only")
@click.option("--ipv6", is_flag=True, help="Addresses of IPv6, too")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Set a label")
@click.option("-o", "--opt", multiple=True, metavar="KEY=VALUE", help="Option of the driver")
@click.option("--subnet", multiple=True, metavar="CIDR", help="Its addresses, as 172.28.0.0/16")
@click.argument("name", metavar="NETWORK")
@click.pass_obj
def create(session: Session, /, name: str, **given: Any) -> Names:  # noqa: ANN401  docker's options
    """Make a network."""
    return Names((session.engine().networks.create(made_network(name, given)).network_id,))


@verb("ls", usage="[OPTIONS]")
@click.option(
    "-f",
    "--filter",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Keep what fits: name, id, driver, label, type, dangling",
)
@click.option("--no-trunc", is_flag=True, help="Show whole IDs")
@click.option("-q", "--quiet", is_flag=True, help="Show only IDs")
@_FORMAT
@click.pass_obj
def ls(
    session: Session,
    conditions: tuple[str, ...],
    template: str,
    *,
    no_trunc: bool,
    quiet: bool,
) -> NetworkRows | Names:
    """List networks."""
    rows = keep_networks(session.engine().networks.all(), conditions)
    if quiet:
        return Names(tuple(each.network_id if no_trunc else each.network_id[:12] for each in rows))
    shown = "" if template == "table" else template
    return NetworkRows(rows, template=shown, no_trunc=no_trunc)


@verb("inspect", takes="network", usage="[OPTIONS] NETWORK [NETWORK...]")
@click.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.option("-v", "--verbose", is_flag=True, help="The same, as docker has it without a swarm")
@click.argument("names", nargs=-1, required=True, metavar="NETWORK...")
@click.pass_obj
def inspect(
    session: Session, names: tuple[str, ...], template: str, *, verbose: bool
) -> InspectDocument | Names:
    """Show everything known of one or more networks."""
    del verbose
    return inspected(session, names, template, kind="network")


@verb("map", takes="network", usage="[NETWORK...]")
@click.argument("names", nargs=-1, metavar="[NETWORK...]")
@click.pass_obj
def map_(session: Session, names: tuple[str, ...]) -> NetworkMap:
    """Show networks, the containers in them, and who cannot reach whom (not in docker)."""
    engine = session.engine()
    networks = engine.networks
    chosen = tuple(map(networks.inspect, names)) if names else networks.all()
    containers = tuple(reversed(engine.containers.list()))  # in the order they were made
    if names:
        wanted = {each.name for each in chosen}
        containers = tuple(
            each
            for each in containers
            if wanted & {each.network, *(place.network for place in each.places)}
        )
    return NetworkMap(networks=chosen, containers=containers)


@verb("rm", takes="network", usage="NETWORK [NETWORK...]")
@click.option("-f", "--force", is_flag=True, help="One that is not there is no error")
@click.argument("names", nargs=-1, required=True, metavar="NETWORK...")
@click.pass_obj
def rm(session: Session, names: tuple[str, ...], *, force: bool) -> Names:
    """Remove networks."""
    remove = forgiving(session.engine().networks.remove, "", force=force)
    return Names(tuple(each for each in on_each(session, names, remove) if each))


@verb("prune", usage="[OPTIONS]")
@click.option("-f", "--force", is_flag=True, help="Do not ask")
@click.option("--filter", "conditions", multiple=True, metavar="KEY=VALUE", help="until, label")
@click.pass_obj
def prune(session: Session, conditions: tuple[str, ...], *, force: bool) -> Names:
    """Remove all networks that no container is to be in."""
    if not force and not session.confirm(
        "WARNING! This will remove all custom networks not used by at least one container."
    ):
        return Names(())
    networks = session.engine().networks
    wanted = {each.network_id for each in keep_networks(networks.all(), conditions)}
    gone = networks.prune(lambda each: each.network_id not in wanted)
    return Names(("Deleted Networks:", *gone)) if gone else Names(())


@verb("connect", takes="network container", usage="[OPTIONS] NETWORK CONTAINER")
@click.option("--alias", multiple=True, metavar="NAME", help="Another name for it there")
@click.option("--ip", default="", metavar="IP", help="Its address there")
@click.option("--ip6", default="", metavar="IP", help="Its address of IPv6 there")
@click.option("--mac-address", default="", metavar="MAC", help="Its link's address there")
@click.argument("network")
@click.argument("container")
@click.pass_obj
def connect(
    session: Session,
    network: str,
    container: str,
    alias: tuple[str, ...],
    ip: str,
    ip6: str,
    mac_address: str,
) -> None:
    """Bring a container into a network."""
    choice = NetworkChoice(
        network=network,
        aliases=alias,
        ipv4=ip,
        ipv6=ip6,
        mac=check_mac(mac_address) if mac_address else "",
    )
    session.engine().networks.connect(container, choice)


@verb("disconnect", takes="network container", usage="[OPTIONS] NETWORK CONTAINER")
@click.option("-f", "--force", is_flag=True, help="A container that is gone is no error")
@click.argument("network")
@click.argument("container")
@click.pass_obj
def disconnect(session: Session, network: str, container: str, *, force: bool) -> None:
    """Take a container out of a network."""
    try:
        session.engine().networks.disconnect(container, network)
    except OcimagicError as err:
        if not (force and err.http_status == 404):
            raise


network = Noun(
    "network",
    help="Networks: containers that find each other by name.",
    commands={
        "create": create,
        "ls": ls,
        "inspect": inspect,
        "map": map_,
        "rm": rm,
        "prune": prune,
        "connect": connect,
        "disconnect": disconnect,
    },
    aliases={"list": "ls", "remove": "rm"},
)
