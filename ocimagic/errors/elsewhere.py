"""Registries and other engines that cannot be asked, refuse, or answer nonsense."""

from __future__ import annotations

from ocimagic.errors.base import OcimagicError


class RegistryError(OcimagicError):
    """A registry could not be reached, refused, or answered nonsense."""

    http_status = 502


class RegistryUnreachable(RegistryError):
    """No connection to the registry, or it broke."""


class Offline(RegistryError):
    """The engine was told to ask no other machine, and would have to."""


class RegistryAnswered(RegistryError):
    """An answer that is an error or breaks the distribution spec."""


class Unauthorized(RegistryError):
    """The registry wants a login, or refuses this one."""


class RateLimited(RegistryError):
    """The registry counts pulls and this address has none left (HTTP 429)."""


class NeighbourError(OcimagicError):
    """A dockerd or podman refused, or answered nonsense."""

    http_status = 502


class NeighbourUnreachable(NeighbourError):
    """No dockerd and no podman could be asked."""
