"""The server's end of its doorkeeper, see ``doorkeeper.py``."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.api.connection import serve
from ocimagic.wire.versions import NEWEST, OLDEST

if TYPE_CHECKING:
    from ocimagic.api.gone import Watcher
    from ocimagic.api.routes import Routes
    from ocimagic.api.service import Service

_RECEIVE = 1 << 17
_START = """
import sys
sys.path.insert(0, sys.argv[3])
from ocimagic.api.doorkeeper import main
main()
"""


class KeptDoor:
    """Accepts what a doorkeeper hands over; when that is gone, who comes in.

    Args:
        listener: where clients come in; it stays its owner's.
        answers: what the doorkeeper says by itself, by the first line of a request.
    """

    def __init__(self, listener: socket.socket, answers: dict[bytes, bytes]) -> None:
        self._listener = listener
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here = importlib.util.find_spec("ocimagic")
        assert here is not None
        assert here.submodule_search_locations
        above = os.path.dirname(os.path.abspath(next(iter(here.submodule_search_locations))))
        ends = [str(each.fileno()) for each in (listener, theirs)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, *ends, above],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno(), theirs.fileno()],
                start_new_session=True,  # what interrupts a cell is not meant for it
                cwd="/",
                env={"LC_ALL": "C.UTF-8"},
            )
        assert self._process.stdin
        with suppress(OSError), self._process.stdin as told:  # without it we do its work
            told.write(b"\0\0".join(b"\0".join(each) for each in answers.items()))

    @property
    def pid(self) -> int:
        """Return the doorkeeper's process id."""
        return self._process.pid

    def accept(self) -> tuple[socket.socket, bytes]:
        """Return a client, and what it has sent already.

        Raises:
            OSError: as socket.accept().
        """
        with suppress(OSError):
            data, descriptors, _, _ = socket.recv_fds(
                self._line, _RECEIVE, 1, socket.MSG_CMSG_CLOEXEC
            )
            if descriptors:
                return socket.socket(fileno=descriptors[0]), data[1:]
        return self._listener.accept()[0], b""

    def shut(self) -> None:
        """Let the doorkeeper end, with whom it has not handed over, and whoever waits in accept."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._process.wait()

    def close(self) -> None:
        """Close it, when nobody is in accept any more."""
        self.shut()
        self._line.close()


def standing_answers(service: Service, routes: Routes, watcher: Watcher) -> dict[bytes, bytes]:
    """Return what this server answers to everybody, in all versions, as it does it itself."""
    minors = range(OLDEST[1], NEWEST[1] + 1)
    prefixes = ("", *(f"/v{NEWEST[0]}.{minor}" for minor in minors))
    found: dict[bytes, bytes] = {}
    for method in ("HEAD", "GET"):
        answer = _answered(_line(method, "/_ping"), service, routes, watcher)
        found |= {_line(method, f"{each}/_ping"): answer for each in prefixes}
    for each in prefixes:  # whose documents differ
        line = _line("GET", f"{each}/version")
        found[line] = _answered(line, service, routes, watcher)
    return {each: answer for each, answer in found.items() if answer.startswith(b"HTTP/1.1 200 ")}


def _line(method: str, target: str) -> bytes:
    return f"{method} {target} HTTP/1.1".encode()


def _answered(line: bytes, service: Service, routes: Routes, watcher: Watcher) -> bytes:
    mine, theirs = socket.socketpair()
    with mine:
        mine.sendall(line + b"\r\nHost: d\r\n\r\n")
        mine.shutdown(socket.SHUT_WR)
        with theirs:
            serve(theirs, service, routes, watcher)
        return b"".join(iter(lambda: mine.recv(_RECEIVE), b""))
