"""Links, addresses and routes: made by us, seen by ``ip``, and used by real packets."""

import ipaddress
import json
import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

links = pytest.importorskip("ocimagic.linux.links", reason="needs Linux", exc_type=ImportError)
sys.path.insert(0, str(Path(__file__).parent.parent))

from ownnet import alone, another, entered, told  # noqa: E402

GATEWAY, GUEST = (ipaddress.ip_interface(each) for each in ("10.89.7.1/24", "10.89.7.2/24"))
GATEWAY6, GUEST6 = (ipaddress.ip_interface(each) for each in ("fd00:7::1/64", "fd00:7::2/64"))
MAC = "02:42:0a:59:07:02"


def bridge(kernel, name="oci-test", **more):
    kernel.add_bridge(name, **more)
    made = kernel.find(name)
    for each in (GATEWAY, GATEWAY6):
        kernel.add_address(made.index, each)
    return made


def furnish(kernel):
    """Do what is to be done at the other end of a pair."""
    inside = kernel.find("eth0").index
    kernel.bring_up(kernel.find("lo").index)
    for each in (GUEST, GUEST6):
        kernel.add_address(inside, each)
    kernel.bring_up(inside)
    for each in (GATEWAY, GATEWAY6):
        kernel.add_default_route(inside, each.ip)


def test_what_is_made_is_what_ip_shows():
    def job():
        with links.Links() as kernel, another() as other:
            made = bridge(kernel, mac="02:42:00:00:00:01", mtu=1400)
            kernel.add_veth(
                "oci-veth", master=made.index, netns_fd=other, inside="eth0", mac=MAC, mtu=1400
            )
            port = kernel.find("oci-veth")
            outside = {each["ifname"]: each for each in json.loads(told("ip", "-j", "-d", "a"))}
            with entered(other), links.Links() as there:
                furnish(there)
                inside = {each["ifname"]: each for each in json.loads(told("ip", "-j", "a"))}
                routes = json.loads(told("ip", "-j", "route"))
                routes6 = json.loads(told("ip", "-j", "-6", "route"))
                found = there.routes()
                addresses = {str(each) for _, each in there.addresses()}
            return made, port, outside, inside, routes, routes6, found, addresses

    made, port, outside, inside, routes, routes6, found, addresses = alone(job)
    shown = outside["oci-test"]
    assert (made.kind, made.mac, made.mtu, made.is_up) == (
        "bridge",
        "02:42:00:00:00:01",
        1400,
        True,
    )
    assert (shown["linkinfo"]["info_kind"], shown["address"], shown["mtu"]) == (
        made.kind, made.mac, made.mtu,
    )  # fmt: skip
    assert (port.kind, port.master) == ("veth", made.index)
    assert outside["oci-veth"]["master"] == "oci-test"
    assert (inside["eth0"]["address"], inside["eth0"]["mtu"]) == (MAC, 1400)
    seen = {f"{each['local']}/{each['prefixlen']}" for each in inside["eth0"]["addr_info"]}
    assert {str(GUEST), str(GUEST6)} <= seen & addresses
    assert {"dst": "default", "gateway": "10.89.7.1"}.items() <= routes[0].items()
    assert "fd00:7::1" in [each.get("gateway") for each in routes6]
    assert {str(each.gateway) for each in found if each.gateway} == {"10.89.7.1", "fd00:7::1"}
    assert ipaddress.ip_network("10.89.7.0/24") in {each.destination for each in found}


@pytest.mark.parametrize("address", ["10.89.7.1", "fd00:7::1"])
def test_packets_go_through(address):
    def job():
        with links.Links() as kernel, another() as other:
            made = bridge(kernel)
            kernel.add_veth("oci-veth", master=made.index, netns_fd=other, inside="eth0", mac=MAC)
            everywhere = {"family": socket.AF_INET6, "dualstack_ipv6": True}
            with closing(socket.create_server(("::", 80), **everywhere)) as server:
                with entered(other), links.Links() as there:
                    furnish(there)
                    client = socket.create_connection((address, 80), 5)
                answered, who = server.accept()
                with closing(client), closing(answered):
                    answered.sendall(b"hello")
                    return client.recv(5), who[0]

    said, who = alone(job)
    assert said == b"hello"
    assert who in ("::ffff:10.89.7.2", "fd00:7::2")


def test_refusals_say_what_is_wrong():
    def job():
        with links.Links() as kernel:
            made = bridge(kernel)
            with pytest.raises(OSError, match="File exists"):
                kernel.add_bridge("oci-test")
            with pytest.raises(OSError, match=r"not enabled|Network is unreachable|Nexthop"):
                kernel.add_default_route(made.index, ipaddress.ip_address("192.0.2.1"))
            with pytest.raises(OSError, match=r"netns|Bad file|Invalid"):
                kernel.add_veth("x", master=made.index, netns_fd=999, inside="eth0", mac=MAC)
            assert kernel.find("x") is None

    alone(job)


def test_removing_what_is_gone_is_no_error():
    def job():
        with links.Links() as kernel, another() as other:
            made = bridge(kernel)
            kernel.add_veth("oci-veth", master=made.index, netns_fd=other, inside="eth0", mac=MAC)
            kernel.delete(kernel.find("oci-veth").index)
            kernel.delete(made.index)
            kernel.delete(made.index)
            with entered(other), links.Links() as there:
                assert [each.name for each in there.all()] == ["lo"]
            return [each.name for each in kernel.all()]

    assert alone(job) == ["lo"]


def test_its_name_is_free_while_the_kernel_still_lets_go():
    def job():
        with links.Links() as kernel:
            going = []
            for _ in range(10):
                made = bridge(kernel)
                going.append(kernel.begin_delete(made.index))
                assert kernel.find("oci-test") is None
            again = kernel.begin_delete(made.index)
            for each in (*going, again):
                each.wait()
            return [each.name for each in kernel.all()]

    before = len(os.listdir("/proc/self/fd"))
    assert alone(job) == ["lo"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_cannot_be_removed_says_so():
    def job():
        with links.Links() as kernel:
            lo = kernel.find("lo").index
            departure = kernel.begin_delete(lo)
            with pytest.raises(links.NetlinkError, match="not supported"):
                departure.wait()
            return kernel.find("lo").index == lo

    assert alone(job)


def test_an_end_that_dies_takes_the_other_along():
    def job():
        with links.Links() as kernel:
            made = bridge(kernel)
            with another() as other:
                kernel.add_veth("v", master=made.index, netns_fd=other, inside="eth0", mac=MAC)
            deadline = 200
            while kernel.find("v") is not None and deadline:
                deadline -= 1
                os.sched_yield()
                told("ip", "link")
            return kernel.find("v")

    assert alone(job) is None


def test_no_descriptor_is_left():
    def job():
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with links.Links() as kernel:
                kernel.all()
        return before, len(os.listdir("/proc/self/fd"))

    before, after = alone(job)
    assert after <= before
