"""Where a container that starts is in its networks: which subnet, which address, which way out."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.bundle.hostfiles import machine_servers
from ocimagic.engine.addresses import (
    bridge_of,
    check_address,
    choose,
    clash,
    link_of,
    subnets,
    table_of,
)
from ocimagic.engine.connected import places
from ocimagic.engine.names import new_id
from ocimagic.engine.register import STATE_NAME, read_json
from ocimagic.engine.wayout import choose_way
from ocimagic.errors import Conflict, HostLacks
from ocimagic.home.locks import locked
from ocimagic.model.network import (
    BRIDGE,
    HOST,
    PREDEFINED,
    NetworkChoice,
    NetworkEndpoint,
    NetworkOptions,
    Subnet,
    check_mac,
)
from ocimagic.model.options import NetworkMode
from ocimagic.network.neighbours import is_grounded, leads_by_program
from ocimagic.network.plan import PROTOCOLS, RELAY, Endpoint, Plan, Port
from ocimagic.store.networks import NetworkRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from ocimagic.engine.record import Document
    from ocimagic.engine.register import Register
    from ocimagic.model.options import RunOptions
    from ocimagic.store.containers import ContainerRecord

    Network = IPv4Network | IPv6Network


# Where a lock is seen by all engines of root, whatever their data roots are.
_MACHINE = Path("/run")


class NetworkPlans:
    """What is decided for containers; ``Networks`` adds the verbs.

    Args:
        containers: those of the same engine.
    """

    def __init__(self, containers: Register) -> None:
        self._containers = containers
        self._store = containers.store.networks

    def lacks(self) -> str:
        """Say why this account cannot make networks; "" if it can."""
        unpacker = self._containers.unpacker
        if unpacker.copies:
            return "containers have no network of their own here"
        if unpacker.rootless and is_grounded(self._containers.store.home.run):
            return ""  # somebody is in one
        if unpacker.rootless:
            return str(self._containers.launcher.probe("probe_networks")["why"])
        from ocimagic.network.firewall import why_not  # for Linux only

        return why_not(self._table)

    @property
    def way_out(self) -> str:
        """Return what leads from networks to the world: "" if the machine's own routes do.

        Raises:
            HostLacks: what is asked for cannot be used.
        """
        if not self._containers.unpacker.rootless:
            return ""
        chosen = choose_way(self._containers.way_out)
        # What the first container found decides for all.
        is_led = leads_by_program(self._containers.store.home.run)
        return RELAY if is_led is False else chosen

    def _expect_rights(self) -> None:
        if why := self.lacks():
            raise HostLacks(
                "this account cannot make networks",
                why=why,
                hint="--network host shares the machine's network, --network none has none",
            )

    def usual(self, options: RunOptions) -> RunOptions:
        """Return what was asked for with the network that is meant when none is said."""
        if options.network is not NetworkMode.DEFAULT or self.lacks():
            return options
        usual = (NetworkChoice(network=BRIDGE),)
        return replace(options, network=NetworkMode.NETWORK, networks=usual)

    def check(self, choices: Sequence[NetworkChoice]) -> None:
        """See that the networks a container is to be in are there.

        Raises:
            NetworkNotFound: one is not.
            InvalidOption: an address that is no address, or not of the network.
            HostLacks: this account cannot make networks.
        """
        self._expect_rights()
        for choice in choices:
            record = self._find(choice.network)
            options = options_of(record)
            if choice.mac:
                check_mac(choice.mac)
            for asked, version in ((choice.ipv4, 4), (choice.ipv6, 6)):
                if asked:
                    check_address(record.name, options, asked, version)

    def plan(self, record: ContainerRecord, document: Document) -> Plan:
        """Decide where a container that starts is in its networks.

        Raises:
            NetworkNotFound: one is gone.
            Conflict: an address is another container's, or none is free.
        """
        endpoints = [
            self.endpoint(record, document, choice, f"eth{number}")
            for number, choice in enumerate(document.options.networks)
        ]
        endpoints.sort(key=lambda each: each.internal)  # the first gives the way out
        return Plan(
            room=str(self._containers.store.home.run),
            table=self._table,
            container=record.name,
            endpoints=tuple(endpoints),
            servers=machine_servers(document.options),
            way=self.way_out,
            ports=_ports(document),
        )

    def endpoint(
        self, record: ContainerRecord, document: Document, choice: NetworkChoice, inside: str
    ) -> Endpoint:
        """Give a container its place in a network.

        Args:
            record: the container's.
            document: the container's.
            choice: which network, and what it wants there.
            inside: the link's name in the container.

        Raises:
            NetworkNotFound: the network is gone.
            Conflict: an address is another container's, or none is free.
        """
        network = self._settled(self._find(choice.network))
        options = options_of(network)
        asked = {4: choice.ipv4, 6: choice.ipv6}

        def free(taken: dict[str, str]) -> list[str]:
            running = {address for address, who in taken.items() if self._is_alive(who)}
            return [
                choose(network.name, each, asked[ip_network(each.subnet).version], running)
                for each in options.subnets
            ]

        addresses = self._store.lease(network.network_id, record.container_id, free)
        prefixes = [ip_network(each.subnet).prefixlen for each in options.subnets]
        mac = (b"\x02\x42" + ip_address(addresses[0]).packed[-4:]).hex(":")
        is_default = network.name == BRIDGE
        names = () if is_default else (record.name, *choice.aliases, record.container_id[:12])
        return Endpoint(
            network_id=network.network_id,
            network=network.name,
            bridge=bridge_of(network.network_id),
            gateways=tuple(
                f"{each.gateway}/{prefix}"
                for each, prefix in zip(options.subnets, prefixes, strict=True)
            ),
            # Another one each time: the last one may be about to be removed.
            link=link_of(record.container_id, network.network_id) + os.urandom(2).hex(),
            inside=inside,
            mac=check_mac(choice.mac) if choice.mac else mac,
            addresses=tuple(
                f"{each}/{prefix}" for each, prefix in zip(addresses, prefixes, strict=True)
            ),
            names=tuple(dict.fromkeys((*names, document.hostname) if not is_default else ())),
            internal=options.internal,
            resolves=not is_default,
            mtu=options.mtu,
            links=tuple(":".join(each) for each in choice.links),
            link_local=choice.link_local,
        )

    def _settled(self, network: NetworkRecord) -> NetworkRecord:
        """Return a network whose subnets are nobody else's on this machine.

        Raises:
            Conflict: they are, and users have chosen the network or are in it.
        """
        options = options_of(network)
        if self._containers.unpacker.rootless or not (
            why := clash(options, bridge_of(network.network_id))
        ):
            return network
        is_asked = json.loads(network.document).get("asked", network.name != BRIDGE)
        if is_asked or self._endpoints(network):
            anew = f"%network_rm {network.name} and make it anew: a free one is taken"
            raise Conflict(
                f"a subnet of network {network.name} is in use on this machine",
                why=why,
                hint=anew if is_asked else f"stop what is in {network.name}: a free one is taken",
            )
        others = [each for each in self._store.all() if each.network_id != network.network_id]
        taken = [ip_network(each.subnet) for one in others for each in options_of(one).subnets]
        free = subnets(replace(options, subnets=()), network.network_id, taken)
        document = json.dumps(asdict(replace(options, subnets=free)) | {"asked": False})
        self._store.rewrite(network.network_id, document)
        return replace(network, document=document)

    @contextlib.contextmanager
    def settling(self, choices: Sequence[NetworkChoice]) -> Iterator[None]:
        """Decide alone on this machine where networks are that come up now.

        Engines of other data roots are seen by the links that their networks have: between
        choosing a subnet and making the link nobody else may choose.
        """
        with contextlib.ExitStack() as stack:
            if self._comes_up(choices) and os.access(_MACHINE, os.W_OK):
                stack.enter_context(locked(_MACHINE, "ocimagic-networks.lock"))
                if not self._comes_up(choices):
                    stack.close()  # another start of ours has brought it up meanwhile
            yield

    def _comes_up(self, choices: Sequence[NetworkChoice]) -> bool:
        """Say whether a network has no link yet that others of this machine could see."""
        if not choices or self._containers.unpacker.rootless:
            return False
        from ocimagic.linux.links import Links

        with Links() as links:
            there = {each.name for each in links.all()}
        return any(bridge_of(self._find(each.network).network_id) not in there for each in choices)

    # -- what there is ---------------------------------------------------------------

    @property
    def _table(self) -> str:
        """Return the name of this data root's packet rules."""
        return table_of(self._containers.store.home.data)

    def _find(self, name: str) -> NetworkRecord:
        if name in PREDEFINED:
            self._predefine()
        return self._store.find(name)

    def _predefine(self) -> None:
        """Make the networks that are always there, when they are first looked at."""
        there = {each.name for each in self._store.all()}
        for name, driver in zip(PREDEFINED, (BRIDGE, HOST, "null"), strict=True):
            if name not in there:
                with contextlib.suppress(Conflict):  # another engine was first
                    self._add(NetworkOptions(name=name, driver=driver))

    def _add(self, options: NetworkOptions) -> NetworkRecord:
        network_id = new_id()

        def make(there: Sequence[NetworkRecord]) -> NetworkRecord:
            taken = [
                ip_network(subnet.subnet) for each in there for subnet in options_of(each).subnets
            ]
            found = subnets(options, network_id, taken) if options.driver == BRIDGE else ()
            document = asdict(options) | {"subnets": [asdict(each) for each in found]}
            document["asked"] = bool(options.subnets)
            return NetworkRecord(network_id, options.name, time.time(), json.dumps(document))

        return self._store.add(make)

    def _is_kept(self, container_id: str) -> bool:
        from ocimagic.shim import client as shim

        return shim.is_kept(self._containers.directory(container_id))

    def _is_alive(self, container_id: str) -> bool:
        """Say whether a container runs, or is just being started."""
        # In this order: who is started is kept before the lock is let go.
        return self._containers.is_starting(container_id) or self._is_kept(container_id)

    def _places(self, record: ContainerRecord) -> tuple[NetworkEndpoint, ...]:
        """Return where a container is, if it runs."""
        if not self._is_kept(record.container_id):
            return ()
        state = read_json(self._containers.directory(record.container_id) / STATE_NAME)
        return places(record, state or {})

    def _endpoints(self, network: NetworkRecord) -> tuple[NetworkEndpoint, ...]:
        everybody = map(self._places, self._containers.store.containers.all())
        return tuple(
            each for some in everybody for each in some if each.network_id == network.network_id
        )


def _ports(document: Document) -> tuple[Port, ...]:
    """Return the ports to publish; those with the number 0 get one when the container starts."""
    asked = [
        Port(
            protocol=each.protocol,
            host_port=each.host_port,
            container_port=each.container_port,
            host_address=each.host_address,
            last_host_port=each.last_host_port,
        )
        for each in document.options.ports
    ]
    there = {(each.container_port, each.protocol) for each in asked}
    for text in document.exposed_ports if document.options.publish_all else ():
        number, _, protocol = text.partition("/")
        if protocol in PROTOCOLS and (int(number), protocol) not in there:
            asked.append(Port(protocol=protocol, host_port=0, container_port=int(number)))
    return tuple(asked)


def options_of(record: NetworkRecord) -> NetworkOptions:
    """Read what a network was made with, its subnets filled in."""
    content = json.loads(record.document)
    content.pop("asked", None)  # who made it said which subnets
    found = tuple(Subnet(**each) for each in content.pop("subnets"))
    return NetworkOptions(**content, subnets=found)
