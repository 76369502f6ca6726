"""Networks of containers, with real packets: a machine, two networks, and somebody outside."""

import contextlib
import ipaddress
import os
import select
import socket
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("ocimagic.linux.links", reason="needs Linux", exc_type=ImportError)
sys.path.insert(0, str(Path(__file__).parent.parent))

from ownnet import alone, another, entered, told

from ocimagic.linux.links import Links
from ocimagic.network.firewall import Firewall
from ocimagic.network.neighbours import Neighbours
from ocimagic.network.plan import Endpoint, Plan, Port
from ocimagic.network.wiring import Wiring

TABLE = "ocimagic-test"
PATIENCE_S = 10.0  # the kernel remembers for longer
OUTSIDE, MACHINE = "192.0.2.2", "192.0.2.1"


def endpoint(network, number, inside="eth0", **more):
    return Endpoint(
        network_id=f"net{network}",
        network=f"network{network}",
        bridge=f"oci-{network}",
        gateways=(f"10.{network}.0.1/16", f"fd00:{network}::1/64"),
        link=f"v{network}-{number}",
        inside=inside,
        mac=f"02:42:0a:0{network}:00:0{number}",
        addresses=(f"10.{network}.0.{number}/16", f"fd00:{network}::{number}/64"),
        names=(f"c{number}",),
        **more,
    )


class Machine:
    """Containers without processes: only what is theirs of the network."""

    def __init__(self, room):
        self.room = room
        self.stack = contextlib.ExitStack()
        self.containers = {}

    def container(self, name, *endpoints, ports=()):
        netns = self.stack.enter_context(another())
        plan = Plan(room=str(self.room), table=TABLE, endpoints=endpoints, ports=ports)
        wiring = Wiring(name, name, plan.room, plan.table)
        self.stack.callback(wiring.close)
        wiring.attach(netns, plan, ports)
        self.containers[name] = (wiring, endpoints, ports)
        return netns

    def remove(self, name):
        wiring, endpoints, ports = self.containers.pop(name)
        for _ in range(2):  # again does nothing
            wiring.withdraw(endpoints, ports)
        wiring.remove_links(endpoints)

    def outside(self):
        """Return a network namespace that reaches the machine, and is reached by it."""
        netns = self.stack.enter_context(another())
        with Links() as links:
            links.add_bridge("lan0")
            lan = links.find("lan0").index
            links.add_address(lan, ipaddress.ip_interface(f"{MACHINE}/24"))
            links.add_veth(
                "lan1", master=lan, netns_fd=netns, inside="eth0", mac="02:42:c0:00:02:02"
            )
        with entered(netns), Links() as links:
            inside = links.find("eth0").index
            links.add_address(inside, ipaddress.ip_interface(f"{OUTSIDE}/24"))
            links.bring_up(inside)
            links.add_default_route(inside, ipaddress.ip_address(MACHINE))
        return netns


@pytest.fixture
def on_machine(tmp_path):
    """Return what calls a job with a machine, and sees that nothing is left of it."""

    def call(job):
        def work():
            machine = Machine(tmp_path)
            with Links() as links:
                links.bring_up(1)
            with machine.stack:
                result = job(machine)
                for name in list(machine.containers):
                    machine.remove(name)
                with Links() as links:
                    left = [each.name for each in links.all() if each.name.startswith(("oci", "v"))]
                assert left == []
                assert "ocimagic" not in told("nft", "list", "ruleset")
                assert not Neighbours(tmp_path).read()
            return result

        return alone(work)

    return call


@contextlib.contextmanager
def serving(netns, port=80, kind=socket.SOCK_STREAM, family=socket.AF_INET6):
    """Answer everybody in a namespace with who they are."""
    with entered(netns):
        server = socket.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))

    done = threading.Event()

    def serve():
        with contextlib.suppress(OSError, TypeError):
            while kind == socket.SOCK_STREAM:
                client, who = server.accept()
                with closing(client):
                    client.sendall(who[0].removeprefix("::ffff:").encode())
            while not done.is_set():
                _, who = server.recvfrom(100)
                server.sendto(who[0].removeprefix("::ffff:").encode(), who)

    if kind == socket.SOCK_STREAM:
        server.listen()
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join()
        server.close()


def asked(netns, address, port=80, kind=socket.SOCK_STREAM, patience_s=4.0):
    """Return what a server says, "" if it cannot be reached."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with entered(netns) if netns is not None else contextlib.nullcontext():
        client = socket.socket(family, kind)
    # Nobody repeats a datagram that was lost but who sent it, as resolvers do.
    tries = 4 if kind == socket.SOCK_DGRAM else 1
    with closing(client):
        client.settimeout(patience_s / tries)
        for _ in range(tries):
            with contextlib.suppress(OSError):
                client.connect((address, port))
                if kind == socket.SOCK_DGRAM:
                    client.send(b"who am I?")
                return client.recv(100).decode()
    return ""


@pytest.mark.parametrize("server", ["10.1.0.2", "fd00:1::2"])
def test_two_of_one_network_reach_each_other(on_machine, server):
    def job(machine):
        web = machine.container("web", endpoint(1, 2))
        other = machine.container("other", endpoint(1, 3))
        with serving(web):
            return asked(other, server), asked(None, server)

    of_container, of_machine = on_machine(job)
    assert of_container in ("10.1.0.3", "fd00:1::3")
    assert of_machine in ("10.1.0.1", "fd00:1::1")


def test_another_network_is_out_of_reach(on_machine):
    def job(machine):
        web = machine.container("web", endpoint(1, 2))
        other = machine.container("other", endpoint(2, 3))
        with serving(web):
            return [asked(other, each, patience_s=0.3) for each in ("10.1.0.2", "fd00:1::2")]

    assert on_machine(job) == ["", ""]


def test_one_that_is_in_both_reaches_both(on_machine):
    def job(machine):
        one = machine.container("one", endpoint(1, 2))
        two = machine.container("two", endpoint(2, 2))
        both = machine.container("both", endpoint(1, 3), endpoint(2, 3, inside="eth1"))
        with serving(one), serving(two):
            return asked(both, "10.1.0.2"), asked(both, "10.2.0.2")

    assert on_machine(job) == ("10.1.0.3", "10.2.0.3")


def test_the_way_out_is_with_the_machines_address(on_machine):
    def job(machine):
        outside = machine.outside()
        inside = machine.container("inside", endpoint(1, 2))
        hidden = machine.container("hidden", endpoint(2, 2, internal=True))
        with serving(outside):
            ways = asked(inside, OUTSIDE), asked(hidden, OUTSIDE, patience_s=0.3)
        with serving(inside):
            return ways, asked(outside, "10.1.0.2", patience_s=0.3)

    assert on_machine(job) == ((MACHINE, ""), "")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_published_port_from_everywhere(on_machine, kind):
    """Outside, the machine by each of its addresses, another container, and itself."""
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"

    def job(machine):
        outside = machine.outside()
        port = Port(protocol=protocol, host_port=8080, container_port=80)
        web = machine.container("web", endpoint(1, 2), ports=(port,))
        near = machine.container("near", endpoint(1, 3))
        far = machine.container("far", endpoint(2, 3))
        with serving(web, kind=kind):
            asks = [(outside, MACHINE), (None, "127.0.0.1"), (None, MACHINE), (None, "10.1.0.1")]
            asks += [(near, "10.1.0.1"), (near, MACHINE), (far, "10.2.0.1"), (far, MACHINE)]
            asks += [(web, MACHINE), (near, "fd00:1::1")]
            found = [asked(who, where, 8080, kind) for who, where in asks]
        machine.remove("web")
        return found, asked(None, "127.0.0.1", 8080, kind, 0.3)

    found, after = on_machine(job)
    assert found[0] == OUTSIDE, "who comes from outside is seen as who it is"
    assert all(found), found
    assert after == ""


@pytest.mark.parametrize("way_in", ["127.0.0.1", MACHINE])
def test_who_goes_on_sending_reaches_whom_the_port_leads_to_now(on_machine, way_in):
    """The kernel remembers where a flow of UDP goes; nobody must wait until it forgets."""
    port = Port(protocol="udp", host_port=8080, container_port=80)

    def job(machine):
        outside = machine.outside() if way_in == MACHINE else None
        with entered(outside) if outside else contextlib.nullcontext():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        found = []

        def ask(patience_s=0.0):
            """Send again what is lost: a link that was just made may pass nothing yet."""
            deadline = time.monotonic() + patience_s
            while True:
                try:
                    client.send(b"who am I?")
                    return client.recv(100).decode()
                except OSError:
                    if time.monotonic() > deadline:
                        return ""
                    select.select([], [], [], 0.05)

        with closing(client):
            client.settimeout(0.3)
            client.connect((way_in, 8080))
            machine.container("keeps", endpoint(1, 9))
            found.append(ask())  # nobody is there yet
            for number in (2, 3, 2):
                web = machine.container("web", endpoint(1, number), ports=(port,))
                with serving(web, kind=socket.SOCK_DGRAM):
                    found.append(ask(PATIENCE_S))
                machine.remove("web")
                found.append(ask())
            return found

    nobody, *found = on_machine(job)
    assert nobody == ""
    assert all(found[0::2]), found
    assert not any(found[1::2]), found


def test_a_port_of_one_address_only(on_machine):
    def job(machine):
        outside = machine.outside()
        ports = tuple(
            Port(protocol="tcp", host_port=8080 + number, container_port=80, host_address=address)
            for number, address in enumerate(("127.0.0.1", MACHINE, "::1"))
        )
        web = machine.container("web", endpoint(1, 2), ports=ports)
        with serving(web):
            return [
                asked(who, address, 8080 + number, patience_s=0.3) != ""
                for number in range(2)
                for who, address in ((None, "127.0.0.1"), (None, MACHINE), (outside, MACHINE))
            ]

    assert on_machine(job) == [True, False, False, False, True, True]


def test_connected_and_disconnected_two_hundred_times(on_machine):
    def job(machine):
        web = machine.container("web", endpoint(1, 2))
        other = machine.container("other", endpoint(2, 3))
        wiring, *_ = machine.containers["web"]
        before = len(os.listdir("/proc/self/fd"))
        more = endpoint(2, 2, inside="eth1")
        for number in range(200):
            wiring.connect(web, more, is_way_out=False)
            if number % 50 == 0:
                with serving(web):
                    assert asked(other, "10.2.0.2") == "10.2.0.3"
            wiring.disconnect(more)
        with entered(web), Links() as links:
            assert [each.name for each in links.all()] == ["lo", "eth0"]
        assert len(os.listdir("/proc/self/fd")) == before
        return Neighbours(machine.room).read()

    where = on_machine(job)
    assert {network: list(line) for network, line in where.items()} == {
        "net1": ["web"], "net2": ["other"],
    }  # fmt: skip


def test_beside_dockers_rules(on_machine):
    """dockerd lets nothing pass that it does not know, and asks others to use its chain."""

    def job(machine):
        for program in ("iptables", "ip6tables"):
            told(program, "-P", "FORWARD", "DROP")
            told(program, "-N", "DOCKER-USER")
            told(program, "-A", "DOCKER-USER", "-j", "RETURN")
            told(program, "-A", "FORWARD", "-j", "DOCKER-USER")
        before = told("iptables", "-S"), told("ip6tables", "-S")
        outside = machine.outside()
        port = Port(protocol="tcp", host_port=8080, container_port=80)
        web = machine.container("web", endpoint(1, 2), ports=(port,))
        with serving(web), serving(outside):
            found = asked(web, OUTSIDE), asked(outside, MACHINE, 8080)
        machine.remove("web")
        return before == (told("iptables", "-S"), told("ip6tables", "-S")), found

    assert on_machine(job) == (True, (MACHINE, OUTSIDE))


def test_a_refusal_leaves_nothing(on_machine):
    def job(machine):
        machine.container("web", endpoint(1, 2))
        with pytest.raises(Exception, match="cannot connect the container"):
            machine.container("twin", endpoint(2, 3), endpoint(1, 3))  # both eth0
        return Firewall(TABLE).bridges(), Neighbours(machine.room).read()

    bridges, where = on_machine(job)
    assert bridges == ["oci-1"]
    assert list(where) == ["net1"]
