"""What a shim does for its container while nobody looks: restart, check its health, keep a log."""

from __future__ import annotations

from enum import Enum

from ocimagic.spec.record import dataclass


class RestartName(Enum):
    """When a container that ended is started again."""

    NO = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """``--restart name[:maximum_retry_count]``.

    Attributes:
        maximum_retry_count: for ``on-failure``; 0 means for ever.
    """

    name: RestartName = RestartName.NO
    maximum_retry_count: int = 0

    def __str__(self) -> str:
        count = f":{self.maximum_retry_count}" if self.maximum_retry_count else ""
        return f"{self.name.value}{count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthOptions:
    """``--health-*``: how to find out whether a container still does its work.

    What is empty or zero is the image's, and where the image says nothing docker's default.

    Attributes:
        test: ``("CMD", program, ...)``, ``("CMD-SHELL", line)`` or ``("NONE",)`` for no check.
        start_period_s: failures this soon after the start do not count.
        start_interval_s: between checks during that time.
        retries: failures in a row that make it unhealthy.
    """

    test: tuple[str, ...] = ()
    interval_s: float = 0.0
    timeout_s: float = 0.0
    start_period_s: float = 0.0
    start_interval_s: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """``--log-driver`` and ``--log-opt``.

    Attributes:
        driver: ``json-file``, ``cri`` or ``none``.
        max_size_bytes: a file that has grown past it is rotated; None never.
        max_files: how many are kept, the current one included.
        compress: gzip the older ones.
    """

    driver: str = "json-file"
    max_size_bytes: int | None = None
    max_files: int = 1
    compress: bool = False
