"""Networks as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ocimagic.model.network import NetworkSummary

NETWORK_HEADS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def network_fields(
    network: NetworkSummary, _now: datetime, *, no_trunc: bool = False
) -> dict[str, str]:
    """Return docker's ``network ls --format`` fields of one network."""
    return {
        "ID": network.network_id if no_trunc else network.network_id[:12],
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "IPv6": str(network.ipv6).lower(),
        "Internal": str(network.internal).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in network.labels.items()),
        "CreatedAt": network.created.strftime("%Y-%m-%d %H:%M:%S.%f %z %Z"),
    }


def network_table(
    networks: Iterable[NetworkSummary], now: datetime, *, no_trunc: bool = False
) -> Table:
    """Lay out docker's columns for networks."""
    fields = ("ID", "Name", "Driver", "Scope")
    rows = (network_fields(each, now, no_trunc=no_trunc) for each in networks)
    return Table(
        caption="Networks",
        heads=tuple(NETWORK_HEADS[each] for each in fields),
        rows=tuple(tuple(row[each] for each in fields) for row in rows),
    )
