"""Netlink: how the kernel is asked about networks and told to change them.

Messages and attributes are made and read here; what they say is in ``links`` (rtnetlink) and
``nftables``.

Source: netlink(7); <linux/netlink.h>; kernel documentation, "Introduction to Netlink".
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUTE, NETFILTER = 0, 12
# Flags of a request.
REQUEST, ACK = 0x01, 0x04
DUMP = 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800

_ERROR, _DONE, _OVERRUN = 2, 3, 4
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_KIND_MASK = 0x3FFF
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_ACK_TLVS, _CAPPED = 0x200, 0x100  # flags of an answer
_WORDS = 1  # NLMSGERR_ATTR_MSG
_READ_BYTES = 1 << 16
_SEND_BYTES = 100_000
_PATIENCE_S = 10.0


class Message(NamedTuple):
    """What is asked, or one part of an answer.

    Attributes:
        kind: what it is about; each protocol has its own.
        payload: a fixed header, then attributes.
        flags: beside ``REQUEST``.
    """

    kind: int
    payload: bytes
    flags: int = 0


class NetlinkError(OSError):
    """The kernel refused; ``strerror`` has its words if it gave any."""


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, padded to four bytes."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def text(kind: int, value: str) -> bytes:
    """Return an attribute that is a string."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """Return an attribute that is 32 bits in the machine's order."""
    return attribute(kind, struct.pack("=I", value))


def network_number(kind: int, value: int) -> bytes:
    """Return an attribute that is 32 bits in network order."""
    return attribute(kind, struct.pack("!I", value))


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that consists of others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def attributes(data: bytes) -> dict[int, bytes]:
    """Return attributes by kind; of those that repeat, the last."""
    return dict(each_attribute(data))


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and value of attributes, in order; one that is cut ends them."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            return
        yield kind & _KIND_MASK, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


class Netlink:
    """A socket to one part of the kernel, in the network namespace it was made in.

    Args:
        protocol: ``ROUTE`` or ``NETFILTER``.

    Raises:
        OSError: there is no such part.
    """

    def __init__(self, protocol: int) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._sequence = 0
        self._pending = b""  # received, not read yet
        self._answered = 0  # the last request that has its answer
        try:
            for option in (_CAP_ACK, _EXT_ACK) + ((_STRICT,) if protocol == ROUTE else ()):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._socket.settimeout(_PATIENCE_S)
            self._socket.bind((0, 0))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def change(self, message: Message) -> None:
        """Ask for a change and wait until it is done.

        Raises:
            NetlinkError: the kernel refused it.
        """
        self._socket.send(self._pack(message, REQUEST | ACK))
        list(self._answers(self._sequence - 1))

    def batch(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """Ask for changes that are all done or none.

        Raises:
            NetlinkError: the first that was refused.
        """
        first = self._sequence + 1
        *others, last = messages
        packed = [self._pack(each, REQUEST) for each in (begin, *others)]
        packed += [self._pack(last, REQUEST | ACK), self._pack(end, REQUEST)]
        data = b"".join(packed)
        if len(data) > _SEND_BYTES:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(data))
        self._socket.send(data)
        # Refusals come in order, before what answers the last change.
        failure: NetlinkError | None = None
        while self._answered < self._sequence - 1:
            try:
                list(self._answers(first - 1))
            except NetlinkError as err:
                failure = failure or err
                if self._answered == first:  # the batch as a whole
                    break
        if failure is not None:
            raise failure

    def dump(self, message: Message) -> list[Message]:
        """Return all there is of something.

        Raises:
            NetlinkError: the kernel refused.
        """
        self._socket.send(self._pack(message, REQUEST | DUMP))
        return list(self._answers(self._sequence - 1))

    def get(self, message: Message) -> Message:
        """Return one thing.

        Raises:
            NetlinkError: it is not there.
        """
        self._socket.send(self._pack(message, REQUEST | ACK))
        return next(iter(list(self._answers(self._sequence - 1))))

    def _pack(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        length = _HEADER.size + len(message.payload)
        head = _HEADER.pack(length, message.kind, message.flags | flags, self._sequence, 0)
        return head + message.payload + bytes(-length % 4)

    def _answers(self, before: int) -> Iterator[Message]:
        """Yield what answers one request, up to its acknowledgement or the end of a dump."""
        while True:
            if not self._pending:
                self._pending = self._socket.recv(_READ_BYTES)
            data = self._pending
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
            self._pending = data[(length + 3) & ~3 :]
            if sequence <= before:  # of a request that was given up
                continue
            payload = data[_HEADER.size : length]
            if kind == _OVERRUN:
                raise NetlinkError(105, os.strerror(105))
            if kind in (_ERROR, _DONE):
                self._answered = sequence
                code = struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                if code:
                    raise NetlinkError(-code, _words(payload, flags, kind) or os.strerror(-code))
                return
            yield Message(kind, payload, flags)


def _words(payload: bytes, flags: int, kind: int) -> str:
    """Return what the kernel says about a refusal, "" if nothing."""
    if not flags & _ACK_TLVS:
        return ""
    at = 4 if kind == _DONE else 4 + _HEADER.size
    if kind == _ERROR and not flags & _CAPPED:
        at += (struct.unpack_from("=I", payload, 4)[0] - _HEADER.size + 3) & ~3
    said = attributes(payload[at:]).get(_WORDS, b"")
    return said.rstrip(b"\0").decode(errors="replace")
