"""Where the API listens: the words of ``--host``.

Source: docker's ``--host``: ``unix://PATH`` and ``tcp://HOST:PORT``.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.api.server import Address
from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT, DEFAULT_TLS_PORT = 2375, 2376


class Certificates(NamedTuple):
    """PEM files for TLS: clients have to show a certificate that the authority signed."""

    authority: str = ""
    certificate: str = ""
    key: str = ""


def usual_host(environment: Mapping[str, str]) -> str:
    """Return the socket that is meant when none is named."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0:
        return "unix:///run/ocimagic/docker.sock"
    return f"unix://{runtime or f'/tmp/ocimagic-{os.geteuid()}'}/ocimagic/docker.sock"  # noqa: S108


def address_of(host: str, files: Certificates, *, in_clear: bool) -> Address:
    """Read ``--host``.

    Args:
        host: ``unix://PATH`` or ``tcp://ADDRESS[:PORT]``.
        files: for TCP.
        in_clear: TCP without TLS is meant; only on this machine's own address.

    Raises:
        InvalidOption: it is no such thing, or what is asked for is not safe.
    """
    scheme, separator, rest = host.partition("://")
    if not separator or scheme not in ("unix", "tcp") or not rest:
        raise InvalidOption(
            f"--host {host} cannot be understood",
            hint="write unix:///PATH or tcp://127.0.0.1:2376",
        )
    if scheme == "unix":
        if len(os.fsencode(rest)) > 107:
            raise InvalidOption(
                f"--host {host}: the path is too long for a socket", why="107 bytes is the most"
            )
        return Address(path=rest)
    tls = _tls(files) if any(files) else None
    address, port = _parts(host, rest, DEFAULT_TLS_PORT if tls else DEFAULT_PORT)
    if tls is None:
        _check_clear(host, address, in_clear=in_clear)
    return Address(host=str(address), port=port, tls=tls)


def _parts(
    host: str, rest: str, port: int
) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    address, colon, number = rest.rstrip("/").rpartition(":")
    if not colon or number.endswith("]"):
        address, number = rest.rstrip("/"), str(port)
    name = address.strip("[]") or "127.0.0.1"
    try:
        found = ipaddress.ip_address("127.0.0.1" if name == "localhost" else name)
        port = int(number)
    except ValueError as err:
        raise InvalidOption(f"--host {host} cannot be understood", why=str(err)) from err
    if not 0 <= port <= 65535:
        raise InvalidOption(f"--host {host}: {port} is no port", hint="0 to 65535")
    return found, port


def _check_clear(
    host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, *, in_clear: bool
) -> None:
    why = "whoever reaches the port is what you are on this machine: root, if you are"
    if not address.is_loopback:
        raise InvalidOption(
            f"--host {host} without TLS is refused",
            why=why,
            hint="add --tlscacert, --tlscert and --tlskey, or use unix:// and ssh",
        )
    if not in_clear:
        raise InvalidOption(
            f"--host {host} is without TLS",
            why=f"every account of this machine reaches it, and {why}",
            hint="add --tlscacert, --tlscert and --tlskey; or --no-tls if that is what you want",
        )


def _tls(files: Certificates) -> ssl.SSLContext:
    if not all(files):
        raise InvalidOption("--tlscacert, --tlscert and --tlskey go together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(cafile=files.authority)
    except (OSError, ssl.SSLError) as err:
        raise InvalidOption(
            "the certificates for TLS cannot be used", why=str(err), where=", ".join(files)
        ) from err
    return context
