"""``docker login`` and ``docker logout``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.model.result import LoggedIn, LoggedOut

verb = partial(click.command, cls=Verb)


@verb("login", usage="[OPTIONS] [SERVER]")
@click.option("-u", "--username", default="", metavar="NAME", help="User name")
@click.option("-p", "--password", default="", metavar="TEXT", help="Password or token")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input")
@click.argument("server", default="")
@click.pass_obj
def login(
    session: Session, server: str, username: str, password: str, *, password_stdin: bool
) -> LoggedIn:
    """Log in to a registry, Docker Hub without SERVER."""
    if password_stdin and password:
        raise InvalidOption("--password and --password-stdin are mutually exclusive")
    if password_stdin and not username:
        raise InvalidOption("must provide --username with --password-stdin")
    name = username or _asked(session, "Username: ", secret=False)
    secret = _piped(session) if password_stdin else password
    secret = secret or _asked(session, "Password: ", secret=True)
    if not name or not secret:
        raise InvalidOption("username and password must not be empty")
    return session.engine().images.login(server, name, secret)


@verb("logout", usage="[SERVER]")
@click.argument("server", default="")
@click.pass_obj
def logout(session: Session, server: str) -> LoggedOut:
    """Log out from a registry, Docker Hub without SERVER."""
    return session.engine().images.logout(server)


def _asked(session: Session, question: str, *, secret: bool) -> str:
    ask = session.ask_secret if secret else session.ask
    if ask is None:
        raise InvalidOption(
            "nobody is here to answer a question",
            hint="give -u NAME and --password-stdin, or -p where the line is not kept",
        )
    return ask(question).strip("\r\n")


def _piped(session: Session) -> str:
    if session.stdin is None:
        raise InvalidOption("there is no standard input to read a password from")
    if isinstance(session.stdin, bytes):
        return session.stdin.decode().strip("\r\n")
    with open(session.stdin, "rb", closefd=False) as file:
        return file.read().decode().strip("\r\n")
