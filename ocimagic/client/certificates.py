"""Certificates for an API over TCP, in a directory as docker's client has them.

Source: docker's DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.client.client import ApiClient
from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT = "env"
_CA, _CERTIFICATE, _KEY = "ca.pem", "cert.pem", "key.pem"


def tls_of(directory: str) -> ssl.SSLContext:
    """Return what a connection is made with: who they have to be, and who we are.

    Args:
        directory: with ``ca.pem``, ``cert.pem`` and ``key.pem``.

    Raises:
        InvalidOption: one is not there, or is none.
    """
    try:
        path = Path(directory).expanduser()
        context = ssl.create_default_context(cafile=path / _CA)
        # A key that takes a password would be asked for at the kernel's terminal.
        context.load_cert_chain(path / _CERTIFICATE, path / _KEY, password="")
    except (OSError, ValueError, RuntimeError) as err:  # RuntimeError: no such home directory
        raise InvalidOption(
            f"there are no certificates in {directory}",
            why=str(err),
            hint=f"it needs {_CA}, {_CERTIFICATE} and {_KEY}",
        ) from err
    return context


def client_at(host: str, environment: Mapping[str, str], certificates: str = "") -> ApiClient:
    """Return a client of an API.

    Args:
        host: its address; ``env`` takes DOCKER_HOST, and whether that wants TLS.
        environment: for ``env``, and for logins to registries.
        certificates: a directory for ``tls_of``; "" for no TLS.

    Raises:
        InvalidOption: no address, or no certificates.
    """
    if host == ENVIRONMENT:
        host = environment.get("DOCKER_HOST", "")
        if not host:
            raise InvalidOption("DOCKER_HOST is not set", hint="give an address instead of env")
        if environment.get("DOCKER_TLS_VERIFY") and not certificates:
            home = environment.get("HOME", "~")
            certificates = environment.get("DOCKER_CERT_PATH") or f"{home}/.docker"
    tls = tls_of(certificates) if certificates else None
    return ApiClient(host, tls=tls, environment=environment)
