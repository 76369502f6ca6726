"""Volumes: directories that the engine keeps, and that outlive containers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

LOCAL = "local"
ANONYMOUS = "com.docker.volume.anonymous"  # docker's label for one that nobody named
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeOptions:
    """What ``volume create`` asks for.

    Attributes:
        name: "" for one that is made up.
        driver: ``local``.
    """

    name: str = ""
    driver: str = LOCAL
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSummary:
    """One volume.

    Attributes:
        mountpoint: where its files are on this machine.
        anonymous: nobody named it: it was made for a container, or by a create without a name.
        users: IDs of the containers that were made with it, running or not.
    """

    name: str
    created: datetime
    mountpoint: str
    driver: str = LOCAL
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    anonymous: bool = False
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumesPruned:
    """What ``volume prune`` took away.

    Attributes:
        volumes: names.
        freed_bytes: what their files took.
    """

    volumes: tuple[str, ...] = ()
    freed_bytes: int = 0


def check_volume_name(name: str) -> str:
    """Return a name that a volume may have.

    Raises:
        InvalidOption: it may not.
    """
    if not _NAME.fullmatch(name):
        path = name.removeprefix("./")
        raise InvalidOption(
            f"{name!r} is no name for a volume",
            why="a name begins with a letter or digit; letters, digits, _ . and - follow",
            hint=f"for a directory of this machine write ./{path}" if "/" in name else None,
        )
    return name


def check_volume_driver(driver: str) -> str:
    """Return the driver, which can only be one.

    Raises:
        InvalidOption: it is another.
    """
    if driver not in ("", LOCAL):
        raise InvalidOption(f"there is no volume driver {driver!r}", hint=f"write {LOCAL}")
    return LOCAL
