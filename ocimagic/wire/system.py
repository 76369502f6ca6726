"""The engine as docker's JSON document.

Spec: Docker Engine API v1.50, SystemInfo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.wire.image import timestamp

if TYPE_CHECKING:
    from ocimagic.model.host import HostFacts
    from ocimagic.model.isolation import Diagnosis
    from ocimagic.model.result import SystemInfo
    from ocimagic.model.system_event import SystemEvent

# Go's words for what uname says.
_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def system_info(info: SystemInfo) -> dict[str, object]:
    """Return the document of ``GET /info``.

    ``Mode``, ``Lacks``, ``NotYet`` and ``Networks`` are ours; ``Isolation`` is Windows's.
    """
    return {
        **_counts(info),
        "Driver": info.snapshotter,
        "DriverStatus": [["Isolation", info.isolation]],
        "Plugins": _plugins(info),
        **_limits(info.host),
        **_machine(info),
        **_around(info),
        "DockerRootDir": info.data_root,
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": info.version,
        "Isolation": "",
        "SecurityOptions": _security(info),
        "CDISpecDirs": [],
        "Warnings": list(info.lacks) or None,
        "Mode": info.isolation,
        "Lacks": list(info.lacks),
        "NotYet": list(info.not_yet),
        "Networks": {
            "Kinds": list(info.networks.kinds),
            "Default": info.networks.usual,
            "WhyNot": info.networks.why_not,
            "WayOut": info.networks.way_out,
            "Forwarding": info.networks.forwarding,
            "Firewall": list(info.networks.firewall),
        },
    }


def _counts(info: SystemInfo) -> dict[str, object]:
    return {
        "ID": info.host.system_id,
        "Containers": info.containers,
        "ContainersRunning": info.running - info.paused,
        "ContainersPaused": info.paused,
        "ContainersStopped": info.containers - info.running,
        "Images": info.images,
        # Only a daemon that is being debugged counts these.
        "Debug": False,
        "NFd": 0,
        "NGoroutines": 0,
        "NEventsListener": 0,
    }


def _machine(info: SystemInfo) -> dict[str, object]:
    host = info.host
    return {
        "Name": host.name,
        "IPv4Forwarding": host.forwards,
        "SystemTime": timestamp(host.now),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs" if host.limits else "none",
        "CgroupVersion": str(host.cgroup_version or ""),
        "KernelVersion": info.kernel,
        "OperatingSystem": info.operating_system,
        "OSVersion": host.os_version,
        "OSType": "linux",
        "Architecture": info.architecture,
        "NCPU": info.cpus,
        "MemTotal": info.memory_bytes,
    }


def _plugins(info: SystemInfo) -> dict[str, object]:
    kinds = info.networks.kinds
    networks = [name for name in ("bridge", "host") if name in kinds]
    return {
        "Volume": ["local"],
        "Network": [*networks, "null"],
        "Authorization": None,
        "Log": ["cri", "json-file", "none"],
    }


def _limits(host: HostFacts) -> dict[str, object]:
    """Return which limits can be set; only version 1 of cgroups has the last ones."""
    has, version1 = host.limits.__contains__, host.cgroup_version == 1
    old = {name: has("memory") for name in ("KernelMemory", "KernelMemoryTCP")} if version1 else {}
    return {
        "MemoryLimit": has("memory"),
        "SwapLimit": host.swap_limit,
        "CpuCfsPeriod": has("cpu"),
        "CpuCfsQuota": has("cpu"),
        "CPUShares": has("cpu"),
        "CPUSet": has("cpuset"),
        "PidsLimit": has("pids"),
        "OomKillDisable": version1 and has("memory"),
        **old,
    }


def _around(info: SystemInfo) -> dict[str, object]:
    """Return what is about registries, runtimes and the daemons that docker has besides."""
    host, proxies = info.host, info.host.proxies
    hub = {"Name": "docker.io", "Mirrors": list(host.mirrors), "Secure": True, "Official": True}
    others = {
        name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False}
        for name in host.insecure
    }
    return {
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "IndexConfigs": {"docker.io": hub, **others},
            "Mirrors": list(host.mirrors),
        },
        "GenericResources": None,
        "HttpProxy": proxies.get("http", ""),
        "HttpsProxy": proxies.get("https", ""),
        "NoProxy": proxies.get("no", ""),
        "Runtimes": {info.runtime: {"path": info.runtime}},
        "DefaultRuntime": info.runtime,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,  # containers do not notice when an engine ends
        "InitBinary": "",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
    }


def _security(info: SystemInfo) -> list[str]:
    said = ["name=seccomp,profile=builtin"] if info.host.filters else []
    return said + (["name=rootless"] if info.isolation.startswith("rootless") else [])


def system_version(info: SystemInfo, api: str, oldest: str) -> dict[str, object]:
    """Return the document of ``GET /version``; there is no Go in it, and no build.

    Args:
        info: of the engine.
        api: the newest version of the API that is spoken, such as ``1.50``.
        oldest: the oldest one.
    """
    architecture = _GO_ARCHITECTURES.get(info.architecture, info.architecture)
    facts = {
        "ApiVersion": api,
        "MinAPIVersion": oldest,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": info.kernel,
        "BuildTime": "",
    }
    components = [
        {
            "Name": "Engine",
            "Version": info.version,
            "Details": facts | {"Experimental": "false"},
        },
        {"Name": info.runtime, "Version": info.version, "Details": {"GitCommit": ""}},
    ]
    return {
        "Platform": {"Name": "ocimagic"},
        "Components": components,
        "Version": info.version,
        **facts,
    }


def diagnosis(found: Diagnosis) -> dict[str, object]:
    """Return a diagnosis as JSON; docker has no such document."""
    return {
        "Mode": found.mode.value,
        "Isolated": found.meaning.isolated,
        "Shared": found.meaning.shared,
        "More": found.meaning.more,
        "Findings": [
            {
                "Subject": each.subject,
                "Grade": each.grade.value,
                "Found": each.found,
                "Advice": each.advice,
            }
            for each in found.findings
        ],
    }


def event_message(event: SystemEvent) -> dict[str, object]:
    """Return the document of one line of ``GET /events``.

    Spec: Docker Engine API v1.50, EventMessage; ``status``, ``id`` and ``from`` are of its
    older form, and containers' and images' only.
    """
    older: dict[str, object] = {}
    if event.kind in ("container", "image"):
        older = {"status": event.action, "id": event.actor}
        if event.kind == "container":
            older["from"] = event.attributes.get("image", "")
    return {
        **older,
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.actor, "Attributes": dict(event.attributes)},
        "scope": "local",
        "time": event.time_ns // 1_000_000_000,
        "timeNano": event.time_ns,
    }


def event_fields(event: SystemEvent) -> dict[str, object]:
    """Return the same by the names that templates of ``docker events`` have."""
    said = event_message(event)
    return {
        "Status": said.get("status", ""),
        "ID": said.get("id", ""),
        "From": said.get("from", ""),
        "Type": said["Type"],
        "Action": said["Action"],
        "Actor": said["Actor"],
        "Scope": said["scope"],
        "Time": said["time"],
        "TimeNano": said["timeNano"],
    }
