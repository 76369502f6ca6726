"""Answers whose status and headers must come within a time, however little comes at once.

A limit on silence alone is none: a byte a minute keeps a client for days.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import HTTPResponse, PoolManager


def limit_heads(manager: PoolManager, seconds: float) -> None:
    """Let all connections of a manager give up on status and headers after so many seconds.

    It is a ``ReadTimeoutError`` then.
    """

    class Plain(HTTPConnection):
        def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 does
            with _within(self.sock, seconds):
                return super().getresponse()

    class Secure(HTTPSConnection):
        def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 does
            with _within(self.sock, seconds):
                return super().getresponse()

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain  # type: ignore[mutable-override]

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure  # type: ignore[mutable-override]

    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


@contextlib.contextmanager
def _within(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Cut a connection off after so many seconds."""
    is_over = threading.Event()

    def cut_off() -> None:
        is_over.set()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
    failure: Exception | None = None
    try:
        yield
    except Exception as err:
        if not is_over.is_set():
            raise
        failure = err
    finally:
        timer.cancel()
    if is_over.is_set():  # http.client takes half a header for the last one
        raise TimeoutError(f"no whole head within {seconds} s") from failure
