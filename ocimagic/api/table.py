"""All endpoints of the API: who answers what, and what docker calls the operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.api import (
    builds,
    commands,
    containers,
    files,
    images,
    networks,
    streams,
    system,
    transfers,
    volumes,
    web_attach,
)
from ocimagic.api.buildkit import door, sessions

if TYPE_CHECKING:
    from ocimagic.api.routes import Handler

TABLE: tuple[tuple[str, str, Handler, str], ...] = (
    ("HEAD", "/_ping", system.ping, "SystemPingHead"),
    ("GET", "/_ping", system.ping, "SystemPing"),
    ("GET", "/version", system.version, "SystemVersion"),
    ("GET", "/info", system.info, "SystemInfo"),
    ("GET", "/events", system.events, "SystemEvents"),
    ("GET", "/system/df", images.usage, "SystemDataUsage"),
    ("POST", "/auth", transfers.auth, "SystemAuth"),
    # containers
    ("GET", "/containers/json", containers.listed, "ContainerList"),
    ("POST", "/containers/create", containers.create, "ContainerCreate"),
    ("POST", "/containers/prune", containers.prune, "ContainerPrune"),
    ("GET", "/containers/{container}/json", containers.inspect, "ContainerInspect"),
    ("POST", "/containers/{container}/start", containers.start, "ContainerStart"),
    ("POST", "/containers/{container}/stop", containers.stop, "ContainerStop"),
    ("POST", "/containers/{container}/restart", containers.restart, "ContainerRestart"),
    ("POST", "/containers/{container}/kill", containers.kill, "ContainerKill"),
    ("POST", "/containers/{container}/pause", containers.pause, "ContainerPause"),
    ("POST", "/containers/{container}/unpause", containers.unpause, "ContainerUnpause"),
    ("POST", "/containers/{container}/rename", containers.rename, "ContainerRename"),
    ("POST", "/containers/{container}/update", containers.update, "ContainerUpdate"),
    ("POST", "/containers/{container}/resize", containers.resize, "ContainerResize"),
    ("POST", "/containers/{container}/wait", streams.wait, "ContainerWait"),
    ("POST", "/containers/{container}/attach", streams.attach, "ContainerAttach"),
    ("GET", "/containers/{container}/attach/ws", web_attach.attach, "ContainerAttachWebsocket"),
    ("GET", "/containers/{container}/logs", streams.logs, "ContainerLogs"),
    ("GET", "/containers/{container}/top", containers.top, "ContainerTop"),
    ("GET", "/containers/{container}/stats", containers.stats, "ContainerStats"),
    ("GET", "/containers/{container}/changes", containers.changes, "ContainerChanges"),
    ("GET", "/containers/{container}/export", files.export, "ContainerExport"),
    ("HEAD", "/containers/{container}/archive", files.look, "ContainerArchiveInfo"),
    ("GET", "/containers/{container}/archive", files.read, "ContainerArchive"),
    ("PUT", "/containers/{container}/archive", files.write, "PutContainerArchive"),
    ("DELETE", "/containers/{container:path}", containers.remove, "ContainerDelete"),
    ("POST", "/containers/{container}/exec", commands.create, "ContainerExec"),
    ("POST", "/exec/{exec_id}/start", commands.start, "ExecStart"),
    ("POST", "/exec/{exec_id}/resize", commands.resize, "ExecResize"),
    ("GET", "/exec/{exec_id}/json", commands.inspect, "ExecInspect"),
    # images
    ("GET", "/images/json", images.listed, "ImageList"),
    ("POST", "/images/create", transfers.create, "ImageCreate"),
    ("POST", "/images/load", transfers.load, "ImageLoad"),
    ("POST", "/images/prune", images.prune, "ImagePrune"),
    ("GET", "/images/search", images.search, "ImageSearch"),
    ("GET", "/images/get", transfers.save, "ImageGetAll"),
    ("GET", "/images/{image:path}/json", images.inspect, "ImageInspect"),
    ("GET", "/images/{image:path}/history", images.history, "ImageHistory"),
    ("GET", "/images/{image:path}/get", transfers.save, "ImageGet"),
    ("POST", "/images/{image:path}/tag", images.tag, "ImageTag"),
    ("POST", "/images/{image:path}/push", transfers.push, "ImagePush"),
    ("DELETE", "/images/{image:path}", images.remove, "ImageDelete"),
    ("GET", "/distribution/{image:path}/json", images.distribution, "DistributionInspect"),
    ("POST", "/build", builds.build, "ImageBuild"),
    ("POST", "/build/prune", images.prune_cache, "BuildPrune"),
    ("POST", "/build/cancel", builds.cancel, "BuildCancel"),
    ("POST", "/session", sessions.session, "Session"),
    ("POST", "/grpc", door.calls, ""),
    ("POST", "/commit", transfers.commit, "ImageCommit"),
    # networks
    ("GET", "/networks", networks.listed, "NetworkList"),
    ("GET", "/networks/", networks.listed, "NetworkList"),
    ("POST", "/networks/create", networks.create, "NetworkCreate"),
    ("POST", "/networks/prune", networks.prune, "NetworkPrune"),
    ("GET", "/networks/{network}", networks.inspect, "NetworkInspect"),
    ("DELETE", "/networks/{network}", networks.remove, "NetworkDelete"),
    ("POST", "/networks/{network}/connect", networks.connect, "NetworkConnect"),
    ("POST", "/networks/{network}/disconnect", networks.disconnect, "NetworkDisconnect"),
    # volumes
    ("GET", "/volumes", volumes.listed, "VolumeList"),
    ("POST", "/volumes/create", volumes.create, "VolumeCreate"),
    ("POST", "/volumes/prune", volumes.prune, "VolumePrune"),
    ("GET", "/volumes/{volume}", volumes.inspect, "VolumeInspect"),
    ("DELETE", "/volumes/{volume}", volumes.remove, "VolumeDelete"),
    # what is of other machines
    ("GET", "/plugins", system.no_plugins, "PluginList"),
    ("GET", "/plugins/{name:path}/json", system.no_such_plugin, "PluginInspect"),
    ("POST", "/swarm/leave", system.not_in_a_swarm, "SwarmLeave"),
    *(
        (method, "/plugins/{rest:path}", system.no_plugin, "")
        for method in ("GET", "POST", "DELETE")
    ),
    *(
        (method, f"/{noun}{rest}", system.not_a_swarm, "")
        for noun in ("swarm", "nodes", "services", "tasks", "secrets", "configs")
        for method in ("GET", "POST", "DELETE")
        for rest in ("", "/{rest:path}")
    ),
)
