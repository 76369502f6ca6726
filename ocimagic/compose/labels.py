"""The labels that tell whose a container, a network or a volume is: docker compose's own.

Source: docker/compose, pkg/api/labels.go; other programs look for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.compose.model import Project, Service

_PREFIX = "com.docker.compose."
PROJECT = _PREFIX + "project"
SERVICE = _PREFIX + "service"
NUMBER = _PREFIX + "container-number"
ONE_OFF = _PREFIX + "oneoff"
HASH = _PREFIX + "config-hash"
IMAGE = _PREFIX + "image"
DEPENDS_ON = _PREFIX + "depends_on"
DIRECTORY = _PREFIX + "project.working_dir"
FILES = _PREFIX + "project.config_files"
MADE_BY = _PREFIX + "version"
NETWORK = _PREFIX + "network"
VOLUME = _PREFIX + "volume"
SLUG = _PREFIX + "slug"


def of_container(
    project: Project, service: Service, *, number: int, config_hash: str, image_id: str
) -> dict[str, str]:
    """Return the labels of a service's container."""
    needs = ",".join(
        f"{each.service}:{each.condition.value}:{str(each.restart).lower()}"
        for each in service.depends_on
    )
    return {
        PROJECT: project.name,
        SERVICE: service.name,
        NUMBER: str(number),
        ONE_OFF: "False",
        HASH: config_hash,
        IMAGE: image_id,
        DEPENDS_ON: needs,
        DIRECTORY: project.directory,
        FILES: ",".join(project.files),
        MADE_BY: VERSION,
    }


def of_one_off(project: Project, service: Service, *, slug: str, image_id: str) -> dict[str, str]:
    """Return the labels of a container that ``run`` makes."""
    made = of_container(project, service, number=1, config_hash="", image_id=image_id)
    del made[NUMBER], made[HASH]
    return {**made, ONE_OFF: "True", SLUG: slug}


def of_network(project: Project, key: str) -> dict[str, str]:
    """Return the labels of a project's network."""
    return {NETWORK: key, PROJECT: project.name, MADE_BY: VERSION}


def of_volume(project: Project, key: str) -> dict[str, str]:
    """Return the labels of a project's volume."""
    return {VOLUME: key, PROJECT: project.name, MADE_BY: VERSION}


def is_one_off(labels: Mapping[str, str]) -> bool:
    """Tell a container of ``run``."""
    return labels.get(ONE_OFF) == "True"
