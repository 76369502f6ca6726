"""What a client asks of the engine itself.

Spec: Docker Engine API v1.50, "System".
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.api.exchange import Answer
from ocimagic.api.http import Gone
from ocimagic.model.moment import moment_ns
from ocimagic.wire.asked import filters
from ocimagic.wire.system import event_message, system_info, system_version
from ocimagic.wire.versions import NEWEST, OLDEST

if TYPE_CHECKING:
    from ocimagic.api.exchange import Exchange
    from ocimagic.api.service import Service

_UNIX = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?")


def ping(_service: Service, exchange: Exchange) -> None:
    """Answer whoever looks whether anybody is there."""
    headers = {
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
        "Builder-Version": "1",
        "Swarm": "inactive",
    }
    exchange.plain(b"OK", headers)


def version(service: Service, _exchange: Exchange) -> Answer:
    """Say which versions of what are here: every client of docker's asks, and nothing changes."""
    if "version" not in service.once:
        api, oldest = (f"{each[0]}.{each[1]}" for each in (NEWEST, OLDEST))
        service.once["version"] = system_version(service.engine.system.info(), api, oldest)
    # Older versions of the API have it changed in place.
    return Answer(200, dict(service.once["version"]))


def info(service: Service, _exchange: Exchange) -> Answer:
    """Say what this machine and this version can do."""
    found = service.engine.system.info()
    # docker counts what ``images --all`` lists.
    images = {each.image_id for each in service.engine.images.list(all=True)}
    return Answer(200, system_info(replace(found, images=len(images))))


def events(service: Service, exchange: Exchange) -> None:
    """Tell what happened since a time, and what happens until another."""
    since, until = (when(exchange.query.text(name), name) for name in ("since", "until"))
    asked = conditions(exchange)
    with exchange.watched() as gone:
        told = service.engine.system.events(
            since_ns=since, until_ns=until, conditions=asked, cancelled=gone
        )
        pieces = exchange.begin()
        for event in told:
            pieces.line(event_message(event))
        if gone.is_set():
            raise Gone
        pieces.close()


def conditions(exchange: Exchange) -> list[str]:
    """Return the filters of a query as ``KEY=VALUE``."""
    found = filters(exchange.query.text("filters"))
    return [f"{name}={value}" for name, values in found.items() for value in values]


def when(text: str, name: str) -> int | None:
    """Read a time of a query: seconds since 1970 with a fraction, or what docker's client takes.

    Returns:
        Nanoseconds since 1970; None for none.

    Raises:
        InvalidOption: it is no time.
    """
    if not text:
        return None
    if _UNIX.fullmatch(text):
        seconds, _, fraction = text.partition(".")
        return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
    from datetime import datetime

    return moment_ns(text, datetime.now().astimezone(), option=name)


def not_a_swarm(_service: Service, _exchange: Exchange, **_names: str) -> Answer:
    """Refuse what needs a swarm, in docker's words, which clients look for."""
    message = (
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
        "to connect this node to swarm and try again."
    )
    return Answer(503, {"message": message})


def no_plugins(_service: Service, _exchange: Exchange, **_names: str) -> Answer:
    """Say that there are no plugins."""
    return Answer(200, [])


def no_such_plugin(_service: Service, _exchange: Exchange, name: str) -> Answer:
    """Say that there is no plugin of a name, which ``docker inspect`` asks last of all."""
    return Answer(404, {"message": f'plugin "{name}" not found'})


def not_in_a_swarm(_service: Service, _exchange: Exchange) -> Answer:
    """Refuse to leave what was never joined."""
    return Answer(503, {"message": "This node is not part of a swarm"})


def no_plugin(_service: Service, _exchange: Exchange, **_names: str) -> Answer:
    """Refuse verbs on plugins."""
    return Answer(501, {"message": "ocimagic has no plugins, and can have none"})
