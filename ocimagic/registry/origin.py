"""Origins: whom an address belongs to, and where a registry may send us.

A registry names other addresses in redirects, in a challenge's realm and in Link headers.
Each of them is a step that a hostile registry could aim at this machine or its network;
``check_step`` is the one door they all go through.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urldefrag, urljoin, urlsplit, urlunsplit

from ocimagic.errors import RegistryAnswered
from ocimagic.spec.record import dataclass
from ocimagic.spec.reference import DEFAULT_REGISTRY

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

Reach = Literal["public", "private", "loopback", "link-local"]

HUB_HOST = "registry-1.docker.io"
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+(?:%[a-z0-9]+)?")
_PRINTABLE = re.compile(r"[!-~]+")
_PORTS = {"http": 80, "https": 443}
# What an address may send us to, besides its own host.  Link-local holds the metadata
# services of clouds, which hand out keys to whoever asks from inside.
_MAY_POINT_TO: dict[Reach, frozenset[Reach]] = {
    "public": frozenset({"public"}),
    "private": frozenset({"public", "private"}),
    "loopback": frozenset({"public", "private", "loopback"}),
    "link-local": frozenset({"public"}),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a login belongs to.

    Attributes:
        host: lower case, without brackets and without a trailing dot.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """Take the origin out of a URL.

        Raises:
            RegistryAnswered: not an http or https URL with a host.
        """
        try:
            parts = urlsplit(url)
            found = cls(
                parts.scheme,
                (parts.hostname or "").rstrip("."),
                parts.port or _PORTS[parts.scheme],
            )
        except (ValueError, KeyError):
            found = None
        if not found or not _HOST.fullmatch(found.host) or not _PRINTABLE.fullmatch(url):
            raise RegistryAnswered("this address cannot be used", where=shown_url(url))
        return found

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """Return the host under the name its users know."""
        return DEFAULT_REGISTRY if self.host == HUB_HOST else str(self)

    @property
    def reach(self) -> Reach:
        """Say from where this host can be reached, as far as its spelling tells."""
        return reach_of(self.host)

    def is_listed(self, hosts: AbstractSet[str]) -> bool:
        """Say whether a list of ``host`` and ``host:port`` names this origin."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return not {self.host, name, f"{name}:{self.port}"}.isdisjoint(hosts)


def reach_of(host: str) -> Reach:
    """Say from where a host can be reached, as far as its spelling tells."""
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    try:
        address = ip_address(host)
    except ValueError:
        # The C library reads 127.1 and 0x7f000001 as addresses too; no public name ends so.
        last = host.rpartition(".")[2]
        return "link-local" if last.isdigit() or last.startswith("0x") else "public"
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    # The unspecified address connects to this machine.
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return "public" if address.is_global else "private"


def resolve_step(base: str, location: str) -> str:
    """Return where a Location or Link leads to, seen from the URL it came from.

    Raises:
        RegistryAnswered: not a URL.
    """
    try:
        return urldefrag(urljoin(base, location)).url
    except ValueError as err:
        raise RegistryAnswered(
            f"{Origin.of(base).shown} names an address that cannot be read",
            where=shown_url(base),
        ) from err


def check_step(url: str, *, asked_by: Origin, insecure: AbstractSet[str]) -> Origin:
    """Refuse an address that a registry must not send us to.

    Allowed are https, http from an http registry to a host where plain HTTP is allowed at
    all, and no step from a public place into a private one.

    Args:
        url: where we are sent.
        asked_by: who sends us.
        insecure: hosts the user trusts without TLS.

    Raises:
        RegistryAnswered: says which rule the address breaks.
    """
    target = Origin.of(url)
    listed = target.is_listed(insecure)
    reason = ""
    if target.scheme == "http" and asked_by.scheme != "http":
        reason = "that would leave HTTPS for plain HTTP"
    elif target.scheme == "http" and not listed and target.reach != "loopback":
        reason = "plain HTTP is only allowed to this machine and to hosts listed as insecure"
    elif not listed and not _is_no_closer(target, asked_by):
        reason = f"{target.host} is a {target.reach} address, {asked_by.host} is not"
    if "@" in urlsplit(url).netloc:
        reason = "it carries a user name"
    if reason:
        raise RegistryAnswered(
            f"{asked_by.shown} points to an address that ocimagic does not follow",
            why=reason,
            where=shown_url(url),
        )
    return target


def _is_no_closer(target: Origin, asked_by: Origin) -> bool:
    return target.host == asked_by.host or target.reach in _MAY_POINT_TO[asked_by.reach]


def shown_url(url: str) -> str:
    """Return a URL fit to be shown: no user, password, query or fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(an address that cannot be read)"
    netloc = parts.netloc.rpartition("@")[2]
    text = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    text = "".join(char for char in text if char.isprintable())
    return text if len(text) <= 200 else text[:197] + "..."
