"""Containers as docker's JSON documents.

Spec: Docker Engine API v1.50, ContainerInspectResponse, ContainerSummary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.state import Status
from ocimagic.spec.codec import Fields
from ocimagic.wire.image import timestamp

if TYPE_CHECKING:
    from ocimagic.model.options import RunOptions, VolumeMount
    from ocimagic.model.result import ContainerDetails, ContainerSummary


def container_inspect(container: ContainerDetails) -> dict[str, object]:
    """Return the document of ``container inspect``.

    ``Bundle`` is ours: where the OCI bundle of the container is.
    """
    summary = container.summary
    return {
        "Id": summary.container_id,
        "Created": timestamp(summary.created),
        "Path": summary.command[0] if summary.command else "",
        "Args": list(summary.command[1:]),
        "State": _state(summary),
        "Image": str(summary.image_id),
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": container.log_path,
        "Name": f"/{summary.name}",
        "RestartCount": 0,
        "Platform": "linux",
        "HostConfig": _host_config(container.options, summary.network),
        "GraphDriver": {
            "Name": "overlay",
            "Data": {
                "LowerDir": ":".join(container.lower_dirs),
                "UpperDir": container.upper_dir,
            },
        },
        "Mounts": [_mount(volume) for volume in container.options.volumes],
        "Config": _config(container),
        "NetworkSettings": {"Ports": {}, "Networks": {summary.network: {}}},
        "Bundle": container.bundle_path,
    }


def container_summary(container: ContainerSummary, *, status: str = "") -> dict[str, object]:
    """Return one entry of ``GET /containers/json``.

    Args:
        container: as it is now.
        status: docker's sentence about it, such as ``Up 2 minutes``.
    """
    return {
        "Id": container.container_id,
        "Names": [f"/{container.name}"],
        "Image": container.image,
        "ImageID": str(container.image_id),
        "Command": " ".join(container.command),
        "Created": int(container.created.timestamp()),
        "Ports": [],
        "Labels": dict(container.labels),
        "State": container.status.value,
        "Status": status,
        "HostConfig": {"NetworkMode": container.network},
        "NetworkSettings": {"Networks": {container.network: {}}},
        "Mounts": [],
    }


def _state(summary: ContainerSummary) -> dict[str, object]:
    return {
        "Status": summary.status.value,
        "Running": summary.status is Status.RUNNING,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": summary.pid or 0,
        "ExitCode": summary.exit.code if summary.exit else 0,
        "Error": "",
        "StartedAt": timestamp(summary.started),
        "FinishedAt": timestamp(summary.exit.finished if summary.exit else None),
    }


def _host_config(options: RunOptions, network: str) -> dict[str, object]:
    return {
        "Binds": [_bind(volume) for volume in options.volumes] or None,
        "LogConfig": {"Type": "json-file", "Config": {}},
        "NetworkMode": network,
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": options.remove,
        "CapAdd": list(options.cap_add) or None,
        "CapDrop": list(options.cap_drop) or None,
        "Privileged": False,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": ["no-new-privileges"] if options.no_new_privileges else None,
    }


def _config(container: ContainerDetails) -> dict[str, object]:
    options = container.options
    process = Fields(container.runtime_config, "runtime config").child("process")
    return {
        "Hostname": container.hostname,
        "User": options.user or "",
        "AttachStdin": options.interactive and not options.detach,
        "AttachStdout": not options.detach,
        "AttachStderr": not options.detach,
        "Tty": False,
        "OpenStdin": options.interactive,
        "StdinOnce": options.interactive and not options.detach,
        "Env": list(process.texts("env")),
        "Cmd": list(options.command) or None,
        "Image": container.summary.image,
        "WorkingDir": process.text("cwd", options.working_dir or ""),
        "Entrypoint": None if options.entrypoint is None else list(options.entrypoint),
        "Labels": dict(container.summary.labels) | dict(options.labels),
        "StopSignal": options.stop_signal or "",
        "StopTimeout": int(options.stop_timeout_s),
    }


def _mount(volume: VolumeMount) -> dict[str, object]:
    return {
        "Type": "bind",
        "Source": volume.source,
        "Destination": volume.target,
        "Mode": "ro" if volume.read_only else "",
        "RW": not volume.read_only,
        "Propagation": "rprivate",
    }


def _bind(volume: VolumeMount) -> str:
    return f"{volume.source}:{volume.target}" + (":ro" if volume.read_only else "")
