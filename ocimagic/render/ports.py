"""Published ports in a few words, and as links to what answers there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.render.escape import markup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.report import PortBinding

_ANYWHERE = "0.0.0.0"  # noqa: S104  as docker shows it
# Where "this machine" is meant: a browser or a proxy on it finds these by one name.
_HERE = frozenset({_ANYWHERE, "[::]", "127.0.0.1", "[::1]"})
_PUBLISHED = re.compile(r"(\[[0-9a-f:.]+\]|[0-9.]+):(\d+)->\d+/tcp", re.ASCII)
# As ``_link`` writes it; a quote that came from elsewhere is escaped and cannot begin this.
_LOCAL_LINK = re.compile(r'href="http://localhost:(\d+)/"', re.ASCII)


def port_words(ports: Sequence[PortBinding], exposed: Sequence[str] = ()) -> str:
    """Return docker's PORTS column: ``0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 90/tcp``."""
    words = []
    for each in ports:
        hosts = [each.host_ip, "[::]"] if each.host_ip == _ANYWHERE else [_bracketed(each.host_ip)]
        words += [f"{host}:{each.host_port}->{each.container_port}" for host in hosts]
    published = {each.container_port for each in ports}
    return ", ".join([*words, *(each for each in exposed if each not in published)])


def words_markup(words: str) -> str:
    """Draw what ``port_words`` returned; the first mention of each TCP port is a link."""
    drawn: list[str] = []
    linked: set[str] = set()
    for each in words.split(", "):
        found = _PUBLISHED.fullmatch(each)
        address = _address(found[1], found[2]) if found else ""
        drawn.append(_link(address, each) if address not in {"", *linked} else markup(each))
        linked.add(address)
    return ", ".join(drawn)


def bindings_html(ports: Iterable[PortBinding]) -> str:
    """Draw ``80/tcp -> 0.0.0.0:8080`` and the like, one per line."""
    lines = []
    for each in ports:
        place = places_html(
            [f"{_bracketed(each.host_ip)}:{each.host_port}"],
            is_tcp=each.container_port.endswith("/tcp"),
        )
        lines.append(f"{markup(each.container_port)} -&gt; {place}")
    return "<br>".join(lines)


def places_html(places: Iterable[str], *, is_tcp: bool) -> str:
    """Draw ``0.0.0.0:8080`` and the like, one per line; what speaks TCP is a link."""
    drawn = []
    for each in places:
        host, _, port = each.rpartition(":")
        drawn.append(_link(_address(host, port), each) if is_tcp else markup(each))
    return "<br>".join(drawn)


def map_markup(ports: object) -> str:
    """Draw the links of docker's ``Ports`` document; "" for anything else."""
    made = []
    for name, places in ports.items() if isinstance(ports, dict) else ():
        for each in places if isinstance(places, list) else ():
            host, port = each.get("HostIp"), each.get("HostPort")
            made.append(f"{_bracketed(str(host))}:{port}->{name}")
    return words_markup(", ".join(made)) if made else ""


def through(html: str, way: str) -> str:
    """Send the links to this machine's ports another way.

    Args:
        html: with links that this module made.
        way: an address with ``{port}`` in it, such as ``/user/me/proxy/{port}/``.
    """
    return _LOCAL_LINK.sub(lambda found: f'href="{markup(way.replace("{port}", found[1]))}"', html)


def has_links(html: str) -> bool:
    """Say whether there is a link that ``through`` would change."""
    return bool(_LOCAL_LINK.search(html))


def _address(host: str, port: str) -> str:
    return f"http://{'localhost' if host in _HERE else host}:{port}/"


def _link(address: str, words: str) -> str:
    """Link to a page; it gets its own tab, and no hold of the notebook."""
    return f'<a href="{markup(address)}" target="_blank" rel="noopener">{markup(words)}</a>'


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
