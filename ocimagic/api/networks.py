"""Networks.

Spec: Docker Engine API v1.50, "Network".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.api.exchange import Answer
from ocimagic.api.system import conditions
from ocimagic.errors import NameInUse
from ocimagic.wire.create_network import network_connect, network_create
from ocimagic.wire.disk import networks_pruned
from ocimagic.wire.filters import keep_networks
from ocimagic.wire.network import network_created, network_inspect, network_list
from ocimagic.wire.reading import asked

if TYPE_CHECKING:
    from ocimagic.api.exchange import Exchange
    from ocimagic.api.service import Service


def listed(service: Service, exchange: Exchange) -> Answer:
    """List networks."""
    kept = keep_networks(service.engine.networks.all(), conditions(exchange))
    return Answer(200, network_list(kept))


def inspect(service: Service, _exchange: Exchange, network: str) -> Answer:
    """Return a network and who is in it."""
    return Answer(200, network_inspect(service.engine.networks.inspect(network)))


def create(service: Service, exchange: Exchange) -> Answer:
    """Make a network."""
    options = network_create(exchange.json())
    try:
        made = service.engine.networks.create(options)
    except NameInUse as err:
        raise NameInUse(f"network with name {options.name} already exists") from err
    return Answer(201, network_created(made))


def remove(service: Service, _exchange: Exchange, network: str) -> Answer:
    """Remove a network."""
    service.engine.networks.remove(network)
    return Answer(204)


def connect(service: Service, exchange: Exchange, network: str) -> Answer:
    """Bring a container into a network."""
    found = service.engine.networks.inspect(network)
    container, choice = network_connect(exchange.json(), found.name)
    service.engine.networks.connect(container, choice)
    return Answer(200)


def disconnect(service: Service, exchange: Exchange, network: str) -> Answer:
    """Take a container out of a network."""
    given = asked(exchange.json(), "network disconnect")
    service.engine.networks.disconnect(given.text("Container", ""), network)
    return Answer(200)


def prune(service: Service, exchange: Exchange) -> Answer:
    """Remove all networks that no container is to be in."""
    asked_for = conditions(exchange)
    service.engine.containers.list(all=True)  # those with --rm that ended are gone then
    gone = service.engine.networks.prune(lambda each: not keep_networks([each], asked_for))
    return Answer(200, networks_pruned(gone))
