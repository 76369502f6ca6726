"""What a shim adds to the event journal: what only it sees happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocimagic.home import journal
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.network.plan import Endpoint
    from ocimagic.shim.monitor import Monitor
    from ocimagic.spec.codec import Fields


@dataclass(frozen=True, slots=True)
class EventSink:
    """Where events of a container go, and what is said of it with each.

    Attributes:
        path: of the journal; "" for nowhere.
        attributes: image, name and labels.
        volumes: that it mounts: their names, and what is said of each.
    """

    path: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[tuple[str, Mapping[str, str]], ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Understand ``{"path": …, "attributes": {…}, "volumes": […]}``; an empty one is nowhere.

        Raises:
            InvalidDocument: a field is missing or has another type.
        """
        volumes = [
            (each.text("name"), each.text_map("attributes")) for each in fields.children("volumes")
        ]
        return cls(fields.text("path", ""), fields.text_map("attributes"), tuple(volumes))


def tell(monitor: Monitor, action: str, **more: str) -> None:
    """Note what has just become of the container."""
    sink = monitor.task.events
    if not sink.path:
        return
    name = {"name": monitor.life.name} if monitor.life.name else {}
    document = {
        "kind": "container",
        "action": action,
        "id": monitor.task.container_id,
        "attributes": {**sink.attributes, **name, **more},
    }
    journal.note(sink.path, document)


def tell_of_network(monitor: Monitor, action: str, endpoint: Endpoint) -> None:
    """Note that the container has come into a network, or left it, with its start or its end."""
    if monitor.task.events.path:
        said = {"container": monitor.task.container_id, "name": endpoint.network, "type": "bridge"}
        document = {"kind": "network", "action": action, "id": endpoint.network_id}
        journal.note(monitor.task.events.path, {**document, "attributes": said})


_OF_UNMOUNT = ("container", "driver")


def tell_of_volumes(monitor: Monitor, action: str) -> None:
    """Note that the container's volumes were mounted with its start, or left with its end."""
    sink = monitor.task.events
    for name, attributes in sink.volumes if sink.path else ():
        said = dict(attributes)
        if action == "unmount":
            said = {key: said[key] for key in _OF_UNMOUNT if key in said}
        document = {"kind": "volume", "action": action, "id": name, "attributes": said}
        journal.note(sink.path, document)
