"""``--add-host``, ``--dns`` and ``--dns-search``: from words to names and addresses."""

from __future__ import annotations

import ipaddress
import re

from ocimagic.errors import InvalidOption

HOST_GATEWAY = "host-gateway"
_LABEL = "[A-Z0-9]([A-Z0-9-]*[A-Z0-9])?"
_DOMAIN = re.compile(rf"({_LABEL}\.)*{_LABEL}\.?", re.ASCII | re.IGNORECASE)


def extra_host(option: str, text: str) -> tuple[str, str]:
    """Read ``NAME:ADDRESS`` or ``NAME=ADDRESS``; an IPv6 address may be in brackets."""
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    hint = f"write {option} NAME:ADDRESS, or NAME:{HOST_GATEWAY} for this machine"
    if not found or not name or ":" in name or any(char.isspace() or char == "\0" for char in name):
        raise InvalidOption(f"invalid {option}: {text!r}", hint=hint)
    if address == HOST_GATEWAY:
        return name, address
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return name, ip_address(option, address)


def ip_address(option: str, text: str) -> str:
    """Check an IPv4 or IPv6 address; returns it in its usual form."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise InvalidOption(
            f"{text!r} in {option} is not an IP address",
            hint="for example 192.0.2.1 or 2001:db8::1",
        ) from None


def search_domain(option: str, text: str) -> str:
    """Check a domain; ``.`` stands for no search at all."""
    domain = text.strip(" ")
    if domain == ".":
        return domain
    if not _DOMAIN.fullmatch(domain) or len(domain) > 255 or not re.search(r"[A-Za-z]", domain):
        raise InvalidOption(f"{text!r} in {option} is not a domain", hint="for example example.com")
    return domain.removesuffix(".")
