"""Commands in running containers: made, begun, looked at.

Spec: Docker Engine API v1.50, "Exec".
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.api.attaching import Attaching
from ocimagic.api.exchange import Answer
from ocimagic.errors import InvalidState, NotFound, OcimagicError
from ocimagic.model.state import Status
from ocimagic.wire.answers import exec_created, exec_inspect
from ocimagic.wire.asked import exec_create
from ocimagic.wire.failure import failure_message
from ocimagic.wire.reading import asked

if TYPE_CHECKING:
    from ocimagic.api.exchange import Exchange
    from ocimagic.api.execs import Exec
    from ocimagic.api.service import Service
    from ocimagic.model.containers import AttachmentAPI
    from ocimagic.model.request import ExecOptions
    from ocimagic.model.result import ContainerSummary

_BEGINNING_S = 10.0  # so long who sizes its terminal waits for a command that begins
_NOT_BEGUN = 126  # whatever it was: dockerd 20.10


def create(service: Service, exchange: Exchange, container: str) -> Answer:
    """Keep a command that is to be begun in a running container."""
    body = exchange.json()
    options = exec_create(body)
    found = _check_runs(service, container)
    given = asked(body, "exec config")
    attached = tuple(
        each.lower() for each in ("Stdin", "Stdout", "Stderr") if given.flag(f"Attach{each}")
    )
    made = service.execs.make(found.container_id, options, attached)
    exchange.container_id, exchange.exec_id = found.container_id, made.exec_id
    return Answer(201, exec_created(made.exec_id))


def _check_runs(service: Service, container: str) -> ContainerSummary:
    found = service.engine.containers.get(container)
    if found.status is Status.PAUSED:
        raise InvalidState(f"Container {container} is paused, unpause the container before exec")
    if found.status is not Status.RUNNING:
        raise InvalidState(f"Container {found.container_id} is not running")
    return found


def start(service: Service, exchange: Exchange, exec_id: str) -> Answer | None:
    """Begin a command, and connect the client with it unless it does not want to be."""
    body = asked(exchange.json(), "exec start config")
    found = service.execs.find(exec_id)
    exchange.container_id, exchange.exec_id = found.container_id, found.exec_id
    _check_runs(service, found.container_id)
    service.execs.begin(found)
    if not body.flag("Detach"):
        # As dockerd does it: the terminal is the command's, the form of the stream this request's.
        _connect(service, exchange, found, tty=body.flag("Tty"))
        return None
    attachment = _begun(service, found, replace(found.options, detach=True))
    _see_off_beside(service, found, attachment)
    return Answer(200)


def _begun(service: Service, found: Exec, options: ExecOptions) -> AttachmentAPI:
    try:
        attachment = service.engine.containers.exec_attached(
            found.container_id, options, exec_id=found.exec_id
        )
    except OcimagicError:
        found.exit_code = _NOT_BEGUN
        raise
    else:
        found.is_running, found.pid, found.attachment = True, attachment.pid, attachment
    finally:
        found.tried.set()
    return attachment


def _connect(service: Service, exchange: Exchange, found: Exec, *, tty: bool) -> None:
    """Take the connection over, then begin: what cannot begin is said in the stream.

    In this order as dockerd: docker-py loses what comes at once behind the head of the answer.
    """
    door = exchange.take_over(tty=tty)
    with exchange.watched() as gone, suppress(OSError):
        client = Attaching(
            door,
            exchange.early(),
            found.attached,
            tty=tty,
            detach_keys=found.options.detach_keys if found.options.tty else None,
            gone=gone,
        )
        try:
            attachment = _begun(service, found, replace(found.options, detach=False))
        except OcimagicError as err:
            client.write("stdout", f"{failure_message(err, doing='exec')}\r\n".encode())
        else:
            _follow(service, client, found, attachment)
        client.close()


def _follow(service: Service, client: Attaching, found: Exec, attachment: AttachmentAPI) -> None:
    with suppress(OSError):
        client.follow(attachment, once=True)
    if attachment.exit is None:  # the client went: somebody may still ask how it ended
        _see_off_beside(service, found, attachment)
    else:
        _ended(found, attachment)


def _see_off_beside(service: Service, found: Exec, attachment: AttachmentAPI) -> None:
    threading.Thread(
        target=_see_off, args=(service, found, attachment), name="ocimagic-api-exec", daemon=True
    ).start()


def _see_off(service: Service, found: Exec, attachment: AttachmentAPI) -> None:
    """Wait for the end of a command that nobody is connected with."""
    with suppress(InvalidState, OSError):
        for _ in attachment.chunks(cancelled=service.over):
            continue
    _ended(found, attachment)


def _ended(found: Exec, attachment: AttachmentAPI) -> None:
    found.exit_code = attachment.exit.code if attachment.exit else None
    found.is_running, found.attachment = False, None
    attachment.close()


def inspect(service: Service, exchange: Exchange, exec_id: str) -> Answer:
    """Say of a command what it is and how it ended."""
    found = service.execs.find(exec_id)
    exchange.container_id, exchange.exec_id = found.container_id, found.exec_id
    if found.is_running and not _lives(service, found.container_id):
        found.is_running = False
    return Answer(200, exec_inspect(found.details()))


def _lives(service: Service, container_id: str) -> bool:
    try:
        return service.engine.containers.get(container_id).status is not Status.EXITED
    except NotFound:
        return False


def resize(service: Service, exchange: Exchange, exec_id: str) -> Answer:
    """Tell a terminal how large the window is."""
    found = service.execs.find(exec_id)
    exchange.container_id, exchange.exec_id = found.container_id, found.exec_id
    rows, columns = exchange.query.number("h"), exchange.query.number("w")
    # docker's client says so as soon as it is connected, which is before the command begins.
    if found.has_begun:
        found.tried.wait(_BEGINNING_S)
    attachment = found.attachment
    if attachment is None:
        raise InvalidState(f"exec {found.exec_id} is not running")
    attachment.resize(rows, columns)
    return Answer(200)
