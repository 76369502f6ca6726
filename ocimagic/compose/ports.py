"""``ports`` of a service: the short form made long, and the long one as what is published."""

from __future__ import annotations

import re

from ocimagic.compose.tree import Map, Node
from ocimagic.errors import InvalidOption
from ocimagic.model.network import PublishedPort, published_ports

_HINT = 'write "8080:80", "127.0.0.1:8080:80", "8000-8010:80" or "53:53/udp"'
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def long_ports(node: Node) -> list[Map]:
    """Return the long form of one entry; a range of ports is several.

    Raises:
        InvalidDocument: it cannot be understood.
    """
    if isinstance(node.value, Map):
        return [_filled(node.value)]
    text = node.text()
    try:
        found = published_ports(text)
    except InvalidOption as err:
        what = err.what.removeprefix(f"-p {text}: ")
        raise node.wrong(f"{text!r}: {what}", why=err.why, hint=_HINT) from err
    return [_long(node, each) for each in found]


def _long(node: Node, port: PublishedPort) -> Map:
    made = Map(node.place)
    made.put("mode", "ingress")
    if port.host_address:
        made.put("host_ip", port.host_address)
    made.put("target", port.container_port)
    if port.host_port:
        last = f"-{port.last_host_port}" if port.last_host_port else ""
        made.put("published", f"{port.host_port}{last}")
    made.put("protocol", port.protocol)
    return made


def _filled(value: Map) -> Map:
    made = value.copied()
    for key, usual in (("mode", "ingress"), ("protocol", "tcp")):
        if key not in made:
            made.put(key, usual, value.place)
    if isinstance(made.get("published"), int):
        made.put("published", str(made["published"]))
    return made


def published(node: Node) -> PublishedPort:
    """Return what one entry in its long form publishes.

    Raises:
        InvalidDocument: it cannot be understood.
    """
    target = node.get("target")
    if target is None:
        raise node.wrong("a port has no target", hint="target: 80")
    port = target.whole(least=1)
    if port > 65535:
        raise target.wrong(f"{port} is no port", hint="1 to 65535")
    protocol, address, outside = node.get("protocol"), node.get("host_ip"), node.get("published")
    first = last = 0
    if outside and outside.text():
        found = _RANGE.fullmatch(outside.text())
        if not found or int(found[2] or found[1]) > 65535:
            raise outside.wrong(f"{outside.text()!r} is no port", hint="write 8080 or 8000-8010")
        first, last = int(found[1]), int(found[2] or 0)
    return PublishedPort(
        container_port=port,
        protocol=protocol.word_of(("tcp", "udp")) if protocol else "tcp",
        host_port=first,
        last_host_port=last,
        host_address=address.text() if address else "",
    )
