"""The requests of one client, one after another, until either side has had enough."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.api.exchange import Answer, Exchange
from ocimagic.api.http import BadRequest, Body, Gone, Stream, read_request
from ocimagic.api.routes import split_version
from ocimagic.errors import OcimagicError
from ocimagic.version import VERSION as OURS
from ocimagic.wire.failure import failure_message, failure_status
from ocimagic.wire.versions import NEWEST, OLDEST, shaped

if TYPE_CHECKING:
    import socket

    from ocimagic.api.gone import Watcher
    from ocimagic.api.http import Request
    from ocimagic.api.routes import Routes
    from ocimagic.api.service import Service

IDLE_S = 600.0
_UNWANTED = 1 << 20  # of a body that nobody read, before the connection is rather closed
USUAL = {
    "Api-Version": f"{NEWEST[0]}.{NEWEST[1]}",
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"ocimagic/{OURS} (linux)",
}
_log = logging.getLogger(__name__)


def serve(
    door: socket.socket, service: Service, routes: Routes, watcher: Watcher, early: bytes = b""
) -> None:
    """Answer a client's requests until it goes; does not close the connection.

    Args:
        door: of the client.
        service: what all handlers share.
        routes: who answers what.
        watcher: who notices that a client goes.
        early: what it has sent already.
    """
    stream = Stream(door, bytearray(early))
    with suppress(Gone):
        while True:
            try:
                request = read_request(stream, IDLE_S)
                body = Body(stream, request.headers)
            except BadRequest as err:
                _refuse(stream, watcher, err)
                return
            if not _answer(request, body, stream, service, routes, watcher):
                return


def _answer(
    request: Request,
    body: Body,
    stream: Stream,
    service: Service,
    routes: Routes,
    watcher: Watcher,
) -> bool:
    """Answer one request; say whether there may be another one."""
    asked, path = split_version(request.path)
    version = min(asked or NEWEST, NEWEST)
    exchange = Exchange(request, body, stream, version, USUAL, watcher)
    try:
        answer = _found(exchange, asked, path, service, routes)
        if answer is not None:
            exchange.send(answer)
    except Gone:
        raise
    except Exception as err:  # noqa: BLE001  a defect of ours ends one answer, not the server
        if exchange.has_begun:  # nothing can be said any more but that it is not whole
            return False
        exchange.send(_failure(err, request, service))
        if isinstance(err, BadRequest):
            return False
    if request.is_last or exchange.is_taken:
        return False
    try:
        return body.drain(_UNWANTED)
    except BadRequest:  # it was answered already
        return False


def _failure(err: Exception, request: Request, service: Service) -> Answer:
    """Return the answer to what could not be done."""
    if isinstance(err, BadRequest):
        return Answer(err.status, {"message": str(err)}, err.headers)
    if isinstance(err, OcimagicError):
        message = failure_message(err, identify=service.identify)
        return Answer(failure_status(err), {"message": message})
    _log.error("%s %s", request.method, request.path, exc_info=err)
    if isinstance(err, OSError):
        return Answer(500, {"message": f"the engine cannot do this: {err}"})
    message = f"a defect of ocimagic, please report it: {type(err).__name__}: {err}"
    return Answer(500, {"message": message})


def _found(
    exchange: Exchange,
    asked: tuple[int, int] | None,
    path: str,
    service: Service,
    routes: Routes,
) -> Answer | None:
    """Have the handler of a path answer, or say that there is none."""
    if asked is not None and asked > NEWEST:
        newest = USUAL["Api-Version"]
        said = f"client version {asked[0]}.{asked[1]} is too new. "
        return Answer(400, {"message": f"{said}Maximum supported API version is {newest}"})
    if asked is not None and asked < OLDEST:
        oldest = f"{OLDEST[0]}.{OLDEST[1]}"
        said = f"client version {asked[0]}.{asked[1]} is too old. "
        message = f"{said}Minimum supported API version is {oldest}, please upgrade your client"
        return Answer(400, {"message": message})
    found = routes.find(exchange.request.method, path)
    if found is None:
        return Answer(404, {"message": "page not found"})
    with service.noting(exchange, found):
        answer = found.handler(service, exchange, **found.names)
        if answer is None:
            return None
        exchange.status = answer.status
    if answer.document is None:
        return answer
    return answer._replace(document=shaped(found.operation, answer.document, exchange.version))


def _refuse(stream: Stream, watcher: Watcher, failure: BadRequest) -> None:
    """Answer what is no request; its connection is of no more use."""
    from ocimagic.api.http import Request

    none = Request("GET", "/", {}, {}, is_last=True)
    exchange = Exchange(none, Body(stream, {}), stream, NEWEST, USUAL, watcher)
    exchange.send(Answer(failure.status, {"message": str(failure)}))
