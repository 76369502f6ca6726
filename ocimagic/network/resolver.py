"""The name server of one container, at 127.0.0.11 in its network namespace.

It knows the containers of the same networks, and asks the machine's own servers for the rest.
Its sockets answer at ports of their own; a rule in the namespace brings there what is meant for
port 53, so that the container may have a name server itself.

Source: docker's documentation, "DNS services"; RFC 1035.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import time
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.linux import nftables as nft
from ocimagic.network import names
from ocimagic.network.plan import PROTOCOLS, RESOLVER, TCP, UDP
from ocimagic.network.waiting import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.network.names import Question
    from ocimagic.network.neighbours import Neighbours, Places
    from ocimagic.network.plan import Endpoint
    from ocimagic.network.waiting import Alarm, Loop

_PORT = 53
_PATIENCE_S = 3.0
_MOST_PENDING = 1000
_MOST_CLIENTS = 100
_MOST_TOLD = 1000
_READ_BYTES = 1 << 16
_TABLE = "ocimagic-names"
_AT_ONCE = 64  # questions, before others get their turn


def open_sockets() -> dict[str, int]:
    """Open a name server's sockets in the network namespace we are in; with its rule.

    Returns:
        The descriptors, by protocol.
    """
    made: dict[str, socket.socket] = {}
    with contextlib.ExitStack() as opened:
        for protocol, kind in ((UDP, socket.SOCK_DGRAM), (TCP, socket.SOCK_STREAM)):
            flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            made[protocol] = opened.enter_context(socket.socket(socket.AF_INET, kind | flags))
            made[protocol].bind((RESOLVER, 0))
        made[TCP].listen()
        table = nft.Table(_TABLE)
        table.make()
        table.chain("output", "nat", nft.OUTPUT, nft.DSTNAT)
        for protocol, each in made.items():
            target = socket.inet_aton(RESOLVER)
            table.rule(
                "output",
                nft.meta(nft.FAMILY),
                nft.equals(struct.pack("=B", socket.AF_INET)),
                nft.payload(nft.NETWORK, 16, 4),
                nft.equals(target),
                nft.meta(nft.L4PROTO),
                nft.equals(struct.pack("=B", PROTOCOLS[protocol])),
                nft.payload(nft.TRANSPORT, 2, 2),
                nft.equals(struct.pack("!H", _PORT)),
                nft.constant(target),
                nft.constant(struct.pack("!H", each.getsockname()[1]), nft.WORD + 1),
                nft.to_destination(socket.AF_INET, port_register=nft.WORD + 1),
            )
        table.commit()
        opened.pop_all()
    return {protocol: each.detach() for protocol, each in made.items()}


class Resolver:
    """Answers a container's questions for names; runs in its shim's loop.

    Args:
        loop: calls us.
        fds: what ``open_sockets`` returned, or copies.
        neighbours: who is where.
        endpoints: the container's own places now.
        servers: whom to ask for what nobody here is called.
    """

    def __init__(
        self,
        loop: Loop,
        fds: dict[str, int],
        neighbours: Neighbours,
        endpoints: Callable[[], Sequence[Endpoint]],
        servers: Sequence[str],
    ) -> None:
        self._loop = loop
        self._neighbours = neighbours
        self._endpoints = endpoints
        self._servers = tuple(servers)
        self._index: dict[str, list[str]] = {}
        self._told: dict[bytes, bytes] = {}  # questions and answers, but for their numbers
        self._index_of: tuple[object, object] = (None, None)  # what it was made of
        self._asked: dict[int, _Forwarded] = {}
        self._clients: dict[int, _TcpClient] = {}
        self._udp = socket.socket(fileno=os.dup(fds[UDP]))
        self._tcp = socket.socket(fileno=os.dup(fds[TCP]))
        for each, action in ((self._udp, self._hear), (self._tcp, self._accept)):
            each.setblocking(False)
            loop.watch(each.fileno(), READ, action)

    def close(self) -> None:
        """Answer no more."""
        for forwarded in list(self._asked.values()):
            forwarded.close()
        for client in list(self._clients.values()):
            client.close()
        for each in (self._udp, self._tcp):
            self._loop.forget(each.fileno())
            each.close()

    # -- questions -----------------------------------------------------------------

    def _hear(self, _events: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet, who = self._udp.recvfrom(_READ_BYTES)
            except OSError:
                return
            self._look_who_moved()
            known = self._told.get(packet[2:])
            if known is not None:
                with contextlib.suppress(OSError):  # see ``_tell``
                    self._udp.sendto(packet[:2] + known, who)
                continue
            question = names.parse(packet)
            if question is None:
                continue
            self._answer(question, packet, partial(self._tell, who, question), socket.SOCK_DGRAM)

    def _tell(self, who: tuple[str, int], question: Question, answer: bytes) -> None:
        with contextlib.suppress(OSError):  # gone, or has no room: it asks again
            self._udp.sendto(names.truncated(question, answer), who)

    def _accept(self, _events: int) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._tcp.accept()
            if len(self._clients) >= _MOST_CLIENTS:
                client.close()
                return
            made = _TcpClient(self._loop, client, self._take, self._forget)
            self._clients[client.fileno()] = made

    def _take(self, packet: bytes, tell: Callable[[bytes], None]) -> None:
        question = names.parse(packet)
        if question is not None:
            self._answer(question, packet, tell, socket.SOCK_STREAM)

    def _forget(self, number: int) -> None:
        self._clients.pop(number, None)

    def _answer(
        self, question: Question, packet: bytes, tell: Callable[[bytes], None], kind: int
    ) -> None:
        known = self._known(question, packet)
        if known is not None:
            tell(known)
        elif not self._servers or len(self._asked) >= _MOST_PENDING:
            tell(names.failure(question, names.SERVER_FAILURE))
        else:
            forwarded = _Forwarded(self._loop, question, packet, tell, kind)
            number = id(forwarded)
            self._asked[number] = forwarded
            forwarded.done = lambda: self._asked.pop(number, None)
            forwarded.ask(self._servers)

    def _known(self, question: Question, packet: bytes) -> bytes | None:
        """Answer what can be answered here; None for the rest."""
        if question.kind == names.PTR:
            address = names.address_of(question.name)
            found = self._names_of(address) if address else []
            return names.names(question, found) if found else self._beyond(question)
        if question.kind not in (names.A, names.AAAA):
            return self._beyond(question)
        self._look_who_moved()
        found = list(self._index.get(question.name, ()))
        if not found:
            return self._beyond(question)
        random.shuffle(found)  # round robin over all who are called so
        answer = names.addresses(question, found)
        is_alone = sum((":" in each) == (question.kind == names.AAAA) for each in found) < 2
        if is_alone and len(self._told) < _MOST_TOLD:
            self._told[packet[2:]] = answer[2:]
        return answer

    def _beyond(self, question: Question) -> bytes | None:
        """Answer a question that nobody here can: others are asked only if there is a way out."""
        if all(each.internal for each in self._endpoints()):
            return names.failure(question, names.SERVER_FAILURE)
        return None

    def _look_who_moved(self) -> None:
        """Read anew who is where if somebody moved, and forget what was told before."""
        places, endpoints = self._neighbours.read(), self._endpoints()
        if self._index_of[0] is not places or self._index_of[1] is not endpoints:
            self._index = _by_name(places, endpoints)
            self._index_of = places, endpoints
            self._told.clear()

    def _names_of(self, address: str) -> list[str]:
        places = self._neighbours.read()
        return [
            f"{line['names'][0]}.{endpoint.network}"
            for endpoint in self._endpoints()
            if endpoint.resolves
            for line in places.get(endpoint.network_id, {}).values()
            if address in line["addresses"] and line["names"]
        ]


def _by_name(places: Places, endpoints: Sequence[Endpoint]) -> dict[str, list[str]]:
    """Return addresses by each name in these networks, with and without the network's."""
    found: dict[str, list[str]] = {}
    for endpoint in endpoints:
        for line in places.get(endpoint.network_id, {}).values() if endpoint.resolves else ():
            for name in dict.fromkeys(each.lower() for each in line["names"]):
                for called in (name, f"{name}.{endpoint.network.lower()}"):
                    found.setdefault(called, []).extend(line["addresses"])
        for link in endpoint.links:
            name, _, alias = link.partition(":")
            if name.lower() in found:
                found[alias.lower()] = found[name.lower()]
    return found


class _TcpClient:
    """A connection that asks: each question has its length before it."""

    def __init__(
        self,
        loop: Loop,
        client: socket.socket,
        take: Callable[[bytes, Callable[[bytes], None]], None],
        forget: Callable[[int], None],
    ) -> None:
        self._loop, self._client, self._take, self._on_end = loop, client, take, forget
        self._data = b""
        client.setblocking(False)
        self._alarm = loop.at(time.monotonic() + 10 * _PATIENCE_S, self.close)
        loop.watch(client.fileno(), READ, self._read)

    def _read(self, _events: int) -> None:
        try:
            data = self._client.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._data += data
        if not data or len(self._data) > 2 * names.MAX_BYTES:
            self.close()
            return
        while len(self._data) >= 2:
            end = 2 + int.from_bytes(self._data[:2])
            if len(self._data) < end:
                return
            packet, self._data = self._data[2:end], self._data[end:]
            self._take(packet, self._tell)

    def _tell(self, answer: bytes) -> None:
        try:
            self._client.sendall(len(answer).to_bytes(2) + answer)
        except OSError:
            self.close()

    def close(self) -> None:
        """Let go of it; again does nothing."""
        number = self._client.fileno()
        if number >= 0:
            self._alarm.cancel()
            self._loop.forget(number)
            self._client.close()
            self._on_end(number)


class _Forwarded:
    """A question on its way to one server after the other."""

    done: Callable[[], object]

    def __init__(
        self,
        loop: Loop,
        question: Question,
        packet: bytes,
        tell: Callable[[bytes], None],
        kind: int,
    ) -> None:
        self._loop, self._question, self._tell, self._kind = loop, question, tell, kind
        # A number nobody can guess, from a port nobody knows.
        self._number = struct.pack("!H", random.SystemRandom().randrange(1 << 16))
        self._packet = self._number + packet[2:]
        self._servers: list[str] = []
        self._socket: socket.socket | None = None
        self._alarm: Alarm | None = None
        self._data = b""

    def ask(self, servers: Sequence[str]) -> None:
        """Ask the first server; the others if it does not answer."""
        self._servers = list(servers)
        self._ask_next()

    def _ask_next(self) -> None:
        self._leave()
        if not self._servers:
            self._end(names.failure(self._question, names.SERVER_FAILURE))
            return
        server = self._servers.pop(0)
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        try:
            self._socket = socket.socket(family, self._kind | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self._socket.connect((server, _PORT))
            if self._kind == socket.SOCK_DGRAM:
                self._socket.send(self._packet)
        except OSError:
            self._ask_next()
            return
        self._alarm = self._loop.at(time.monotonic() + _PATIENCE_S, self._ask_next)
        is_udp = self._kind == socket.SOCK_DGRAM
        self._loop.watch(
            self._socket.fileno(), READ if is_udp else WRITE, self._hear if is_udp else self._say
        )

    def _say(self, _events: int) -> None:
        """Ask over a connection that is there now."""
        assert self._socket is not None
        try:
            self._socket.sendall(len(self._packet).to_bytes(2) + self._packet)
        except OSError:
            self._ask_next()
            return
        self._loop.watch(self._socket.fileno(), READ, self._hear)

    def _hear(self, _events: int) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if self._kind == socket.SOCK_DGRAM:
            packet = data
        else:
            self._data += data
            whole = len(self._data) >= 2 and len(self._data) >= 2 + int.from_bytes(self._data[:2])
            if data and not whole:
                return
            packet = self._data[2:] if whole else b""
        if not packet:
            self._ask_next()
        elif packet[:2] == self._number:
            self._end(struct.pack("!H", self._question.number) + packet[2:])

    def _end(self, answer: bytes) -> None:
        self.close()
        self._tell(answer)

    def _leave(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._socket is not None:
            if self._socket.fileno() >= 0:
                self._loop.forget(self._socket.fileno())
            self._socket.close()
        self._socket = self._alarm = None
        self._data = b""

    def close(self) -> None:
        """Ask no more."""
        self._leave()
        self.done()
