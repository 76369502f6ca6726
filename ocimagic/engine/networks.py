"""Networks: made and removed here, and planned for each container that starts.

The kernel has nothing of a network until a container is in it; what is decided here is who has
which subnet and which address.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from ocimagic.bundle.hostfiles import machine_servers
from ocimagic.engine.addresses import bridge_of, check_address, choose, link_of, subnets
from ocimagic.engine.connected import places
from ocimagic.engine.names import new_id
from ocimagic.engine.register import STATE_NAME, read_json
from ocimagic.errors import Conflict, HostLacks, InvalidOption, InvalidState, NetworkNotFound
from ocimagic.model.network import (
    BRIDGE,
    HOST,
    PREDEFINED,
    NetworkChoice,
    NetworkEndpoint,
    NetworkOptions,
    NetworkSummary,
    Subnet,
    check_mac,
    check_network_name,
)
from ocimagic.model.options import NetworkMode
from ocimagic.network.neighbours import is_used
from ocimagic.network.plan import PROTOCOLS, Endpoint, Plan, Port
from ocimagic.store.networks import NetworkRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from ocimagic.engine.record import Document
    from ocimagic.engine.register import Register
    from ocimagic.model.options import RunOptions
    from ocimagic.store.containers import ContainerRecord

    Network = IPv4Network | IPv6Network


class Networks:
    """Verbs on networks, and the plan of a container's.

    Args:
        containers: those of the same engine.
    """

    def __init__(self, containers: Register) -> None:
        self._containers = containers
        self._store = containers.store.networks

    # -- verbs ---------------------------------------------------------------------

    def create(self, options: NetworkOptions) -> NetworkSummary:
        """Make a network.

        Raises:
            InvalidOption: a name, driver or subnet that cannot be.
            NameInUse: another network has this name.
            Conflict: its subnet is another network's, or none is free.
            HostLacks: this account cannot make networks.
        """
        check_network_name(options.name)
        self._expect_rights()
        if options.driver != BRIDGE:
            raise InvalidOption(
                f"there is no network driver {options.driver!r}", hint=f"write {BRIDGE}"
            )
        if options.name in PREDEFINED:
            raise Conflict(f"network with name {options.name} already exists")
        return self._summary(self._add(options))

    def all(self) -> tuple[NetworkSummary, ...]:
        """Return all networks, those that are always there first."""
        self._predefine()
        return tuple(map(self._summary, self._store.all()))

    def inspect(self, name: str) -> NetworkSummary:
        """Return one network and who is in it.

        Raises:
            NetworkNotFound: there is none of this name or ID.
        """
        return self._summary(self._find(name))

    def remove(self, name: str) -> str:
        """Remove a network; return its name.

        Raises:
            NetworkNotFound: there is none of this name or ID.
            Conflict: it is always there, or running containers are in it.
        """
        record = self._find(name)
        if record.name in PREDEFINED:
            raise Conflict(f"{record.name} is a pre-defined network and cannot be removed")
        users = self._endpoints(record)
        if users:
            names = ", ".join(each.container for each in users)
            raise Conflict(
                f"network {record.name} has active endpoints",
                why=f"these containers are in it: {names}",
                hint=f"%network_disconnect {record.name} {users[0].container}, or stop them first",
            )
        self._store.remove(record.network_id)
        return record.name

    def prune(self, keep: Callable[[NetworkSummary], bool] = lambda _: False) -> tuple[str, ...]:
        """Remove all networks that no container is to be in; return their names.

        Args:
            keep: those it says yes to stay.
        """
        wanted = set(self._wanted())
        gone = []
        for each in self.all():
            if each.name in PREDEFINED or {each.name, each.network_id} & wanted or keep(each):
                continue
            with contextlib.suppress(NetworkNotFound, Conflict):
                gone.append(self.remove(each.network_id))
        return tuple(gone)

    def _wanted(self) -> Iterator[str]:
        """Yield the networks that containers name, by name or ID as they do."""
        from ocimagic.engine.record import Document

        for record in self._containers.store.containers.all():
            for choice in Document.decode(record.document).options.networks:
                yield choice.network
                with contextlib.suppress(NetworkNotFound):
                    yield self._find(choice.network).network_id

    # -- plans ---------------------------------------------------------------------

    def lacks(self) -> str:
        """Say why this account cannot make networks; "" if it can."""
        unpacker = self._containers.unpacker
        if unpacker.rootless or unpacker.copies:
            return "links of the machine are root's"
        from ocimagic.network.firewall import why_not  # for Linux only

        return why_not(self._table)

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
            options = _options(record)
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
        network = self._find(choice.network)
        options = _options(network)
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
        )

    def connect(self, container: str, choice: NetworkChoice) -> None:
        """Bring a container into one more network, running or not.

        Raises:
            ContainerNotFound, NetworkNotFound: there is none of this name.
            InvalidState: it has no network of its own, or is in this one already.
        """
        from ocimagic.engine.record import Document

        containers = self._containers
        record = containers.find(container)
        self.check([choice])
        with containers.locked(record):
            document = Document.decode(containers.find(record.container_id).document)
            network = self._find(choice.network)
            there = document.options.networks
            if any(self._find(each.network).network_id == network.network_id for each in there):
                raise InvalidState(f"container {record.name} is in network {network.name} already")
            if (not there and document.network == "host") or document.joined.get("network"):
                raise InvalidState(
                    f"container {record.name} has no network of its own",
                    why=f"it uses that of {document.network}",
                )
            document = replace(
                document, options=replace(document.options, networks=(*there, choice))
            )
            if self._is_kept(record.container_id):
                used = {each.inside for each in self._places(record)}
                inside = next(f"eth{n}" for n in range(1000) if f"eth{n}" not in used)
                endpoint = self.endpoint(record, document, choice, inside)
                with containers.connect(record) as connection:
                    connection.connect(endpoint.to_json())
            containers.store.containers.rewrite(record.container_id, document.encode())

    def disconnect(self, container: str, network: str) -> None:
        """Take a container out of a network, running or not.

        Raises:
            ContainerNotFound, NetworkNotFound: there is none of this name.
            InvalidState: it is not in it.
        """
        from ocimagic.engine.record import Document

        containers = self._containers
        record, found = containers.find(container), self._find(network)
        with containers.locked(record):
            document = Document.decode(containers.find(record.container_id).document)
            rest = tuple(
                each
                for each in document.options.networks
                if self._find(each.network).network_id != found.network_id
            )
            if len(rest) == len(document.options.networks):
                raise InvalidState(f"container {record.name} is not in network {found.name}")
            if self._is_kept(record.container_id):
                with containers.connect(record) as connection:
                    connection.disconnect(found.network_id)
            self._store.give_back(record.container_id, found.network_id)
            document = replace(document, options=replace(document.options, networks=rest))
            containers.store.containers.rewrite(record.container_id, document.encode())

    def sweep(self) -> list[str]:
        """Take away what killed shims left in the kernel; return what that was."""
        from ocimagic.network.sweep import Living, sweep  # for Linux only

        room = self._containers.store.home.run
        if not is_used(room):
            return []

        def look() -> Living:
            networks = [each.network_id for each in self._store.all()]
            alive = [
                each.container_id
                for each in self._containers.store.containers.all()
                if self._is_alive(each.container_id)
            ]
            return Living(
                bridges={bridge_of(each) for each in networks},
                links=tuple(link_of(who, where) for who in alive for where in networks),
                containers=set(alive),
            )

        return sweep(str(room), self._table, look)

    # -- what there is ---------------------------------------------------------------

    @property
    def _table(self) -> str:
        """Return the name of this data root's packet rules."""
        home = str(self._containers.store.home.data)
        return f"ocimagic-{hashlib.sha256(home.encode()).hexdigest()[:8]}"

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
                ip_network(subnet.subnet) for each in there for subnet in _options(each).subnets
            ]
            found = subnets(options, network_id, taken) if options.driver == BRIDGE else ()
            document = asdict(options) | {"subnets": [asdict(each) for each in found]}
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

    def _summary(self, record: NetworkRecord) -> NetworkSummary:
        options = _options(record)
        return NetworkSummary(
            network_id=record.network_id,
            name=record.name,
            driver=options.driver,
            created=datetime.fromtimestamp(record.created, UTC),
            subnets=options.subnets,
            ipv6=any(ip_network(each.subnet).version == 6 for each in options.subnets),
            internal=options.internal,
            attachable=options.attachable,
            mtu=options.mtu,
            labels=options.labels,
            options=options.options,
            endpoints=self._endpoints(record),
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


def _options(record: NetworkRecord) -> NetworkOptions:
    content = json.loads(record.document)
    found = tuple(Subnet(**each) for each in content.pop("subnets"))
    return NetworkOptions(**content, subnets=found)
