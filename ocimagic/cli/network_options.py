"""The options of ``run`` and ``create`` about networks and ports, and those of ``network``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ocimagic.cli.texts import pairs
from ocimagic.errors import InvalidOption
from ocimagic.model.network import (
    BRIDGE,
    NetworkChoice,
    NetworkOptions,
    Subnet,
    check_mac,
    check_network_name,
    check_subnet,
    published_ports,
)
from ocimagic.model.network_words import (
    Membership,
    exposed_port,
    joined,
    membership,
    mtu,
)
from ocimagic.model.options import NetworkMode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEYS = ("name", "alias", "ip", "ip6", "mac-address")


def network_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``RunOptions`` takes of networks and ports.

    Raises:
        InvalidOption: what cannot be understood, or does not go together.
    """
    found = joined(
        [_asked(text) for text in given["network"]],
        given["network"],
        of_first=_of_first(given),
        ports=tuple(each for text in given["publish"] for each in published_ports(text)),
        publish_all=given["publish_all"],
    )
    links, networks = given["link"], found["networks"]
    if links and networks and networks[0].network != BRIDGE:
        # In a network of one's own it is a name for its name server, too.
        found["networks"] = (replace(networks[0], links=links), *networks[1:])
    exposed = tuple(exposed_port("--expose", text) for text in given["expose"])
    return {**found, "links": links, "exposed_ports": exposed}


def _of_first(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of the first network, by options of their own."""
    said = {
        "aliases": tuple(given["network_alias"]),
        "ipv4": given["ip"] or "",
        "ipv6": given["ip6"] or "",
        "mac": check_mac(given["mac_address"]) if given["mac_address"] else "",
    }
    return {name: value for name, value in said.items() if value}


def _asked(text: str) -> Membership:
    """Read one ``--network``: a word, or ``name=NETWORK,alias=NAME,ip=ADDRESS``."""
    if "=" not in text:
        return membership(text)
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if key not in _KEYS or not equals or not value:
            raise InvalidOption(
                f"--network {text}: {part!r} is not understood",
                hint=f"write KEY=VALUE with {', '.join(_KEYS)}",
            )
        found.setdefault(key, []).append(value)
    if "name" not in found:
        raise InvalidOption(f"--network {text} names no network", hint="name=NETWORK")
    choice = NetworkChoice(
        network=check_network_name(found["name"][-1]),
        aliases=tuple(found.get("alias", ())),
        ipv4=found.get("ip", [""])[-1],
        ipv6=found.get("ip6", [""])[-1],
        mac=check_mac(found["mac-address"][-1]) if "mac-address" in found else "",
    )
    return Membership(NetworkMode.NETWORK, choice=choice)


def made_network(name: str, given: Mapping[str, Any]) -> NetworkOptions:
    """Return what ``network create`` asks for.

    Raises:
        InvalidOption: what cannot be understood.
    """
    options = pairs("--opt", given["opt"])
    return NetworkOptions(
        name=name,
        driver=given["driver"],
        subnets=_subnets(
            given["subnet"], given["gateway"], given["ip_range"], given["aux_address"]
        ),
        ipv6=given["ipv6"],
        internal=given["internal"],
        attachable=given["attachable"],
        mtu=mtu("--opt", options),
        labels=pairs("--label", given["label"]),
        options=options,
    )


def _subnets(
    subnets: Sequence[str], gateways: Sequence[str], ranges: Sequence[str], aux: Sequence[str]
) -> tuple[Subnet, ...]:
    """Bring together what belongs together: each gateway and range is in one of the subnets."""
    from ipaddress import ip_address, ip_network

    made = []
    left = {"gateway": list(gateways), "ip-range": list(ranges), "aux-address": list(aux)}
    reserved = pairs("--aux-address", aux)
    for text in subnets:
        subnet = ip_network(check_subnet(text))
        mine: dict[str, str] = {}
        for option, each in [(o, e) for o in ("gateway", "ip-range") for e in list(left[o])]:
            try:
                address = ip_network(each, strict=False).network_address
            except ValueError as err:
                raise InvalidOption(f"--{option} {each} is no address", why=str(err)) from err
            if address.version == subnet.version and address in subnet and option not in mine:
                mine[option] = each
                left[option].remove(each)
        names = {}
        for name, each in reserved.items():
            try:
                is_inside = ip_address(each) in subnet
            except ValueError as err:
                raise InvalidOption(f"--aux-address {name}={each} is no address") from err
            if is_inside:
                names[name] = each
                left["aux-address"] = [x for x in left["aux-address"] if x != f"{name}={each}"]
        made.append(
            Subnet(
                subnet=str(subnet),
                gateway=mine.get("gateway", ""),
                ip_range=mine.get("ip-range", ""),
                reserved=names,
            )
        )
    for option, rest in left.items():
        if rest:
            raise InvalidOption(
                f"--{option} {rest[0]} is in no --subnet", hint="say the --subnet it is in"
            )
    return tuple(made)
