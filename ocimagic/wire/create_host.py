"""``HostConfig`` of a request to create, but for mounts, networks and resources.

Spec: Docker Engine API v1.41, ``HostConfig``; newer fields of API 1.50 too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.model.name_words import extra_host, ip_address, search_domain
from ocimagic.model.namespace import namespace_choice
from ocimagic.model.network_words import link
from ocimagic.model.policy import RestartPolicy
from ocimagic.model.policy_words import log_options, restart_policy
from ocimagic.model.security_words import security_options
from ocimagic.model.volume import LOCAL
from ocimagic.wire.create_resources import devices, limits, resources
from ocimagic.wire.host_config import OURS

if TYPE_CHECKING:
    from ocimagic.model.options import SecurityOptions
    from ocimagic.model.policy import LogOptions
    from ocimagic.wire.reading import Asked

_SAID = ("Isolation", "VolumeDriver")
_KINDS = {
    "pid": "PidMode",
    "ipc": "IpcMode",
    "uts": "UTSMode",
    "userns": "UsernsMode",
    "cgroupns": "CgroupnsMode",
}


def host_options(host: Asked) -> dict[str, Any]:
    """Return what ``RunOptions`` takes of it.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: what docker has and this version has not.
    """
    _refuse_others(host)
    security, no_new_privileges = _security(host)
    runtime = host.text("Runtime", "")
    return {
        "groups": host.texts("GroupAdd"),
        "shm_size_bytes": host.size("ShmSize"),
        "devices": devices(host),
        **_namespaces(host),
        **_names(host),
        "links": tuple(link(text) for text in host.texts("Links")),
        "annotations": host.text_map("Annotations"),
        "said": {key: text for key in _SAID if (text := host.text(key, "")) not in ("", LOCAL)},
        "read_only": host.flag("ReadonlyRootfs"),
        "remove": host.flag("AutoRemove"),
        "init": host.flag("Init"),
        "privileged": host.flag("Privileged"),
        "no_new_privileges": no_new_privileges,
        "cap_add": host.texts("CapAdd"),
        "cap_drop": host.texts("CapDrop"),
        "security": security,
        "sysctls": host.text_map("Sysctls"),
        "ulimits": limits(host),
        "oom_score_adj": host.integer("OomScoreAdj", 0, least=-1000, most=1000),
        "resources": resources(host),
        "restart": restart(host) or RestartPolicy(),
        "log": _log(host),
        # What ``inspect`` calls the engine's own goes in again by that name.
        "runtime": runtime if runtime not in ("", OURS) else None,
    }


def _refuse_others(host: Asked) -> None:
    if host.text_map("StorageOpt"):
        raise NotBuiltYet(
            "StorageOpt is not built yet",
            why="the size of a container's changes cannot be limited yet",
        )
    if (isolation := host.text("Isolation", "")) not in ("", "default"):
        raise NotBuiltYet(
            f"isolation {isolation!r} is not built yet", why="it is for Windows containers only"
        )


def _namespaces(host: Asked) -> dict[str, str]:
    found = {kind: host.text(key, "") for kind, key in _KINDS.items()}
    for kind, text in found.items():
        namespace_choice(kind, text)
    return found


def _names(host: Asked) -> dict[str, Any]:
    return {
        "extra_hosts": tuple(extra_host("ExtraHosts", text) for text in host.texts("ExtraHosts")),
        "dns": tuple(ip_address("Dns", text) for text in host.texts("Dns")),
        "dns_search": tuple(search_domain("DnsSearch", text) for text in host.texts("DnsSearch")),
        "dns_options": host.texts("DnsOptions"),
    }


def _security(host: Asked) -> tuple[SecurityOptions, bool]:
    """Read ``SecurityOpt``; a profile is in it as the client read it.

    What docker calls ``systempaths=unconfined`` its client sends as two empty lists.
    """
    security, no_new_privileges = security_options(host.texts("SecurityOpt"), lambda text: text)
    hidden = [host.texts(key) for key in ("MaskedPaths", "ReadonlyPaths") if key in host]
    if any(hidden) or len(hidden) == 1:
        raise NotBuiltYet(
            "MaskedPaths and ReadonlyPaths of your own are not built yet",
            hint="leave them out, or let both be empty",
        )
    if hidden:
        security = replace(security, unmask_paths=True)
    return security, no_new_privileges


def restart(host: Asked) -> RestartPolicy | None:
    """Return the restart policy that is asked for; None if none is.

    Raises:
        InvalidOption: it is none, or a number of tries goes with another one.
    """
    asked = host.child("RestartPolicy")
    name, count = asked.text("Name", ""), asked.integer("MaximumRetryCount", 0, least=-(1 << 62))
    if ":" in name or count < 0:
        raise InvalidOption(f"invalid restart policy: {name!r} with {count} tries")
    if not name:
        return None
    return restart_policy(f"{name}:{count}" if count else name)


def _log(host: Asked) -> LogOptions:
    asked = host.child("LogConfig")
    words = [f"{key}={value}" for key, value in asked.text_map("Config").items()]
    return log_options(asked.text("Type", "") or None, words)
