"""Containers from making one to removing it, and looking at them.

Spec: Docker Engine API v1.50, "Container".
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from ocimagic.api.exchange import Answer
from ocimagic.api.http import Gone
from ocimagic.api.images import tagged
from ocimagic.api.system import conditions
from ocimagic.errors import (
    ContainerNotFound,
    ImageNotFound,
    InvalidOption,
    InvalidState,
    NotFound,
    OcimagicError,
    StartFailed,
)
from ocimagic.model.event import Notice
from ocimagic.model.options import FOREVER_S, PullPolicy
from ocimagic.model.state import ALIVE, Status
from ocimagic.render.table import status_words
from ocimagic.wire.answers import (
    container_changes,
    container_created,
    container_top,
    container_updated,
)
from ocimagic.wire.asked import container_update
from ocimagic.wire.container import container_inspect, container_summary
from ocimagic.wire.create import container_create
from ocimagic.wire.disk import containers_pruned
from ocimagic.wire.filters import keep_containers, prune_keeper, wants_all
from ocimagic.wire.usage import container_stats

if TYPE_CHECKING:
    from ocimagic.api.exchange import Exchange
    from ocimagic.api.service import Service
    from ocimagic.model.options import RunOptions
    from ocimagic.model.result import ContainerDetails

_KILLS = ("KILL", "9")
_EVERY_S = 1.0


def listed(service: Service, exchange: Exchange) -> Answer:
    """List containers."""
    asked = conditions(exchange)
    limit = exchange.query.number("limit")
    everything = exchange.query.flag("all") or limit > 0 or wants_all(asked)
    found = service.engine.containers.list(all=everything, size=exchange.query.flag("size"))
    kept = keep_containers(found, asked, service.engine)
    now = datetime.now().astimezone()
    rows = kept[:limit] if limit > 0 else kept
    return Answer(200, [container_summary(each, status=status_words(each, now)) for each in rows])


def create(service: Service, exchange: Exchange) -> Answer:
    """Make a container; its image has to be here, clients pull."""
    name = exchange.query.text("name") or None
    body = exchange.json()
    options = container_create(body, name=name, platform=exchange.query.text("platform") or None)
    warnings: list[str] = []
    try:
        made = service.engine.containers.create(
            _here(options), on_event=lambda event: warnings.extend(_warned(event))
        )
    except ImageNotFound as err:
        raise ImageNotFound(f"no such image: {tagged(options.image)}") from err
    except NotFound as err:  # a 404 would make clients pull the image
        raise InvalidOption(err.what, why=err.why) from err
    exchange.container_id, exchange.told = made.container_id, body
    return Answer(201, container_created(made.container_id, warnings))


def _here(options: RunOptions) -> RunOptions:
    return replace(options, pull=PullPolicy.NEVER)


def _warned(event: object) -> list[str]:
    return [event.text] if isinstance(event, Notice) else []


def inspect(service: Service, exchange: Exchange, container: str) -> Answer:
    """Return everything known of a container."""
    size = exchange.query.flag("size")
    found = service.engine.containers.inspect(container, size=size)
    document = container_inspect(found)
    running = service.execs.of(found.summary.container_id)
    return Answer(200, document | ({"ExecIDs": running} if running else {}))


def start(service: Service, _exchange: Exchange, container: str) -> Answer:
    """Start a container; who is attached to it gets its output from the first byte on."""
    containers = service.engine.containers
    found = containers.inspect(container)
    container_id = found.summary.container_id
    if found.summary.status in (Status.RUNNING, Status.RESTARTING):
        return Answer(304)
    with service.starts.beginning(container_id):
        _begin(service, found)
    return Answer(204)


def _begin(service: Service, found: ContainerDetails) -> None:
    containers, container_id = service.engine.containers, found.summary.container_id
    try:
        if service.starts.wants_streams(container_id):
            attachment = containers.start_attached(container_id, stdin=found.options.interactive)
            service.starts.began(container_id, attachment)
        else:
            containers.start(container_id)
            service.starts.began(container_id, None)
    except OcimagicError as err:
        code = err.exit_code if isinstance(err, StartFailed) else 128
        if found.options.remove:
            with contextlib.suppress(OcimagicError):
                containers.remove(container_id, force=True, volumes=True)
        service.starts.failed(container_id, code)
        raise


def stop(service: Service, exchange: Exchange, container: str) -> Answer:
    """End a container by agreement, by force after a time."""
    containers = service.engine.containers
    found = containers.get(container)
    if found.status not in ALIVE:
        return Answer(304)
    signal = exchange.query.text("signal") or None
    containers.stop(found.container_id, grace_s=_grace_s(exchange), signal=signal)
    return Answer(204)


def restart(service: Service, exchange: Exchange, container: str) -> Answer:
    """Stop and start a container."""
    signal = exchange.query.text("signal") or None
    service.engine.containers.restart(container, grace_s=_grace_s(exchange), signal=signal)
    return Answer(204)


def _grace_s(exchange: Exchange) -> float | None:
    if not exchange.query.text("t"):
        return None
    seconds = exchange.query.number("t")
    return FOREVER_S if seconds < 0 else float(seconds)


def kill(service: Service, exchange: Exchange, container: str) -> Answer:
    """Send a signal; who is killed is over when the answer comes, as from dockerd."""
    signal = exchange.query.text("signal") or "KILL"
    containers = service.engine.containers
    try:
        container_id = containers.get(container).container_id
        containers.kill(container_id, signal=signal)
    except ContainerNotFound as err:
        said = f"Cannot kill container: {container}: No such container: {container}"
        raise NotFound(said) from err
    if signal.upper().removeprefix("SIG") in _KILLS:
        # By now it may be removed, or running again.
        with exchange.watched() as gone, contextlib.suppress(InvalidState, NotFound):
            containers.wait(container_id, cancelled=gone)
    return Answer(204)


def pause(service: Service, _exchange: Exchange, container: str) -> Answer:
    """Stop all processes of a container where they are."""
    containers = service.engine.containers
    containers.pause(containers.get(container).container_id)
    return Answer(204)


def unpause(service: Service, _exchange: Exchange, container: str) -> Answer:
    """Let them go on."""
    containers = service.engine.containers
    containers.unpause(containers.get(container).container_id)
    return Answer(204)


def rename(service: Service, exchange: Exchange, container: str) -> Answer:
    """Give a container another name."""
    service.engine.containers.rename(container, exchange.query.text("name"))
    return Answer(204)


def update(service: Service, exchange: Exchange, container: str) -> Answer:
    """Change limits and restart policy."""
    warnings = service.engine.containers.update(container, container_update(exchange.json()))
    return Answer(200, container_updated(warnings))


def remove(service: Service, exchange: Exchange, container: str) -> Answer:
    """Remove a container with its files and log, or a link to one."""
    if exchange.query.flag("link"):
        service.engine.containers.unlink(container)
        return Answer(204)
    force, volumes = exchange.query.flag("force"), exchange.query.flag("v")
    service.engine.containers.remove(container, force=force, volumes=volumes)
    return Answer(204)


def prune(service: Service, exchange: Exchange) -> Answer:
    """Remove all containers that do not run."""
    keep = prune_keeper(conditions(exchange))
    return Answer(200, containers_pruned(service.engine.containers.prune(keep)))


def resize(service: Service, exchange: Exchange, container: str) -> Answer:
    """Tell a terminal how large the window is."""
    rows, columns = exchange.query.number("h"), exchange.query.number("w")
    service.engine.containers.resize(container, rows, columns)
    return Answer(200)


def top(service: Service, exchange: Exchange, container: str) -> Answer:
    """List the processes of a container."""
    words = exchange.query.text("ps_args").split()
    table = service.engine.containers.top(container, words)
    return Answer(200, container_top(table))


def stats(service: Service, exchange: Exchange, container: str) -> None:
    """Say what a container uses, once or again and again."""
    query, containers = exchange.query, service.engine.containers
    found = containers.get(container)
    once = query.flag("one-shot") and not query.flag("stream", default=True)
    every_s = 0.0 if once else _EVERY_S  # who wants nothing to compare with need not wait for it
    with exchange.watched() as gone:
        pieces = exchange.begin()
        used = containers.stats(found.container_id, interval_s=every_s, cancelled=gone)
        for (each,) in used:
            pieces.line(container_stats(each, one_shot=once))
            if not query.flag("stream", default=True):
                break
        if gone.is_set():
            raise Gone
        pieces.close()


def changes(service: Service, _exchange: Exchange, container: str) -> Answer:
    """List what changed in a container's files since it was made."""
    found = service.engine.containers.diff(container)
    return Answer(200, container_changes(found))
