"""The networks and volumes of a project: made before its containers, removed after them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.compose import labels
from ocimagic.errors import (
    Conflict,
    InvalidOption,
    NetworkNotFound,
    OcimagicError,
    StorageError,
    VolumeNotFound,
)
from ocimagic.model.network import PREDEFINED
from ocimagic.model.volume import VolumeOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocimagic.compose.model import Network, Project, Service, Volume
    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.volume import VolumeSummary

    Tell = Callable[[str, str, str], None]  # Network, its name, Created


def make_networks(engine: EngineAPI, project: Project, tell: Tell) -> None:
    """Have the networks of the enabled services there.

    Raises:
        NetworkNotFound: an external one is not.
        Conflict: there is one of that name which is not the project's, or is another one.
        HostLacks: this account cannot make networks.
    """
    wanted = {key for name in project.enabled for key, _ in project.services[name].networks}
    for key in sorted(wanted):
        network = project.networks[key]
        if network.external and network.options.name in PREDEFINED:
            continue
        _make_network(engine, project, network, tell)


def _make_network(engine: EngineAPI, project: Project, network: Network, tell: Tell) -> None:
    name = network.options.name
    there = next((each for each in engine.networks.all() if each.name == name), None)
    if network.external:
        if there is None:
            raise NetworkNotFound(
                f"network {name} is said to be there (external), and is not",
                hint=f"%network_create {name}",
            )
        return
    own = labels.of_network(project, network.key)
    options = replace(network.options, labels={**network.options.labels, **own})
    if there is not None:
        if there.labels.get(labels.PROJECT) != project.name:
            raise Conflict(
                f"network {name} is there, and is not of project {project.name}",
                hint="say external: true to use it as it is, or give the project's another name:",
            )
        if _same(options, there):
            return
        tell("Network", name, "Replaced")
        engine.networks.remove(name)  # says who is in it, and what to do
    engine.networks.create(options)
    tell("Network", name, "Created")


def _same(options: object, there: object) -> bool:
    """Tell whether a network was made from these options; what they leave open does not count."""
    fields = ("ipv6", "internal", "mtu")
    if any(getattr(options, each) != getattr(there, each) for each in fields):
        return False
    asked = [each.subnet for each in getattr(options, "subnets", ())]
    found = [each.subnet for each in getattr(there, "subnets", ())]
    return all(each in found for each in asked)


def make_volumes(engine: EngineAPI, project: Project, tell: Tell) -> None:
    """Have the volumes of the enabled services there.

    Raises:
        VolumeNotFound: an external one is not.
        Conflict: there is one of that name which is another project's.
    """
    used = {
        each.name
        for name in project.enabled
        for each in project.services[name].options.volumes
        if each.kept and each.name
    }
    there = {each.name: each for each in engine.volumes.all()} if used else {}
    for volume in project.volumes.values():
        if volume.name in used:
            _make_volume(engine, project, volume, there.get(volume.name), tell)


def _make_volume(
    engine: EngineAPI, project: Project, volume: Volume, found: VolumeSummary | None, tell: Tell
) -> None:
    if volume.external:
        if found is None:
            raise VolumeNotFound(
                f"volume {volume.name} is said to be there (external), and is not",
                hint=f"%volume_create {volume.name}",
            )
    elif found is None:
        own = {**volume.labels, **labels.of_volume(project, volume.key)}
        engine.volumes.create(VolumeOptions(name=volume.name, labels=own, options=volume.options))
        tell("Volume", volume.name, "Created")
    elif found.labels.get(labels.PROJECT) != project.name:
        raise Conflict(
            f"volume {volume.name} is there, and is not of project {project.name}",
            hint="say external: true to use it as it is",
        )
    elif dict(found.options) != dict(volume.options):
        raise Conflict(
            f"volume {volume.name} was made with other driver_opts",
            hint=f"save what is in it, then %volume_rm {volume.name}",
        )


def make_directories(service: Service) -> None:
    """Make the directories of this machine that a service binds, where they are missing.

    Raises:
        StorageError: one cannot be made.
    """
    for path in service.makes:
        if os.path.lexists(path):
            continue
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as err:
            raise StorageError(
                f"service {service.name} binds {path}, which cannot be made", why=err.strerror
            ) from err


def check_sources(service: Service) -> None:
    """See that what a service binds is there.

    Raises:
        InvalidOption: it is not.
    """
    for each in service.options.volumes:
        if not each.kept and not os.path.lexists(each.source):
            raise InvalidOption(
                f"service {service.name} binds {each.source}, which is not there",
                hint="create it first",
            )


def remove_networks(engine: EngineAPI, project: Project, tell: Tell) -> list[str]:
    """Remove the networks of a project; return what to say of those that are in use."""
    told = []
    for each in engine.networks.all():
        if each.labels.get(labels.PROJECT) != project.name:
            continue
        try:
            engine.networks.remove(each.network_id)
            tell("Network", each.name, "Removed")
        except NetworkNotFound:  # another one was faster
            continue
        except Conflict as err:
            told.append(f"network {each.name} stays: {err.why or err.what}")
    return told


def remove_volumes(engine: EngineAPI, project: Project, tell: Tell) -> list[str]:
    """Remove the volumes that a project made; return what to say of those that are in use."""
    own: Iterable[Volume] = [each for each in project.volumes.values() if not each.external]
    names = {each.name for each in own}
    told = []
    for each in engine.volumes.all():
        is_own = each.labels.get(labels.PROJECT) == project.name and labels.VOLUME in each.labels
        if not is_own and each.name not in names:
            continue
        try:
            engine.volumes.remove(each.name)
            tell("Volume", each.name, "Removed")
        except VolumeNotFound:
            continue
        except OcimagicError as err:
            told.append(f"volume {each.name} stays: {err.why or err.what}")
    return told
