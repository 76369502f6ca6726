"""The engine as docker's JSON document.

Spec: Docker Engine API v1.50, SystemInfo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocimagic.model.isolation import Diagnosis
    from ocimagic.model.result import SystemInfo


def system_info(info: SystemInfo) -> dict[str, object]:
    """Return the document of ``GET /info``; ``Isolation``, ``Lacks`` and ``NotYet`` are ours."""
    return {
        "Containers": info.containers,
        "ContainersRunning": info.running,
        "ContainersPaused": 0,
        "ContainersStopped": info.containers - info.running,
        "Images": info.images,
        "Driver": info.snapshotter,
        "LoggingDriver": "json-file",
        "CgroupDriver": "none",
        "KernelVersion": info.kernel,
        "OperatingSystem": info.operating_system,
        "OSType": "linux",
        "Architecture": info.architecture,
        "NCPU": info.cpus,
        "MemTotal": info.memory_bytes,
        "DockerRootDir": info.data_root,
        "ServerVersion": info.version,
        "DefaultRuntime": info.runtime,
        "Isolation": info.isolation,
        "Lacks": list(info.lacks),
        "NotYet": list(info.not_yet),
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
