"""What a client sends besides creating containers: bodies of requests, the inverse of ``asked``.

Spec: Docker Engine API v1.41, ContainerExec, ContainerUpdate, NetworkCreate, NetworkConnect,
VolumeCreate, ImageBuild, "Authentication".
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from ocimagic.model.options import NetworkMode
from ocimagic.model.volume import ANONYMOUS
from ocimagic.wire.host_config import resources_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.model.network import NetworkChoice, NetworkOptions
    from ocimagic.model.options import BuildOptions
    from ocimagic.model.request import ExecOptions, UpdateOptions
    from ocimagic.model.volume import VolumeOptions

Document = dict[str, object]


def exec_body(options: ExecOptions) -> Document:
    """Write the body of ``POST /containers/{id}/exec``."""
    follows = not options.detach
    body: Document = {
        "Cmd": list(options.command),
        "Env": list(options.env),
        "User": options.user or "",
        "WorkingDir": options.working_dir or "",
        "Privileged": options.privileged,
        "Tty": options.tty,
        "AttachStdin": options.interactive and follows,
        "AttachStdout": follows,
        "AttachStderr": follows,
        "DetachKeys": options.detach_keys,
    }
    if options.tty and options.console_size:
        body["ConsoleSize"] = list(options.console_size)
    return body


def update_body(options: UpdateOptions) -> Document:
    """Write the body of ``POST /containers/{id}/update``: what is not given is not sent."""
    asked = resources_request(options.resources)
    body: Document = {key: value for key, value in asked.items() if value not in (0, None, "", [])}
    if options.restart is not None:
        body["RestartPolicy"] = {
            "Name": options.restart.name.value,
            "MaximumRetryCount": options.restart.maximum_retry_count,
        }
    return body


def network_body(options: NetworkOptions) -> Document:
    """Write the body of ``POST /networks/create``."""
    config = []
    for each in options.subnets:
        said = {"Subnet": each.subnet, "Gateway": each.gateway, "IPRange": each.ip_range}
        found: Document = {key: text for key, text in said.items() if text}
        if each.reserved:
            found["AuxiliaryAddresses"] = dict(each.reserved)
        config.append(found)
    return {
        "Name": options.name,
        "CheckDuplicate": True,
        "Driver": options.driver,
        "EnableIPv6": options.ipv6,
        "IPAM": {"Driver": "default", "Options": {}, "Config": config},
        "Internal": options.internal,
        "Attachable": options.attachable,
        "Options": dict(options.options),
        "Labels": dict(options.labels),
    }


def connect_body(container: str, choice: NetworkChoice) -> Document:
    """Write the body of ``POST /networks/{id}/connect``."""
    addresses = {"IPv4Address": choice.ipv4, "IPv6Address": choice.ipv6}
    wishes: Document = {
        "Aliases": list(choice.aliases),
        "MacAddress": choice.mac,
        "IPAMConfig": {key: text for key, text in addresses.items() if text},
    }
    return {
        "Container": container,
        "EndpointConfig": {key: value for key, value in wishes.items() if value},
    }


def volume_body(options: VolumeOptions) -> Document:
    """Write the body of ``POST /volumes/create``."""
    labels = dict(options.labels) | ({} if options.name else {ANONYMOUS: ""})
    return {
        "Name": options.name,
        "Driver": options.driver,
        "DriverOpts": dict(options.options),
        "Labels": labels,
    }


def build_query(options: BuildOptions) -> dict[str, str | list[str]]:
    """Write the query of ``POST /build``, for what docker's classic builder knows."""
    asked: dict[str, object] = {
        "dockerfile": options.dockerfile_name,
        "buildargs": dict(options.build_args),
        "labels": dict(options.labels),
        "target": options.target,
        "nocache": options.no_cache,
        "pull": options.pull,
        "networkmode": "" if options.network is NetworkMode.DEFAULT else options.network.value,
        "extrahosts": ",".join(f"{name}:{address}" for name, address in options.extra_hosts),
        "shmsize": options.shm_size_bytes,
        "squash": options.squash,
        "platform": str(options.platforms[0]) if options.platforms else "",
        "ulimits": [
            {"Name": each.name, "Soft": each.soft, "Hard": each.hard} for each in options.ulimits
        ],
    }
    query: dict[str, str | list[str]] = {"version": "1", "rm": "1", "t": list(options.tags)}
    for key, value in asked.items():
        if value:
            is_document = isinstance(value, dict | list)
            query[key] = json.dumps(value) if is_document else "1" if value is True else str(value)
    return query


def auth_header(login: Mapping[str, str]) -> str:
    """Write ``X-Registry-Auth``; an empty login says that there is none."""
    return base64.urlsafe_b64encode(json.dumps(dict(login)).encode()).decode()
