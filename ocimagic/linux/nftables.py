"""Tables, chains, rules, sets and maps of nf_tables: packet filters and address translation.

A rule is a list of expressions.  Each loads something of a packet into registers, compares
them, looks them up, or acts.  There are sixteen registers of four bytes, ``WORD`` + 0 to 15;
what is longer takes several in a row.

Source: nft(8); <linux/netfilter/nf_tables.h>; what ``nft --debug=netlink`` prints for a rule.
"""

from __future__ import annotations

import errno
import struct
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ocimagic.linux import netlink
from ocimagic.linux.netlink import (
    APPEND,
    CREATE,
    Message,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    each_attribute,
    nested,
    network_number,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

INET, IPV4, IPV6 = 1, 2, 10  # families of tables
PREROUTING, FORWARD, OUTPUT, POSTROUTING = 0, 2, 3, 4
# Priorities of base chains: nft(8), "CHAINS".
MANGLE, DSTNAT, FILTER, SRCNAT = -150, -100, 0, 100
DROP, ACCEPT, JUMP, RETURN = 0, 1, -3, -5
WORD = 8  # NFT_REG32_00
# Types of keys and values, only for who lists them with nft: nft(8), "DATA TYPES".
IPV4_ADDRESS, IPV6_ADDRESS, PROTOCOL, PORT, LINK_NAME = 7, 8, 12, 13, 41
LINK_NAME_BYTES = 16

_SUBSYSTEM = 10
_BEGIN, _END = 16, 17
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _DELCHAIN = 3, 5
_NEWRULE, _GETRULE, _DELRULE = 6, 7, 8
_NEWSET = 9
_NEWELEM, _GETELEM, _DELELEM = 12, 13, 14
_HEAD = struct.Struct("!BBH")  # family, version, resource
_ELEMENT = 1  # of any list
_VALUE, _VERDICT = 1, 2
_MAP = 8
_TYPE_BITS = 6


class Table:
    """One table of our own, or a chain of another's that was made for additions.

    Changes are collected and done together by ``commit``, all or none.

    Args:
        name: of the table.
        family: ``INET``, or ``IPV4`` for tables that iptables made.
        kernel: a ``NETFILTER`` socket that the caller keeps; without one each call has its own.
            Closing one waits until the kernel has let go of what was deleted: some 15 ms.
    """

    def __init__(self, name: str, family: int = INET, kernel: Netlink | None = None) -> None:
        self._family = family
        self._name = name
        self._kernel = kernel
        self._changes: list[Message] = []

    # -- what is to be changed -----------------------------------------------------

    def make(self) -> None:
        """Make the table; one that is there stays as it is."""
        self._add(_NEWTABLE, text(1, self._name), CREATE)

    def delete(self) -> None:
        """Remove the table with all that is in it."""
        self._add(_DELTABLE, text(1, self._name))

    def chain(self, name: str, kind: str = "", hook: int = 0, priority: int = 0) -> None:
        """Make a chain: one that others jump to, or with a kind one that the kernel enters."""
        raw = text(1, self._name) + text(3, name)
        if kind:
            where = network_number(1, hook) + network_number(2, priority & 0xFFFFFFFF)
            raw += nested(4, where) + text(7, kind)
        self._add(_NEWCHAIN, raw, CREATE)

    def rule(self, chain: str, *expressions: bytes, first: bool = False, note: str = "") -> None:
        """Add a rule to a chain.

        Args:
            chain: its name.
            expressions: made by this module's functions.
            first: before all others, else after them.
            note: a comment, by which it is found again.
        """
        listed = (nested(_ELEMENT, each) for each in expressions)
        raw = text(1, self._name) + text(2, chain) + nested(4, *listed)
        if note:  # as libnftnl writes a comment: type, length, text
            said = note.encode() + b"\0"
            raw += attribute(7, bytes((0, len(said))) + said)
        self._add(_NEWRULE, raw, CREATE | (0 if first else APPEND))

    def delete_rule(self, chain: str, handle: int) -> None:
        """Remove a rule by its number."""
        raw = text(1, self._name) + text(2, chain) + attribute(3, struct.pack("!Q", handle))
        self._add(_DELRULE, raw)

    def set(self, name: str, keys: Sequence[int], values: Sequence[int] = ()) -> None:
        """Make a set of keys, or a map from keys to values.

        Args:
            name: its name.
            keys: types of the parts of a key.
            values: types of the parts of a value; none for a set.
        """
        raw = text(1, self._name) + text(2, name)
        raw += network_number(3, _MAP if values else 0)
        raw += network_number(4, _joined(keys)) + network_number(5, _length(keys))
        if values:
            raw += network_number(6, _joined(values)) + network_number(7, _length(values))
        raw += network_number(10, len(self._changes) + 1)
        # For who lists it with nft: names of links are in the machine's order, as libnftnl says.
        order = bytes((0, 4)) + struct.pack("=I", 1 if tuple(keys) == (LINK_NAME,) else 2)
        self._add(_NEWSET, raw + attribute(13, order), CREATE)

    def add_element(self, name: str, key: bytes, value: bytes = b"") -> None:
        """Add to a set or map; the same one twice is no error."""
        self._add(_NEWELEM, self._elements(name, key, value), CREATE)

    def delete_element(self, name: str, key: bytes) -> None:
        """Take an element out of a set or map."""
        self._add(_DELELEM, self._elements(name, key))

    def _elements(self, name: str, key: bytes, value: bytes = b"") -> bytes:
        raw = nested(1, attribute(_VALUE, key))
        if value:
            raw += nested(2, attribute(_VALUE, value))
        return text(1, self._name) + text(2, name) + nested(3, nested(_ELEMENT, raw))

    def _add(self, kind: int, raw: bytes, flags: int = 0) -> None:
        self._changes.append(self._message(kind, raw, flags))

    def _message(self, kind: int, raw: bytes, flags: int = 0) -> Message:
        return Message(_SUBSYSTEM << 8 | kind, _HEAD.pack(self._family, 0, 0) + raw, flags)

    # -- done and looked at --------------------------------------------------------

    def commit(self) -> None:
        """Do what was collected.

        Raises:
            NetlinkError: the kernel refused, and nothing was done.
        """
        changes, self._changes = self._changes, []
        if not changes:
            return
        edge = _HEAD.pack(0, 0, _SUBSYSTEM)
        with self._connected() as kernel:
            kernel.batch(Message(_BEGIN, edge), changes, Message(_END, edge))

    def elements(self, name: str) -> list[tuple[bytes, bytes]]:
        """Return keys and values of a set or map; none if it is not there."""
        asked = self._message(_GETELEM, text(1, self._name) + text(2, name))
        made = []
        for answer in self._dumped(asked):
            listed = attributes(answer.payload[_HEAD.size :]).get(3, b"")
            for _, raw in each_attribute(listed):
                parts = attributes(raw)
                key = attributes(parts.get(1, b"")).get(_VALUE, b"")
                made.append((key, attributes(parts.get(2, b"")).get(_VALUE, b"")))
        return made

    def rules(self, chain: str) -> list[tuple[int, str]]:
        """Return numbers and notes of a chain's rules; none if it is not there."""
        asked = self._message(_GETRULE, text(1, self._name) + text(2, chain))
        made = []
        for answer in self._dumped(asked):
            values = attributes(answer.payload[_HEAD.size :])
            note = values.get(7, b"")
            is_note = len(note) > 2 and note[0] == 0
            said = note[2 : 2 + note[1]].rstrip(b"\0").decode(errors="replace") if is_note else ""
            (handle,) = struct.unpack("!Q", values[3])
            if values.get(2, b"").rstrip(b"\0") == chain.encode():
                made.append((handle, said))
        return made

    def _connected(self) -> AbstractContextManager[Netlink]:
        return nullcontext(self._kernel) if self._kernel else Netlink(netlink.NETFILTER)

    def _dumped(self, asked: Message) -> Iterable[Message]:
        with self._connected() as kernel:
            try:
                return kernel.dump(asked)
            except NetlinkError as err:
                if err.errno == errno.ENOENT:
                    return ()
                raise


def tables() -> set[tuple[int, str]]:
    """Return family and name of every table there is.

    Raises:
        OSError: the kernel has none, or does not say.
    """
    asked = Message(_SUBSYSTEM << 8 | _GETTABLE, _HEAD.pack(0, 0, 0))
    with Netlink(netlink.NETFILTER) as kernel:
        answers = kernel.dump(asked)
    return {
        (each.payload[0], attributes(each.payload[_HEAD.size :])[1].rstrip(b"\0").decode())
        for each in answers
    }


# -- expressions -----------------------------------------------------------------------


def meta(key: int, register: int = WORD) -> bytes:
    """Load what is known beside a packet's bytes: ``FAMILY``, ``L4PROTO``, link names."""
    return _expression("meta", network_number(1, register) + network_number(2, key))


FAMILY, L4PROTO, FROM_LINK, TO_LINK = 15, 16, 6, 7


def payload(base: int, offset: int, length: int, register: int = WORD) -> bytes:
    """Load bytes of the ``NETWORK`` or ``TRANSPORT`` header."""
    values = enumerate((register, base, offset, length), 1)
    return _expression("payload", b"".join(network_number(*each) for each in values))


NETWORK, TRANSPORT = 1, 2


def conntrack(key: int) -> bytes:
    """Load what is known of a connection: ``STATE`` or ``STATUS``."""
    return _expression("ct", network_number(1, WORD) + network_number(2, key))


STATE, STATUS = 0, 2
KNOWN = 2 | 4  # of STATE: established, related
TRANSLATED = 0x20  # of STATUS: IPS_DST_NAT


def kind_of_address(which: int) -> bytes:
    """Load what kind of address a packet is ``FROM`` or ``TO``, such as ``LOCAL``."""
    return _expression(
        "fib", network_number(1, WORD) + network_number(2, 3) + network_number(3, which)
    )


FROM, TO = 1, 2
LOCAL = struct.pack("=I", 2)


def way_to() -> bytes:
    """Load the name of the link by which a packet would go to where it is sent."""
    by_name = network_number(2, _OIF_NAME)
    return _expression("fib", network_number(1, WORD) + by_name + network_number(3, TO))


_OIF_NAME = 2
BROADCAST, ANYCAST, MULTICAST = (struct.pack("=I", each) for each in (3, 4, 5))


def mark(value: int) -> tuple[bytes, bytes]:
    """Give the packet a mark."""
    raw = network_number(2, _MARK) + network_number(3, WORD)
    return constant(struct.pack("=I", value)), _expression("meta", raw)


_MARK = 3


def to_socket(family: int, *, port_register: int = WORD) -> bytes:
    """Hand the packet to a transparent socket here; go on only if there is one.

    Source: kernel documentation, "Transparent proxy support".
    """
    raw = network_number(1, family) + network_number(3, port_register)
    return _expression("tproxy", raw)


def equals(value: bytes, *, negated: bool = False) -> bytes:
    """Go on only if the first register is, or is not, so."""
    raw = network_number(1, WORD) + network_number(2, int(negated))
    return _expression("cmp", raw + nested(3, attribute(_VALUE, value)))


def has_any(bits: int) -> tuple[bytes, bytes]:
    """Go on only if some of these bits are set in the first register."""
    masked = network_number(1, WORD) + network_number(2, WORD) + network_number(3, 4)
    masked += nested(4, attribute(_VALUE, struct.pack("=I", bits)))
    masked += nested(5, attribute(_VALUE, bytes(4)))
    return _expression("bitwise", masked), equals(bytes(4), negated=True)


def is_in(name: str) -> bytes:
    """Go on only if what the registers hold is in a set."""
    return _expression("lookup", text(1, name) + network_number(2, WORD))


def mapped(name: str) -> bytes:
    """Go on only if what the registers hold is a key of a map; load its value."""
    raw = text(1, name) + network_number(2, WORD) + network_number(3, WORD)
    return _expression("lookup", raw)


def to_destination(family: int, *, port_register: int) -> bytes:
    """Send the connection to the address in the first registers, and to a port."""
    raw = network_number(1, 1) + network_number(2, family)
    raw += network_number(3, WORD) + network_number(5, port_register)
    return _expression("nat", raw + network_number(7, 3))


def to_port(register: int) -> bytes:
    """Send the connection to a port of this machine."""
    return _expression("redir", network_number(1, register))


def constant(value: bytes, register: int = WORD) -> bytes:
    """Load what is always the same."""
    raw = network_number(1, register) + nested(2, attribute(_VALUE, value))
    return _expression("immediate", raw)


def masquerade() -> bytes:
    """Let the connection come from the address of the link it leaves by."""
    return _expression("masq", b"")


def verdict(code: int, chain: str = "") -> bytes:
    """Let the packet pass, or not, or ``JUMP`` to a chain."""
    said = network_number(1, code & 0xFFFFFFFF) + (text(2, chain) if chain else b"")
    return _expression("immediate", network_number(1, 0) + nested(2, nested(_VERDICT, said)))


def _expression(name: str, raw: bytes) -> bytes:
    return text(1, name) + nested(2, raw)


# -- keys ------------------------------------------------------------------------------

_LENGTHS = {IPV4_ADDRESS: 4, IPV6_ADDRESS: 16, PROTOCOL: 4, PORT: 4, LINK_NAME: LINK_NAME_BYTES}


def _joined(types: Sequence[int]) -> int:
    made = 0
    for each in types:
        made = made << _TYPE_BITS | each
    return made


def _length(types: Sequence[int]) -> int:
    return sum(_LENGTHS[each] for each in types)


def link_key(name: str) -> bytes:
    """Return an interface's name as a key."""
    return name.encode().ljust(LINK_NAME_BYTES, b"\0")


def port_key(protocol: int, port: int) -> bytes:
    """Return a protocol's number and a port as a key."""
    return struct.pack("=B3x", protocol) + port_value(port)


def port_value(port: int) -> bytes:
    """Return a port as a value."""
    return struct.pack("!H2x", port)
