"""Published ports in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.model.report import PortBinding

_ANYWHERE = "0.0.0.0"  # noqa: S104  as docker shows it


def port_words(ports: Sequence[PortBinding], exposed: Sequence[str] = ()) -> str:
    """Return docker's PORTS column: ``0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 90/tcp``."""
    words = []
    for each in ports:
        hosts = [each.host_ip, "[::]"] if each.host_ip == _ANYWHERE else [_bracketed(each.host_ip)]
        words += [f"{host}:{each.host_port}->{each.container_port}" for host in hosts]
    published = {each.container_port for each in ports}
    return ", ".join([*words, *(each for each in exposed if each not in published)])


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
