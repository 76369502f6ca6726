"""Verbs on networks, as the engine's callers see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.model.network import NetworkChoice, NetworkOptions, NetworkSummary


class NetworksAPI(Protocol):
    """Verbs on networks; ``name`` is a name or a network ID, whole or its first digits."""

    def create(self, options: NetworkOptions) -> NetworkSummary:
        """Make a network."""
        ...

    def all(self) -> tuple[NetworkSummary, ...]:
        """Return all networks."""
        ...

    def inspect(self, name: str) -> NetworkSummary:
        """Return one network and who is in it."""
        ...

    def remove(self, name: str) -> str:
        """Remove a network; return its name."""
        ...

    def prune(self, keep: Callable[[NetworkSummary], bool] = ...) -> tuple[str, ...]:
        """Remove all networks that no container is to be in; return their names."""
        ...

    def connect(self, container: str, choice: NetworkChoice) -> None:
        """Bring a container into one more network, running or not."""
        ...

    def disconnect(self, container: str, network: str) -> None:
        """Take a container out of a network, running or not."""
        ...
