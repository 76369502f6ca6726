"""Where a running container is in its networks, as its shim says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import PortTaken
from ocimagic.model.network import NetworkEndpoint
from ocimagic.model.report import PortBinding
from ocimagic.network.plan import Port
from ocimagic.network.reserve import SOMEBODY, holder_of, shown_port
from ocimagic.spec.codec import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.store.containers import ContainerRecord

_ANYWHERE = "0.0.0.0"  # noqa: S104  as docker shows it


def places(record: ContainerRecord, state: Mapping[str, object]) -> tuple[NetworkEndpoint, ...]:
    """Return a container's places in networks.

    Args:
        record: the container's.
        state: its state.json.
    """
    return tuple(
        NetworkEndpoint(
            network=each.text("network"),
            network_id=each.text("network_id"),
            container_id=record.container_id,
            container=record.name,
            addresses=each.texts("addresses"),
            gateways=each.texts("gateways"),
            mac=each.text("mac"),
            names=each.texts("names"),
            inside=each.text("inside"),
        )
        for each in Fields(state, "state.json").children("endpoints")
    )


def with_holder(err: PortTaken, plan: Mapping[str, object] | None) -> PortTaken:
    """Return an error that names who has the port, which an ordinary user's shim cannot see.

    Args:
        err: what the shim said.
        plan: of the container's networks, as the shim got it.
    """
    if plan is not None and err.why == SOMEBODY:
        for each in map(Port.parse, Fields(plan, "plan").children("ports")):
            if shown_port(each) in err.what and (holder := holder_of(each)):
                return PortTaken(err.what, why=f"{holder} has it", hint=err.hint)
    return err


def bindings(state: Mapping[str, object]) -> tuple[PortBinding, ...]:
    """Return the ports of the machine that lead to a container.

    Args:
        state: its state.json.
    """
    return tuple(
        PortBinding(
            container_port=f"{each.number('container_port')}/{each.text('protocol')}",
            host_ip=each.text("host_address", "") or _ANYWHERE,
            host_port=each.number("host_port"),
        )
        for each in Fields(state, "state.json").children("ports")
    )
