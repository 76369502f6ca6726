"""Networks: made and removed here, and planned for each container that starts.

The kernel has nothing of a network until a container is in it; what is decided here is who has
which subnet and which address.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ocimagic.engine import known_hosts
from ocimagic.engine.network_plans import NetworkPlans, options_of
from ocimagic.errors import Conflict, DriverNotFound, InvalidState, NetworkNotFound
from ocimagic.model.network import (
    BRIDGE,
    PREDEFINED,
    NetworkChoice,
    NetworkOptions,
    NetworkSummary,
    check_network_name,
)
from ocimagic.network.neighbours import is_used

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Network, IPv6Network

    from ocimagic.store.networks import NetworkRecord

    Network = IPv4Network | IPv6Network


class Networks(NetworkPlans):
    """Verbs on networks."""

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
            raise DriverNotFound(
                f"there is no network driver {options.driver!r}", hint=f"write {BRIDGE}"
            )
        if options.name in PREDEFINED:
            raise Conflict(f"network with name {options.name} already exists")
        made = self._summary(self._add(options))
        self._note("create", made.network_id, made.name)
        return made

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
        self._note("destroy", record.network_id, record.name)
        return record.name

    def _note(self, action: str, network_id: str, name: str, container: str = "") -> None:
        said = {"container": container} if container else {}
        said |= {"name": name, "type": BRIDGE}
        self._containers.store.note("network", action, network_id, said)

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
            if self._containers.is_gone(record):  # its shim has removed it, and nobody looked since
                continue
            for choice in Document.decode(record.document).options.networks:
                yield choice.network
                with contextlib.suppress(NetworkNotFound):
                    yield self._find(choice.network).network_id

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
                with self.settling([choice]):
                    endpoint = self.endpoint(record, document, choice, inside)
                    with containers.connect(record) as connection:
                        connection.connect(endpoint.to_json())
                known_hosts.enter(containers.directory(record.container_id), document, endpoint)
            containers.store.containers.rewrite(record.container_id, document.encode())
        self._note("connect", network.network_id, network.name, record.container_id)

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
                was = self._places(record)
                with containers.connect(record) as connection:
                    connection.disconnect(found.network_id)
                known_hosts.leave(containers.directory(record.container_id), document, was, found)
            self._store.give_back(record.container_id, found.network_id)
            document = replace(document, options=replace(document.options, networks=rest))
            containers.store.containers.rewrite(record.container_id, document.encode())
        self._note("disconnect", found.network_id, found.name, record.container_id)

    def sweep(self) -> list[str]:
        """Take away what killed shims left in the kernel; return what that was."""
        if not is_used(self._containers.store.home.run):
            return []
        from ocimagic.engine.network_sweep import sweep  # for Linux only

        names = tuple(each.network_id for each in self._store.all())
        return sweep(self._containers, self._table, names, self._is_alive)

    def _summary(self, record: NetworkRecord) -> NetworkSummary:
        options = options_of(record)
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
