"""What can be asked for: one frozen value per request, shared by magics, shell and Python.

The defaults here are the only ones; they are docker's unless a comment says why not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.spec.platform import Platform


class NetworkMode(Enum):
    """Which network a container sees.

    DEFAULT is what the machine gives without being asked: the host's network until bridge
    networks are built.
    """

    DEFAULT = "default"
    HOST = "host"
    NONE = "none"


class PullPolicy(Enum):
    """When ``run`` and ``create`` ask the registry."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A directory or file of the host inside the container: ``-v source:target[:ro]``.

    Attributes:
        source: an absolute path on the host.
        target: an absolute path in the container.
    """

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What ``container run`` and ``container create`` take.

    Attributes:
        image: a reference or an image ID, whole or its first digits.
        command: replaces the image's CMD when not empty.
        entrypoint: None keeps the image's; ``()`` clears it, and its CMD with it.
        env: ``NAME=value``, later ones win.
        detach: do not wait for the exit.
        remove: remove the container, its log and its files after the exit.
        interactive: keep stdin open.
        stop_timeout_s: seconds from the stop signal to SIGKILL.
    """

    image: str
    command: tuple[str, ...] = ()
    name: str | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str | None = None
    user: str | None = None
    volumes: tuple[VolumeMount, ...] = ()
    network: NetworkMode = NetworkMode.DEFAULT
    hostname: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    detach: bool = False
    remove: bool = False
    interactive: bool = False
    no_new_privileges: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    stop_signal: str | None = None
    stop_timeout_s: float = 10.0
    platform: Platform | None = None
    pull: PullPolicy = PullPolicy.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What ``image build`` and ``%%dockerfile`` take.

    Attributes:
        dockerfile: its text.
        dockerfile_name: how errors call it.
        context: the directory COPY and ADD read from, or None for no context.
        tags: names for the result, as typed.
        build_args: values for ARG.
        target: the stage to stop at; None builds the last.
        no_cache: run every step anew.
        pull: ask the registry for every base even if it is here.
    """

    dockerfile: str
    dockerfile_name: str = "Dockerfile"
    context: str | None = None
    tags: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    platform: Platform | None = None
    no_cache: bool = False
    pull: bool = False
    network: NetworkMode = NetworkMode.DEFAULT
