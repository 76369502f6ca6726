"""The name server of a container: questions and answers as bytes, and over real sockets."""

import contextlib
import os
import random
import socket
import struct
import threading
import time

import pytest

pytest.importorskip("ocimagic.linux.links", reason="needs Linux", exc_type=ImportError)

from ocimagic.network import names
from ocimagic.network import resolver as resolving
from ocimagic.network.neighbours import Neighbours
from ocimagic.network.plan import Endpoint, Plan
from ocimagic.network.resolver import Resolver
from ocimagic.shim.loop import Loop


def question(name, kind=names.A, number=0x1234, others=b"", counts=(1, 0, 0, 0)):
    labels = b"".join(bytes((len(each),)) + each for each in name.encode().split(b".") if each)
    head = struct.pack("!HHHHHH", number, 0x0100, *counts[:3], 1 if others else counts[3])
    return head + labels + b"\0" + struct.pack("!HH", kind, 1) + others


def endpoint(network, number, *names_, internal=False, resolves=True):
    return Endpoint(
        network_id=f"id-{network}",
        network=network,
        bridge="b",
        gateways=("10.1.0.1/16", "fd00::1/64"),
        link="l",
        inside="eth0",
        mac="02:42:00:00:00:01",
        addresses=(f"10.1.0.{number}/16", f"fd00::{number}/64"),
        names=names_,
        internal=internal,
        resolves=resolves,
    )


class Answered:
    """What is in an answer."""

    def __init__(self, packet):
        self.number, flags, _, self.count, _, _ = struct.unpack_from("!HHHHHH", packet)
        self.code, self.is_answer, self.is_cut = flags & 15, bool(flags & 0x8000), bool(flags & 512)
        self.packet = packet

    def addresses(self):
        found, at = set(), len(self.packet)
        for _ in range(self.count):
            length = 4 if struct.unpack_from("!H", self.packet, at - 6)[0] == 4 else 16
            raw = self.packet[at - length : at]
            found.add(socket.inet_ntop(socket.AF_INET if length == 4 else socket.AF_INET6, raw))
            at -= 12 + length
        return found


class Elsewhere:
    """A name server of the rest of the world: real sockets, answers of our choice."""

    def __init__(self, address, answer):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.heard = []
        self.answer = answer
        self.udp.bind((address, resolving._PORT))
        self.tcp.bind((address, resolving._PORT))
        self.tcp.listen()
        self.threads = [threading.Thread(target=each) for each in (self._udp, self._tcp)]
        for each in self.threads:
            each.start()

    def _udp(self):
        with contextlib.suppress(OSError):
            while True:
                packet, who = self.udp.recvfrom(4096)
                if not packet:
                    return
                self.heard.append(packet)
                for each in self.answer(packet):
                    self.udp.sendto(each, who)

    def _tcp(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.tcp.accept()
                with client:
                    packet = client.recv(4096)[2:]
                    self.heard.append(packet)
                    for each in self.answer(packet):
                        data = len(each).to_bytes(2) + each
                        client.sendall(data[:3])
                        time.sleep(0.02)
                        client.sendall(data[3:])

    def close(self):
        with contextlib.suppress(OSError):
            self.udp.sendto(b"", self.udp.getsockname())
            self.tcp.shutdown(socket.SHUT_RDWR)
        for each in self.threads:
            each.join()
        self.udp.close()
        self.tcp.close()


def fixed(address):
    """Answer everything with one address."""

    def answer(packet):
        asked = names.parse(packet)
        return [names.addresses(asked, [address])]

    return answer


@pytest.fixture
def world(monkeypatch):
    """Yield what starts servers elsewhere, all at one free port of different addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(resolving, "_PORT", probe.getsockname()[1])
    made = []

    def start(address, answer):
        made.append(Elsewhere(address, answer))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def serve(tmp_path):
    """Yield what runs a resolver; it returns addresses of its sockets."""
    stack = contextlib.ExitStack()

    def start(endpoints, servers=(), everybody=()):
        neighbours = Neighbours(tmp_path)
        for container, places in everybody:
            plan = Plan(room="", table="", container=container, endpoints=places)
            neighbours.put(container, plan, ())
        sockets = {}
        for protocol, kind in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
            sockets[protocol] = stack.enter_context(socket.socket(socket.AF_INET, kind))
            sockets[protocol].bind(("127.0.0.1", 0))
        sockets["tcp"].listen()
        loop = Loop()
        fds = {name: each.fileno() for name, each in sockets.items()}
        there = tuple(endpoints)
        made = Resolver(loop, fds, Neighbours(tmp_path), lambda: there, servers)
        over, (wake, bell) = threading.Event(), os.pipe()
        loop.watch(wake, 1, lambda _: None)

        def run():
            while not over.is_set():
                loop.turn()
            made.close()

        def end():
            over.set()
            os.write(bell, b"x")
            thread.join()
            os.close(wake)
            os.close(bell)

        thread = threading.Thread(target=run)
        thread.start()
        stack.callback(end)
        return {name: each.getsockname() for name, each in sockets.items()}, neighbours

    with stack:
        yield start


def ask(where, packet, patience_s=5):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(patience_s)
        client.sendto(packet, where["udp"])
        return Answered(client.recv(65535))


def ask_tcp(where, packet, patience_s=5):
    with socket.create_connection(where["tcp"], patience_s) as client:
        client.sendall(len(packet).to_bytes(2)[:1])
        client.sendall(len(packet).to_bytes(2)[1:] + packet)
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
            piece = client.recv(65535)
            assert piece
            data += piece
        return Answered(data[2:])


# -- what is known here ----------------------------------------------------------------


def test_names_of_neighbours(serve):
    everybody = [
        ("web", (endpoint("net", 2, "web", "WWW"),)),
        ("db", (endpoint("other", 3, "db"),)),
        ("www2", (endpoint("net", 4, "www"),)),
    ]
    where, neighbours = serve([endpoint("net", 9, "me")], everybody=everybody)
    assert ask(where, question("web")).addresses() == {"10.1.0.2"}
    assert ask(where, question("WEB.net")).addresses() == {"10.1.0.2"}
    assert ask(where, question("web", names.AAAA)).addresses() == {"fd00::2"}
    assert ask(where, question("www")).addresses() == {"10.1.0.2", "10.1.0.4"}
    assert ask_tcp(where, question("www")).addresses() == {"10.1.0.2", "10.1.0.4"}
    other = ask(where, question("db"))
    assert (other.code, other.count) == (names.SERVER_FAILURE, 0)
    neighbours.drop("web")
    assert ask(where, question("www")).addresses() == {"10.1.0.4"}


def test_addresses_of_neighbours(serve):
    where, _ = serve([endpoint("net", 9)], everybody=[("web", (endpoint("net", 2, "web"),))])
    backwards = "2.0.1.10.in-addr.arpa"
    assert b"\x03web\x03net\0" in ask(where, question(backwards, names.PTR)).packet
    backwards6 = ".".join(reversed("fd000000000000000000000000000002")) + ".ip6.arpa"
    assert b"\x03web\x03net\0" in ask(where, question(backwards6, names.PTR)).packet


def test_a_network_without_names_gives_none(serve):
    places = (endpoint("net", 2, "web", resolves=False),)
    where, _ = serve([endpoint("net", 9, resolves=False)], everybody=[("web", places)])
    assert ask(where, question("web")).code == names.SERVER_FAILURE


# -- what is asked for elsewhere ---------------------------------------------------------


def test_the_rest_of_the_world(serve, world):
    server = world("127.0.0.2", fixed("192.0.2.7"))
    where, _ = serve([endpoint("net", 9)], ["127.0.0.2"])
    for asked in (ask, ask_tcp):
        found = asked(where, question("example.com", number=77))
        assert (found.number, found.addresses()) == (77, {"192.0.2.7"})
    assert {each[2:] for each in server.heard} == {question("example.com")[2:]}
    assert ask(where, question("example.com", kind=15)).is_answer, "kinds we know nothing of, too"


def test_the_next_server_is_asked_when_one_is_silent_or_gone(serve, world, monkeypatch):
    monkeypatch.setattr(resolving, "_PATIENCE_S", 0.2)
    silent = world("127.0.0.2", lambda _: [])
    world("127.0.0.4", fixed("192.0.2.7"))
    where, _ = serve([endpoint("net", 9)], ["127.0.0.2", "127.0.0.3", "127.0.0.4"])
    for asked in (ask, ask_tcp):
        assert asked(where, question("example.com")).addresses() == {"192.0.2.7"}
    assert len(silent.heard) == 2
    nobody, _ = serve([endpoint("net", 9)], ["127.0.0.2"])
    assert ask(nobody, question("example.com")).code == names.SERVER_FAILURE


def test_who_answers_another_question_is_not_heard(serve, world, monkeypatch):
    monkeypatch.setattr(resolving, "_PATIENCE_S", 0.3)

    def forged(packet):
        wrong = bytes((packet[0] ^ 1,)) + packet[1:]
        return [*fixed("203.0.113.66")(wrong), *fixed("192.0.2.7")(packet)]

    world("127.0.0.2", forged)
    where, _ = serve([endpoint("net", 9)], ["127.0.0.2"])
    assert ask(where, question("example.com")).addresses() == {"192.0.2.7"}


def test_a_network_without_a_way_out_asks_nobody(serve, world):
    server = world("127.0.0.2", fixed("192.0.2.7"))
    inner = [endpoint("net", 9, internal=True)]
    everybody = [("web", (endpoint("net", 2, "web", internal=True),))]
    where, _ = serve(inner, ["127.0.0.2"], everybody)
    assert ask(where, question("example.com")).code == names.SERVER_FAILURE
    assert ask(where, question("web")).addresses() == {"10.1.0.2"}
    assert server.heard == []


def test_many_questions_at_once(serve, world):
    world("127.0.0.2", fixed("192.0.2.7"))
    where, _ = serve([endpoint("net", 9)], ["127.0.0.2"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        numbers = set(range(100))
        for number in numbers:
            client.sendto(question(f"h{number}.example.com", number=number), where["udp"])
        assert {Answered(client.recv(512)).number for _ in numbers} == numbers


# -- bytes -------------------------------------------------------------------------------


def test_long_answers_are_cut_for_udp(serve):
    everybody = [(f"c{n}", (endpoint("net", n, "pool"),)) for n in range(2, 60)]
    where, _ = serve([endpoint("net", 9)], everybody=everybody)
    cut = ask(where, question("pool"))
    assert (cut.is_cut, cut.count, len(cut.packet) <= 512) == (True, 0, True)
    assert len(ask_tcp(where, question("pool")).addresses()) == 58
    edns = b"\0" + struct.pack("!HHIH", 41, 4096, 0, 0)
    whole = ask(where, question("pool", others=edns))
    assert (whole.is_cut, whole.count) == (False, 58)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 11,
        question("web")[:-1],
        question("web", counts=(2, 0, 0, 0)),
        question("web", counts=(0, 0, 0, 0)),
        b"\x12\x34\x81\x80" + question("web")[4:],
        question("web")[:12] + b"\xc0\x0c\0\1\0\1",
        question("web")[:12] + b"\x3fabc",
        question("web")[:12] + b"\x01a" * 200 + b"\0\0\1\0\1",
        question("web")[:-1] + b"\x09",
    ],
)
def test_what_is_no_question(packet, serve):
    assert names.parse(packet) is None
    everybody = [("web", (endpoint("net", 2, "web"),))]
    where, _ = serve([endpoint("net", 9)], everybody=everybody)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(packet, where["udp"])
    with socket.create_connection(where["tcp"]) as client:
        client.sendall(len(packet).to_bytes(2) + packet)
    assert ask(where, question("web")).addresses() == {"10.1.0.2"}, "it goes on"


def test_noise():
    chance = random.Random(1)
    for _ in range(20_000):
        raw = bytearray(question(chance.choice(("web", "a.b.c", ""))))
        for _ in range(chance.randrange(4)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        found = names.parse(bytes(raw[: chance.randrange(len(raw) + 1)]))
        if found is not None:
            assert names.parse(names.failure(found, names.NO_SUCH_NAME)) is None
            names.address_of(found.name)
