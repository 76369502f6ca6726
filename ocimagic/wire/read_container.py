"""Containers of docker's JSON documents: the inverse of ``container``.

Spec: Docker Engine API v1.41, ContainerInspectResponse; podman's service says the same but for
some words.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ocimagic.errors import BadInput, InvalidDocument, NotBuiltYet
from ocimagic.model.network import BRIDGE, HOST, NONE, NetworkChoice
from ocimagic.model.options import DEFAULT_SHM_BYTES, RunOptions, VolumeMount
from ocimagic.model.report import ContainerSize, Health, HealthProbe
from ocimagic.model.result import ContainerDetails, ContainerSummary, ExitStatus
from ocimagic.model.state import ALIVE, Status
from ocimagic.spec.config import ContainerConfig
from ocimagic.spec.digest import Digest
from ocimagic.wire.create import container_create
from ocimagic.wire.read_network import endpoints, port_bindings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.spec.codec import Fields

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# podman: ours.
_STATUS = {
    "configured": Status.CREATED,
    "initialized": Status.CREATED,
    "stopped": Status.EXITED,
    "stopping": Status.RUNNING,
}
_PROPAGATION = "rprivate"
# What is written anew from elsewhere in the document, or is no wish but what came of one.
_NOT_ASKED = frozenset({"Binds", "Mounts", "MaskedPaths", "ReadonlyPaths", "NetworkMode"})


def container_summary(document: Fields) -> ContainerSummary:
    """Read what a list shows of a container out of the document of ``container inspect``.

    An exit's signal is not in the document, nor the link's name in the container.

    Raises:
        InvalidDocument: it is none.
    """
    state, config = document.child("State"), document.child("Config")
    container_id, name = document.text("Id"), document.text("Name", "").removeprefix("/")
    status = _status(state)
    network = document.child("HostConfig").text("NetworkMode", "")
    settings = document.child("NetworkSettings")
    is_alive = status in ALIVE
    mounts = [each for each in document.children("Mounts") if _source(each)]
    path = document.text("Path", "")
    return ContainerSummary(
        container_id=container_id,
        name=name,
        image=config.text("Image", "") or document.text("ImageName", ""),
        image_id=digest(document.text("Image")),
        command=((path,) if path else ()) + document.texts("Args"),
        created=document.time("Created") or _EPOCH,
        started=moment(state, "StartedAt"),
        status=status,
        pid=(state.number("Pid", 0) or None) if is_alive else None,
        exit=None if status in (Status.RUNNING, Status.PAUSED) else exit_status(state),
        network=BRIDGE if network in ("", "default") else network,
        labels=config.text_map("Labels"),
        health=_health(state.child("Health")),
        restart_count=document.number("RestartCount", 0),
        mounts=tuple((_source(each), each.text("Destination", "")) for each in mounts),
        volumes=tuple(_source(each) for each in mounts if each.text("Type", "") == "volume"),
        exposed_ports=tuple(config.child("ExposedPorts").value),
        size=_size(document),
        networks=tuple(
            each for each in settings.child("Networks").value if each not in (HOST, NONE)
        ),
        places=endpoints(settings, container_id, name) if is_alive else (),
        ports=port_bindings(settings) if is_alive else (),
        volume_mounts=_volumes(document),
        choices=tuple(_choices(settings.child("Networks"))),
        annotations=document.child("HostConfig").text_map("Annotations"),
    )


def _choices(networks: Fields) -> Iterator[NetworkChoice]:
    for name in networks.value:
        if name in (HOST, NONE):
            continue
        each = networks.child(name)
        asked = each.child("IPAMConfig")
        yield NetworkChoice(
            network=name,
            aliases=each.texts("Aliases"),
            ipv4=asked.text("IPv4Address", ""),
            ipv6=asked.text("IPv6Address", ""),
        )


def digest(text: str) -> Digest:
    """Read an image's ID, which podman writes without its algorithm."""
    return Digest.parse(text if ":" in text else f"sha256:{text}")


def moment(fields: Fields, key: str) -> datetime | None:
    """Return a time; Go's zero time is none."""
    found = fields.time(key)
    return found if found and found.year > 1 else None


def _status(state: Fields) -> Status:
    said = state.text("Status", "created")
    if said in _STATUS:
        return _STATUS[said]
    try:
        return Status(said)
    except ValueError as err:
        raise InvalidDocument(f"{said!r} is no status of a container") from err


def exit_status(state: Fields) -> ExitStatus | None:
    """Read how a container ended from its ``State``; None if it has not."""
    finished = moment(state, "FinishedAt")
    if finished is None:
        return None
    return ExitStatus(
        code=state.integer("ExitCode", 0, least=-1),
        signal=None,
        finished=finished,
        oom_killed=state.flag("OOMKilled"),
        error=state.text("Error", ""),
    )


def _health(health: Fields) -> Health | None:
    status = health.text("Status", "")
    if status in ("", "none"):
        return None
    return Health(
        status=status,
        failing_streak=health.number("FailingStreak", 0),
        log=tuple(
            HealthProbe(
                started=each.time("Start") or _EPOCH,
                finished=each.time("End") or _EPOCH,
                exit_code=each.integer("ExitCode", 0, least=-1),
                output=each.text("Output", ""),
            )
            for each in health.children("Log")
        ),
    )


def _size(document: Fields) -> ContainerSize | None:
    if "SizeRootFs" not in document:
        return None
    return ContainerSize(
        changed_bytes=document.number("SizeRw", 0), total_bytes=document.number("SizeRootFs")
    )


def _source(mount: Fields) -> str:
    """Return the name of a volume or the path of a directory; "" for what has neither."""
    return mount.text("Name", "") or mount.text("Source", "")


def container_details(document: Fields, image: ContainerConfig | None = None) -> ContainerDetails:
    """Read the document of ``container inspect``; it stays with the result.

    Args:
        document: as it came.
        image: the config of its image, None if that is gone.

    Raises:
        InvalidDocument: it is none.
    """
    config, data = document.child("Config"), document.child("GraphDriver").child("Data")
    summary = container_summary(document)
    lower = data.text("LowerDir", "")
    files = {
        "/etc/resolv.conf": document.text("ResolvConfPath", ""),
        "/etc/hostname": document.text("HostnamePath", ""),
        "/etc/hosts": document.text("HostsPath", ""),
    }
    options = _options(document, summary)
    return ContainerDetails(
        summary=summary,
        options=options,
        hostname=config.text("Hostname", ""),
        bundle_path=document.text("Bundle", ""),
        log_path=document.text("LogPath", ""),
        upper_dir=data.text("UpperDir", ""),
        lower_dirs=tuple(lower.split(":")) if lower else (),
        runtime_config=_runtime(document),
        image_config=image or ContainerConfig(),
        health=options.health,
        files={path: there for path, there in files.items() if there},
        exec_ids=document.texts("ExecIDs"),
        links=options.links,
        document=dict(document.value),
    )


def _runtime(document: Fields) -> dict[str, object]:
    """Return what docker's document says of the runtime's config, by the runtime's names."""
    host = document.child("HostConfig")
    return {
        "process": {
            "env": list(document.child("Config").texts("Env")),
            "apparmorProfile": document.text("AppArmorProfile", ""),
            "selinuxLabel": document.text("ProcessLabel", ""),
        },
        "linux": {
            "mountLabel": document.text("MountLabel", ""),
            "maskedPaths": list(host.texts("MaskedPaths")),
            "readonlyPaths": list(host.texts("ReadonlyPaths")),
        },
    }


def _options(document: Fields, summary: ContainerSummary) -> RunOptions:
    """Return what was asked for, as far as the document says it.

    It is what a request to create says, with what the engine filled in.  A wish that this
    version has no word for is left out; the document has it.
    """
    config = dict(document.child("Config").value)
    config.pop("Volumes", None)
    config["Image"] = config.get("Image") or summary.image or str(summary.image_id)
    host = _host(document.child("HostConfig"))
    body = {**config, "HostConfig": host, "NetworkingConfig": _wishes(document, summary)}
    changes: dict[str, Any] = {"name": summary.name, "volumes": _volumes(document)}
    found = _created(body)
    if found is None:
        body["HostConfig"] = {
            key: value
            for key, value in host.items()
            if _created({"Image": "x", "HostConfig": {key: value}})
        }
        found = _created(body) or RunOptions(image=summary.image, command=summary.command)
    if found.shm_size_bytes == DEFAULT_SHM_BYTES:
        changes["shm_size_bytes"] = 0
    return _changed(found, changes)


def _changed(options: RunOptions, changes: dict[str, Any]) -> RunOptions:
    from dataclasses import replace

    resources = options.resources
    if resources.memory_swap_bytes == 2 * resources.memory_bytes:
        changes["resources"] = replace(resources, memory_swap_bytes=0)
    streams = options.attach
    return replace(options, **changes, detach=not streams)


def _created(body: dict[str, object]) -> RunOptions | None:
    with suppress(BadInput, NotBuiltYet):
        return container_create(body, name=None, platform=None)
    return None


def _host(host: Fields) -> dict[str, object]:
    """Return the part of ``HostConfig`` that was asked for; the network by its own name."""
    asked = {key: value for key, value in host.value.items() if key not in _NOT_ASKED}
    asked["NetworkMode"] = host.text("NetworkMode", "") or "default"
    if asked.get("IpcMode") == "private":
        asked["IpcMode"] = ""
    return asked


def _wishes(document: Fields, summary: ContainerSummary) -> dict[str, object]:
    networks = document.child("NetworkSettings").child("Networks")
    wanted = {
        name: {
            "IPAMConfig": dict(networks.child(name).child("IPAMConfig").value),
            "Aliases": list(networks.child(name).texts("Aliases")),
        }
        for name in summary.networks
        if name != BRIDGE
    }
    return {"EndpointsConfig": wanted}


def _volumes(document: Fields) -> tuple[VolumeMount, ...]:
    """Read ``Mounts``; whose name nobody chose is only exposed as a volume, and not bound."""
    bound = {text.split(":")[1] for text in document.child("HostConfig").texts("Binds")
             if ":" in text}  # fmt: skip
    bound |= {each.text("Target", "") for each in document.child("HostConfig").children("Mounts")
              if each.text("Source", "")}  # fmt: skip
    return tuple(
        _volume(each, anonymous=each.text("Destination", "") not in bound)
        for each in document.children("Mounts")
        if each.text("Type", "") in ("volume", "bind")
    )


def _volume(mount: Fields, *, anonymous: bool) -> VolumeMount:
    kept = mount.text("Type", "") == "volume"
    propagation = mount.text("Propagation", "")
    return VolumeMount(
        source=mount.text("Source", ""),
        target=mount.text("Destination", ""),
        read_only=not mount.flag("RW"),
        propagation="" if propagation == _PROPAGATION else propagation,
        kept=kept,
        name=mount.text("Name", "") if kept else "",
        anonymous=kept and anonymous,
        no_copy="nocopy" in mount.text("Mode", "").split(","),
    )
