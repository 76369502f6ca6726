"""What a container is made of, as the kernel sees it, and the bundle it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceView:
    """One namespace that a container's processes are in.

    Attributes:
        kind: as /proc/PID/ns calls it: ``pid``, ``mnt``, ``net``, …
        inode: tells it from others; None if the kernel does not say.
        is_own: this process, which asks, is in another one.
        containers: names of others that are in the same one.

    Source: namespaces(7).
    """

    kind: str
    inode: int | None
    is_own: bool
    containers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessView:
    """A process, by its number on the machine and by the one it has inside."""

    pid: int
    pid_inside: int
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerNamespaces:
    """What ``container ns`` shows of a running container.

    Attributes:
        pid: of its first process.
        cgroups: hierarchy (``""`` is version 2) to path, as /proc/PID/cgroup has them.
        mounts: how many its mount namespace has.
    """

    container_id: str
    name: str
    pid: int
    namespaces: tuple[NamespaceView, ...]
    cgroups: Mapping[str, str]
    processes: tuple[ProcessView, ...]
    mounts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleView:
    """What ``container bundle`` shows: the OCI bundle a container is made from.

    Attributes:
        path: its directory.
        files: what is in it, directories with a slash.
        config: ``config.json``, as a JSON object.

    Spec: runtime-spec bundle.md, config.md.
    """

    container_id: str
    name: str
    path: str
    files: tuple[str, ...]
    config: Mapping[str, object]
