"""Files of containers as tar archives.

Spec: Docker Engine API v1.50, ContainerArchive, PutContainerArchive, ContainerExport.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from ocimagic.api.exchange import TAR, Answer
from ocimagic.api.http import BadRequest, Gone
from ocimagic.errors import InvalidOption
from ocimagic.wire.answers import path_stat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.api.exchange import Exchange, Pieces
    from ocimagic.api.service import Service

_PIECE = 1 << 18
_STAT = "X-Docker-Container-Path-Stat"


def look(service: Service, exchange: Exchange, container: str) -> Answer:
    """Say what a path in a container is."""
    found = service.engine.containers.stat(container, _path(exchange))
    return Answer(200, None, {_STAT: path_stat(found)})


def read(service: Service, exchange: Exchange, container: str) -> None:
    """Send a file or directory of a container."""
    containers, path = service.engine.containers, _path(exchange)
    found = containers.stat(container, path)
    pieces = exchange.begin(TAR, {_STAT: path_stat(found)})
    containers.read_archive(container, path, pieces.write)
    pieces.close()


def write(service: Service, exchange: Exchange, container: str) -> Answer:
    """Unpack an archive into a directory of a container."""
    containers, path = service.engine.containers, _path(exchange)
    found = containers.get(container)  # before the client sends what nobody could take
    with piped(exchange.body) as stdin:
        containers.write_archive(found.container_id, path, stdin)
    return Answer(200)


def export(service: Service, exchange: Exchange, container: str) -> None:
    """Send all files of a container."""
    containers = service.engine.containers
    found = containers.get(container)
    late = Late(exchange, "application/octet-stream")
    containers.export(found.container_id, late.write)
    late.close()


def _path(exchange: Exchange) -> str:
    path = exchange.query.text("path")
    if not path:
        raise InvalidOption("bad parameter: 'path' cannot be empty")
    return path


class Late:
    """An answer that begins with its first piece, so that a failure before it has its status."""

    def __init__(self, exchange: Exchange, content_type: str) -> None:
        self._exchange = exchange
        self._content_type = content_type
        self._pieces: Pieces | None = None

    def write(self, data: bytes) -> int:
        """Send a piece."""
        if self._pieces is None:
            self._pieces = self._exchange.begin(self._content_type)
        return self._pieces.write(data)

    def close(self) -> None:
        """Say that it is whole."""
        self.write(b"")
        assert self._pieces is not None
        self._pieces.close()


class Readable(Protocol):
    """What comes in pieces; b"" is its end."""

    def read(self, size: int, /) -> bytes:
        """Return a piece."""


@contextmanager
def piped(body: Readable) -> Iterator[int]:
    """Yield a descriptor to read a body from, however large it is.

    Raises:
        BadRequest: the body cannot be read to its end; whoever read was told of an end too early.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    failures: list[Exception] = []

    def copy() -> None:
        try:
            # Who reads may have had enough.
            with suppress(BrokenPipeError), open(writer, "wb", buffering=0) as pipe:
                while data := body.read(_PIECE):
                    view = memoryview(data)
                    while view:
                        view = view[pipe.write(view) :]
        except (BadRequest, Gone) as err:
            failures.append(err)

    copier = threading.Thread(target=copy, name="ocimagic-api-body", daemon=True)
    copier.start()
    try:
        yield reader
    finally:
        os.close(reader)
        copier.join()
        if failures:
            raise failures[0]
