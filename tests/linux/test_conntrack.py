"""Flows of the kernel: those that are meant are ended, others go on; the kernel's list says so."""

import ipaddress
import socket
import sys
from pathlib import Path

import pytest

pytest.importorskip("ocimagic.linux.links", reason="needs Linux", exc_type=ImportError)
sys.path.insert(0, str(Path(__file__).parent.parent))

from ownnet import alone, told

from ocimagic.linux import conntrack
from ocimagic.linux.links import Links

UDP = 17


def send(source, target, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1" if family == socket.AF_INET else "::1", source))
        client.sendto(b"x", target)


def flows(family="ipv4"):
    """Return the ports that flows of UDP come from, as the kernel lists them."""
    listed = Path("/proc/thread-self/net/nf_conntrack")
    if not listed.exists():
        pytest.skip("the kernel has no list of flows to compare with")
    lines = [each.split() for each in listed.read_text().splitlines()]
    mine = [each for each in lines if each[0] == family and each[2] == "udp"]
    return sorted(
        int(next(word for word in each if word.startswith("sport="))[6:]) for each in mine
    )


def redirected(*, to="127.0.0.2"):
    """Follow flows, and let what is sent to port 7001 come to another address."""
    with Links() as links:
        links.bring_up(1)
    told("nft", "add table ip t; add chain ip t o { type nat hook output priority -100 ; }")
    told("nft", f"add rule ip t o udp dport 7001 dnat to {to}")


def test_flows_to_an_address_by_translation():
    def job():
        redirected()
        send(40001, ("127.0.0.1", 7001))
        send(40002, ("127.0.0.1", 7002))
        send(40003, ("127.0.0.2", 7003))
        before = flows()
        gone = conntrack.forget_address(ipaddress.ip_address("127.0.0.2"))
        again = conntrack.forget_address(ipaddress.ip_address("127.0.0.2"))
        return before, (gone, again), flows()

    assert alone(job) == ([40001, 40002, 40003], (1, 0), [40002, 40003])


def test_flows_to_a_port_that_were_not_translated():
    def job():
        redirected()
        for source, port in ((40001, 7001), (40002, 7002), (40003, 7002), (40004, 7004)):
            send(source, ("127.0.0.1", port))
        found = [conntrack.forget_port(UDP, port, (4, 6)) for port in (7001, 7002)]
        return found, flows()

    assert alone(job) == ([0, 2], [40001, 40004])


def test_ipv6():
    def job():
        redirected()
        told("nft", "add table ip6 t; add chain ip6 t o { type nat hook output priority -100 ; }")
        told("nft", "add rule ip6 t o udp dport 7001 dnat to [::1]:7005")
        send(40001, ("::1", 7002), socket.AF_INET6)
        send(40002, ("::1", 7003), socket.AF_INET6)
        before = flows("ipv6")
        return before, conntrack.forget_port(UDP, 7002, (4, 6)), flows("ipv6")

    assert alone(job) == ([40001, 40002], 1, [40002])
