"""What a client gives for a build when a step asks for it: secrets, agents and logins.

Sources: moby/buildkit session/secrets, session/sshforward, session/auth.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from ocimagic.api.buildkit.sessions import SessionLost
from ocimagic.api.buildkit.splice import private_directory
from ocimagic.errors import OcimagicError
from ocimagic.wire.asked import Login
from ocimagic.wire.buildkit import (
    CHECK_AGENT,
    CREDENTIALS,
    FORWARD_AGENT,
    GET_SECRET,
    messages,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.api.buildkit.sessions import Session
    from ocimagic.model.engine import EngineAPI
    from ocimagic.spec.reference import Reference

_MOST_SECRET = 500 << 10  # BuildKit's, too
_PIECE = 1 << 15
_HUB, _HUB_HOST = "docker.io", "registry-1.docker.io"


class Secrets(Mapping[str, bytes]):
    """Secrets by id; each is asked for when a step wants it, and kept as long as the build."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._known: dict[str, bytes | None] = {}

    def __getitem__(self, name: str) -> bytes:
        with self._lock:
            if name not in self._known:
                self._known[name] = self._asked(name)
            found = self._known[name]
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, value in self._known.items() if value is not None])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _asked(self, name: str) -> bytes | None:
        kinds = messages()["moby.buildkit.secrets.v1"]
        request = kinds.GetSecretRequest(ID=name)
        answer = self._session.ask(GET_SECRET, request, kinds.GetSecretResponse)
        if answer is None:
            return None
        if len(answer.data) > _MOST_SECRET:
            raise SessionLost(
                f"secret {name} is too large", why=f"{_MOST_SECRET} bytes is the most"
            )
        return bytes(answer.data)


class Agents(Mapping[str, str]):
    """Sockets of the client's ssh agents by id, made when a step wants one; ``close`` ends them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._undo = ExitStack()

    def __getitem__(self, name: str) -> str:
        with self._lock:
            if name not in self._known:
                kinds = messages()["moby.sshforward.v1"]
                try:
                    request = kinds.CheckAgentRequest(ID=name)
                    answer = self._session.ask(CHECK_AGENT, request, kinds.CheckAgentResponse)
                except SessionLost:  # docker's client has no code of its own for "not given"
                    answer = None
                if answer is None:
                    raise KeyError(name)
                self._known[name] = self._served(name)
            return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
        """End all connections with agents."""
        self._undo.close()

    def _served(self, name: str) -> str:
        path = f"{self._undo.enter_context(private_directory())}/agent"
        door = socket.socket(socket.AF_UNIX)
        self._undo.callback(door.close)
        door.bind(path)
        os.chmod(path, 0o600)
        door.listen(8)
        self._undo.callback(door.shutdown, socket.SHUT_RDWR)
        threading.Thread(
            target=self._accept, args=(door, name), name="ocimagic-api-ssh", daemon=True
        ).start()
        return path

    def _accept(self, door: socket.socket, name: str) -> None:
        with suppress(OSError):
            while True:
                near = door.accept()[0]
                threading.Thread(
                    target=self._forward, args=(near, name), name="ocimagic-api-ssh", daemon=True
                ).start()

    def _forward(self, near: socket.socket, name: str) -> None:
        import grpc

        kinds = messages()["moby.sshforward.v1"]
        said: queue.SimpleQueue[object] = queue.SimpleQueue()

        def listen() -> None:
            with suppress(OSError):
                while data := near.recv(_PIECE):
                    said.put(kinds.BytesMessage(data=data))
            said.put(None)

        with near, suppress(OSError, grpc.RpcError, SessionLost):
            call = self._session.stream(
                FORWARD_AGENT,
                iter(said.get, None),
                kinds.BytesMessage,
                [("buildkit.ssh.id", name)],
            )
            listener = threading.Thread(target=listen, name="ocimagic-api-ssh", daemon=True)
            listener.start()
            try:
                for each in call:
                    near.sendall(each.data)
            finally:
                with suppress(OSError):
                    near.shutdown(socket.SHUT_RDWR)
                listener.join()
                call.cancel()


def logins(
    session: Session, engine: EngineAPI, images: Iterable[Reference], *, pull: bool
) -> dict[str, Login]:
    """Return the client's logins for the registries that a build has to ask.

    Args:
        session: of the client.
        engine: what has images already.
        images: that the build begins from or reads.
        pull: ask the registry for all of them.

    Raises:
        SessionLost: the client is gone.
    """
    hosts = {each.registry for each in images if pull or not is_here(engine, each)}
    kinds = messages()["moby.filesync.v1"]
    found = {}
    for host in sorted(hosts):
        request = kinds.CredentialsRequest(Host=_HUB_HOST if host == _HUB else host)
        answer = session.ask(CREDENTIALS, request, kinds.CredentialsResponse)
        if answer is not None and answer.Secret:
            found[host] = (
                Login(username=answer.Username, password=answer.Secret)
                if answer.Username
                else Login(identity_token=answer.Secret)
            )
    return found


def is_here(engine: EngineAPI, image: Reference, *, plain: bool = False) -> bool:
    """Say whether an image need not be pulled.

    Args:
        engine: that may have it.
        image: which.
        plain: and has no ONBUILD, which only the image knows of.
    """
    try:
        details = engine.images.inspect(str(image))
    except OcimagicError:
        return False
    return not (plain and details.config.config.on_build)
