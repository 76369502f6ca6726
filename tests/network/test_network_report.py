"""What is said about a machine's packet rules and forwarding, in networks of our own."""

import os
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("ocimagic.linux.links", reason="needs Linux", exc_type=ImportError)
sys.path.insert(0, str(Path(__file__).parent.parent))

from ownnet import alone, told

from ocimagic.network.firewall import Firewall
from ocimagic.network.report import firewall, forwarding

NAME = "ocimagic-test"


def test_whose_rules_there_are():
    def job():
        found = [firewall(NAME)]
        told("iptables", "-A", "FORWARD", "-j", "ACCEPT")
        found.append(firewall(NAME))
        told("iptables", "-N", "DOCKER-USER")
        told("iptables", "-A", "DOCKER-USER", "-j", "RETURN")
        told("nft", "add", "table", "inet", "firewalld")
        made = Firewall(NAME)
        made.make()
        made.commit()
        found.append(firewall(NAME))
        return found

    nothing, theirs, all_of_them = alone(job)
    assert nothing == ("nf_tables, in the table ocimagic-test: made with the first container",)
    assert "iptables" in theirs[1]
    assert len(theirs) == 2
    ours, dockers, firewallds = all_of_them
    assert ours.endswith("there now")
    assert "DOCKER-USER" in dockers
    assert "firewall-cmd" in firewallds


def test_whether_packets_are_passed_on():
    def job():
        # As this thread's network namespace has it: /proc/sys/net is the reader's own.
        switch = Path("/proc/sys/net/ipv4/ip_forward")
        switch.write_text("0")
        before = forwarding()
        switch.write_text("1")
        return before, forwarding()

    if not os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK):
        pytest.skip("needs root, and a /proc/sys that may be written")
    before, after = alone(job)
    assert re.match("IPv4 off, IPv6 (on|off): the first network", before)
    assert re.fullmatch("IPv4 on, IPv6 (on|off)", after)
