"""A project whose file is not at hand: what its containers' labels tell of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.compose import labels
from ocimagic.compose.model import Condition, Dependency, Project, Service
from ocimagic.compose.there import instance_of
from ocimagic.model.options import RunOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.result import ContainerSummary


def project_there(engine: EngineAPI, name: str) -> Project:
    """Return a project as its containers tell of it; one without any has no services."""
    found = [
        each for each in engine.containers.list(all=True) if each.labels.get(labels.PROJECT) == name
    ]
    services = _services(found)
    first = found[0].labels if found else {}
    return Project(
        name=name,
        directory=first.get(labels.DIRECTORY, ""),
        files=tuple(filter(None, first.get(labels.FILES, "").split(","))),
        services=services,
        enabled=frozenset(services),
    )


def _services(containers: Iterable[ContainerSummary]) -> dict[str, Service]:
    found: dict[str, ContainerSummary] = {}
    for each in containers:
        if not labels.is_one_off(each.labels):
            found.setdefault(instance_of(each).service, each)
    return {
        name: Service(
            name=name,
            options=RunOptions(image=each.image),
            document={},
            image=each.image,
            depends_on=_needs(each, found),
        )
        for name, each in sorted(found.items())
    }


def _needs(container: ContainerSummary, known: Iterable[str]) -> tuple[Dependency, ...]:
    made = []
    for text in filter(None, container.labels.get(labels.DEPENDS_ON, "").split(",")):
        name, _, rest = text.partition(":")
        condition, _, _ = rest.partition(":")
        is_known = condition in [each.value for each in Condition]
        if name in known:
            made.append(
                Dependency(
                    service=name,
                    condition=Condition(condition) if is_known else Condition.STARTED,
                )
            )
    return tuple(made)
