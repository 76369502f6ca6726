"""The streams of containers: attached, followed, kept; and their end.

Spec: Docker Engine API v1.50, ContainerAttach, ContainerLogs, ContainerWait.
"""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from ocimagic.api.attaching import Attaching, framed
from ocimagic.api.exchange import MULTIPLEXED, MULTIPLEXED_SINCE, RAW
from ocimagic.api.http import Gone
from ocimagic.api.system import when
from ocimagic.errors import ContainerNotFound, InvalidOption, InvalidState
from ocimagic.model.state import ALIVE, Status
from ocimagic.wire.versions import shaped

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ocimagic.api.exchange import Exchange
    from ocimagic.api.service import Service
    from ocimagic.api.starts import Expected
    from ocimagic.model.containers import ContainersAPI
    from ocimagic.model.result import ContainerDetails, ContainerSummary

STREAMS = ("stdin", "stdout", "stderr")
_NEVER_RAN = 0
_BEGIN_S = 0.05  # dockerd 20.10 answers a start 4 to 27 ms after the command began to write
_END_S, _LOOK_S = 2.0, 0.005


def attach(service: Service, exchange: Exchange, container: str) -> None:
    """Connect a client with a container; with one that does not run yet from its start on."""
    found = attachable(service.engine.containers, container)
    streams = {each for each in STREAMS if exchange.query.flag(each)}
    connected(
        service,
        exchange,
        found,
        streams,
        take_over=lambda: exchange.take_over(tty=found.options.tty),
        kind=Attaching,
    )


def attachable(containers: ContainersAPI, container: str) -> ContainerDetails:
    """Return a container that can be attached to.

    Raises:
        ContainerNotFound: there is none.
        InvalidState: it is paused, or between two runs.
    """
    found = containers.inspect(container)
    if found.summary.status is Status.PAUSED:
        raise InvalidState(f"Container {container} is paused, unpause the container before attach")
    if found.summary.status is Status.RESTARTING:
        raise InvalidState(
            f"Container {container} is restarting, wait until the container is running"
        )
    return found


def connected(
    service: Service,
    exchange: Exchange,
    found: ContainerDetails,
    streams: set[str],
    *,
    take_over: Callable[[], socket.socket],
    kind: Callable[..., Attaching],
) -> None:
    """Take a client's connection over, and be between the client and a container until the end.

    Args:
        service: what all share.
        exchange: the client's request.
        found: the container.
        streams: that the client wants.
        take_over: leaves the connection to us.
        kind: makes what speaks with the client; arguments as those of ``Attaching``.
    """
    containers, options = service.engine.containers, found.options
    container_id = found.summary.container_id
    if not options.interactive:
        streams.discard("stdin")
    follows = exchange.query.flag("stream")
    with service.starts.expecting(container_id, wants_streams=follows) as expected:
        door = take_over()
        with exchange.watched() as gone, suppress(OSError):
            client = kind(
                door,
                exchange.early(),
                streams,
                tty=options.tty,
                detach_keys=exchange.query.text("detachKeys") if options.tty else None,
                gone=gone,
            )
            try:
                if exchange.query.flag("logs"):
                    for _, stream, data in containers.logs(container_id):
                        client.write(stream, data)
                if follows:
                    _follow(client, found, expected, containers, gone)
            finally:
                client.close()


def _follow(
    client: Attaching,
    found: ContainerDetails,
    expected: Expected,
    containers: ContainersAPI,
    gone: threading.Event,
) -> None:
    container_id, options = found.summary.container_id, found.options
    is_new = found.summary.status not in ALIVE
    if is_new and not expected.wait(containers, found.summary, gone):
        return
    # docker lets a terminal's input go on when a client goes; so does a container's -i.
    once = not options.tty and "stdin" in (options.attach or ())
    if expected.attachment is not None:
        client.follow(expected.attachment, once=once)
        return
    # It may just have ended.
    with (
        suppress(InvalidState, ContainerNotFound),
        containers.open_attached(
            container_id, stdin=options.interactive, from_start=is_new
        ) as attachment,
    ):
        client.follow(attachment, once=once)


def logs(service: Service, exchange: Exchange, container: str) -> None:
    """Send what a container has written, and what it writes."""
    wanted = {each for each in STREAMS[1:] if exchange.query.flag(each)}
    if not wanted:
        raise InvalidOption("Bad parameters: you must choose at least one stream")
    found = service.engine.containers.inspect(container)
    options = found.options
    if options.log.driver == "none":
        raise InvalidState("configured logging driver does not support reading")
    stamped, details = exchange.query.flag("timestamps"), exchange.query.flag("details")
    tail = _lines(exchange.query.text("tail"))
    extra = _details(found) if details else b""
    follow = exchange.query.flag("follow")
    if not follow:
        _let_begin(service.engine.containers, found.summary)
    with exchange.watched() as gone:
        entries = service.engine.containers.logs(
            found.summary.container_id,
            follow=follow,
            tail=tail,
            since_ns=_positive(when(exchange.query.text("since"), "since")),
            until_ns=_positive(when(exchange.query.text("until"), "until")),
            cancelled=gone,
        )
        kind = ""
        if exchange.version >= MULTIPLEXED_SINCE:
            kind = RAW if options.tty else MULTIPLEXED
        pieces = exchange.begin(kind)
        # What is followed goes out line by line; what is kept, in large pieces.
        follows = exchange.query.flag("follow")
        with nullcontext(pieces.write) if follows else pieces.gathered() as write:
            for moment, stream, data in entries:
                if stream in wanted:
                    line = (moment.encode() + b" " if stamped else b"") + extra + data
                    write(line if options.tty else framed(stream, line))
        if gone.is_set():
            raise Gone
        pieces.close()


def _lines(tail: str) -> int | None:
    """Return how many lines are asked for; None for all, as docker reads what is no number."""
    return int(tail) if tail.isdecimal() else None


def _let_begin(containers: ContainersAPI, found: ContainerSummary) -> None:
    """Let a container that began just now write, or end.

    dockerd answers a start so late that programs ask for the log of a short command at once, and
    have it whole.  Who starts a program of its own to ask, as docker's client is, never waits.
    """
    if found.status is not Status.RUNNING or found.started is None:
        return
    left_s = _BEGIN_S - (time.time() - found.started.timestamp())
    if not 0 < left_s <= _BEGIN_S:
        return
    over = threading.Event()
    timer = threading.Timer(left_s, over.set)
    timer.start()
    with suppress(InvalidState, ContainerNotFound):
        containers.wait(found.container_id, cancelled=over)
    timer.cancel()


def _positive(moment_ns: int | None) -> int | None:
    """Return a moment; docker's clients say 0 for none."""
    return moment_ns if moment_ns and moment_ns > 0 else None


def _details(_found: ContainerDetails) -> bytes:
    """Return what ``--details`` puts before each line: nothing, for no log option names any."""
    return b" "


def wait(service: Service, exchange: Exchange, container: str) -> None:
    """Answer when a container has ended, or is gone; the head goes out at once.

    docker's client waits for the head before it starts the container.
    """
    condition = exchange.query.text("condition") or "not-running"
    if condition not in _CONDITIONS:
        raise InvalidOption(f"invalid condition: {condition!r}")
    containers = service.engine.containers
    container_id = containers.get(container).container_id
    with (
        service.starts.expecting(container_id, wants_streams=False) as expected,
        exchange.watched() as gone,
    ):
        found = containers.get(container_id)  # as it is since starts are told
        is_new = condition != "not-running" and found.status not in ALIVE
        since_ns = _began_ns(found)
        pieces = exchange.begin()
        code: int | None
        if not is_new and found.status not in ALIVE:
            code = found.exit.code if found.exit else _NEVER_RAN
        elif is_new and not expected.wait(containers, found, gone):
            code = expected.failure
        else:
            code = _CONDITIONS[condition](service, container_id, since_ns, gone)
            _let_end(containers, container_id, gone)
        if gone.is_set():
            raise Gone
        if code is None:
            code = _NEVER_RAN  # it was removed before it ran
        pieces.line(shaped("ContainerWait", {"StatusCode": code, "Error": None}, exchange.version))
        pieces.close()


def _let_end(containers: ContainersAPI, container_id: str, gone: threading.Event) -> None:
    """Wait until a container that has died is shown as such, and all it wrote is there.

    One that is started again may be running when it is looked at; dockerd's is so for a while.
    """
    with suppress(ContainerNotFound):
        due = time.monotonic() + _END_S
        while (
            containers.get(container_id).status is Status.RUNNING
            and time.monotonic() < due
            and not gone.wait(_LOOK_S)
        ):
            continue


def _began_ns(found: ContainerSummary) -> int:
    """Return since when an end is one of the run that is waited for, in ns since 1970.

    A shim tells of an end before its log is on disk, and only then is the container one that has
    ended: so the end of one that still runs may have been told already.
    """
    if found.status in ALIVE and found.started is not None:
        return int(found.started.timestamp() * 1e6) * 1000
    return time.time_ns()


def _until_ended(
    service: Service, container_id: str, since_ns: int, gone: threading.Event
) -> int | None:
    """Return the exit code of a container that has begun; None if nobody knows it.

    Its shim is asked, which answers when everybody can see the end: events tell it sooner, and
    perhaps before anybody listened.
    """
    try:
        return service.engine.containers.wait(container_id, cancelled=gone).code
    except (ContainerNotFound, InvalidState):  # it was removed at its end
        return _told(service, container_id, since_ns, gone, "die")


def _until_removed(
    service: Service, container_id: str, since_ns: int, gone: threading.Event
) -> int | None:
    """Return the exit code when a container is gone."""
    code = _told(service, container_id, since_ns, gone, "destroy")
    with suppress(ContainerNotFound):  # to look is to forget what its shim has removed
        service.engine.containers.get(container_id)
    return code


def _told(
    service: Service, container_id: str, since_ns: int, gone: threading.Event, last: str
) -> int | None:
    """Listen to what the shim says of its container, which also a removed one leaves."""
    code = None
    told = service.engine.system.events(
        since_ns=since_ns, conditions=(f"container={container_id}",), cancelled=gone
    )
    for event in told:
        if event.action == "die":
            code = int(event.attributes.get("exitCode", "0"))
        if event.action in (last, "destroy"):
            return code
    return code


_CONDITIONS: dict[str, Callable[[Service, str, int, threading.Event], int | None]] = {
    "not-running": _until_ended,
    "next-exit": _until_ended,
    "removed": _until_removed,
}
