"""Volumes: directories that the engine keeps, and that outlive containers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.errors import DriverNotFound, HostLacks, InvalidOption
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

LOCAL = "local"
SHARED = "shared"  # beside a volume's files: more than one container was made with it
ANONYMOUS = "com.docker.volume.anonymous"  # docker's label for one that nobody named
_OPTIONS = ("type", "device", "o", "size")
_NEEDED = {"type": ("device",), "device": ("type",), "o": ("device", "type")}
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeOptions:
    """What ``volume create`` asks for.

    Attributes:
        name: "" for one that is made up.
        driver: ``local``.
        options: of the driver, see ``check_driver_options``.
    """

    name: str = ""
    driver: str = LOCAL
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    options: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSummary:
    """One volume.

    Attributes:
        mountpoint: where its files are on this machine.
        anonymous: nobody named it: it was made for a container, or by a create without a name.
        users: IDs of the containers that were made with it, running or not.
        options: of the driver: what is mounted instead of files that are kept; none for most.
    """

    name: str
    created: datetime
    mountpoint: str
    driver: str = LOCAL
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    anonymous: bool = False
    users: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict, hash=False)


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
        DriverNotFound: it is another.
    """
    if driver not in ("", LOCAL):
        raise DriverNotFound(f"there is no volume driver {driver!r}", hint=f"write {LOCAL}")
    return LOCAL


def check_driver_options(options: Mapping[str, str]) -> Mapping[str, str]:
    """Return options that docker's local driver has: what mount(8) takes, under its names.

    Raises:
        InvalidOption: one is unknown, or another is missing, in docker's words.
        HostLacks: a size, which takes quotas.
    """
    for key, value in options.items():
        if key not in _OPTIONS:
            near = nearest(key, _OPTIONS)
            hint = f"did you mean {near}?" if near else "it is type, device or o"
            raise InvalidOption(f'invalid option: "{key}"', hint=hint)
        if "\0" in value:
            raise InvalidOption(f"{key} of a volume holds a NUL character")
        for other in _NEEDED.get(key, ()):
            if not options.get(other):
                raise InvalidOption(
                    f'missing required option: "{other}"',
                    hint="for example -o type=tmpfs -o device=tmpfs -o o=size=64m",
                )
    if "size" in options:
        raise HostLacks(
            "quota size requested but no quota support",
            why="a size of files on disk takes quotas of its file system",
            hint="-o type=tmpfs -o device=tmpfs -o o=size=64m is memory of that size",
        )
    if is_bind(options) and not options["device"].startswith("/"):
        raise InvalidOption(f"the device {options['device']!r} of a volume is not absolute")
    return options


def is_bind(options: Mapping[str, str]) -> bool:
    """Say whether driver options show a directory of the machine."""
    words = options.get("o", "").split(",")
    return options.get("type") in ("none", "bind") and bool({"bind", "rbind"} & {*words})
