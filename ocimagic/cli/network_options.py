"""The options of ``run`` and ``create`` about networks and ports, and those of ``network``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ocimagic.cli.texts import pairs
from ocimagic.errors import InvalidOption
from ocimagic.model.namespace import CONTAINER_PREFIX
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
from ocimagic.model.options import NetworkMode, network_choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MTU = "com.docker.network.driver.mtu"
_KEYS = ("name", "alias", "ip", "ip6", "mac-address")


def network_options(given: Mapping[str, Any]) -> dict[str, object]:
    """Return what ``RunOptions`` takes of networks and ports.

    Raises:
        InvalidOption: what cannot be understood, or does not go together.
    """
    asked = [_asked(text) for text in given["network"]]
    first = asked[0] if asked else None
    options = _of_first(given)
    ports = tuple(each for text in given["publish"] for each in published_ports(text))
    wants_bridge = bool(options or ports or given["publish_all"])
    if first is None and wants_bridge:
        first = NetworkMode.NETWORK, "", NetworkChoice(network=BRIDGE)
        asked = [first]
    mode, container, _ = first or (NetworkMode.DEFAULT, "", None)
    choices = [choice for _, _, choice in asked if choice]
    if len(asked) > 1 and len(choices) != len(asked):
        others = ", ".join(text for text in given["network"])
        raise InvalidOption(
            f"--network {others}: these do not go together",
            why="none, host and container:NAME are all the network there is",
        )
    if not choices and options:
        word = next(iter(options))
        raise InvalidOption(
            f"--{_WORDS[word]} needs a network of the container's own",
            hint="--network NAME, of one that %network_create made",
        )
    if choices:
        choices[0] = replace(choices[0], **options)
    if ports and not choices and mode is not NetworkMode.HOST:
        raise InvalidOption(
            "ports cannot be published",
            why=f"--network {given['network'][0]} has no way to this machine",
        )
    return {
        "network": mode,
        "network_container": container,
        "networks": tuple(choices),
        "ports": ports if choices else (),
        "publish_all": given["publish_all"] and bool(choices),
        "exposed_ports": tuple(_exposed(text) for text in given["expose"]),
    }


_WORDS = {"aliases": "network-alias", "ipv4": "ip", "ipv6": "ip6", "mac": "mac-address"}


def _of_first(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of the first network, by options of their own."""
    said = {
        "aliases": tuple(given["network_alias"]),
        "ipv4": given["ip"] or "",
        "ipv6": given["ip6"] or "",
        "mac": check_mac(given["mac_address"]) if given["mac_address"] else "",
    }
    return {name: value for name, value in said.items() if value}


def _asked(text: str) -> tuple[NetworkMode, str, NetworkChoice | None]:
    """Read one ``--network``: a word, or ``name=NETWORK,alias=NAME,ip=ADDRESS``."""
    if "=" not in text:
        mode, name = network_choice(text)
        if mode is NetworkMode.NETWORK:
            return mode, "", NetworkChoice(network=name)
        return mode, name if text.startswith(CONTAINER_PREFIX) else "", None
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
    return (
        NetworkMode.NETWORK,
        "",
        NetworkChoice(
            network=check_network_name(found["name"][-1]),
            aliases=tuple(found.get("alias", ())),
            ipv4=found.get("ip", [""])[-1],
            ipv6=found.get("ip6", [""])[-1],
            mac=check_mac(found["mac-address"][-1]) if "mac-address" in found else "",
        ),
    )


def _exposed(text: str) -> str:
    """Read ``--expose PORT[/PROTOCOL]``."""
    port, _, protocol = text.partition("/")
    if not port.isascii() or not port.isdigit() or protocol not in ("", "tcp", "udp"):
        raise InvalidOption(f"--expose {text} is no port", hint="write 80, or 53/udp")
    return f"{int(port)}/{protocol or 'tcp'}"


def made_network(name: str, given: Mapping[str, Any]) -> NetworkOptions:
    """Return what ``network create`` asks for.

    Raises:
        InvalidOption: what cannot be understood.
    """
    options = pairs("--opt", given["opt"])
    mtu = options.get(_MTU, "0")
    if not mtu.isascii() or not mtu.isdigit():
        raise InvalidOption(f"--opt {_MTU}={mtu} is no number")
    return NetworkOptions(
        name=name,
        driver=given["driver"],
        subnets=_subnets(
            given["subnet"], given["gateway"], given["ip_range"], given["aux_address"]
        ),
        ipv6=given["ipv6"],
        internal=given["internal"],
        attachable=given["attachable"],
        mtu=int(mtu),
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
