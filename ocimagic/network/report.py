"""What there is of networks on this machine, for whoever asks why something does not pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.linux import nftables
from ocimagic.linux.nftables import Table
from ocimagic.network.firewall import DOCKERS

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIREWALLD = "firewalld"
_OLD_TABLES = Path("/proc/net/ip_tables_names")
_SWITCHES = {"IPv4": "ipv4/ip_forward", "IPv6": "ipv6/conf/all/forwarding"}


def forwarding() -> str:
    """Say whether the machine passes packets on, and what happens if it does not."""
    said = {name: _switch(path) for name, path in _SWITCHES.items()}
    words = ", ".join(f"{name} {'on' if value == '1' else 'off'}" for name, value in said.items())
    if said["IPv4"] == "1":
        return words
    where = Path("/proc/sys/net") / _SWITCHES["IPv4"]
    if _is_writable(where):
        return f"{words}: the first network with a way out switches it on"
    return f"{words}, and {where} is read-only here: containers will not get out"


def firewall(name: str) -> tuple[str, ...]:
    """Say which packet rules are in use, ours and those of others that meet our packets.

    Args:
        name: of the data root's own table.

    Raises:
        OSError: the kernel does not say.
    """
    tables = nftables.tables()
    ours = "there now" if (nftables.INET, name) in tables else "made with the first container"
    return (f"nf_tables, in the table {name}: {ours}", *_others(tables))


def _others(tables: set[tuple[int, str]]) -> Iterator[str]:
    if Table("filter", nftables.IPV4).rules(DOCKERS):
        yield f"dockerd's chain {DOCKERS} is there: it gets rules for our bridges"
    elif (nftables.IPV4, "filter") in tables:
        yield "others' rules (iptables) are there: if they drop, what containers send is dropped"
    if (nftables.INET, _FIREWALLD) in tables:
        yield (
            "firewalld is there: it rejects what it does not know; "
            "firewall-cmd --zone=trusted --add-source=SUBNET lets a network pass"
        )
    if _read(_OLD_TABLES).split():
        yield "rules of the older iptables are there, which nobody can add to beside them"


def _switch(name: str) -> str:
    return _read(Path("/proc/sys/net") / name).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # no such part of the kernel, or not for this account
        return ""


def _is_writable(path: Path) -> bool:
    try:
        path.open("r+b").close()
    except OSError:
        return False
    return True
