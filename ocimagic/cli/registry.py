"""``ocimagic registry``: ls, serve, start, stop, user add.  docker has no such noun."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ocimagic.cli.parser import Noun, Verb
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption, InvalidState
from ocimagic.model.event import Notice, Output
from ocimagic.model.registry import DEFAULT_PORT, RegistryOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.cli.session import Session
    from ocimagic.model.distribution import RegistryListing
    from ocimagic.model.registry import OnRequest, RegistryAPI

verb = partial(click.command, cls=Verb)
_MAX_PASSWORD_BYTES = 4096

_OPTIONS = (
    click.option("--address", default="127.0.0.1", metavar="IP", help="Where to listen"),
    click.option("--port", default=DEFAULT_PORT, metavar="N", help="0 takes a free one"),
    click.option("--data", metavar="DIR", help="Where images are kept; in the data root if not"),
    click.option("--read-only", is_flag=True, help="Nobody may push"),
    click.option("--allow-delete", "may_delete", is_flag=True, help="Images may be deleted"),
    click.option("--tls-cert", metavar="FILE", help="PEM certificate: speak HTTPS"),
    click.option("--tls-key", metavar="FILE", help="Its key"),
    click.option("--htpasswd", metavar="FILE", help="Only these users, with their passwords"),
    click.option("--token", "tokens", is_flag=True, help="They log in for tokens (Bearer)"),
    click.option("--anonymous-pull", is_flag=True, help="Pulling needs no login; with --token"),
    click.option("--open", "is_open", is_flag=True, help="Everybody on the network, no login"),
    click.option("--mirror", metavar="URL", help="Fetch what is not there from this registry"),
)


def _how(command: Callable[..., object]) -> Callable[..., object]:
    """Add the options of ``RegistryOptions``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@verb("serve", cancellable=True, usage="[OPTIONS]")
@_how
@click.option("-q", "--quiet", is_flag=True, help="Show only the URL")
@click.pass_obj
def serve(session: Session, /, *, quiet: bool, **how: Any) -> None:  # noqa: ANN401  RegistryOptions checks
    """Serve a registry until it is interrupted: images can be pushed to it and pulled."""
    is_watched = session.console is not None and not quiet
    with _served(session, how, _teller(session) if is_watched else None) as served:
        session.on_event(Output("stdout", f"{served.url}\n".encode()))
        if not quiet:
            session.on_event(Notice(f"images are kept in {served.data}; ctrl-c ends the registry"))
        (session.cancelled or threading.Event()).wait()


@verb("start", usage="[OPTIONS]")
@_how
@click.pass_obj
def start(session: Session, /, **how: Any) -> RegistryAPI:  # noqa: ANN401  RegistryOptions checks
    """Serve a registry while this notebook's kernel lives."""
    if not session.stays:
        raise InvalidOption(
            "registry start is for a notebook",
            why="the registry would end with this command",
            hint=f"{session.program} registry serve",
        )
    return _served(session, how, None)


@verb("stop", usage="[HOST:PORT]")
@click.argument("host", required=False)
@click.pass_obj
def stop(session: Session, host: str | None) -> Names:
    """Stop the registries that this notebook started, or one of them."""
    running = session.engine().system.registries()
    wanted = [each for each in running if host in {None, each.host, each.url}]
    if not wanted:
        known = ", ".join(each.host for each in running)
        raise InvalidState(
            f"no registry {host} is served here" if host else "no registry is served here",
            why=f"there is {known}" if known else None,
        )
    for each in wanted:
        each.close()
    return Names(tuple(each.url for each in wanted))


@verb("add", usage="[OPTIONS] NAME")
@click.option("--htpasswd", metavar="FILE", help="The file of users; in the data root if not given")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input")
@click.argument("name")
@click.pass_obj
def add(session: Session, name: str, htpasswd: str | None, *, password_stdin: bool) -> Names:
    """Write a user and the hash of a password into a file for --htpasswd."""
    password = _from_stdin(session) if password_stdin else _asked(session)
    path = session.path(htpasswd) if htpasswd else None
    written = session.engine().system.add_registry_user(name, password, htpasswd=path)
    return Names((written,))


@verb("ls", usage="[OPTIONS] HOST[/REPOSITORY]")
@click.option("-q", "--quiet", is_flag=True, help="Show only the names")
@click.argument("name", metavar="HOST[/REPOSITORY]")
@click.pass_obj
def ls(session: Session, name: str, *, quiet: bool) -> RegistryListing | Names:
    """List the repositories of a registry, or the tags of one of them."""
    found = session.engine().images.list_registry(name)
    return Names(found.names) if quiet else found


def _served(session: Session, how: dict[str, Any], on_request: OnRequest | None) -> RegistryAPI:
    for name in ("data", "tls_cert", "tls_key", "htpasswd"):
        how[name] = session.path(how[name]) if how[name] else None
    served = session.engine().system.serve_registry(RegistryOptions(**how), on_request=on_request)
    for warning in served.warnings:
        session.on_event(Notice(warning))
    return served


def _teller(session: Session) -> OnRequest:
    def tell(method: str, path: str, status: int) -> None:
        session.on_event(Notice(f"{status} {method} {path[:200]}"))

    return tell


def _from_stdin(session: Session) -> str:
    if isinstance(session.stdin, bytes):
        said = session.stdin
    elif session.stdin is not None:
        with open(os.dup(session.stdin), "rb") as file:
            said = file.read(_MAX_PASSWORD_BYTES)
    else:
        raise InvalidOption("there is no standard input to read a password from")
    return said.decode(errors="replace").rstrip("\r\n")


def _asked(session: Session) -> str:
    if session.ask_secret is None:
        raise InvalidOption("nobody is here to type a password", hint="add --password-stdin")
    return session.ask_secret("Password: ")


user = Noun("user", help="Who may use a registry.", commands=[add])

registry = Noun(
    "registry",
    help="List what registries have, and serve one of your own.",
    commands=[ls, serve, start, stop, user],
    aliases={"list": "ls"},
)
