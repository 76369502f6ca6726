"""Networks behind an API.

Spec: Docker Engine API v1.41, "Network".
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.client.calling import part
from ocimagic.client.together import asked_together
from ocimagic.errors import NetworkNotFound, OcimagicError
from ocimagic.model.network import PREDEFINED
from ocimagic.wire.read_network import network_summary
from ocimagic.wire.sent import connect_body, network_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.client.calling import Caller
    from ocimagic.model.network import NetworkChoice, NetworkOptions, NetworkSummary

_KIND = "network"


class RemoteNetworks:
    """Verbs on networks."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def create(self, options: NetworkOptions) -> NetworkSummary:
        """Make a network."""
        made = self._caller.document(
            "POST", "/networks/create", kind=_KIND, body=network_body(options)
        )
        return self.inspect(made.text("Id"))

    def all(self) -> tuple[NetworkSummary, ...]:
        """Return all networks, by name; a list does not say who is in them, so each is asked."""

        def ask(network_id: str) -> NetworkSummary | None:
            with suppress(NetworkNotFound):  # it has just gone
                return self.inspect(network_id)
            return None

        ids = [each.text("Id") for each in self._caller.documents("/networks")]
        return tuple(sorted(asked_together(ask, ids), key=lambda each: each.name))

    def inspect(self, name: str) -> NetworkSummary:
        """Return one network and who is in it."""
        return network_summary(self._caller.document("GET", f"/networks/{part(name)}", kind=_KIND))

    def remove(self, name: str) -> str:
        """Remove a network; return its name."""
        found = self.inspect(name)
        self._caller.done("DELETE", f"/networks/{part(found.network_id)}", kind=_KIND)
        return found.name

    def prune(self, keep: Callable[[NetworkSummary], bool] = lambda _: False) -> tuple[str, ...]:
        """Remove all networks that no container is in; return their names."""
        gone, used = [], self._used()
        for each in self.all():
            if each.name in PREDEFINED or each.endpoints or each.name in used or keep(each):
                continue
            with suppress(OcimagicError):  # somebody is in it by now
                gone.append(self.remove(each.network_id))
        return tuple(gone)

    def _used(self) -> set[str]:
        """Return the names of networks that containers are in, or will be when they run."""
        return {
            name
            for each in self._caller.documents("/containers/json", query={"all": "1"})
            for name in each.child("NetworkSettings").child("Networks").value
        }

    def connect(self, container: str, choice: NetworkChoice) -> None:
        """Bring a container into one more network."""
        path = f"/networks/{part(choice.network)}/connect"
        self._caller.done("POST", path, kind=_KIND, body=connect_body(container, choice))

    def disconnect(self, container: str, network: str) -> None:
        """Take a container out of a network."""
        path = f"/networks/{part(network)}/disconnect"
        body = {"Container": container, "Force": False}
        self._caller.done("POST", path, kind=_KIND, body=body)
