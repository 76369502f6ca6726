"""The packet rules of a data root: one table of our own, whose rules never change.

What changes are its sets and maps: which links are bridges of ours, which of them have no way
out, and which ports of the machine lead where.

::

    published     a port of the machine → its container       (maps bound4, bound6: of one
                                                               address; ports4, ports6: of all)
    prerouting    what comes for the machine goes through ``published``,
    output        what the machine itself sends to itself, too
    postrouting   leaves our bridges with the machine's address; what the machine sends to a
                  container, or a container to a published port of its own network or its
                  own (sets self4, self6), comes back
    forward       answers, published ports and what stays on one bridge may pass; nothing else
                  may come to our bridges, nor leave those that are internal
    ways          in an account's own network namespace: what a container (maps ways4, ways6)
                  sends to the world, or to a gateway, is handed to its relay

Others' rules are never touched, but for one place: a chain that dockerd makes for what others
have to add, since its policy would drop our packets.

Source: nft(8); docker's documentation, "Packet filtering and firewalls".
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.linux import nftables as nft
from ocimagic.linux import syscalls
from ocimagic.linux.nftables import WORD, Table, link_key
from ocimagic.network.plan import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from ocimagic.linux.netlink import Netlink
    from ocimagic.network.plan import Port

    Address = IPv4Address | IPv6Address

_CAP_NET_ADMIN = 12
MARK = 1  # what relays get; a route of the ground keeps it
BRIDGES, INTERNAL, SAME = "bridges", "internal", "same"
WAY_OUT = "oci-out"  # a link of the ground that leads to the world, if there is one
DOCKERS = "DOCKER-USER"
_FAMILIES = {
    4: (socket.AF_INET, nft.IPV4_ADDRESS, 4, 16),
    6: (socket.AF_INET6, nft.IPV6_ADDRESS, 16, 24),
}
_ACCEPT, _DROP = nft.verdict(nft.ACCEPT), nft.verdict(nft.DROP)


class Published(NamedTuple):
    """A port of the machine, and where it leads."""

    set_name: str
    key: bytes
    target: str


class Firewall:
    """The rules of one data root; changes are done by ``commit``, all or none.

    Args:
        name: of the table.
        relayed: containers reach the world through relays, not by routes.
        kernel: a netfilter socket to use, see ``Table``.
    """

    def __init__(self, name: str, *, relayed: bool = False, kernel: Netlink | None = None) -> None:
        self.name = name
        self._relayed = relayed
        self._table = Table(name, kernel=kernel)
        self._dockers = [Table("filter", family, kernel) for family in (nft.IPV4, nft.IPV6)]

    def commit(self) -> None:
        """Do what was asked for.

        Raises:
            NetlinkError: the kernel refused; nothing was done.
        """
        self._table.commit()
        for each in self._dockers:
            each.commit()

    @property
    def is_there(self) -> bool:
        """Say whether the table has been made."""
        return bool(self._table.rules("forward"))

    def make(self) -> None:
        """Make the table and its rules, if they are not there."""
        if not self.is_there:
            _write_rules(self._table)
            if self._relayed:
                _write_ways(self._table)

    def delete(self) -> None:
        """Remove all of it."""
        self._table.delete()
        self._forget_in_dockers(None)

    # -- bridges -------------------------------------------------------------------

    def bridges(self) -> list[str]:
        """Return the names of the bridges that the rules know."""
        return [key.rstrip(b"\0").decode() for key, _ in self._table.elements(BRIDGES)]

    def add_bridge(self, name: str, *, internal: bool) -> None:
        """Let a bridge's packets through, out of it only if it is not internal."""
        for which, key in self._keys(name, internal=internal):
            self._table.add_element(which, key)
        self.tell_docker(name)

    def tell_docker(self, name: str) -> None:
        """Let a bridge's packets through where dockerd would drop them; again does nothing."""
        for table in self._dockers:
            known = table.rules(DOCKERS)
            if not known or any(note == self._note(name) for _, note in known):
                continue
            for direction in (nft.FROM_LINK, nft.TO_LINK):
                chosen = nft.meta(direction), nft.equals(link_key(name))
                table.rule(DOCKERS, *chosen, _ACCEPT, first=True, note=self._note(name))

    def remove_bridge(self, name: str) -> None:
        """Know a bridge no more."""
        key = link_key(name)
        for which in (BRIDGES, INTERNAL, SAME):
            found = {each for each, _ in self._table.elements(which)}
            wanted = key * 2 if which == SAME else key
            if wanted in found:
                self._table.delete_element(which, wanted)
        self._forget_in_dockers(name)

    def _keys(self, name: str, *, internal: bool) -> list[tuple[str, bytes]]:
        key = link_key(name)
        return [(BRIDGES, key), (SAME, key * 2), *([(INTERNAL, key)] if internal else [])]

    def _note(self, bridge: str) -> str:
        return f"{self.name}: {bridge}"

    def _forget_in_dockers(self, bridge: str | None) -> None:
        for table in self._dockers:
            for number, note in table.rules(DOCKERS):
                mine = note == self._note(bridge) if bridge else note.startswith(f"{self.name}: ")
                if mine:
                    table.delete_rule(DOCKERS, number)

    # -- ways out ------------------------------------------------------------------

    def let_out(self, sources: Sequence[Address], ways: Mapping[str, int]) -> None:
        """Hand what comes from these addresses to a relay.

        Args:
            sources: a container's.
            ways: ports of the relay's sockets, by protocol and version: ``tcp4``.
        """
        for source in sources:
            for protocol, number in PROTOCOLS.items():
                port = ways.get(f"{protocol}{source.version}")
                if port:
                    key = struct.pack("=B3x", number) + source.packed
                    self._table.add_element(f"ways{source.version}", key, nft.port_value(port))

    def keep_in(self, sources: Collection[str]) -> None:
        """Let nothing out any more that comes from these addresses."""
        for name, key, source in self._let_out():
            if source in sources:
                self._table.delete_element(name, key)

    def ways(self) -> set[str]:
        """Return the addresses that relays serve."""
        return {source for _, _, source in self._let_out()}

    def _let_out(self) -> list[tuple[str, bytes, str]]:
        return [
            (f"ways{version}", key, str(ip_address(key[4 : 4 + length])))
            for version, (_, _, length, _) in _FAMILIES.items()
            for key, _ in self._table.elements(f"ways{version}")
        ]

    # -- ports ---------------------------------------------------------------------

    def publish(self, port: Port, targets: Sequence[Address]) -> None:
        """Let a port of the machine lead to a container, for each family it has an address of."""
        for target in targets:
            name, key = _place_of(port, target.version)
            if name:
                value = target.packed + nft.port_value(port.container_port)
                self._table.add_element(name, key, value)
                self._table.add_element(f"self{target.version}", target.packed * 2)

    def unpublish(self, ports: Sequence[Port], targets: Sequence[Address]) -> None:
        """Take back what ``publish`` said; ``commit`` fails if any of it is gone already."""
        for target in targets:
            places = {_place_of(port, target.version) for port in ports}
            for name, key in sorted(each for each in places if each[0]):
                self._table.delete_element(name, key)
            if any(name for name, _ in places):
                self._table.delete_element(f"self{target.version}", target.packed * 2)

    def published(self) -> list[Published]:
        """Return all ports that lead somewhere."""
        made = []
        for version, (_, _, length, _) in _FAMILIES.items():
            for name in (f"ports{version}", f"bound{version}"):
                for key, value in self._table.elements(name):
                    made.append(Published(name, key, str(ip_address(value[:length]))))
        return made

    def withdraw(self, targets: Collection[str]) -> None:
        """Let no port lead to these addresses any more."""
        for each in self.published():
            if each.target in targets:
                self._table.delete_element(each.set_name, each.key)
        for version, (_, _, length, _) in _FAMILIES.items():
            for key, _ in self._table.elements(f"self{version}"):
                if str(ip_address(key[:length])) in targets:
                    self._table.delete_element(f"self{version}", key)


def why_not(name: str) -> str:
    """Say why there can be no rules of this name here; "" if there can."""
    if not syscalls.capget()[0] & 1 << _CAP_NET_ADMIN:
        return "it needs the capability NET_ADMIN"
    try:
        Table(name).rules("forward")
    except OSError as err:
        return f"the kernel's packet rules (nf_tables) cannot be asked: {err.strerror}"
    return ""


def _place_of(port: Port, version: int) -> tuple[str, bytes]:
    """Return map and key of a port for one family; "" if it is not of that family."""
    key = nft.port_key(PROTOCOLS[port.protocol], port.host_port)
    if not port.host_address:
        return f"ports{version}", key
    address = ip_address(port.host_address)
    if address.version != version:
        return "", b""
    if address.is_unspecified:
        return f"ports{version}", key
    return f"bound{version}", address.packed + key


def _write_rules(table: Table) -> None:
    """Write the rules that never change."""
    link = (nft.LINK_NAME,)
    table.make()
    for name, keys in ((BRIDGES, link), (INTERNAL, link), (SAME, link * 2)):
        table.set(name, keys)
    for version, (_, kind, _, _) in _FAMILIES.items():
        table.set(f"self{version}", (kind, kind))
        table.set(f"ports{version}", (nft.PROTOCOL, nft.PORT), (kind, nft.PORT))
        table.set(f"bound{version}", (kind, nft.PROTOCOL, nft.PORT), (kind, nft.PORT))
    table.chain("published")
    table.chain("prerouting", "nat", nft.PREROUTING, nft.DSTNAT)
    table.chain("output", "nat", nft.OUTPUT, nft.DSTNAT)
    table.chain("postrouting", "nat", nft.POSTROUTING, nft.SRCNAT)
    table.chain("forward", "filter", nft.FORWARD, nft.FILTER)
    for version in _FAMILIES:
        _write_published(table, version)
    to_us = nft.kind_of_address(nft.TO), nft.equals(nft.LOCAL)
    for chain in ("prerouting", "output"):
        table.rule(chain, *to_us, nft.verdict(nft.JUMP, "published"))
    _write_postrouting(table)
    _write_forward(table)


def _write_published(table: Table, version: int) -> None:
    family, _, length, offset = _FAMILIES[version]
    words = length // 4
    is_family = nft.meta(nft.FAMILY), nft.equals(struct.pack("=B", family))
    send = nft.to_destination(family, port_register=WORD + words)

    def port(after: int) -> tuple[bytes, bytes]:
        """Load protocol and port."""
        at = WORD + after
        return nft.meta(nft.L4PROTO, at), nft.payload(nft.TRANSPORT, 2, 2, at + 1)

    address = nft.payload(nft.NETWORK, offset, length)
    table.rule("published", *is_family, address, *port(words), nft.mapped(f"bound{version}"), send)
    table.rule("published", *is_family, *port(0), nft.mapped(f"ports{version}"), send)


def _write_postrouting(table: Table) -> None:
    to_ours = nft.meta(nft.TO_LINK), nft.is_in(BRIDGES)
    from_ours = nft.meta(nft.FROM_LINK), nft.is_in(BRIDGES)
    stays = nft.meta(nft.FROM_LINK), nft.meta(nft.TO_LINK, WORD + 4), nft.is_in(SAME)
    was_sent_here = nft.conntrack(nft.STATUS), *nft.has_any(nft.TRANSLATED)
    from_machine = nft.kind_of_address(nft.FROM), nft.equals(nft.LOCAL)
    chain, masquerade = "postrouting", nft.masquerade()
    table.rule(chain, *stays, *was_sent_here, masquerade)
    for version, (family, _, length, offset) in _FAMILIES.items():
        # Where bridged packets pass these chains, too, they come from no link.
        is_family = nft.meta(nft.FAMILY), nft.equals(struct.pack("=B", family))
        source = nft.payload(nft.NETWORK, offset - length, length)
        both = source, nft.payload(nft.NETWORK, offset, length, WORD + length // 4)
        table.rule(chain, *is_family, *both, nft.is_in(f"self{version}"), masquerade)
    table.rule(chain, *to_ours, *was_sent_here, *from_machine, masquerade)
    table.rule(chain, *to_ours, _ACCEPT)
    table.rule(chain, *from_ours, masquerade)


def _write_forward(table: Table) -> None:
    known = nft.conntrack(nft.STATE), *nft.has_any(nft.KNOWN)
    was_sent_here = nft.conntrack(nft.STATUS), *nft.has_any(nft.TRANSLATED)
    stays = nft.meta(nft.FROM_LINK), nft.meta(nft.TO_LINK, WORD + 4), nft.is_in(SAME)
    chain = "forward"
    table.rule(chain, *known, _ACCEPT)
    table.rule(chain, *stays, _ACCEPT)
    table.rule(chain, nft.meta(nft.FROM_LINK), nft.is_in(INTERNAL), _DROP)
    table.rule(chain, *was_sent_here, _ACCEPT)
    table.rule(chain, nft.meta(nft.TO_LINK), nft.is_in(BRIDGES), _DROP)


def _write_ways(table: Table) -> None:
    """Write what hands packets for the world to relays: those for nobody here."""
    for version, (_, kind, _, _) in _FAMILIES.items():
        table.set(f"ways{version}", (nft.PROTOCOL, kind), (nft.PORT,))
    table.chain("ways", "filter", nft.PREROUTING, nft.MANGLE)
    leave = nft.verdict(nft.RETURN)
    table.rule("ways", nft.way_to(), nft.is_in(BRIDGES), leave)
    table.rule("ways", nft.way_to(), nft.equals(link_key(WAY_OUT)), leave)
    for several in (nft.BROADCAST, nft.ANYCAST, nft.MULTICAST):
        table.rule("ways", nft.kind_of_address(nft.TO), nft.equals(several), leave)
    for version, (family, _, length, offset) in _FAMILIES.items():
        is_family = nft.meta(nft.FAMILY), nft.equals(struct.pack("=B", family))
        source = nft.payload(nft.NETWORK, offset - length, length, WORD + 1)
        known = nft.meta(nft.L4PROTO), source, nft.mapped(f"ways{version}")
        hand = nft.to_socket(family), *nft.mark(MARK)
        table.rule("ways", *is_family, *known, *hand, _ACCEPT)
