"""All containers at one moment, with what they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from datetime import datetime

    from ocimagic.model.report import ContainerStats
    from ocimagic.model.result import ContainerSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the dashboard shows.

    Attributes:
        containers: newest first.
        stats: of those that run, by container_id; figures may be older than ``taken``, by the
            time between two samples at most.
        is_measured: there were two samples, so that shares of processors are known.
    """

    taken: datetime
    containers: tuple[ContainerSummary, ...]
    stats: dict[str, ContainerStats]
    is_measured: bool = True
