"""The engine behind an API, its events and its disk: the inverse of ``system`` and ``disk``.

Spec: Docker Engine API v1.41, SystemInfo, EventMessage, SystemDataUsage.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument
from ocimagic.model.host import HostFacts
from ocimagic.model.network import NetworkReport
from ocimagic.model.report import ContainerUsage, DiskUsage, ImageUsage, VolumeUsage
from ocimagic.model.result import SystemInfo
from ocimagic.model.system_event import SystemEvent
from ocimagic.wire.read_container import digest

if TYPE_CHECKING:
    from ocimagic.spec.codec import Fields

_LIMITS = {"MemoryLimit": "memory", "CPUShares": "cpu", "CPUSet": "cpuset", "PidsLimit": "pids"}
_ALIVE = ("running", "paused", "restarting")


def system_info(document: Fields) -> SystemInfo:
    """Read the document of ``GET /info``; what the store takes and has left is not in it."""
    running, paused = (
        document.number("ContainersRunning", 0),
        document.number("ContainersPaused", 0),
    )
    networks = document.child("Networks")
    return SystemInfo(
        version=document.text("ServerVersion", ""),
        data_root=document.text("DockerRootDir", ""),
        run_root="",
        isolation=document.text("Isolation", "") or _isolation(document),
        snapshotter=document.text("Driver", ""),
        runtime=document.text("DefaultRuntime", ""),
        kernel=document.text("KernelVersion", ""),
        operating_system=document.text("OperatingSystem", ""),
        architecture=document.text("Architecture", ""),
        cpus=document.number("NCPU", 0),
        memory_bytes=document.number("MemTotal", 0),
        images=document.number("Images", 0),
        containers=document.number("Containers", 0),
        running=running + paused,
        store_bytes=None,
        free_bytes=None,
        lacks=document.texts("Warnings"),
        not_yet=document.texts("NotYet"),
        networks=NetworkReport(
            kinds=networks.texts("Kinds") or document.child("Plugins").texts("Network"),
            usual=networks.text("Default", "") or "bridge",
            why_not=networks.text("WhyNot", ""),
            way_out=networks.text("WayOut", ""),
            forwarding=networks.text("Forwarding", ""),
            firewall=networks.texts("Firewall"),
        ),
        paused=paused,
        host=_host(document),
    )


def _isolation(document: Fields) -> str:
    said = document.texts("SecurityOptions")
    return "rootless" if any("name=rootless" in each for each in said) else "full"


def _host(document: Fields) -> HostFacts:
    registry = document.child("RegistryConfig")
    indexes = registry.child("IndexConfigs")
    proxies = {"http": "HttpProxy", "https": "HttpsProxy", "no": "NoProxy"}
    version = document.text("CgroupVersion", "")
    return HostFacts(
        system_id=document.text("ID", ""),
        name=document.text("Name", ""),
        os_version=document.text("OSVersion", ""),
        now=document.time("SystemTime"),
        cgroup_version=int(version) if version.isdigit() else 0,
        limits=tuple(word for key, word in _LIMITS.items() if document.flag(key)),
        swap_limit=document.flag("SwapLimit"),
        forwards=document.flag("IPv4Forwarding"),
        filters=any("name=seccomp" in each for each in document.texts("SecurityOptions")),
        proxies={
            word: document.text(key, "") for word, key in proxies.items() if document.text(key, "")
        },
        mirrors=registry.texts("Mirrors"),
        insecure=tuple(
            name for name in indexes.value if name != "docker.io" and _in_clear(indexes.child(name))
        ),
    )


def _in_clear(index: Fields) -> bool:
    return not index.flag("Secure")


def system_event(line: Fields) -> SystemEvent:
    """Read one line of ``GET /events``."""
    actor = line.child("Actor")
    kind, action = line.text("Type", ""), line.text("Action", "")
    attributes = actor.text_map("Attributes")
    if kind == "container":  # podman's words, where docker has others
        action = "destroy" if action == "remove" else action
        if code := attributes.get("containerExitCode"):
            attributes = {"exitCode": code, **attributes}
    return SystemEvent(
        kind=kind,
        action=action,
        actor=actor.text("ID", ""),
        attributes=attributes,
        time_ns=line.number("timeNano", 0) or line.number("time", 0) * 1_000_000_000,
    )


def disk_usage(document: Fields) -> DiskUsage:
    """Read the answer of SystemDataUsage.

    Raises:
        InvalidDocument: it is none.
    """
    if "LayersSize" not in document and "Images" not in document:
        raise InvalidDocument("this is no account of a disk")
    images = tuple(_image(each) for each in document.children("Images"))
    total = document.number("LayersSize", 0)
    used = sum(each.unique_bytes for each in images if each.containers > 0)
    cache = document.children("BuildCache")
    return DiskUsage(
        images=images,
        images_bytes=total,
        images_reclaimable_bytes=max(0, total - used),
        containers=tuple(_container(each) for each in document.children("Containers")),
        cache_steps=sum(each.number("UsageCount", 0) or 1 for each in cache),
        cache_bytes=sum(each.number("Size", 0) for each in cache if not each.flag("Shared")),
        volumes=tuple(_volume(each) for each in document.children("Volumes")),
    )


def _image(each: Fields) -> ImageUsage:
    size, shared = each.number("Size", 0), max(0, each.integer("SharedSize", 0, least=-1))
    seconds = each.integer("Created", 0, least=-(1 << 62))
    names = [name for name in each.texts("RepoTags") if not name.startswith("<none>")]
    image_id = digest(each.text("Id"))
    return ImageUsage(
        name=names[0] if names else image_id.short,
        image_id=image_id,
        created=datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None,
        shared_bytes=shared,
        unique_bytes=max(0, size - shared),
        containers=max(0, each.integer("Containers", 0, least=-1)),
    )


def _container(each: Fields) -> ContainerUsage:
    names = each.texts("Names")
    return ContainerUsage(
        name=min(names, key=lambda each: each.count("/"), default="").removeprefix("/"),
        container_id=each.text("Id"),
        image=each.text("Image", ""),
        size_bytes=each.number("SizeRw", 0),
        active=each.text("State", "") in _ALIVE,
    )


def _volume(each: Fields) -> VolumeUsage:
    usage = each.child("UsageData")
    return VolumeUsage(
        name=each.text("Name"),
        size_bytes=max(0, usage.integer("Size", 0, least=-1)),
        containers=max(0, usage.integer("RefCount", 0, least=-1)),
    )
