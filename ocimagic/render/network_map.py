"""Networks and who is in them: in words, as tables, as a graph; the picture is next door."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from ocimagic.model.network import BRIDGE, HOST, NONE
from ocimagic.render.dot import digraph, filled, label
from ocimagic.render.escape import visible
from ocimagic.render.ports import port_words
from ocimagic.render.svg import BLUE, GREEN, VERMILLION
from ocimagic.render.table import Table
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import graphviz

    from ocimagic.model.network import NetworkEndpoint, NetworkMap, NetworkSummary
    from ocimagic.model.result import ContainerSummary

_DONOR = "container:"
_MOST_PAIRS = 6
_MOST_IN_MATRIX = 16


@dataclass(frozen=True, slots=True)
class Band:
    """One network with its members, as container ID and address; the address may be "".

    Attributes:
        kind: the driver, and ``internal``.
        way_out: in words.
        is_open: there is a way out.
    """

    name: str
    kind: str
    subnets: str
    gateway: str
    way_out: str
    is_open: bool
    members: Mapping[str, str]


def bands(network_map: NetworkMap) -> tuple[Band, ...]:
    """Return the networks; ``host`` and ``none`` only where a container has them."""
    found = []
    for each in network_map.networks:
        members = _members(each, network_map)
        if each.name in (HOST, NONE) and not members:
            continue
        found.append(_band(each, members))
    return tuple(found)


def _members(network: NetworkSummary, network_map: NetworkMap) -> dict[str, str]:
    if network.name in (HOST, NONE):
        return {
            each.container_id: "" for each in network_map.containers if each.network == network.name
        }
    return {
        each.container_id: ", ".join(_bare(place) for place in each.places if _is(place, network))
        for each in network_map.containers
        if any(_is(place, network) for place in each.places)
    }


def _is(place: NetworkEndpoint, network: NetworkSummary) -> bool:
    return place.network_id == network.network_id


def _bare(place: NetworkEndpoint) -> str:
    return " ".join(address.partition("/")[0] for address in place.addresses)


def _band(network: NetworkSummary, members: Mapping[str, str]) -> Band:
    kind, way_out, is_open = network.driver, "to the world", True
    if network.name == HOST:
        kind, way_out = "the machine's own", "as the machine"
    elif network.name == NONE:
        kind, way_out, is_open = "only itself", "no way out", False
    elif network.internal:
        kind, way_out, is_open = f"{network.driver}, internal", "no way out", False
    return Band(
        name=network.name,
        kind=kind,
        subnets=", ".join(each.subnet for each in network.subnets),
        gateway=", ".join(each.gateway for each in network.subnets if each.gateway),
        way_out=way_out,
        is_open=is_open,
        members=members,
    )


def ports_of(container: ContainerSummary) -> list[str]:
    """Return the machine's ports that lead to a container: ``8080 → 80/tcp``."""
    return [
        f"{_host(each.host_ip)}{each.host_port} → {each.container_port}" for each in container.ports
    ]


def _host(address: str) -> str:
    return "" if address in ("0.0.0.0", "::") else f"{address}:"  # noqa: S104  as docker has it


def donor_of(container: ContainerSummary, network_map: NetworkMap) -> ContainerSummary | None:
    """Return the container whose network this one shares, None if it has its own."""
    if not container.network.startswith(_DONOR):
        return None
    wanted = container.network.removeprefix(_DONOR)
    return next(
        (
            each
            for each in network_map.containers
            if each.name == wanted or each.container_id.startswith(wanted)
        ),
        None,
    )


def reach(one: ContainerSummary, other: ContainerSummary, network_map: NetworkMap) -> str:
    """Say how two containers reach each other; "" if they cannot."""
    one = donor_of(one, network_map) or one
    other = donor_of(other, network_map) or other
    if one.container_id == other.container_id:
        return "as one"
    if NONE in (one.network, other.network):
        return ""
    if HOST in (one.network, other.network):
        return "as the machine"
    there = {place.network_id for place in other.places}
    ways = [
        f"by {'address' if place.network == BRIDGE else 'name'} in {place.network}"
        for place in one.places
        if place.network_id in there
    ]
    return ", ".join(ways)


def strangers(network_map: NetworkMap) -> list[tuple[str, str]]:
    """Return the pairs of containers that have no network in common."""
    return [
        (one.name, other.name)
        for one, other in combinations(network_map.containers, 2)
        if not reach(one, other, network_map)
    ]


def strangers_sentence(network_map: NetworkMap) -> str:
    """Say who cannot reach whom."""
    pairs = strangers(network_map)
    if not pairs:
        return "Every container reaches every other." if len(network_map.containers) > 1 else ""
    said = "; ".join(f"{one} and {other}" for one, other in pairs[:_MOST_PAIRS])
    more = f"; and {len(pairs) - _MOST_PAIRS} more pairs" if len(pairs) > _MOST_PAIRS else ""
    return f"No network in common, so they cannot reach each other: {said}{more}."


def map_words(network_map: NetworkMap) -> str:
    """Say in words what the picture shows: its alternative text."""
    names = {each.container_id: each.name for each in network_map.containers}
    said = ["Networks and the containers in them."]
    for band in bands(network_map):
        inside = ", ".join(
            f"{names[each]} {address}".strip() for each, address in band.members.items()
        )
        facts = ", ".join(each for each in (band.kind, band.subnets, band.way_out) if each)
        said.append(f"{band.name} ({facts}): {inside or 'nobody'}.")
    said += [
        f"Port {port} of {each.name}." for each in network_map.containers for port in ports_of(each)
    ]
    return " ".join([*said, strangers_sentence(network_map)]).strip()


def map_text(network_map: NetworkMap) -> str:
    """Draw each network with its containers below it."""
    by_id = {each.container_id: each for each in network_map.containers}
    lines: list[str] = []
    for band in bands(network_map):
        facts = [band.kind, band.subnets, band.gateway and f"gateway {band.gateway}", band.way_out]
        lines.append(f"{band.name}  ({', '.join(filter(None, facts))})")
        members = [_member_line(by_id[each], address) for each, address in band.members.items()]
        for number, said in enumerate(members or ["nobody"], 1):
            lines.append(f"{'└─' if number >= len(members) else '├─'} {said}")
    lines += [
        f"{each.name} shares the network of {donor.name}"
        for each in network_map.containers
        if (donor := donor_of(each, network_map))
    ]
    lines.append(strangers_sentence(network_map))
    return "\n".join(visible(each) for each in lines if each)


def _member_line(container: ContainerSummary, address: str) -> str:
    return "  ".join(filter(None, (container.name, address, port_words(container.ports))))


def map_tables(network_map: NetworkMap) -> Iterator[Table]:
    """Lay out who is where, and who reaches whom."""
    by_id = {each.container_id: each for each in network_map.containers}
    rows: list[tuple[str, ...]] = []
    for band in bands(network_map):
        head = (band.name, band.kind, band.subnets, band.way_out)
        members = [
            (*head, by_id[each].name, address, port_words(by_id[each].ports))
            for each, address in band.members.items()
        ]
        rows += members or [(*head, "", "", "")]
    heads = ("NETWORK", "KIND", "SUBNET", "WAY OUT", "CONTAINER", "ADDRESS", "PORTS")
    yield Table("Who is in which network", heads, tuple(rows))
    people = network_map.containers
    if 1 < len(people) <= _MOST_IN_MATRIX:
        yield Table(
            "Who reaches whom",
            ("CONTAINER", *(each.name for each in people)),
            tuple(
                (
                    one.name,
                    *(
                        "" if one is other else reach(one, other, network_map) or "no"
                        for other in people
                    ),
                )
                for one in people
            ),
        )


def map_digraph(network_map: NetworkMap) -> graphviz.Digraph:
    """Model the same as a graph for people who have Graphviz."""
    graph = digraph("networks")
    graph.attr("edge", dir="none")
    for number, band in enumerate(bands(network_map)):
        words = label(band.name, band.kind, band.subnets, band.way_out)
        look = filled(BLUE) if band.is_open else filled(VERMILLION, "dashed")
        graph.node(f"network{number}", words, shape="ellipse", **look)
        for each, address in band.members.items():
            graph.edge(f"container {each}", f"network{number}", label(address))
    for container in network_map.containers:
        node = f"container {container.container_id}"
        graph.node(node, label(container.name, *ports_of(container)), **filled(GREEN))
        if donor := donor_of(container, network_map):
            graph.edge(node, f"container {donor.container_id}", label("shares its network"))
    return graph
