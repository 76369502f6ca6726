"""What docker's client would send for a command: method, path and body, of the options asked for.

Spec: Docker Engine API v1.41, ContainerCreate, ContainerAttach, ContainerWait, ContainerStart,
ImageCreate, ImageBuild, ContainerExec, ExecStart, ExecInspect; the order is that of docker's own
client.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ocimagic.model.options import DEFAULT_STOP_S, FOREVER_S, NetworkMode
from ocimagic.spec.record import dataclass
from ocimagic.wire.container import attached, healthcheck
from ocimagic.wire.host_config import host_request, is_long, is_nameless

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.model.options import RunOptions
    from ocimagic.spec.reference import Reference

VERSION = "v1.41"


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        path: with version and query.
        body: a JSON object, or None.
        operation: docker's name of it.
        tag: what docker lists it under.
    """

    method: str
    path: str
    operation: str
    tag: str
    body: Mapping[str, object] | None = None


def run_requests(
    options: RunOptions,
    container_id: str,
    *,
    network: str = "",
    pulled: Reference | None = None,
    starts: bool = True,
    follows: bool = True,
) -> tuple[Request, ...]:
    """Return what docker's client sends for ``run``, in its order.

    Args:
        options: what was asked for.
        container_id: what the engine answered.
        network: what was asked for before the engine chose; "" if the options still say it.
        pulled: the image that was not here, and so is asked for after a first refusal.
        starts: False for ``create``.
        follows: False where a later command started it.
    """
    create = _create(options, network or network_word(options))
    made = [create] if pulled is None else [create, pull_request(pulled), create]
    if not starts:
        return tuple(made)
    streams = attached(options) if follows else ()
    if streams:
        query = {"stream": "1"} | dict.fromkeys(streams, "1")
        made.append(_post(f"/containers/{container_id}/attach", "ContainerAttach", query))
        condition = "removed" if options.remove else "next-exit"
        wait = {"condition": condition}
        made.append(_post(f"/containers/{container_id}/wait", "ContainerWait", wait))
    made.append(_post(f"/containers/{container_id}/start", "ContainerStart"))
    return tuple(made)


def exec_requests(
    asked: Mapping[str, object], container_id: str, exec_id: str
) -> tuple[Request, ...]:
    """Return what docker's client sends for ``exec``, in its order.

    Args:
        asked: what was asked for, by the names of ``ExecOptions``; of variables their names.
        container_id: where.
        exec_id: what the engine answered.
    """
    detach, tty = bool(asked.get("detach")), bool(asked.get("tty"))
    env, command = asked.get("env", ()), asked.get("command", ())
    assert isinstance(env, list | tuple)
    assert isinstance(command, list | tuple)
    body = {
        "User": asked.get("user", ""),
        "Privileged": bool(asked.get("privileged")),
        "Tty": tty,
        "AttachStdin": bool(asked.get("interactive")) and not detach,
        "AttachStderr": not detach,
        "AttachStdout": not detach,
        "Detach": detach,
        "DetachKeys": asked.get("detach_keys", ""),
        "Env": [f"{name}=…" for name in env] or None,
        "WorkingDir": asked.get("working_dir", ""),
        "Cmd": list(command),
    }
    start = {"Detach": detach, "Tty": tty}
    made = [  # first whether the container is there at all
        Request(
            "GET", f"/{VERSION}/containers/{container_id}/json", "ContainerInspect", "Container"
        ),
        _post(f"/containers/{container_id}/exec", "ContainerExec", tag="Exec", body=body),
        _post(f"/exec/{exec_id}/start", "ExecStart", tag="Exec", body=start),
    ]
    if not detach:  # for the exit code
        made.append(Request("GET", f"/{VERSION}/exec/{exec_id}/json", "ExecInspect", "Exec"))
    return tuple(made)


def pull_request(reference: Reference) -> Request:
    """Return what docker's client sends to have an image pulled."""
    query = {"fromImage": reference.name, "tag": reference.digest or reference.tag or "latest"}
    return _post("/images/create", "ImageCreate", query, tag="Image")


def build_request(asked: Mapping[str, object], tags: Sequence[str]) -> Request:
    """Return what docker's client sends for a build; its body is the context, as a tar.

    Args:
        asked: docker's names of what is not in the tags, to their values.
        tags: names of the result.
    """
    query = [("t", tag) for tag in tags]
    for name, value in asked.items():
        if value:
            text = json.dumps(value) if isinstance(value, dict) else _flag(value)
            query.append((name, text))
    path = f"/{VERSION}/build?{urlencode(query)}"
    return Request("POST", path, "ImageBuild", "Image")


def _flag(value: object) -> str:
    return "1" if value is True else str(value)


def network_word(options: RunOptions) -> str:
    """Return what ``--network`` was given, docker's word for nothing included."""
    if options.network is NetworkMode.NETWORK:
        return options.networks[0].network if options.networks else "default"
    if options.network is NetworkMode.CONTAINER:
        return f"container:{options.network_container}"
    return str(options.network.value)


def create_body(options: RunOptions, network: str) -> dict[str, object]:
    """Return the body of ``POST /containers/create``: only what was asked for.

    Args:
        options: what was asked for; the engine's additions are taken out by what they are.
        network: see ``network_word``.
    """
    streams = attached(options)
    exposed = [*options.exposed_ports]
    exposed += [f"{each.container_port}/{each.protocol}" for each in options.ports]
    entrypoint = options.entrypoint
    body: dict[str, object] = {
        "Hostname": options.hostname or "",
        "Domainname": options.domainname,
        "User": options.user or "",
        "AttachStdin": "stdin" in streams,
        "AttachStdout": "stdout" in streams,
        "AttachStderr": "stderr" in streams,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": "stdin" in streams,
        "Env": list(options.env) or None,
        "Cmd": list(options.command) or None,
        "Image": options.image,
        "Volumes": {v.target: {} for v in options.volumes if is_nameless(v) and not is_long(v)},
        "WorkingDir": options.working_dir or "",
        # docker clears an entrypoint with one empty word.
        "Entrypoint": list(entrypoint) or [""] if entrypoint is not None else None,
        "OnBuild": None,
        "Labels": dict(options.labels),
        "HostConfig": host_request(options, network),
        "NetworkingConfig": {"EndpointsConfig": _endpoints(options, network)},
    }
    optional: dict[str, object] = {
        "ExposedPorts": {each: {} for each in dict.fromkeys(exposed)},
        "Healthcheck": healthcheck(options.health),
        "StopSignal": options.stop_signal,
        "StopTimeout": _stop_timeout(options),
    }
    return body | {name: value for name, value in optional.items() if value not in (None, {})}


def _stop_timeout(options: RunOptions) -> int | None:
    """Return the seconds, -1 for ever; what is usual anyway is not asked for."""
    seconds = options.stop_timeout_s
    if seconds == DEFAULT_STOP_S:
        return None
    return -1 if seconds >= FOREVER_S else int(seconds)


def _endpoints(options: RunOptions, network: str) -> dict[str, object]:
    """Return what is asked for in each network."""
    chosen = {each.network: each for each in options.networks}
    if network not in chosen:
        return {} if network in ("default", "host", "none") else {network: {}}
    found: dict[str, object] = {}
    for name, each in chosen.items():
        addresses = {"IPv4Address": each.ipv4, "IPv6Address": each.ipv6}
        given = {key: value for key, value in addresses.items() if value}
        wishes = {"Aliases": list(each.aliases), "MacAddress": each.mac, "IPAMConfig": given}
        found[name] = {key: value for key, value in wishes.items() if value}
    return found


def _create(options: RunOptions, network: str) -> Request:
    query = {"name": options.name} if options.name else {}
    body = create_body(options, network)
    return _post("/containers/create", "ContainerCreate", query, body=body)


def _post(
    path: str,
    operation: str,
    query: Mapping[str, str] | None = None,
    *,
    tag: str = "Container",
    body: Mapping[str, object] | None = None,
) -> Request:
    asked = f"?{urlencode(query)}" if query else ""
    return Request("POST", f"/{VERSION}{path}{asked}", operation, tag, body)
