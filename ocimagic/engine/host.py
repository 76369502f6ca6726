"""The machine around an engine, as ``system info`` tells of it."""

from __future__ import annotations

import os
import platform
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ocimagic.model.host import HostFacts
from ocimagic.registry.settings import RegistrySettings
from ocimagic.spec.reference import DEFAULT_REGISTRY

if TYPE_CHECKING:
    from collections.abc import Mapping

_CGROUPS = Path("/sys/fs/cgroup")
_V1_SWAP = _CGROUPS / "memory/memory.memsw.limit_in_bytes"
_WITHOUT_LIMITS = ("look", "chroot", "traced")
_PROXIES = ("http", "https", "no")


def host_facts(data_root: Path, environment: Mapping[str, str], isolation: str) -> HostFacts:
    """Look at the machine.

    Args:
        data_root: of the engine.
        environment: of the engine.
        isolation: the mode containers run in.
    """
    version = _cgroup_version()
    limits = _limits() if isolation not in _WITHOUT_LIMITS else ()
    home = Path(environment.get("HOME") or "~").expanduser()
    settings = RegistrySettings.read(home, environment)
    hub = [each for each in settings.mirrors if each.prefix == DEFAULT_REGISTRY]
    return HostFacts(
        system_id=_system_id(data_root),
        name=platform.node(),
        os_version=_os_version(),
        now=datetime.now(UTC),
        cgroup_version=version,
        limits=limits,
        swap_limit="memory" in limits and (version == 2 or _V1_SWAP.exists()),
        forwards=_text(Path("/proc/sys/net/ipv4/ip_forward")) == "1",
        filters=Path("/proc/sys/kernel/seccomp").exists(),
        proxies=_proxies(environment),
        mirrors=tuple(f"https://{each.location}/" for each in hub),
        insecure=tuple(sorted(settings.insecure)),
    )


def _system_id(data_root: Path) -> str:
    """Name a data root on this machine."""
    machine = _text(Path("/etc/machine-id")) or platform.node()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{machine}:{data_root}"))


def _cgroup_version() -> int:
    if (_CGROUPS / "cgroup.controllers").exists():
        return 2
    return 1 if _CGROUPS.is_dir() and os.listdir(_CGROUPS) else 0


def _limits() -> tuple[str, ...]:
    from ocimagic.linux.limits import settable  # for Linux only

    return tuple(settable())


def _os_version() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_ID", "")
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:  # another kernel, or hidden from this account
        return ""


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for kind in _PROXIES:
        name = f"{kind}_proxy"
        if said := environment.get(name.upper()) or environment.get(name):
            found[kind] = _without_password(said)
    return found


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    hidden = f"xxxxx:xxxxx@{host}" if at and login else parts.netloc
    return urlunsplit(parts._replace(netloc=hidden))
