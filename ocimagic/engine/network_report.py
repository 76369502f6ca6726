"""What ``system info`` and ``doctor`` say about networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.engine.addresses import table_of
from ocimagic.engine.wayout import described
from ocimagic.model.isolation import Finding, Grade
from ocimagic.model.network import BRIDGE, HOST, NetworkReport

if TYPE_CHECKING:
    from pathlib import Path

    from ocimagic.engine.networks import Networks

_SHARED = ("host", "none", "container:NAME")
_NO_NAMESPACES = frozenset({"chroot", "traced"})


def report(networks: Networks, data_root: Path, isolation: str) -> NetworkReport:
    """Say what networks containers can have here.

    Args:
        networks: of the engine.
        data_root: of the engine.
        isolation: the mode containers run in.
    """
    if isolation == "look":
        return NetworkReport(kinds=(), usual="none", why_not="no containers can run here")
    if isolation in _NO_NAMESPACES:
        why = "without namespaces there is only the machine's network"
        return NetworkReport(kinds=(HOST,), usual=HOST, why_not=why)
    why = networks.lacks()
    if why:
        own = "the machine's own network"
        return NetworkReport(kinds=_SHARED, usual=HOST, why_not=why, way_out=own)
    kinds = (BRIDGE, "your own (network create)", *_SHARED)
    if way := networks.way_out:
        return NetworkReport(
            kinds=kinds,
            usual=BRIDGE,
            way_out=described(way),
            firewall=("nf_tables, in a network namespace of this account's own",),
        )
    from ocimagic.network.report import firewall, forwarding  # for Linux only

    return NetworkReport(
        kinds=kinds,
        usual=BRIDGE,
        way_out="by this machine's routes, with its address",
        forwarding=forwarding(),
        firewall=firewall(table_of(data_root)),
    )


def finding(found: NetworkReport) -> Finding:
    """Return the same as one line of the doctor's."""
    kinds = ", ".join(found.kinds) or "none"
    if found.why_not:
        return Finding(
            "networks", Grade.PARTLY, f"{kinds}; no others: {found.why_not}", found.advice
        )
    return Finding("networks", Grade.GOOD, f"{kinds}; {'; '.join(found.firewall)}")
