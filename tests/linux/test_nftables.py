"""nf_tables: what we make, as ``nft`` lists it, and what becomes of real packets."""

import errno
import json
import os
import struct
import sys
from pathlib import Path

import pytest

nftables = pytest.importorskip(
    "ocimagic.linux.nftables", reason="needs Linux", exc_type=ImportError
)
sys.path.insert(0, str(Path(__file__).parent.parent))

from ownnet import alone, told  # noqa: E402

from ocimagic.linux.nftables import WORD, Table  # noqa: E402

TCP = 6


def furnish(table):
    table.make()
    table.set("ports", (nftables.PROTOCOL, nftables.PORT), (nftables.IPV4_ADDRESS, nftables.PORT))
    table.set("bridges", (nftables.LINK_NAME,))
    table.set("same", (nftables.LINK_NAME, nftables.LINK_NAME))
    table.chain("published")
    table.chain("prerouting", "nat", nftables.PREROUTING, nftables.DSTNAT)
    table.chain("postrouting", "nat", nftables.POSTROUTING, nftables.SRCNAT)
    table.chain("forward", "filter", nftables.FORWARD, nftables.FILTER)
    table.rule(
        "published",
        nftables.meta(nftables.L4PROTO),
        nftables.payload(nftables.TRANSPORT, 2, 2, WORD + 1),
        nftables.mapped("ports"),
        nftables.to_destination(nftables.IPV4, port_register=WORD + 1),
    )
    to_us = nftables.kind_of_address(nftables.TO), nftables.equals(nftables.LOCAL)
    table.rule("prerouting", *to_us, nftables.verdict(nftables.JUMP, "published"))
    known = nftables.conntrack(nftables.STATE), *nftables.has_any(nftables.KNOWN)
    table.rule("forward", *known, nftables.verdict(nftables.ACCEPT), note="what is known")
    both = nftables.meta(nftables.FROM_LINK), nftables.meta(nftables.TO_LINK, WORD + 4)
    table.rule("forward", *both, nftables.is_in("same"), nftables.verdict(nftables.ACCEPT))
    table.rule(
        "postrouting",
        nftables.meta(nftables.TO_LINK),
        nftables.is_in("bridges"),
        nftables.masquerade(),
    )


WANTED = """table inet ours {
	map ports {
		type inet_proto . inet_service : ipv4_addr . inet_service
		elements = { tcp . 8080 : 10.1.2.3 . 80 }
	}

	set bridges {
		type ifname
		elements = { "oci-x" }
	}

	set same {
		type ifname . ifname
		elements = { "oci-x" . "oci-x" }
	}

	chain published {
		dnat ip to meta l4proto . th dport map @ports
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump published
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname @bridges masquerade
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept comment "what is known"
		iifname . oifname @same accept
	}
}
"""


def test_nft_lists_what_was_meant():
    def job():
        table = Table("ours")
        furnish(table)
        value = bytes((10, 1, 2, 3)) + nftables.port_value(80)
        table.add_element("ports", nftables.port_key(TCP, 8080), value)
        table.add_element("bridges", nftables.link_key("oci-x"))
        table.add_element("same", nftables.link_key("oci-x") * 2)
        table.commit()
        return told("nft", "list", "ruleset")

    assert alone(job) == WANTED


def test_what_is_read_back():
    def job():
        table = Table("ours")
        furnish(table)
        keys = [nftables.port_key(TCP, number) for number in range(1, 3000)]
        for key in keys:
            table.add_element("ports", key, bytes((10, 1, 2, 3)) + key[4:])
        table.commit()
        found = table.elements("ports")
        assert sorted(key for key, _ in found) == sorted(keys)
        assert all(value == bytes((10, 1, 2, 3)) + key[4:] for key, value in found)
        assert [note for _, note in table.rules("forward")] == ["what is known", ""]
        (number, _), *_ = table.rules("forward")
        table.delete_rule("forward", number)
        table.commit()
        assert [note for _, note in table.rules("forward")] == [""]
        assert table.elements("nothing") == []
        assert table.rules("nothing") == []
        table.delete()
        table.commit()
        assert table.elements("ports") == []
        return told("nft", "list", "ruleset")

    assert alone(job) == ""


def test_all_or_nothing():
    def job():
        table = Table("ours")
        furnish(table)
        table.commit()
        table.add_element("bridges", nftables.link_key("one"))
        table.delete_element("bridges", nftables.link_key("not there"))
        with pytest.raises(OSError, match="No such file"):
            table.commit()
        assert table.elements("bridges") == []
        table.add_element("bridges", nftables.link_key("two"))
        table.commit()
        return table.elements("bridges")

    assert alone(job) == [(nftables.link_key("two"), b"")]


def test_the_same_twice_is_no_error():
    def job():
        for _ in range(2):
            table = Table("ours")
            table.make()
            table.set("bridges", (nftables.LINK_NAME,))
            table.chain("forward", "filter", nftables.FORWARD, nftables.FILTER)
            table.add_element("bridges", nftables.link_key("one"))
            table.commit()
        return told("nft", "-j", "list", "ruleset")

    kinds = [next(iter(each)) for each in json.loads(alone(job))["nftables"]]
    assert sorted(kinds) == ["chain", "metainfo", "set", "table"]


def test_another_ones_chain_gets_a_rule_and_loses_only_that():
    """As in docker's own chain for what others add: iptables' tables are of one family."""

    def job():
        told("iptables", "-N", "DOCKER-USER")
        told("iptables", "-A", "DOCKER-USER", "-j", "RETURN")
        before = told("iptables", "-S", "DOCKER-USER")
        table = Table("filter", nftables.IPV4)
        mine = nftables.meta(nftables.FROM_LINK), nftables.equals(nftables.link_key("oci-x"))
        accept = nftables.verdict(nftables.ACCEPT)
        table.rule("DOCKER-USER", *mine, accept, first=True, note="ocimagic")
        table.commit()
        during = told("iptables", "-S", "DOCKER-USER")
        for number, note in table.rules("DOCKER-USER"):
            if note == "ocimagic":
                table.delete_rule("DOCKER-USER", number)
        table.commit()
        return before, during, told("iptables", "-S", "DOCKER-USER")

    before, during, after = alone(job)
    assert before == after
    added, *rest = [each for each in during.splitlines() if each not in before.splitlines()]
    assert (added, rest) == ("-A DOCKER-USER -i oci-x -m comment --comment ocimagic -j ACCEPT", [])
    assert during.splitlines()[1] == added, "before RETURN"


def test_who_may_not_is_told_so():
    def job():
        if os.fork() == 0:
            os.setresuid(1000, 1000, 1000)
            table = Table("ours")
            table.make()
            try:
                table.commit()
            except OSError as err:
                os._exit(err.errno)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.wait()[1])

    assert alone(job) == errno.EPERM


def test_numbers_are_in_the_order_the_kernel_wants():
    assert nftables.port_key(TCP, 8080) == b"\x06\0\0\0\x1f\x90\0\0"
    assert struct.pack("=I", 2) == nftables.LOCAL
