"""Volumes.

Spec: Docker Engine API v1.50, "Volume".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.api.exchange import Answer
from ocimagic.api.system import conditions
from ocimagic.errors import VolumeNotFound
from ocimagic.wire.asked import volume_create
from ocimagic.wire.disk import volumes_pruned
from ocimagic.wire.filters import keep_volumes
from ocimagic.wire.volume import volume_inspect, volume_list

if TYPE_CHECKING:
    from ocimagic.api.exchange import Exchange
    from ocimagic.api.service import Service

_ALL_SINCE = (1, 42)  # before, volumes with a name were pruned, too


def listed(service: Service, exchange: Exchange) -> Answer:
    """List volumes."""
    kept = keep_volumes(service.engine.volumes.all(), conditions(exchange))
    return Answer(200, volume_list(kept))


def inspect(service: Service, _exchange: Exchange, volume: str) -> Answer:
    """Return a volume."""
    return Answer(200, volume_inspect(service.engine.volumes.inspect(volume)))


def create(service: Service, exchange: Exchange) -> Answer:
    """Make a volume."""
    return Answer(
        201, volume_inspect(service.engine.volumes.create(volume_create(exchange.json())))
    )


def remove(service: Service, exchange: Exchange, volume: str) -> Answer:
    """Remove a volume; by force also one that is not there."""
    try:
        service.engine.volumes.remove(volume)
    except VolumeNotFound:
        if not exchange.query.flag("force"):
            raise
    return Answer(204)


def prune(service: Service, exchange: Exchange) -> Answer:
    """Remove volumes that no container was made with."""
    asked = conditions(exchange)
    everything = exchange.version < _ALL_SINCE or _wants_all(asked)
    rest = [each for each in asked if not each.startswith("all=")]
    pruned = service.engine.volumes.prune(
        lambda each: not keep_volumes([each], rest), all=everything
    )
    return Answer(200, volumes_pruned(pruned))


def _wants_all(conditions_: list[str]) -> bool:
    return any(each.lower() in ("all=true", "all=1") for each in conditions_)
