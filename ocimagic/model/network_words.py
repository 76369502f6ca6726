"""Which networks a container joins and which ports lead to it, as words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ocimagic.errors import InvalidOption
from ocimagic.model.network import BRIDGE, MAX_PORT, NetworkChoice
from ocimagic.model.options import NetworkMode, network_choice
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.model.network import PublishedPort

# It becomes a name in /etc/hosts and in the environment.
_LINKED = re.compile(r"[^\s:/=\0]+")
_MTU = "com.docker.network.driver.mtu"
_MAX_MTU = 65535
_WORDS = {"aliases": "network-alias", "ipv4": "ip", "ipv6": "ip6", "mac": "mac-address"}


@dataclass(frozen=True, slots=True)
class Membership:
    """One network that was asked for.

    Attributes:
        container: whose network it is, for ``NetworkMode.CONTAINER``.
        choice: for ``NetworkMode.NETWORK``.
    """

    mode: NetworkMode
    container: str = ""
    choice: NetworkChoice | None = None


def membership(text: str) -> Membership:
    """Read ``host``, ``none``, ``container:NAME``, ``default`` or the name of a network.

    Raises:
        InvalidOption: it is none of these.
    """
    mode, name = network_choice(text)
    if mode is NetworkMode.NETWORK:
        return Membership(mode, choice=NetworkChoice(network=name))
    return Membership(mode, name)


def joined(
    asked: Sequence[Membership],
    words: Sequence[str],
    *,
    of_first: Mapping[str, Any],
    ports: tuple[PublishedPort, ...],
    publish_all: bool,
) -> dict[str, Any]:
    """Return what ``RunOptions`` takes of networks and ports but for what is only exposed.

    Args:
        asked: the networks, in their order.
        words: the same as they were given, for errors.
        of_first: fields of ``NetworkChoice`` that were said apart from the first network.
        ports: what is published.
        publish_all: each exposed port is.

    Raises:
        InvalidOption: they do not go together.
    """
    if not asked and (of_first or ports or publish_all):
        asked = [Membership(NetworkMode.NETWORK, choice=NetworkChoice(network=BRIDGE))]
    first = asked[0] if asked else Membership(NetworkMode.DEFAULT)
    choices = [each.choice for each in asked if each.choice]
    _check_choices(asked, words, of_first)
    if choices:
        choices[0] = replace(choices[0], **of_first)
    if ports and not choices and first.mode is not NetworkMode.HOST:
        raise InvalidOption(
            "ports cannot be published", why=f"--network {words[0]} has no way to this machine"
        )
    return {
        "network": first.mode,
        "network_container": first.container,
        "networks": tuple(choices),
        "ports": ports if choices else (),
        "publish_all": publish_all and bool(choices),
    }


def _check_choices(
    asked: Sequence[Membership], words: Sequence[str], of_first: Mapping[str, Any]
) -> None:
    choices = [each.choice for each in asked if each.choice]
    if len(asked) > 1 and len(choices) != len(asked):
        raise InvalidOption(
            f"--network {', '.join(words)}: these do not go together",
            why="none, host and container:NAME are all the network there is",
        )
    if not choices and of_first:
        raise InvalidOption(
            f"--{_WORDS[next(iter(of_first))]} needs a network of the container's own",
            hint="--network NAME, of one that %network_create made",
        )


def link(text: str) -> tuple[str, str]:
    """Read ``NAME[:ALIAS]``, or ``/NAME:/OTHER/ALIAS`` as ``inspect`` shows it.

    Raises:
        InvalidOption: it is neither.
    """
    name, colon, alias = text.partition(":")
    shown = name.startswith("/")
    name = name.removeprefix("/")
    alias = alias.rpartition("/")[2] if shown else alias
    if not name or not _LINKED.fullmatch(alias or name) or "/" in name or (colon and not alias):
        raise InvalidOption(f"bad format for links: {text}", hint="write NAME or NAME:ALIAS")
    return name, alias or name


def exposed_port(option: str, text: str) -> str:
    """Read ``PORT[/PROTOCOL]``.

    Raises:
        InvalidOption: it is none.
    """
    port, _, protocol = text.partition("/")
    if not _is_number(port, MAX_PORT) or protocol not in ("", "tcp", "udp"):
        raise InvalidOption(f"{option} {text} is no port", hint="write 80, or 53/udp")
    return f"{int(port)}/{protocol or 'tcp'}"


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most


def mtu(option: str, options: Mapping[str, str]) -> int:
    """Return the MTU among a network driver's options, 0 for the usual one.

    Raises:
        InvalidOption: it is no number.
    """
    said = options.get(_MTU, "0")
    if not _is_number(said, _MAX_MTU):
        raise InvalidOption(f"{option} {_MTU}={said} is no number")
    return int(said)


def build_network(text: str | None) -> NetworkMode:
    """Read ``--network`` of a build.

    Raises:
        InvalidOption: it is the network of somebody else.
    """
    if not text:
        return NetworkMode.DEFAULT
    mode, name = network_choice(text)
    if name:
        raise InvalidOption(
            f"a build cannot use the network {text!r}", hint="write default, none or host"
        )
    return mode
