"""What the machine is, as far as whoever runs containers on it wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """The machine around an engine.

    Attributes:
        system_id: the same for one data root on one machine, whenever it is asked.
        name: its host name.
        os_version: of its distribution, such as ``12``.
        now: its clock; None if nobody looked.
        cgroup_version: 1 or 2, 0 for none.
        limits: controllers whose limits this account can set, such as ``memory``.
        swap_limit: swap can be limited, too.
        forwards: IPv4 packets are passed on.
        filters: system calls can be filtered (seccomp).
        proxies: ``http``, ``https`` and ``no`` to what the environment says, passwords left out.
        mirrors: URLs that are asked before Docker Hub.
        insecure: registries without TLS.
    """

    system_id: str = ""
    name: str = ""
    os_version: str = ""
    now: datetime | None = None
    cgroup_version: int = 0
    limits: tuple[str, ...] = ()
    swap_limit: bool = False
    forwards: bool = False
    filters: bool = False
    proxies: Mapping[str, str] = field(default_factory=dict, hash=False)
    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
