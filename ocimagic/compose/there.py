"""What there is of a project: its containers, as the engine has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.compose import labels
from ocimagic.model.state import ALIVE, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.result import ContainerSummary


@dataclass(frozen=True, slots=True)
class Instance:
    """One container of a service.

    Attributes:
        service: it is of.
        number: among those of its service, from 1.
        config_hash: of the service it was made from.
        image_id: of the image it was made from.
    """

    summary: ContainerSummary
    service: str
    number: int
    config_hash: str
    image_id: str

    @property
    def name(self) -> str:
        """Return its name."""
        return self.summary.name

    @property
    def container_id(self) -> str:
        """Return its ID."""
        return self.summary.container_id

    @property
    def is_running(self) -> bool:
        """Tell whether it lives."""
        return self.summary.status in ALIVE

    @property
    def has_ended(self) -> bool:
        """Tell whether it ran and does not any more."""
        return self.summary.status is Status.EXITED


def instance_of(summary: ContainerSummary) -> Instance:
    """Return a container with what its labels say."""
    said = summary.labels
    number = said.get(labels.NUMBER, "")
    return Instance(
        summary=summary,
        service=said.get(labels.SERVICE, ""),
        number=int(number) if number.isdigit() else 0,
        config_hash=said.get(labels.HASH, ""),
        image_id=said.get(labels.IMAGE, ""),
    )


def look(engine: EngineAPI, project: str, *, one_off: bool = False) -> tuple[Instance, ...]:
    """Return the containers of a project, by service and number.

    Args:
        engine: that has them.
        project: its name.
        one_off: those that ``run`` made, instead of those of services.
    """
    found = [
        instance_of(each)
        for each in engine.containers.list(all=True)
        if each.labels.get(labels.PROJECT) == project and labels.is_one_off(each.labels) is one_off
    ]
    return tuple(sorted(found, key=lambda each: (each.service, each.number, each.name)))


def of_service(there: Iterable[Instance], service: str) -> tuple[Instance, ...]:
    """Return those of one service."""
    return tuple(each for each in there if each.service == service)


def project_names(engine: EngineAPI) -> dict[str, list[Instance]]:
    """Return all projects that have containers, with them."""
    found: dict[str, list[Instance]] = {}
    for each in engine.containers.list(all=True):
        if name := each.labels.get(labels.PROJECT):
            found.setdefault(name, []).append(instance_of(each))
    return dict(sorted(found.items()))
