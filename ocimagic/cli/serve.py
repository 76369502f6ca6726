"""``ocimagic serve`` and ``context install``: docker's API, and containerd's, for others."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ocimagic.cli.parser import Noun, Verb
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption, InvalidState, StorageError
from ocimagic.model.event import Notice, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.cli.session import Served, Session
    from ocimagic.containerd.server import Server as ContainerdServer
    from ocimagic.model.engine import EngineAPI

verb = partial(click.command, cls=Verb)
_CONTEXT = "ocimagic"

_OPTIONS = (
    click.option("-H", "--host", "hosts", multiple=True, metavar="URL",
                 help="Where to listen: unix://PATH or tcp://ADDRESS:PORT"),
    click.option("--containerd", default="", metavar="PATH",
                 help="Offer containerd's services on this socket: ctr -a PATH images ls"),
    click.option("--tlscacert", default="", metavar="FILE",
                 help="Trust only clients with a certificate of this authority"),
    click.option("--tlscert", default="", metavar="FILE", help="The certificate to show them"),
    click.option("--tlskey", default="", metavar="FILE", help="Its key"),
    click.option("--no-tls", "in_clear", is_flag=True,
                 help="Serve this machine over TCP without TLS"),
)  # fmt: skip


def _how(command: Callable[..., object]) -> Callable[..., object]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@verb("serve", cancellable=True, usage="[OPTIONS]")
@_how
@click.option("-q", "--quiet", is_flag=True, help="Show only where it listens")
@click.pass_obj
def serve(session: Session, /, *, quiet: bool, **how: Any) -> None:  # noqa: ANN401  see _servers
    """Serve docker's API until it is interrupted: docker's own client can be its client.

    With --containerd, containerd's services instead, or with --host beside it.
    """
    with ExitStack() as stack:
        for each in _servers(session, stack, **how):
            session.on_event(Output("stdout", f"{each.url}\n".encode()))
            if not quiet:
                session.on_event(Notice(each.hint))
        if not quiet:
            session.on_event(Notice("ctrl-c ends it; containers go on"))
        (session.cancelled or threading.Event()).wait()


@verb("serve", usage="[OPTIONS]")
@_how
@click.pass_obj
def serve_here(session: Session, /, **how: Any) -> Served | tuple[Served, ...]:  # noqa: ANN401
    """Serve docker's API while this notebook's kernel lives; containers stay."""
    if not session.stays:
        raise InvalidOption(
            "system serve is for a notebook",
            why="the API would end with this command",
            hint=f"{session.program} serve",
        )
    with ExitStack() as stack:
        made = _servers(session, stack, **how)
        stack.pop_all()
    session.served.extend(made)
    return made[0] if len(made) == 1 else tuple(made)


@verb("unserve", usage="")
@click.pass_obj
def unserve(session: Session) -> Names:
    """Stop serving docker's API from this notebook."""
    ended = [each for each in session.served if each.is_served]
    if not ended:
        raise InvalidState("no API is served here", hint="%system_serve serves one")
    for each in ended:
        each.close()
    session.served.clear()
    return Names(tuple(each.url for each in ended))


def _servers(  # noqa: PLR0913  the options
    session: Session,
    stack: ExitStack,
    *,
    hosts: Sequence[str],
    tlscacert: str,
    tlscert: str,
    tlskey: str,
    in_clear: bool,
    containerd: str,
) -> list[Served]:
    """Make the servers that the options ask for; they end with the stack."""
    from ocimagic.api.place import Certificates, address_of, usual_host
    from ocimagic.api.server import Server

    given = [session.path(each) if each else "" for each in (tlscacert, tlscert, tlskey)]
    files = Certificates(*given)
    wanted = hosts or (() if containerd else (usual_host(session.env),))
    addresses = [address_of(each, files, in_clear=in_clear) for each in wanted]
    if in_clear:
        session.on_event(
            Notice("there is no TLS: every account of this machine can do here what you can")
        )
    engine = session.engine()
    served: list[Served] = []
    busy = session.stays  # a notebook computes as well
    served += [stack.enter_context(Server(engine, each, is_busy=busy)) for each in addresses]
    if containerd:
        served.append(stack.enter_context(_containerd(engine, session.path(containerd))))
    return served


def _containerd(engine: EngineAPI, path: str) -> ContainerdServer:
    from ocimagic.containerd.server import Server
    from ocimagic.engine.engine import Engine

    if not isinstance(engine, Engine):
        raise InvalidOption(
            "containerd's services are of an engine on this machine",
            why="the engine is reached over docker's API, which does not have them",
            hint="leave DOCKER_HOST and --host out",
        )
    return Server(engine, path)


@verb("install", usage="[OPTIONS] [NAME]")
@click.option("-H", "--host", default="", metavar="URL", help="Where the API listens")
@click.argument("name", default=_CONTEXT)
@click.pass_obj
def install(session: Session, name: str, host: str) -> Names:
    """Tell docker's client where our API is, as a context of its own."""
    from ocimagic.api.place import Certificates, address_of, usual_host

    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name == "default":
        raise InvalidOption(f"{name!r} is no name for a context", hint="for example ocimagic")
    host = host or usual_host(session.env)
    address_of(host, Certificates(), in_clear=True)
    config = session.env.get("DOCKER_CONFIG") or session.path("~/.docker")
    key = hashlib.sha256(name.encode()).hexdigest()
    path = Path(config, "contexts", "meta", key, "meta.json")
    document = {
        "Name": name,
        "Metadata": {"Description": "ocimagic, an engine without a daemon"},
        "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}},
    }
    part = path.with_name(f"meta.json.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(document), encoding="utf-8")
        part.replace(path)
    except OSError as err:
        raise StorageError(f"cannot write {path}", why=err.strerror) from err
    session.on_event(Notice(f"docker context use {name}, or: export DOCKER_HOST={host}"))
    return Names((name,))


context = Noun("context", help="Tell docker's client where our API is.", commands=[install])
