"""What all handlers share: the engine, and what one request has to know of another."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.api.buildkit.door import Door
from ocimagic.api.buildkit.jobs import Jobs
from ocimagic.api.buildkit.sessions import Sessions
from ocimagic.api.execs import Execs
from ocimagic.api.starts import Starts
from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.model.explanation import HeardRequest
from ocimagic.model.registry import RegistryLogin
from ocimagic.spec.reference import Reference
from ocimagic.wire.asked import auth
from ocimagic.wire.failure import failure_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.api.exchange import Exchange
    from ocimagic.api.routes import Route
    from ocimagic.model.engine import EngineAPI, ImagesAPI
    from ocimagic.wire.asked import Login


_WHOLE = 64
# What is looked at again and again tells nobody anything.
_UNTOLD = frozenset({"ContainerStats", "ContainerLogs", "ContainerTop", "ContainerInspect"})


@dataclass(frozen=True, slots=True)
class Service:
    """What all handlers share.

    Attributes:
        starts: who waits for a container to start.
        execs: commands that were made, and perhaps begun.
        url: where the server listens.
        sessions: clients that can be asked during their builds.
        jobs: builds that can be stopped by their name.
        door: where gRPC is spoken.
        over: set when the server closes: nobody can ask any more.
        once: documents that stay as they are while this serves, by name.
    """

    engine: EngineAPI
    url: str = ""
    starts: Starts = field(default_factory=Starts)
    execs: Execs = field(default_factory=Execs)
    sessions: Sessions = field(default_factory=Sessions)
    jobs: Jobs = field(default_factory=Jobs)
    door: Door = field(default_factory=Door)
    over: threading.Event = field(default_factory=threading.Event)
    once: dict[str, dict[str, object]] = field(default_factory=dict)

    def identify(self, name: str) -> str:
        """Return the ID of a container, or the name itself where nothing has it."""
        try:
            return self.engine.containers.get(name).container_id
        except OcimagicError:
            return name

    @contextmanager
    def noting(self, exchange: Exchange, route: Route) -> Iterator[None]:
        """Keep a request about a container, for whoever has it explained."""
        began_s, since = time.time(), time.monotonic()
        name = route.names.get("container", "")
        if name and len(name) != _WHOLE and exchange.request.method != "GET":
            with suppress(OcimagicError):
                name = self.engine.containers.get(name).container_id
        try:
            yield
        except OcimagicError as err:
            exchange.status = failure_status(err)
            raise
        finally:
            container_id = exchange.container_id or (name if len(name) == _WHOLE else "")
            if container_id and route.operation not in _UNTOLD:
                request = HeardRequest(
                    method=exchange.request.method,
                    path=exchange.request.target,
                    operation=route.operation,
                    tag="Exec" if "Exec" in route.operation else "Container",
                    status=exchange.status,
                    began_s=began_s,
                    seconds=time.monotonic() - since,
                    socket=self.url,
                    client=exchange.request.header("user-agent"),
                    body=exchange.told,
                    exec_id=exchange.exec_id,
                )
                self.engine.explainer.hear(container_id, request)

    @contextmanager
    def logged_in(self, exchange: Exchange, name: str) -> Iterator[ImagesAPI]:
        """Yield the verbs on images, with the login that a client sent for a name's registry."""
        given = _login(exchange)
        if not given:
            yield self.engine.images
            return
        yield self.with_logins({Reference.parse(name).registry: given})

    def with_logins(self, logins: Mapping[str, Login]) -> ImagesAPI:
        """Return the verbs on images, with logins by registry."""
        if not logins:
            return self.engine.images
        return self.engine.images.with_logins(
            {
                name: RegistryLogin(
                    username=each.username,
                    password=each.password,
                    identity_token=each.identity_token,
                    registry_token=each.registry_token,
                )
                for name, each in logins.items()
            }
        )


def _login(exchange: Exchange) -> Login | None:
    """Read a client's login; docker's daemon passes a bad one over."""
    try:
        return auth(exchange.request.header("x-registry-auth"))
    except InvalidOption:
        return None
