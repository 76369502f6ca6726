"""``explain``: what happened when a command was given, from the line that was typed on."""

from __future__ import annotations

import re
import shlex
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli.parser import Verb
from ocimagic.errors import NotFound
from ocimagic.model import chapters
from ocimagic.model.explanation import Explanation, Party, Step
from ocimagic.spec.record import replace
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.cli.session import Session
    from ocimagic.model.explanation import Asked, HeardRequest
    from ocimagic.wire.requests import Request

verb = partial(click.command, cls=Verb)
_NOT_KEPT = ("as it was typed", "not kept: this line asks for the same")
_NOT_SENT = "no: the engine is in this process, the same values went to it as a call"


@verb("explain", takes="container", usage="[last|CONTAINER|EXEC|IMAGE|PROJECT]")
@click.argument("name", default="last", metavar="[last|CONTAINER|EXEC|IMAGE|PROJECT]")
@click.pass_obj
def explain(session: Session, name: str) -> Explanation:
    """Show what happened when the last command was given, or one that made a container or image."""
    explainer = session.engine().explainer
    last = session.last
    if name != "last" or last is None:
        return _named(session, name)
    if last.deeds:
        from ocimagic.compose.story import tell

        project = tell(
            session.engine(),
            last.subject,
            line=last.line,
            deeds=last.deeds,
            failure=last.failure,
        )
        return _typed(project)
    if last.failure is not None:
        return with_client(explainer.explain_failure(last.line, last.failure))
    return with_client(explainer.explain(last.subject, line=last.line, newest=True))


def _named(session: Session, name: str) -> Explanation:
    """Tell of what has a name: a container, a command in one, an image, or a project."""
    from ocimagic.compose.story import tell

    try:
        return with_client(session.engine().explainer.explain(name))
    except NotFound as err:
        try:
            return _typed(tell(session.engine(), name))
        except NotFound:
            raise err from None


def _typed(told: Explanation) -> Explanation:
    """Return a project's story that begins with the line, if that is known."""
    line = told.line or f"docker compose -p {told.name} up"
    facts = (("line", line), *(() if told.line else (_NOT_KEPT,)))
    typed = Step(party=Party.CLIENT, to=Party.CLIENT, title=line, at_s=0.0, facts=facts)
    return replace(told, line=line, steps=(typed, *told.steps))


def with_client(told: Explanation) -> Explanation:
    """Return a story that begins with the client's line and what docker would send for it."""
    if told.asked and told.asked.heard:
        return _with_heard(told, told.asked.heard)
    requests = _requests(told.asked) if told.asked else ()
    line = told.line or _guessed(told)
    typed = Step(
        party=Party.CLIENT,
        to=Party.CLIENT,
        title=line,
        at_s=0.0,
        facts=(("line", line), *(() if told.line else (_NOT_KEPT,))),
    )
    asked = [_step(each, again=each in requests[:at]) for at, each in enumerate(requests)]
    first = told.steps[0] if told.steps else None
    called = Step(
        party=Party.API,
        to=Party.DAEMON,
        title="no socket between: a call in this process",
        facts=(("really sent", _NOT_SENT),),
        source=first.source if first else None,
        was_sent=False,
    )
    return replace(told, line=line, steps=(typed, *asked, called, *told.steps))


def _with_heard(told: Explanation, heard: Sequence[HeardRequest]) -> Explanation:
    """Return a story that begins with what a client really sent over a socket."""
    line = told.line or _guessed(told)
    began_s = datetime.fromisoformat(told.began).timestamp()
    typed = Step(
        party=Party.CLIENT,
        to=Party.CLIENT,
        title=line,
        facts=(("line", line), ("client", heard[0].client or "it does not say"), _NOT_KEPT),
    )
    asked = [_heard_step(each, began_s) for each in heard]
    called = Step(
        party=Party.API,
        to=Party.DAEMON,
        title="the socket's thread calls the library",
        facts=(("socket", heard[0].socket),),
        was_sent=False,
    )
    return replace(told, line=line, steps=(typed, *asked, called, *told.steps))


def _heard_step(request: HeardRequest, began_s: float) -> Step:
    bare = request.path.partition("?")[0]
    known = request.operation
    return Step(
        party=Party.CLIENT,
        to=Party.API,
        title=f"{request.method} {_short(bare)}",
        at_s=request.began_s - began_s,
        seconds=request.seconds,
        facts=(
            ("request", f"{request.method} {request.path}"),
            ("answer", str(request.status)),
            ("socket", request.socket),
            ("really sent", "yes: the server heard it"),
        ),
        documents={"body": dict(request.body)} if request.body else {},
        chapter=chapters.docker_api(known, request.tag) if known else None,
    )


def _step(request: Request, *, again: bool) -> Step:
    bare = request.path.partition("?")[0]
    return Step(
        party=Party.CLIENT,
        to=Party.API,
        title=f"{request.method} {_short(bare)}",
        facts=(
            ("request", f"{request.method} {request.path}"),
            ("socket", "unix:///var/run/docker.sock, docker's usual one"),
            ("really sent", _NOT_SENT),
            *((("body", "the same as before"),) if again else ()),
        ),
        documents={"body": dict(request.body)} if request.body and not again else {},
        chapter=chapters.docker_api(request.operation, request.tag),
        was_sent=False,
    )


def _short(path: str) -> str:
    """Return a path without the version, IDs shortened to twelve digits."""
    pieces = re.sub(r"^/v[0-9.]+/", "/", path).split("/")[1:]
    return "/" + "/".join(each[:12] if len(each) == 64 else each for each in pieces)


def _requests(asked: Asked) -> tuple[Request, ...]:
    from ocimagic.wire import requests

    if asked.options is not None:
        pulled = Reference.parse(asked.options.image) if asked.pulled else None
        return requests.run_requests(
            asked.options,
            asked.container_id,
            network=asked.network,
            pulled=pulled,
            starts=asked.started,
            follows=asked.at_once,
        )
    if asked.exec_id:
        return requests.exec_requests(asked.executed, asked.container_id, asked.exec_id)
    if asked.reference:
        return (requests.pull_request(Reference.parse(asked.reference)),)
    return (requests.build_request(asked.build, asked.tags),)


def _guessed(told: Explanation) -> str:
    """Return a line that asks for the same, where nobody kept the one that was typed."""
    asked = told.asked
    if asked and asked.exec_id:
        command = asked.executed.get("command", ())
        assert isinstance(command, list | tuple)
        return shlex.join(["docker", "container", "exec", told.name, *map(str, command)])
    if asked is None or asked.options is not None:
        return f"docker container run … {asked.options.image if asked and asked.options else ''}"
    if asked.reference:
        return f"docker image pull {asked.reference}"
    return " ".join(["docker image build", *(f"-t {tag}" for tag in asked.tags), "…"])
