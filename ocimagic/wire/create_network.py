"""Networks and ports of a request to create, and requests about networks.

Spec: Docker Engine API v1.41, ``NetworkingConfig``, ``EndpointSettings``, ``PortBinding``,
NetworkCreate and NetworkConnect.
"""

from __future__ import annotations

from ipaddress import ip_address as parsed_address
from typing import TYPE_CHECKING, Any

from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.model.name_words import ip_address
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
from ocimagic.model.network_words import Membership, exposed_port, joined, link, membership, mtu
from ocimagic.model.options import NetworkMode
from ocimagic.wire.reading import asked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.model.network import PublishedPort
    from ocimagic.wire.reading import Asked


def networks(config: Asked, host: Asked, endpoints: Asked) -> dict[str, Any]:
    """Return what ``RunOptions`` takes of networks and ports.

    Args:
        config: the body.
        host: its ``HostConfig``.
        endpoints: its ``NetworkingConfig``.

    Raises:
        InvalidOption: what cannot be understood, or does not go together.
        NotBuiltYet: what docker has and this version has not.
    """
    mode = host.text("NetworkMode", "") or NetworkMode.DEFAULT.value
    if config.flag("NetworkDisabled"):
        mode = NetworkMode.NONE.value
    settings = endpoints.objects("EndpointsConfig")
    of_first: dict[str, Any] = {}
    if mode in settings:
        of_first = endpoint(settings.pop(mode))
    first = membership(mode)
    if first.mode is not NetworkMode.NETWORK:
        # What goes for every endpoint was checked; nothing of it goes for a network of others.
        of_first = of_first if first.mode is NetworkMode.DEFAULT else {}
    mac = config.text("MacAddress", "")
    if mac and "mac" not in of_first:
        of_first["mac"] = check_mac(mac)
    more = [_member(name, each) for name, each in settings.items()]
    is_said = first.mode is not NetworkMode.DEFAULT
    ports = tuple(_published(host))
    found = joined(
        [*([first] if is_said else []), *more],
        [*([mode] if is_said else []), *settings],
        of_first=of_first,
        ports=ports,
        publish_all=host.flag("PublishAllPorts"),
    )
    return found | {"exposed_ports": _exposed(config, ports)}


def _member(name: str, settings: Asked) -> Membership:
    choice = NetworkChoice(network=check_network_name(name), **endpoint(settings))
    return Membership(NetworkMode.NETWORK, choice=choice)


def endpoint(settings: Asked) -> dict[str, Any]:
    """Return the fields of ``NetworkChoice`` that an ``EndpointSettings`` has."""
    ipam = settings.child("IPAMConfig")
    mac = settings.text("MacAddress", "")
    found = {
        "aliases": settings.texts("Aliases"),
        "ipv4": ipam.text("IPv4Address", ""),
        "ipv6": ipam.text("IPv6Address", ""),
        "mac": check_mac(mac) if mac else "",
        "links": tuple(link(text) for text in settings.texts("Links")),
        "link_local": tuple(_link_local(text) for text in ipam.texts("LinkLocalIPs")),
        "options": settings.text_map("DriverOpts"),
    }
    return {name: value for name, value in found.items() if value}


def _link_local(text: str) -> str:
    address = ip_address("LinkLocalIPs", text)
    if not parsed_address(address).is_link_local:
        raise InvalidOption(f"{text} is no link-local address")
    return address


def _published(host: Asked) -> Iterator[PublishedPort]:
    """Yield what ``PortBindings`` asks for; a port with no binding is only exposed."""
    bindings = host.child("PortBindings")
    for key in bindings.value:
        for each in bindings.children(key):
            address, port = each.text("HostIp", ""), each.text("HostPort", "")
            if ":" in address:
                address = f"[{address}]"
            outside = f"{address}:{port}:" if address else f"{port}:" if port else ""
            if port == "0":
                outside = f"{address}::" if address else ""
            yield from published_ports(f"{outside}{key}")


def _exposed(config: Asked, ports: tuple[PublishedPort, ...]) -> tuple[str, ...]:
    """Return what is exposed but not published, which docker's client sends with it."""
    published = {f"{each.container_port}/{each.protocol}" for each in ports}
    exposed = [
        port
        for text in config.objects("ExposedPorts")
        for port in _each_port(text)
        if port not in published
    ]
    return tuple(dict.fromkeys(exposed))


def _each_port(text: str) -> Iterator[str]:
    """Yield ``80/tcp``, and each of ``80-82/tcp``."""
    ports, slash, protocol = text.partition("/")
    if "-" in ports:
        for each in published_ports(text):
            yield f"{each.container_port}/{each.protocol}"
    else:
        yield exposed_port("ExposedPorts", f"{ports}{slash}{protocol.lower()}")


def network_create(body: object) -> NetworkOptions:
    """Read the body of ``POST /networks/create``.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: what docker has and this version has not.
    """
    given = asked(body, "network")
    for key in ("ConfigOnly", "ConfigFrom", "Ingress"):
        wanted = given.child(key).text("Network", "") if key == "ConfigFrom" else given.flag(key)
        if wanted:
            raise NotBuiltYet(f"{key} is not built yet", why="this is an engine for one machine")
    if "EnableIPv4" in given and not given.flag("EnableIPv4"):
        raise NotBuiltYet("a network without IPv4 is not built yet")
    ipam = given.child("IPAM")
    if (driver := ipam.text("Driver", "")) not in ("", "default"):
        raise InvalidOption(f"there is no IPAM driver {driver!r}", hint="write default")
    options = given.text_map("Options")
    return NetworkOptions(
        name=check_network_name(given.text("Name", "")),
        driver=given.text("Driver", "") or BRIDGE,
        subnets=tuple(_subnet(each) for each in ipam.children("Config") if any(each.value)),
        ipv6=given.flag("EnableIPv6"),
        internal=given.flag("Internal"),
        attachable=given.flag("Attachable"),
        mtu=mtu("Options", options),
        labels=given.text_map("Labels"),
        options=options,
    )


def _subnet(each: Asked) -> Subnet:
    # Both names are sent: the one of the API's document, and the one of docker's own source.
    reserved = each.text_map("AuxiliaryAddresses") | each.text_map("AuxAddress")
    return Subnet(
        subnet=check_subnet(each.text("Subnet", "")),
        gateway=each.text("Gateway", ""),
        ip_range=each.text("IPRange", ""),
        reserved=reserved,
    )


def network_connect(body: object, network: str) -> tuple[str, NetworkChoice]:
    """Read the body of ``POST /networks/{id}/connect``.

    Args:
        body: as ``json.loads`` returns it.
        network: the ID or name in its path.

    Returns:
        The container, and its place in the network.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: what docker has and this version has not.
    """
    given = asked(body, "connection")
    container = given.text("Container", "")
    if not container:
        raise InvalidOption("invalid connection: no container is named")
    return container, NetworkChoice(network=network, **endpoint(given.child("EndpointConfig")))
