"""Whether an account can have networks of its own: tried once, and gone again."""

from __future__ import annotations

import os
from ipaddress import ip_address

from ocimagic.linux.links import Links
from ocimagic.linux.netlink import NetlinkError
from ocimagic.linux.netns import inside, new_netns
from ocimagic.network.firewall import Firewall
from ocimagic.network.ground import bridge_calls, prepare
from ocimagic.network.relay import open_ways

_BRIDGE = "oci-probe"


def why_not() -> str:
    """Say why this account cannot have networks; "" if it can.

    To be called by a root of its user namespace.
    """
    try:
        ground_fd, other_fd = new_netns(), new_netns()
    except OSError as err:
        return f"network namespaces are not allowed: {err.strerror}"
    try:
        return inside(ground_fd, lambda: _try(other_fd))
    except NetlinkError as err:
        return f"the kernel refuses what networks need: {err.strerror}"
    except OSError as err:
        return f"the kernel has no transparent sockets: {err.strerror}"
    finally:
        os.close(ground_fd)
        os.close(other_fd)


def _try(other_fd: int) -> str:
    prepare()
    with Links() as links:
        links.add_bridge(_BRIDGE)
        bridge = links.find(_BRIDGE)
        assert bridge is not None
        mac = "02:42:00:00:00:02"
        links.add_veth("oci-try", master=bridge.index, netns_fd=other_fd, inside="eth0", mac=mac)
    for fd in (ways := open_ways()).values():
        os.close(fd)
    firewall = Firewall(_BRIDGE, relayed=True)
    firewall.make()
    firewall.add_bridge(_BRIDGE, internal=False)
    firewall.let_out([ip_address("192.0.2.2")], dict.fromkeys(ways, 1))
    firewall.commit()
    if bridge_calls():
        return "bridged packets pass the rules twice (net.bridge.bridge-nf-call-iptables is fixed)"
    return ""
