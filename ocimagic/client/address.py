"""Where a Docker API is: ``unix://PATH``, ``tcp://HOST[:PORT]``, ``ssh://[USER@]HOST[:PORT]``.

Source: docker's DOCKER_HOST.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ocimagic.errors import InvalidOption

UNIX, TCP, SSH = "unix", "tcp", "ssh"
_PLAIN_PORT, _TLS_PORT = 2375, 2376
_THERE = "/var/run/docker.sock"
_HINT = "unix:///run/docker.sock, tcp://HOST:2375 or ssh://USER@HOST"
_NET = re.compile(
    r"(?:(?P<user>[^@/:\s-][^@/:\s]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:\[\]@\s-][^/:\[\]@\s]*)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/\S*)?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """An address that was understood.

    Attributes:
        url: as it was given.
        kind: ``UNIX``, ``TCP`` or ``SSH``.
        path: of the socket; for ssh, of that on the other machine.
        host: "" for a socket of this machine.
        port: 0 for ssh's own choice.
        user: for ssh; "" for its own choice.
    """

    url: str
    kind: str
    path: str = ""
    host: str = ""
    port: int = 0
    user: str = ""


def address_of(url: str, *, tls: bool = False) -> Address:
    """Read an address.

    Args:
        url: as DOCKER_HOST has it.
        tls: the other side is asked for with TLS, whose usual port is another one.

    Raises:
        InvalidOption: it is none.
    """
    kind, sign, rest = url.partition("://")
    if not sign or kind not in (UNIX, TCP, SSH):
        raise InvalidOption(f"{url!r} is no address of a Docker API", hint=f"write {_HINT}")
    if kind == UNIX:
        if not rest.startswith("/") or "\0" in rest:
            raise InvalidOption(
                f"{url!r} names no socket", hint="unix:// and a whole path: unix:///run/docker.sock"
            )
        return Address(url, UNIX, path=rest)
    found = _NET.fullmatch(rest)
    port = int(found["port"] or 0) if found else 0
    if found is None or port >= 1 << 16 or (found["port"] and not port):
        raise InvalidOption(f"{url!r} is no address of a Docker API", hint=f"write {_HINT}")
    path = (found["path"] or "").rstrip("/")
    host = found["host"].strip("[]")
    if kind == SSH:
        return Address(url, SSH, path or _THERE, host, port, found["user"] or "")
    if path or found["user"]:
        raise InvalidOption(f"{url!r}: tcp:// takes a host and a port, nothing else")
    return Address(url, TCP, host=host, port=port or (_TLS_PORT if tls else _PLAIN_PORT))
