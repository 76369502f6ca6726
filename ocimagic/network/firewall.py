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
    from collections.abc import Collection, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from ocimagic.network.plan import Port

    Address = IPv4Address | IPv6Address

_CAP_NET_ADMIN = 12
BRIDGES, INTERNAL, SAME = "bridges", "internal", "same"
_DOCKERS = "DOCKER-USER"
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
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._table = Table(name)
        self._dockers = [Table("filter", family) for family in (nft.IPV4, nft.IPV6)]

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
        for table in self._dockers:
            known = table.rules(_DOCKERS)
            if not known or any(note == self._note(name) for _, note in known):
                continue
            for direction in (nft.FROM_LINK, nft.TO_LINK):
                chosen = nft.meta(direction), nft.equals(link_key(name))
                table.rule(_DOCKERS, *chosen, _ACCEPT, first=True, note=self._note(name))

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
            for number, note in table.rules(_DOCKERS):
                mine = note == self._note(bridge) if bridge else note.startswith(f"{self.name}: ")
                if mine:
                    table.delete_rule(_DOCKERS, number)

    # -- ports ---------------------------------------------------------------------

    def publish(self, port: Port, targets: Sequence[Address]) -> None:
        """Let a port of the machine lead to a container, for each family it has an address of."""
        for target in targets:
            name, key = _place_of(port, target.version)
            if name:
                value = target.packed + nft.port_value(port.container_port)
                self._table.add_element(name, key, value)
                self._table.add_element(f"self{target.version}", target.packed * 2)

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
