"""Flows that the kernel follows, so that it translates all their packets like the first.

A flow is two tuples of addresses and ports: how its packets are sent, and how the answers come.
Where the destination is translated, the answers come from another address than was sent to.

Source: <linux/netfilter/nfnetlink_conntrack.h>; conntrack(8), which uses the same.
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.linux import netlink
from ocimagic.linux.netlink import Message, Netlink, NetlinkError, attribute, attributes, nested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Address, IPv6Address

    Address = IPv4Address | IPv6Address

_SUBSYSTEM, _GET, _DELETE = 1, 1, 2
_HEAD = struct.Struct("!BBH")  # family, version, resource
_SENT, _ANSWERED, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_T_IP, _T_PROTOCOL = 1, 2
_SOURCE = {4: 1, 6: 3}
_DESTINATION = {4: 2, 6: 4}
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_BY_SENT, _BY_ANSWERED = 1, 2  # of a filter: which parts of which tuple have to be equal
_F_SOURCE, _F_NUMBER, _F_DESTINATION_PORT = 1 << 0, 1 << 3, 1 << 5
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Flow(NamedTuple):
    """One flow, as far as it matters here.

    Attributes:
        protocol: its number.
        sent_to: where its packets were sent.
        port: to which port; 0 for protocols without.
        answered_by: where its answers come from.
        key: what the kernel finds it by.
    """

    protocol: int
    sent_to: Address
    port: int
    answered_by: Address
    key: bytes


def forget_address(address: Address) -> int:
    """End all flows that lead to an address by translation; return how many.

    Raises:
        OSError: the kernel does not follow flows, or does not say.
    """
    version = address.version
    wanted = nested(_T_IP, attribute(_SOURCE[version], address.packed))
    chosen = nested(_ANSWERED, wanted) + _filter(_BY_ANSWERED, _F_SOURCE)
    return _forget(
        version, chosen, lambda flow: flow.answered_by == address and flow.sent_to != address
    )


def forget_port(protocol: int, port: int, versions: Iterable[int]) -> int:
    """End all flows to a port of this machine that is translated from now on, but was not.

    Args:
        protocol: its number.
        port: which.
        versions: of IP.

    Raises:
        OSError: the kernel does not follow flows, or does not say.
    """
    parts = attribute(_NUMBER, bytes((protocol,)))
    parts += attribute(_DESTINATION_PORT, struct.pack("!H", port))
    chosen = nested(_SENT, nested(_T_PROTOCOL, parts))
    chosen += _filter(_BY_SENT, _F_NUMBER | _F_DESTINATION_PORT)

    def is_meant(flow: Flow) -> bool:
        is_plain = flow.answered_by == flow.sent_to
        return is_plain and (flow.protocol, flow.port) == (protocol, port)

    return sum(_forget(version, chosen, is_meant) for version in versions)


def _filter(which: int, flags: int) -> bytes:
    """Say what has to be equal; kernels before 5.8 do not look, and return all there is."""
    return nested(_FILTER, netlink.number(which, flags))


def _forget(version: int, chosen: bytes, is_meant: Callable[[Flow], bool]) -> int:
    head = _HEAD.pack(_FAMILIES[version], 0, 0)
    gone = 0
    with Netlink(netlink.NETFILTER) as kernel:
        answers = kernel.dump(Message(_SUBSYSTEM << 8 | _GET, head + chosen))
        for flow in map(_flow, answers):
            if flow is None or not is_meant(flow):
                continue
            try:
                kernel.change(Message(_SUBSYSTEM << 8 | _DELETE, head + flow.key))
            except NetlinkError as err:
                if err.errno != errno.ENOENT:  # it ended meanwhile
                    raise
            else:
                gone += 1
    return gone


def _flow(answer: Message) -> Flow | None:
    """Read a flow; None if it has not what all flows of IP have."""
    values = attributes(answer.payload[_HEAD.size :])
    sent, answered = (attributes(values.get(each, b"")) for each in (_SENT, _ANSWERED))
    sent_ip, answered_ip = (attributes(each.get(_T_IP, b"")) for each in (sent, answered))
    protocol = attributes(sent.get(_T_PROTOCOL, b""))
    try:
        sent_to = next(sent_ip[each] for each in _DESTINATION.values() if each in sent_ip)
        answered_by = next(answered_ip[each] for each in _SOURCE.values() if each in answered_ip)
        number = protocol[_NUMBER][0]
    except (KeyError, StopIteration):
        return None
    port = int.from_bytes(protocol.get(_DESTINATION_PORT, b""), "big")
    key = b"".join(attribute(each, values[each]) for each in (_ID, _ZONE) if each in values)
    return Flow(
        number,
        ip_address(sent_to),
        port,
        ip_address(answered_by),
        nested(_SENT, values[_SENT]) + key,
    )
