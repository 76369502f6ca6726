"""A project as types: what a compose file, its variables and its options come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.compose.tree import Node
    from ocimagic.model.network import NetworkChoice, NetworkOptions
    from ocimagic.model.options import RunOptions

DEFAULT_NETWORK = "default"


class Condition(Enum):
    """When a service that another one needs is there."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """One entry of ``depends_on``.

    Attributes:
        restart: restart this service when that one was replaced.
        required: without it this one cannot be.
    """

    service: str
    condition: Condition = Condition.STARTED
    restart: bool = False
    required: bool = True


class Pulling(Enum):
    """``pull_policy``."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"
    BUILD = "build"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUse:
    """A secret or config that is copied into a container.

    Attributes:
        name: what the file calls it.
        source: its definition: where its content comes from.
        target: an absolute path in the container.
    """

    name: str
    source: Node
    target: str
    uid: int = 0
    gid: int = 0
    mode: int = 0o444


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service.

    Attributes:
        options: of its containers; image, name, labels of the project, networks and what it
            shares with other services are put in when one is made.
        build: ``build`` of the file, read when it is needed; None where it is pulled.
        image: what its image is called; None where only ``build`` names it.
        networks: by what the file calls them, in their order of importance.
        shares: ``network``, ``pid`` and ``ipc`` to the service whose it uses.
        replicas: how many containers.
        files: what is copied in.
        makes: directories of this machine that are made where they are missing.
        container_name: "" for the project's own.
        document: in its long form, as ``config`` shows it.
        attached: ``up`` shows what it writes.
    """

    name: str
    options: RunOptions
    document: Mapping[str, object]
    build: Node | None = None
    image: str | None = None
    pulling: Pulling = Pulling.MISSING
    depends_on: tuple[Dependency, ...] = ()
    networks: tuple[tuple[str, NetworkChoice], ...] = ()
    shares: Mapping[str, str] = field(default_factory=dict)
    volumes_from: tuple[tuple[str, bool], ...] = ()
    profiles: tuple[str, ...] = ()
    replicas: int = 1
    files: tuple[FileUse, ...] = ()
    makes: tuple[str, ...] = ()
    container_name: str = ""
    attached: bool = True

    @property
    def needs(self) -> tuple[Dependency, ...]:
        """Return what it needs, said or by what it shares."""
        said = {each.service: each for each in self.depends_on}
        others = (*self.shares.values(), *(name for name, _ in self.volumes_from))
        for name in others:
            said.setdefault(name, Dependency(service=name))
        return tuple(said.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network of a project.

    Attributes:
        key: what the file calls it.
        options: its real name and the rest.
        external: it is not the project's.
    """

    key: str
    options: NetworkOptions
    external: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One volume of a project.

    Attributes:
        key: what the file calls it.
        name: what the engine calls it.
        options: of its driver.
        external: it is not the project's.
    """

    key: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    external: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What a compose file asks for.

    Attributes:
        directory: what its paths start from.
        files: absolute paths, ``-`` for what came on standard input.
        services: all of them, by name.
        enabled: those that no profile leaves out.
        secrets: definitions by name.
        document: the whole in its long form, as ``config`` shows it.
        env: variables of the caller and of ``.env``.
    """

    name: str
    directory: str
    files: tuple[str, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    enabled: frozenset[str] = frozenset()
    networks: Mapping[str, Network] = field(default_factory=dict)
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    secrets: Mapping[str, Node] = field(default_factory=dict)
    document: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def image_of(self, service: Service) -> str:
        """Return what the image of a service is called."""
        return service.image or f"{self.name}-{service.name}"
