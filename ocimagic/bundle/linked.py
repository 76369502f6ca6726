"""What a container is told of another one that it is linked to: variables and names.

Source: Docker documentation, "Legacy container links": environment variables, and what is
written to /etc/hosts.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_UNTOLD = frozenset({"HOME", "PATH"})  # of the other container's variables
_LEAST_RANGE = 3  # ports in a row that are told of as a range, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """Another container.

    Attributes:
        alias: what it is called here.
        addresses: in the bridge.
        ports: that it exposes, ``80/tcp``.
        env: of the image and as asked for.
    """

    alias: str
    name: str
    hostname: str
    addresses: tuple[str, ...]
    ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


def link_hosts(each: Linked) -> list[str]:
    """Return the lines of /etc/hosts about another container."""
    names = dict.fromkeys((each.alias, each.hostname, each.name))
    return [f"{address}\t{' '.join(names)}\n" for address in each.addresses]


def link_environment(me: str, each: Linked) -> tuple[str, ...]:
    """Return the variables about another container.

    Args:
        me: name of the container that gets them.
        each: the other one.
    """
    prefix = each.alias.upper().replace("-", "_")
    host = next((a for a in each.addresses if ip_address(a).version == 4), "")
    # By number, and of one number TCP first.
    ports = sorted(map(_port, each.ports), key=lambda port: (port[0], port[1] != "tcp"))
    found: dict[str, str] = {}
    if ports:
        number, protocol = ports[0]
        found[f"{prefix}_PORT"] = f"{protocol}://{host}:{number}"
    for row in _rows(ports):
        (first, protocol), (last, last_protocol) = row[0], row[-1]
        name = f"{prefix}_PORT_{first}_{protocol.upper()}"
        found |= {f"{name}_START": f"{protocol}://{host}:{first}", f"{name}_PORT_START": str(first)}
        found |= {f"{name}_END": f"{last_protocol}://{host}:{last}", f"{name}_PORT_END": str(last)}
    for number, protocol in ports:
        name = f"{prefix}_PORT_{number}_{protocol.upper()}"
        found |= {name: f"{protocol}://{host}:{number}", f"{name}_ADDR": host}
        found |= {f"{name}_PORT": str(number), f"{name}_PROTO": protocol}
    found[f"{prefix}_NAME"] = f"/{me}/{each.alias}"
    told = (entry.partition("=") for entry in each.env)
    found |= {f"{prefix}_ENV_{name}": value for name, mark, value in told
              if mark and name not in _UNTOLD}  # fmt: skip
    return tuple(f"{name}={value}" for name, value in found.items())


def _port(text: str) -> tuple[int, str]:
    number, _, protocol = text.partition("/")
    return int(number), protocol or "tcp"


def _rows(ports: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Yield ports whose numbers follow each other."""
    row: list[tuple[int, str]] = []
    for port in ports:
        if row and port[0] > row[-1][0] + 1:
            if len(row) >= _LEAST_RANGE:
                yield row
            row = []
        row.append(port)
    if len(row) >= _LEAST_RANGE:
        yield row
