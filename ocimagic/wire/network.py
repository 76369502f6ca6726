"""Networks as docker's JSON documents.

Spec: Docker Engine API v1.41, Network, EndpointSettings.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from ocimagic.wire.image import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.network import NetworkChoice, NetworkEndpoint, NetworkSummary, Subnet
    from ocimagic.model.report import PortBinding

_ANYWHERE = "0.0.0.0"  # noqa: S104  as docker shows it


def network_inspect(network: NetworkSummary) -> dict[str, object]:
    """Return the document of ``network inspect``."""
    return {
        "Name": network.name,
        "Id": network.network_id,
        "Created": timestamp(network.created),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": network.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [_subnet(each) for each in network.subnets],
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {each.container_id: _member(each) for each in network.endpoints},
        "Options": dict(network.options),
        "Labels": dict(network.labels),
    }


def network_list(networks: Iterable[NetworkSummary]) -> list[dict[str, object]]:
    """Return the answer of NetworkList; who is in a network only its own document says."""
    return [network_inspect(each) | {"Containers": {}} for each in networks]


def network_created(network: NetworkSummary) -> dict[str, object]:
    """Return the answer of NetworkCreate."""
    return {"Id": network.network_id, "Warning": ""}


def _subnet(subnet: Subnet) -> dict[str, object]:
    found: dict[str, object] = {"Subnet": subnet.subnet, "Gateway": subnet.gateway}
    if subnet.ip_range:
        found["IPRange"] = subnet.ip_range
    if subnet.reserved:
        found["AuxiliaryAddresses"] = dict(subnet.reserved)
    return found


def _member(endpoint: NetworkEndpoint) -> dict[str, object]:
    return {
        "Name": endpoint.container,
        "EndpointID": endpoint_id(endpoint),
        "MacAddress": endpoint.mac,
        "IPv4Address": _of(endpoint.addresses, 4),
        "IPv6Address": _of(endpoint.addresses, 6),
    }


def endpoint_id(endpoint: NetworkEndpoint) -> str:
    """Return a number for a place that is the same whenever it is asked for."""
    said = f"{endpoint.network_id} {endpoint.container_id}"
    return hashlib.sha256(said.encode()).hexdigest()


def endpoint_settings(
    endpoint: NetworkEndpoint | None, choice: NetworkChoice | None
) -> dict[str, object]:
    """Return docker's ``EndpointSettings``.

    Args:
        endpoint: the place; None of a container that does not run.
        choice: what was asked for; None for nothing.
    """
    address, address6 = (_interface(endpoint, version) for version in (4, 6))
    return {
        "IPAMConfig": _asked_addresses(choice),
        "Links": [":".join(each) for each in choice.links] or None if choice else None,
        "Aliases": list(choice.aliases) or None if choice else None,
        "DNSNames": list(endpoint.names) or None if endpoint else None,
        "NetworkID": endpoint.network_id if endpoint else "",
        "EndpointID": endpoint_id(endpoint) if endpoint else "",
        "Gateway": _gateway(endpoint, 4),
        "IPAddress": address[0],
        "IPPrefixLen": address[1],
        "IPv6Gateway": _gateway(endpoint, 6),
        "GlobalIPv6Address": address6[0],
        "GlobalIPv6PrefixLen": address6[1],
        "MacAddress": endpoint.mac if endpoint else choice.mac if choice else "",
        "DriverOpts": dict(choice.options) or None if choice else None,
        "GwPriority": 0,
    }


def _asked_addresses(choice: NetworkChoice | None) -> dict[str, object] | None:
    if choice is None:
        return None
    asked: dict[str, object] = {
        "IPv4Address": choice.ipv4,
        "IPv6Address": choice.ipv6,
        "LinkLocalIPs": list(choice.link_local),
    }
    return {name: wish for name, wish in asked.items() if wish} or None


def port_map(
    ports: Iterable[PortBinding], exposed: Sequence[str] = ()
) -> dict[str, list[dict[str, str]] | None]:
    """Return docker's ``PortMap`` of a container that runs."""
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(exposed)
    for each in ports:
        hosts = [_ANYWHERE, "::"] if each.host_ip == _ANYWHERE else [each.host_ip]
        there = found.get(each.container_port) or []
        there += [{"HostIp": host, "HostPort": str(each.host_port)} for host in hosts]
        found[each.container_port] = there
    return found


def port_list(ports: Iterable[PortBinding], exposed: Sequence[str] = ()) -> list[dict[str, object]]:
    """Return the ``Ports`` of a container in a list."""
    made: list[dict[str, object]] = []
    for port, hosts in port_map(ports, exposed).items():
        number, _, protocol = port.partition("/")
        inside = {"PrivatePort": int(number), "Type": protocol}
        made += [
            {"IP": each["HostIp"], "PublicPort": int(each["HostPort"])} | inside
            for each in hosts or ()
        ]
        if not hosts:
            made.append(inside)
    return made


def _of(addresses: Iterable[str], version: int) -> str:
    return next((each for each in addresses if ip_interface(each).version == version), "")


def _interface(endpoint: NetworkEndpoint | None, version: int) -> tuple[str, int]:
    found = _of(endpoint.addresses, version) if endpoint else ""
    return (
        (str(ip_interface(found).ip), ip_interface(found).network.prefixlen) if found else ("", 0)
    )


def _gateway(endpoint: NetworkEndpoint | None, version: int) -> str:
    found = _of(endpoint.gateways, version) if endpoint else ""
    return str(ip_interface(found).ip) if found else ""
