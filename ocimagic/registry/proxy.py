"""Which proxy, if any, stands between us and a host.

The variables are those that curl, docker and pip read; upper and lower case count alike.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.registry.origin import Origin


def proxy_for(origin: Origin, env: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for this origin, or None to connect directly.

    This machine is always reached directly.

    Raises:
        InvalidOption: the proxy is neither http nor https.
    """
    name = f"{origin.scheme}_proxy"
    names = (name, name.upper(), "all_proxy", "ALL_PROXY")
    name, proxy = next(((each, env[each]) for each in names if env.get(each)), (name, ""))
    if not proxy or origin.reach == "loopback":
        return None
    exceptions = env.get("no_proxy") or env.get("NO_PROXY") or ""
    if any(_covers(entry.strip().lower(), origin) for entry in exceptions.split(",")):
        return None
    url = proxy if "://" in proxy else f"http://{proxy}"
    scheme = url.partition("://")[0].lower()
    if scheme not in {"http", "https"}:
        raise InvalidOption(
            f"a proxy that speaks {scheme} is not supported",
            where=f"environment variable {name}",
            hint="use an http:// or https:// proxy",
        )
    return url


def _covers(entry: str, origin: Origin) -> bool:
    """Say whether one entry of NO_PROXY names this host: *, a domain, an address or a net."""
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(origin.host, entry)
    if entry == str(origin) or entry == f"{origin.host}:{origin.port}":
        return True
    domain = entry.removeprefix("*").removeprefix(".").strip("[]")
    return bool(domain) and (origin.host == domain or origin.host.endswith(f".{domain}"))


def _in_network(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
