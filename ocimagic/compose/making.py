"""A service's containers: their names, what they are made with, and the hash of that."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ocimagic.compose import labels
from ocimagic.compose.building import content
from ocimagic.errors import InvalidOption
from ocimagic.model.namespace import CONTAINER_PREFIX
from ocimagic.model.network import HOST, NONE, NetworkChoice
from ocimagic.model.options import NetworkMode, PullPolicy, RunOptions, VolumesFrom

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.compose.model import FileUse, Project, Service
    from ocimagic.compose.there import Instance
    from ocimagic.model.options import VolumeMount

# What changes no container that is there already.
_NOT_HASHED = ("build", "pull_policy", "scale", "depends_on", "profiles", "attach", "extends")
# What is hashed as it comes out, however it was written.
_HASHED_APART = ("environment", "env_file", "labels", "label_file", "networks")


def container_name(project: Project, service: Service, number: int) -> str:
    """Return what a service's container is called."""
    return service.container_name or f"{project.name}-{service.name}-{number}"


def config_hash(
    project: Project, service: Service, leaders: Mapping[str, Instance] | None = None
) -> str:
    """Return what is another one whenever a container made now would be another one.

    Args:
        project: the whole.
        service: of it.
        leaders: the first container of each service that is there: who shares what is of one
            is to be made anew with it.
    """
    apart = (*_NOT_HASHED, *_HASHED_APART)
    document = {k: v for k, v in service.document.items() if k not in apart}
    deploy = document.get("deploy")
    if isinstance(deploy, dict):
        document["deploy"] = {k: v for k, v in deploy.items() if k != "replicas"}
    networks = [
        (project.networks[key].options.name, repr(choice))
        for key, choice in service.networks
        if key in project.networks
    ]
    hashed = {
        "service": document,
        "env": sorted(service.options.env),
        "labels": dict(service.options.labels),
        "networks": networks,
        "files": [_digest(use, project.env) for use in service.files],
        "volumes": {each.key: each.name for each in project.volumes.values()},
        "shared": [leaders[name].container_id for name in _shared_with(service) if name in leaders]
        if leaders
        else [],
    }
    text = json.dumps(hashed, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _shared_with(service: Service) -> list[str]:
    return sorted({*service.shares.values(), *(name for name, _ in service.volumes_from)})


def _digest(use: FileUse, env: Mapping[str, str]) -> str:
    return hashlib.sha256(content(use.source, env)).hexdigest()


def made_options(
    project: Project,
    service: Service,
    leaders: Mapping[str, Instance],
    *,
    aliased: bool = True,
) -> RunOptions:
    """Return what a container of a service is made with, but for its name and its labels.

    Args:
        project: the whole.
        service: of it.
        leaders: the first container of each service that is there.
        aliased: others find it by the service's name.
    """
    made = replace(
        service.options,
        image=project.image_of(service),
        pull=PullPolicy.NEVER,
        volumes_from=(*service.options.volumes_from, *_volumes_from(service, leaders)),
        **_network(project, service, leaders, aliased=aliased),
        **_shared(service, leaders),
    )
    # Who has the machine's own network has its ports there already.
    return replace(made, ports=()) if made.network is NetworkMode.HOST else made


def _leader(service: Service, name: str, leaders: Mapping[str, Instance]) -> str:
    if name not in leaders:
        raise InvalidOption(
            f"service {service.name} uses what is of {name}, which has no container",
            hint=f"compose up {name}",
        )
    return leaders[name].container_id


def _volumes_from(service: Service, leaders: Mapping[str, Instance]) -> tuple[VolumesFrom, ...]:
    return tuple(
        VolumesFrom(container=_leader(service, name, leaders), read_only=read_only)
        for name, read_only in service.volumes_from
    )


def _shared(service: Service, leaders: Mapping[str, Instance]) -> dict[str, Any]:
    return {
        key: CONTAINER_PREFIX + _leader(service, name, leaders)
        for key, name in service.shares.items()
        if key != "network"
    }


def _network(
    project: Project, service: Service, leaders: Mapping[str, Instance], *, aliased: bool
) -> dict[str, Any]:
    """Return which networks it is in."""
    if name := service.shares.get("network"):
        return {
            "network": NetworkMode.CONTAINER,
            "network_container": _leader(service, name, leaders),
        }
    if not service.networks:
        is_said = "network_mode" in service.document
        return {} if is_said else {"network": NetworkMode.NONE}
    names = [project.networks[key].options.name for key, _ in service.networks]
    if names in ([HOST], [NONE]):  # external ones that are always there
        return {"network": NetworkMode(names[0])}
    own = (service.name,) if aliased else ()
    choices: list[NetworkChoice] = []
    for name, (_, choice) in zip(names, service.networks, strict=True):
        aliases = tuple(dict.fromkeys((*own, *choice.aliases))) if aliased else ()
        choices.append(replace(choice, network=name, aliases=aliases))
    return {"network": NetworkMode.NETWORK, "networks": tuple(choices)}


def with_volumes_of(options: RunOptions, old: RunOptions) -> RunOptions:
    """Return options that take over the unnamed volumes of the container that is replaced."""
    own: dict[str, VolumeMount] = {
        each.target: each for each in old.volumes if each.kept and each.anonymous
    }
    named = {each.target for each in options.volumes if not (each.kept and not each.name)}
    kept = [each for each in options.volumes if each.target not in own or each.target in named]
    taken = [each for target, each in own.items() if target not in named]
    return replace(options, volumes=(*kept, *taken))


def labelled(options: RunOptions, own: Mapping[str, str], name: str) -> RunOptions:
    """Return options with the project's labels and a name."""
    return replace(options, labels={**options.labels, **own}, name=name)


def files_tar(uses: tuple[FileUse, ...], env: Mapping[str, str]) -> bytes:
    """Return secrets and configs as a tar for the root of a container."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        made: set[str] = set()
        for use in uses:
            path = posixpath.normpath(use.target).lstrip("/")
            _directories(tar, posixpath.dirname(path), made)
            data = content(use.source, env)
            info = tarfile.TarInfo(path)
            info.size, info.mode, info.uid, info.gid = len(data), use.mode, use.uid, use.gid
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _directories(tar: tarfile.TarFile, path: str, made: set[str]) -> None:
    """Add the secrets' own directories; others are left as the image has them."""
    if not path.startswith("run"):
        return
    parts = path.split("/")
    for number in range(1, len(parts) + 1):
        name = "/".join(parts[:number])
        if name not in made:
            made.add(name)
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)


def one_off_labels(project: Project, service: Service, slug: str, image_id: str) -> dict[str, str]:
    """Return the labels of a container that ``run`` makes."""
    return labels.of_one_off(project, service, slug=slug, image_id=image_id)
