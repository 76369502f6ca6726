"""A dockerd, or podman's service: asked over its socket for images and archives of them.

Spec: Docker Engine API v1.41, ``GET /images/json`` and ``GET /images/get``; podman serves both.
"""

from __future__ import annotations

import io
import os
import re
import socket
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

from ocimagic.errors import (
    ImageNotFound,
    InvalidDocument,
    InvalidOption,
    NeighbourError,
    NeighbourUnreachable,
)
from ocimagic.registry.upload import AGENT
from ocimagic.spec.codec import decode
from ocimagic.transfer.neighbour import BEGIN_S, MAX_LIST_BYTES, PIECE_BYTES, Waiting, parse_list

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from ocimagic.spec.digest import Digest
    from ocimagic.transfer.neighbour import Check, ImageThere

UNIX, TCP = "unix://", "tcp://"
_CONNECT_S = 5.0
_LIST_S = 60.0
_MAX_ERROR_BYTES = 64 << 10
_PLAIN_PORT = 2375
_TCP = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^/:\[\]@\s]+)(?::([0-9]{1,5}))?/?")


class Daemon:
    """A daemon at an address.

    Args:
        shown: who that is, for people.
        address: ``unix:///PATH`` or ``tcp://HOST[:PORT]``.
        check: called again and again; may raise.

    Raises:
        InvalidOption: the address is neither.
    """

    def __init__(self, shown: str, address: str, check: Check) -> None:
        self.shown = shown
        self._check = check
        self._target = _target(address)

    def images(self) -> list[ImageThere]:
        """List its images; see ``Neighbour``."""
        waiting = Waiting(_LIST_S, self._check)
        with self._answer("/images/json", waiting) as answer:
            many = bytearray()
            while raw := self._piece(answer):
                many += raw
                if len(many) > MAX_LIST_BYTES:
                    raise self._nonsense(f"its list of images is over {MAX_LIST_BYTES} bytes")
        return parse_list(bytes(many), self.shown)

    def archive(self, image_ids: Sequence[Digest]) -> Generator[bytes]:
        """Yield an archive of some images; see ``Neighbour``."""
        query = urlencode([("names", str(each)) for each in image_ids])
        waiting = Waiting(BEGIN_S, self._check)
        with self._answer(f"/images/get?{query}", waiting) as answer:
            while piece := self._piece(answer):
                waiting.came(len(piece))
                yield piece

    @contextmanager
    def _answer(self, path: str, waiting: Waiting) -> Iterator[HTTPResponse]:
        """Ask, and give the answer if it is a good one; the connection serves once."""
        with self._connected() as connection:
            try:
                connection.sendall(
                    f"GET {path} HTTP/1.1\r\nHost: docker\r\nUser-Agent: {AGENT}\r\n"
                    "Accept-Encoding: identity\r\nConnection: close\r\n\r\n".encode("ascii")
                )
                line = cast("socket.socket", _Line(connection, waiting))
                answer = HTTPResponse(line, method="GET")
                answer.begin()
            except (HTTPException, OSError, ValueError) as err:
                raise self._broken(err) from err
            with answer:
                if answer.status != 200:
                    raise self._refusal(answer)
                yield answer

    def _connected(self) -> socket.socket:
        target = self._target
        try:
            if isinstance(target, tuple):
                return socket.create_connection(target, _CONNECT_S)
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(_CONNECT_S)
                connection.connect(target)
            except BaseException:
                connection.close()
                raise
        except OSError as err:
            raise self._unreachable(err) from err
        return connection

    def _piece(self, answer: HTTPResponse) -> bytes:
        """Return what is there of the body, b"" at its end."""
        try:
            piece = answer.read1(PIECE_BYTES)
        except (HTTPException, OSError, ValueError) as err:
            raise self._broken(err) from err
        if not piece and answer.length:
            raise self._broken(EOFError(f"{answer.length} bytes of its answer are missing"))
        return piece

    # -- what can go wrong -----------------------------------------------------

    def _unreachable(self, err: OSError) -> NeighbourUnreachable:
        hint = None
        match err:
            case FileNotFoundError():
                why = "there is no such socket"
            case ConnectionRefusedError():
                why = "nobody listens there"
            case PermissionError():
                why = "permission denied: this account may not use the socket"
                hint = _permission_hint(self._target)
            case TimeoutError():
                why = f"no connection in {_CONNECT_S:g} s"
            case _:
                why = err.strerror or str(err)
        return NeighbourUnreachable(f"{self.shown} cannot be reached", why=why, hint=hint)

    def _broken(self, err: Exception) -> NeighbourError:
        if isinstance(err, TimeoutError):
            return NeighbourError(
                f"{self.shown} does not go on with its answer",
                why="nothing, or almost nothing, came for a long time",
                hint="see whether it is well: docker info, podman info",
            )
        if isinstance(err, OSError | EOFError | IncompleteRead):
            cut = isinstance(err, IncompleteRead)
            why = "its end did not come" if cut else getattr(err, "strerror", None) or str(err)
            return NeighbourError(f"{self.shown} broke off its answer", why=why, hint="try again")
        return self._nonsense(f"{type(err).__name__}: {str(err)[:100]!r}")

    def _nonsense(self, why: str) -> NeighbourError:
        return NeighbourError(
            f"{self.shown} answers nonsense",
            why=why,
            hint="is it docker or podman that answers there, without TLS?",
        )

    def _refusal(self, answer: HTTPResponse) -> NeighbourError | ImageNotFound:
        """Turn what it says into one of our errors."""
        raw = b""
        while len(raw) < _MAX_ERROR_BYTES and (piece := self._piece(answer)):
            raw += piece
        try:
            said = decode(raw, what="error").text("message", "")
        except InvalidDocument:
            said = raw[:200].decode(errors="replace").strip()
        if answer.status == 404 and "image" in said.lower():
            return ImageNotFound(f"{self.shown}: {said}", hint="list what is there: %image_adopt")
        return NeighbourError(
            f"{self.shown} refuses", why=f"HTTP {answer.status}: {said or answer.reason}"
        )


class _Line:
    """What ``HTTPResponse`` wants of a socket: a file to read from, with our patience.

    The socket is closed by whoever opened it.
    """

    def __init__(self, connection: socket.socket, waiting: Waiting) -> None:
        self._reader = _Reader(connection, waiting)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader, PIECE_BYTES)


class _Reader(io.RawIOBase):
    def __init__(self, connection: socket.socket, waiting: Waiting) -> None:
        self._connection = connection
        self._waiting = waiting

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._waiting.wait(self._connection.fileno())
        return self._connection.recv_into(buffer)


def _target(address: str) -> str | tuple[str, int]:
    """Return the path of a socket, or a host and a port."""
    if address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        if path.startswith("/") and "\0" not in path:
            return path
        raise InvalidOption(
            f"{address!r} names no socket", hint="unix:// and a whole path: unix:///run/docker.sock"
        )
    if address.startswith("ssh://"):
        raise InvalidOption(
            f"{address!r}: this engine does not go through ssh",
            hint="bring the socket here: ssh -L /tmp/docker.sock:/run/docker.sock HOST, "
            "then name unix:///tmp/docker.sock",
        )
    found = _TCP.fullmatch(address.removeprefix(TCP)) if address.startswith(TCP) else None
    port = int(found[2] or _PLAIN_PORT) if found else 0
    if not found or not 0 < port < 1 << 16:
        raise InvalidOption(
            f"{address!r} is no address of an engine",
            hint="docker, podman, unix:///PATH or tcp://HOST:PORT",
        )
    return found[1].strip("[]"), port


def _permission_hint(target: str | tuple[str, int]) -> str:
    """Say what would open a socket to this account."""
    import grp

    try:
        group = grp.getgrgid(os.stat(str(target)).st_gid).gr_name
    except (OSError, KeyError):
        return "ask whoever administers this machine, or use podman, which needs no socket"
    if group == "root":
        return "run this as root, or use podman, which needs no socket"
    return (
        f"join the group {group} (usermod -aG {group} NAME, then log in anew): it has root's "
        "power; or use podman, which needs no socket"
    )
