"""Containers as docker's JSON documents.

Spec: Docker Engine API v1.41, ContainerInspectResponse, ContainerSummary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.network import BRIDGE
from ocimagic.model.state import ALIVE, Status
from ocimagic.model.volume import LOCAL
from ocimagic.spec.codec import Fields
from ocimagic.wire.host_config import host_config, is_long
from ocimagic.wire.image import timestamp
from ocimagic.wire.network import endpoint_settings, port_list, port_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.options import RunOptions, VolumeMount
    from ocimagic.model.policy import HealthOptions
    from ocimagic.model.report import Health
    from ocimagic.model.result import ContainerDetails, ContainerSummary

_SECOND_NS = 1_000_000_000


def container_inspect(container: ContainerDetails) -> dict[str, object]:
    """Return the document of ``container inspect``.

    ``Bundle`` is ours: where the OCI bundle of the container is.  That of another engine's
    container is as it came.
    """
    if container.document is not None:
        return dict(container.document)
    summary, options = container.summary, container.options
    fields = Fields(container.runtime_config, "runtime config")
    process = fields.child("process")
    document: dict[str, object] = {
        "Id": summary.container_id,
        "Created": timestamp(summary.created),
        "Path": summary.command[0] if summary.command else "",
        "Args": list(summary.command[1:]),
        "State": _state(summary),
        "Image": str(summary.image_id),
        "ResolvConfPath": container.files.get("/etc/resolv.conf", ""),
        "HostnamePath": container.files.get("/etc/hostname", ""),
        "HostsPath": container.files.get("/etc/hosts", ""),
        "LogPath": container.log_path,
        "Name": f"/{summary.name}",
        "RestartCount": summary.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": fields.child("linux").text("mountLabel", ""),
        "ProcessLabel": process.text("selinuxLabel", ""),
        "AppArmorProfile": process.text("apparmorProfile", ""),
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": host_config(container),
        "GraphDriver": _graph_driver(container),
        "Mounts": [_mount(volume) for volume in options.volumes],
        "Config": _config(container),
        "NetworkSettings": _network_settings(summary),
        "Bundle": container.bundle_path,
    }
    if summary.size:
        document |= {
            "SizeRw": summary.size.changed_bytes,
            "SizeRootFs": summary.size.total_bytes,
        }
    return document


def container_summary(container: ContainerSummary, *, status: str = "") -> dict[str, object]:
    """Return one entry of ``GET /containers/json``.

    Args:
        container: as it is now.
        status: docker's sentence about it, such as ``Up 2 minutes``.
    """
    document: dict[str, object] = {
        "Id": container.container_id,
        "Names": [f"/{each}" for each in (container.name, *container.linked_as)],
        "Image": container.image,
        "ImageID": str(container.image_id),
        "Command": _command(container.command),
        "Created": int(container.created.timestamp()),
        "Ports": port_list(container.ports, container.exposed_ports if container.places else ()),
        "Labels": dict(container.labels),
        "State": container.status.value,
        "Status": status,
        "HostConfig": {"NetworkMode": container.network}
        | ({"Annotations": dict(container.annotations)} if container.annotations else {}),
        "NetworkSettings": {"Networks": _networks(container)},
        "Mounts": [_mount(volume) for volume in container.volume_mounts],
    }
    if container.size:
        document |= {
            "SizeRw": container.size.changed_bytes,
            "SizeRootFs": container.size.total_bytes,
        }
    return document


def _command(words: Sequence[str]) -> str:
    """Return a command as docker lists it: words with spaces in quotes."""
    command, *args = words or ("",)
    return " ".join((command, *(f"'{each}'" if " " in each else each for each in args)))


def _state(summary: ContainerSummary) -> dict[str, object]:
    status, ended = summary.status, summary.exit
    state: dict[str, object] = {
        "Status": status.value,
        "Running": status in ALIVE,
        "Paused": status is Status.PAUSED,
        "Restarting": status is Status.RESTARTING,
        "OOMKilled": bool(ended and ended.oom_killed),
        "Dead": status is Status.DEAD,
        "Pid": summary.pid or 0,
        "ExitCode": ended.code if ended else 0,
        "Error": ended.error if ended else "",
        "StartedAt": timestamp(summary.started),
        "FinishedAt": timestamp(ended.finished if ended else None),
    }
    if summary.health:
        state["Health"] = _health(summary.health)
    return state


def _health(health: Health) -> dict[str, object]:
    return {
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": timestamp(probe.started),
                "End": timestamp(probe.finished),
                "ExitCode": probe.exit_code,
                "Output": probe.output,
            }
            for probe in health.log
        ],
    }


def _graph_driver(container: ContainerDetails) -> dict[str, object]:
    above = container.upper_dir.rpartition("/")[0]
    return {
        "Data": {
            "LowerDir": ":".join(container.lower_dirs),
            "MergedDir": f"{container.bundle_path}/rootfs",
            "UpperDir": container.upper_dir,
            "WorkDir": f"{above}/work",
        },
        "Name": "overlay2",
    }


def _config(container: ContainerDetails) -> dict[str, object]:
    options, image = container.options, container.image_config
    process = Fields(container.runtime_config, "runtime config").child("process")
    streams = attached(options)
    config: dict[str, object] = {
        "Hostname": container.hostname,
        "Domainname": options.domainname,
        "User": image.user if options.user is None else options.user,
        "AttachStdin": "stdin" in streams,
        "AttachStdout": "stdout" in streams,
        "AttachStderr": "stderr" in streams,
        "ExposedPorts": {port: {} for port in container.summary.exposed_ports} or None,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": "stdin" in streams,
        "Env": _env(container, process.texts("env")),
        "Cmd": _cmd(container),
        "Healthcheck": healthcheck(container.health),
        "Image": container.summary.image,
        "Volumes": {path: {} for path in (*image.volumes, *_nameless(options))} or None,
        "WorkingDir": options.working_dir or image.working_dir,
        "Entrypoint": _entrypoint(container),
        "OnBuild": list(image.on_build) or None,
        "Labels": dict(container.summary.labels) | dict(options.labels),
        "StopSignal": options.stop_signal or image.stop_signal,
        "StopTimeout": int(options.stop_timeout_s),
        "Shell": list(image.shell) or None,
    }
    optional = ("ExposedPorts", "Healthcheck", "Shell", "StopSignal")
    return {key: value for key, value in config.items() if key not in optional or value}


def _env(container: ContainerDetails, env: Iterable[str]) -> list[str]:
    """Leave out what the engine adds to every container, unless it was asked for.

    A name alone, which takes a variable away, is shown as it was asked for.
    """
    asked = {each.partition("=")[0] for each in container.options.env}
    added = {"HOSTNAME", "TERM"} if container.options.tty else {"HOSTNAME"}
    hidden, linked = added - asked, set(container.linked_env)
    shown = [each for each in env if each.partition("=")[0] not in hidden and each not in linked]
    return shown + [each for each in container.options.env if "=" not in each]


def attached(options: RunOptions) -> tuple[str, ...]:
    """Return which streams the client of a ``run`` follows."""
    if options.attach is not None:
        return options.attach
    if options.detach:
        return ()
    return ("stdin", "stdout", "stderr") if options.interactive else ("stdout", "stderr")


def _entrypoint(container: ContainerDetails) -> list[str] | None:
    options = container.options
    if options.entrypoint is not None:
        return list(options.entrypoint)
    return list(container.image_config.entrypoint or ()) or None


def _cmd(container: ContainerDetails) -> list[str] | None:
    options = container.options
    if options.command or options.entrypoint is not None:
        return list(options.command) or None
    return list(container.image_config.cmd or ()) or None


def healthcheck(health: HealthOptions | None) -> dict[str, object] | None:
    """Return docker's ``HealthConfig``, None for no check."""
    if health is None:
        return None
    times = {
        "Interval": health.interval_s,
        "Timeout": health.timeout_s,
        "StartPeriod": health.start_period_s,
        "StartInterval": health.start_interval_s,
    }
    given = {name: round(value * _SECOND_NS) for name, value in times.items() if value}
    retries = {"Retries": health.retries} if health.retries else {}
    return {"Test": list(health.test), **given, **retries}


def _network_settings(summary: ContainerSummary) -> dict[str, object]:
    default = next((each for each in summary.places if each.network == BRIDGE), None)
    usual = endpoint_settings(default, None)
    shown = ("EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress",
             "IPPrefixLen", "IPv6Gateway", "MacAddress")  # fmt: skip
    return {
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": port_map(summary.ports, summary.exposed_ports if summary.places else ()),
        "SandboxKey": f"/proc/{summary.pid}/ns/net" if summary.pid else "",
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{name: usual[name] for name in shown},
        "Networks": _networks(summary),
    }


def _networks(summary: ContainerSummary) -> dict[str, object]:
    """Return where a container is, or is to be, by network."""
    there = {each.network: each for each in summary.places}
    asked = {each.network: each for each in summary.choices}
    names = (*summary.networks, *there) or (summary.network,)
    return {name: endpoint_settings(there.get(name), asked.get(name)) for name in names}


def _nameless(options: RunOptions) -> list[str]:
    return [each.target for each in options.volumes if each.anonymous and not is_long(each)]


def _mount(volume: VolumeMount) -> dict[str, object]:
    kept = {"Type": "volume", "Name": volume.name} if volume.kept else {"Type": "bind"}
    driver = {"Driver": LOCAL} if volume.kept else {}
    words = ["ro"] * volume.read_only + ["nocopy"] * volume.no_copy
    mode = ",".join(words) or ("z" if volume.kept and not volume.anonymous else "")
    return {
        **kept,
        "Source": volume.source,
        "Destination": volume.target,
        **driver,
        "Mode": "" if volume.inherited else mode,
        "RW": not volume.read_only,
        "Propagation": volume.propagation or ("" if volume.kept else "rprivate"),
    }
