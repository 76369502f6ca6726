"""Namespaces: which a container has of its own, and which it shares with whom.

Spec: runtime-spec config-linux.md, "Namespaces"; namespaces(7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.namespace import Share, namespace_choice
from ocimagic.model.options import NetworkMode

if TYPE_CHECKING:
    from ocimagic.bundle.place import Place
    from ocimagic.model.options import RunOptions

# Until the start, when the pid of the container to join is known; no process has this one.
_UNKNOWN = "/proc/0/ns/{}"
# The names of the links in /proc/PID/ns, where they differ from the specification's.
LINKS = {"network": "net", "mount": "mnt"}


def namespaces(options: RunOptions, place: Place) -> dict[str, str]:
    """Return type to path: "" for a new one; what is missing is the host's."""
    if place.bare:
        return {}
    found = {"mount": ""}
    for kind, share in _shares(options, place).items():
        if share is Share.CONTAINER:
            found[kind] = _UNKNOWN.format(LINKS.get(kind, kind))
        elif share is not Share.HOST:
            found[kind] = ""
    return found


def _shares(options: RunOptions, place: Place) -> dict[str, Share]:
    """Say of each type with whom it is shared."""
    cgroup = namespace_choice("cgroupns", options.cgroupns).share
    if cgroup is Share.DEFAULT:
        cgroup = Share.PRIVATE if place.cgroup_v2 else Share.HOST
    network = {
        NetworkMode.NONE: Share.PRIVATE,
        NetworkMode.NETWORK: Share.PRIVATE,
        NetworkMode.CONTAINER: Share.CONTAINER,
    }
    namespace_choice("userns", options.userns)
    pid = namespace_choice("pid", options.pid).share
    if pid is Share.DEFAULT and place.shares_processes:
        pid = Share.HOST
    return {
        "pid": pid,
        "ipc": namespace_choice("ipc", options.ipc).share,
        "uts": namespace_choice("uts", options.uts).share,
        "network": network.get(options.network, Share.HOST),
        "cgroup": cgroup,
    }


def joined_containers(options: RunOptions) -> dict[str, str]:
    """Return namespace type to the name or ID of the container that it is shared with."""
    chosen = {kind: namespace_choice(kind, getattr(options, kind)) for kind in ("pid", "ipc")}
    found = {kind: each.container for kind, each in chosen.items() if each.container}
    if options.network is NetworkMode.CONTAINER:
        found["network"] = options.network_container
    return found
