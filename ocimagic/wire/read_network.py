"""Networks of docker's JSON documents: the inverse of ``network``.

Spec: Docker Engine API v1.41, Network, EndpointSettings, PortMap.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.model.network import NetworkEndpoint, NetworkSummary, Subnet
from ocimagic.model.network_words import mtu
from ocimagic.model.report import PortBinding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.spec.codec import Fields

_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  as docker shows it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def network_summary(document: Fields) -> NetworkSummary:
    """Read the document of ``network inspect``.

    Raises:
        InvalidDocument: it is none.
    """
    network_id, name = document.text("Id"), document.text("Name")
    options = document.text_map("Options")
    members = document.child("Containers")
    return NetworkSummary(
        network_id=network_id,
        name=name,
        driver=document.text("Driver", ""),
        created=document.time("Created") or _EPOCH,
        subnets=tuple(_subnet(each) for each in document.child("IPAM").children("Config")),
        ipv6=document.flag("EnableIPv6"),
        internal=document.flag("Internal"),
        attachable=document.flag("Attachable"),
        mtu=_mtu(options),
        labels=document.text_map("Labels"),
        options=options,
        endpoints=tuple(
            _member(members.child(each), each, name, network_id) for each in members.value
        ),
    )


def _mtu(options: Mapping[str, str]) -> int:
    try:
        return mtu("Options", options)
    except InvalidOption:  # another engine's own word
        return 0


def _subnet(each: Fields) -> Subnet:
    return Subnet(
        subnet=each.text("Subnet", ""),
        gateway=each.text("Gateway", ""),
        ip_range=each.text("IPRange", ""),
        reserved=each.text_map("AuxiliaryAddresses"),
    )


def _member(each: Fields, container_id: str, network: str, network_id: str) -> NetworkEndpoint:
    addresses = (each.text("IPv4Address", ""), each.text("IPv6Address", ""))
    return NetworkEndpoint(
        network=network,
        network_id=network_id,
        container_id=container_id,
        container=each.text("Name", ""),
        addresses=tuple(filter(None, addresses)),
        mac=each.text("MacAddress", ""),
    )


def endpoints(settings: Fields, container_id: str, container: str) -> tuple[NetworkEndpoint, ...]:
    """Read where a container is now: ``NetworkSettings.Networks``."""
    networks = settings.child("Networks")
    found = ((name, networks.child(name)) for name in networks.value)
    return tuple(
        NetworkEndpoint(
            network=name,
            network_id=each.text("NetworkID", ""),
            container_id=container_id,
            container=container,
            addresses=_with_lengths(
                each,
                ("IPAddress", "IPPrefixLen"),
                ("GlobalIPv6Address", "GlobalIPv6PrefixLen"),
            ),
            gateways=_with_lengths(
                each, ("Gateway", "IPPrefixLen"), ("IPv6Gateway", "GlobalIPv6PrefixLen")
            ),
            mac=each.text("MacAddress", ""),
            names=each.texts("DNSNames") or each.texts("Aliases"),
        )
        for name, each in found
        if each.text("IPAddress", "") or each.text("GlobalIPv6Address", "")
    )


def _with_lengths(each: Fields, *keys: tuple[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{each.text(address, '')}/{each.number(length, 0)}"
        for address, length in keys
        if each.text(address, "")
    )


def port_bindings(settings: Fields) -> tuple[PortBinding, ...]:
    """Read ``NetworkSettings.Ports``; every address of the machine is one line, as we have it."""
    return tuple(_bindings(settings.child("Ports")))


def _bindings(ports: Fields) -> Iterator[PortBinding]:
    for port in ports.value:
        anywhere = set()
        for each in ports.children(port):
            host, number = each.text("HostIp", "") or _ANYWHERE[0], each.text("HostPort", "0")
            if host in _ANYWHERE:
                if number in anywhere:
                    continue
                anywhere.add(number)
                host = _ANYWHERE[0]
            yield PortBinding(container_port=port, host_ip=host, host_port=int(number or 0))
