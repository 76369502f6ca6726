"""``docker compose``: a file's services up, down and in between."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import click

from ocimagic.cli import compose_looking, compose_running
from ocimagic.cli.compose_images import images_wanted
from ocimagic.cli.compose_project import (
    EPILOG,
    begin_story,
    compose,
    grace,
    known,
    shown,
    verb,
    wants_colors,
)
from ocimagic.cli.compose_rows import ComposeRows, Ended
from ocimagic.cli.parser import Noun, Refused
from ocimagic.errors import Cancelled, InvalidOption
from ocimagic.model.event import Notice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ocimagic.cli.session import Session
    from ocimagic.compose.asked import UpOptions
    from ocimagic.compose.following import Prefixes
    from ocimagic.compose.verbs import Compose

_SERVICES = click.argument("services", nargs=-1, metavar="[SERVICE...]")
_TIMEOUT = click.option(
    "-t", "--timeout", type=int, metavar="SECONDS", help="Wait this long before SIGKILL"
)
_LOOK_S = 0.2
_WATCH = "files are not watched by this version; up --build builds anew"
_UP_REFUSED = (
    Refused(("--watch", "-w"), takes_value=False, why=_WATCH),
    Refused(("--menu",), takes_value=False, why="there is no menu", harmless=frozenset({"false"})),
)
# What up, create and run have in common.
_HOW = (
    click.option("--build", is_flag=True, help="Build images before the start"),
    click.option("--no-build", is_flag=True, help="Build no image, even if it is missing"),
    click.option("--pull", default="policy", metavar="WORD",
                 help="Pull images: always, missing, never, or as the file's policy says"),
    click.option("--quiet-pull", is_flag=True, help="No progress of pulls"),
    click.option("--force-recreate", is_flag=True, help="Replace containers that did not change"),
    click.option("--no-recreate", is_flag=True, help="Leave containers that are there"),
    click.option("--always-recreate-deps", is_flag=True, help="Replace what they need, too"),
    click.option("-V", "--renew-anon-volumes", is_flag=True, help="New volumes without a name"),
    click.option("--scale", multiple=True, metavar="SERVICE=N", help="How many containers"),
    click.option("--remove-orphans", is_flag=True,
                 help="Remove containers of services that are not in the file"),
    click.option("-y", "--yes", is_flag=True, hidden=True),
)  # fmt: skip


def _how(function: Any) -> Any:  # noqa: ANN401  click's own
    for option in reversed(_HOW):
        function = option(function)
    return function


@verb("up", cancellable=True, refused=_UP_REFUSED, usage="[OPTIONS] [SERVICE...]")
@click.option("-d", "--detach", is_flag=True, help="Let them run in the background")
@_how
@click.option("--no-deps", is_flag=True, help="Not what they need")
@click.option("--no-start", is_flag=True, help="Make the containers, and do not start them")
@click.option("--wait", is_flag=True, help="Wait until they run and are healthy; implies -d")
@click.option("--wait-timeout", type=int, metavar="SECONDS", help="How long to wait for that")
@click.option("--abort-on-container-exit", is_flag=True, help="Stop all when one has ended")
@click.option("--exit-code-from", default="", metavar="SERVICE",
              help="End with this one's exit code; implies --abort-on-container-exit")  # fmt: skip
@_TIMEOUT
@click.option("--no-color", is_flag=True, help="No colours")
@click.option("--no-log-prefix", is_flag=True, help="No names before the lines")
@click.option("--timestamps", is_flag=True, help="Show when each line was written")
@_SERVICES
@click.pass_obj
def up(
    session: Session,
    /,
    services: tuple[str, ...],
    **given: Any,  # noqa: ANN401  click's values
) -> ComposeRows | Ended | None:
    """Make and start services."""
    _check_up(given)
    project = compose(session, given, live=given["detach"] or given["wait"])
    options = up_options(services, given)
    begin_story(session, project.project.name)
    if given["detach"] or given["wait"] or given["no_start"]:
        project.up(options)
        return shown(session, project.project.name)
    return _attached(session, project, options, given)


def _check_up(given: Mapping[str, Any]) -> None:
    """See that options go together.

    Raises:
        InvalidOption: they do not.
    """
    both = (("build", "no_build"), ("force_recreate", "no_recreate"))
    for one, other in both:
        if given[one] and given[other]:
            words = f"--{one} and --{other}".replace("_", "-")
            raise InvalidOption(f"{words} do not go together")
    stops = given["abort_on_container_exit"] or given["exit_code_from"]
    if stops and (given["detach"] or given["wait"]):
        raise InvalidOption("--abort-on-container-exit needs somebody who waits: leave -d out")


def _attached(
    session: Session, project: Compose, options: UpOptions, given: Mapping[str, Any]
) -> Ended | None:
    """Bring services up and stay until they end."""
    from ocimagic.compose.following import Prefixes

    code_from = given["exit_code_from"]

    def prefixes(names: Sequence[str]) -> Prefixes:
        return Prefixes(
            names,
            plain=given["no_log_prefix"],
            times=given["timestamps"],
            colors=wants_colors(session, given),
        )

    ends = project.attached(
        lambda: project.up(options),
        prefixes,
        stops_at_first=bool(given["abort_on_container_exit"] or code_from),
        grace_s=grace(given["timeout"]),
    )
    if not given["abort_on_container_exit"] and not code_from:
        return None
    wanted = [(i, end) for i, end in ends if not code_from or i.service == code_from]
    if not wanted:
        raise InvalidOption(f"--exit-code-from {code_from}: this service has no container")
    instance, end = wanted[0]
    return Ended(instance.name, end.code if end else 0)


def up_options(services: tuple[str, ...], given: Mapping[str, Any]) -> UpOptions:
    """Turn parsed words into the request."""
    from ocimagic.compose.asked import UpOptions
    from ocimagic.compose.plan import Recreate
    from ocimagic.compose.raising import Raised

    recreate = Recreate.CHANGED
    if given["force_recreate"]:
        recreate = Recreate.ALWAYS
    elif given["no_recreate"]:
        recreate = Recreate.NEVER
    needs = Recreate.ALWAYS if given["always_recreate_deps"] else Recreate.CHANGED
    if given["no_recreate"]:
        needs = Recreate.NEVER
    return UpOptions(
        services=services,
        images=images_wanted(given),
        raised=Raised(
            recreate=recreate,
            recreate_needs=needs,
            starts=not given.get("no_start", False),
            renew_volumes=given["renew_anon_volumes"],
            grace_s=grace(given.get("timeout")),
        ),
        with_needs=not given.get("no_deps", False),
        scale=dict(map(_scale, given["scale"])),
        orphans=given["remove_orphans"],
        wait=given.get("wait", False),
        wait_timeout_s=grace(given.get("wait_timeout")),
    )


def _scale(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"([^=]+)=(\d{1,4})", text)
    if not found:
        raise InvalidOption(f"--scale {text!r} is not SERVICE=N", hint="--scale web=3")
    return found[1], int(found[2])


@verb("create", cancellable=True, usage="[OPTIONS] [SERVICE...]")
@_how
@_SERVICES
@click.pass_obj
def create(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeRows | None:  # noqa: ANN401
    """Make the containers of services without starting them."""
    project = compose(session, given)
    begin_story(session, project.project.name)
    project.up(up_options(services, {**given, "no_start": True}))
    return shown(session, project.project.name)


@verb("scale", cancellable=True, usage="[OPTIONS] SERVICE=N...")
@click.option("--no-deps", is_flag=True, help="Not what they need")
@click.argument("scales", nargs=-1, required=True, metavar="SERVICE=N...")
@click.pass_obj
def scale(session: Session, /, scales: tuple[str, ...], **given: Any) -> ComposeRows | None:  # noqa: ANN401
    """Say how many containers services have."""
    from ocimagic.compose.asked import UpOptions

    wanted = dict(map(_scale, scales))
    project = compose(session, given)
    project.up(UpOptions(services=tuple(wanted), scale=wanted, with_needs=not given["no_deps"]))
    return shown(session, project.project.name)


@verb("down", usage="[OPTIONS] [SERVICE...]")
@click.option("-v", "--volumes", is_flag=True, help="Remove the file's volumes, too")
@click.option("--rmi", default="", metavar="WORD", help="Remove images, too: all, or local ones")
@click.option("--remove-orphans", is_flag=True,
              help="Remove containers of services that are not in the file")  # fmt: skip
@_TIMEOUT
@_SERVICES
@click.pass_obj
def down(session: Session, /, services: tuple[str, ...], **given: Any) -> None:  # noqa: ANN401
    """Stop and remove services, with their networks."""
    from ocimagic.compose.lowering import Lowered

    if given["rmi"] not in ("", "all", "local"):
        raise InvalidOption(f"--rmi {given['rmi']!r} is not known", hint="it is all or local")
    project = known(session, given)
    told = project.down(
        Lowered(
            volumes=given["volumes"],
            images=given["rmi"],
            orphans=given["remove_orphans"],
            grace_s=grace(given["timeout"]),
            named=services,
        )
    )
    _say(session, told)


def _say(session: Session, told: Iterable[str]) -> None:
    for each in told:
        session.on_event(Notice(each))


@verb("start", cancellable=True, usage="[OPTIONS] [SERVICE...]")
@click.option("--wait", is_flag=True, help="Wait until they run and are healthy")
@click.option("--wait-timeout", type=int, metavar="SECONDS", help="How long to wait for that")
@_SERVICES
@click.pass_obj
def start(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeRows | None:  # noqa: ANN401
    """Start services that are there."""
    from ocimagic.compose.waiting import Waiting

    project = known(session, given, live=True)
    project.start(services)
    if given["wait"]:
        ids = [each.container_id for each in project.instances(services)]
        Waiting(session.engine(), session.cancelled, grace(given["wait_timeout"])).up(ids)
    return shown(session, project.project.name)


@verb("stop", usage="[OPTIONS] [SERVICE...]")
@_TIMEOUT
@_SERVICES
@click.pass_obj
def stop(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeRows | None:  # noqa: ANN401
    """Stop services."""
    project = known(session, given, live=True)
    project.stop(services, grace(given["timeout"]))
    return shown(session, project.project.name)


@verb("restart", usage="[OPTIONS] [SERVICE...]")
@_TIMEOUT
@click.option("--no-deps", is_flag=True, help="Not what needs them")
@_SERVICES
@click.pass_obj
def restart(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeRows | None:  # noqa: ANN401
    """Stop services and start them again."""
    project = known(session, given, live=True)
    project.restart(services, grace(given["timeout"]))
    return shown(session, project.project.name)


@verb("kill", usage="[OPTIONS] [SERVICE...]")
@click.option("-s", "--signal", default="KILL", metavar="SIGNAL", help="Signal to send")
@click.option("--remove-orphans", is_flag=True, hidden=True)
@_SERVICES
@click.pass_obj
def kill(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeRows | None:  # noqa: ANN401
    """Send a signal to services."""
    project = known(session, given, live=True)
    project.kill(services, given["signal"])
    return shown(session, project.project.name)


@verb("pause", usage="[SERVICE...]")
@_SERVICES
@click.pass_obj
def pause(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeRows | None:  # noqa: ANN401
    """Stop all processes of services where they are."""
    project = known(session, given, live=True)
    project.pause(services)
    return shown(session, project.project.name)


@verb("unpause", usage="[SERVICE...]")
@_SERVICES
@click.pass_obj
def unpause(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeRows | None:  # noqa: ANN401
    """Let the processes of paused services go on."""
    project = known(session, given, live=True)
    project.unpause(services)
    return shown(session, project.project.name)


@verb("rm", usage="[OPTIONS] [SERVICE...]")
@click.option("-f", "--force", is_flag=True, help="Do not ask")
@click.option("-s", "--stop", "stops", is_flag=True, help="Stop them first")
@click.option("-v", "--volumes", is_flag=True, help="Remove volumes without a name, too")
@_SERVICES
@click.pass_obj
def rm(session: Session, /, services: tuple[str, ...], **given: Any) -> None:  # noqa: ANN401
    """Remove services that do not run."""
    project = known(session, given)
    gone = [e.name for e in project.instances(services) if given["stops"] or not e.is_running]
    if not gone:
        session.on_event(Notice("no stopped containers"))
        return
    if not given["force"] and not session.confirm(f"Going to remove {', '.join(gone)}"):
        return
    project.remove(services, stop=given["stops"], volumes=given["volumes"])


@verb("wait", cancellable=True, usage="SERVICE [SERVICE...]")
@click.option("--down-project", is_flag=True, help="Take the project down when the first has ended")
@click.argument("services", nargs=-1, required=True, metavar="SERVICE...")
@click.pass_obj
def wait(session: Session, /, services: tuple[str, ...], **given: Any) -> Ended:  # noqa: ANN401
    """Wait until the first container of some services ends."""
    from ocimagic.compose.lowering import Lowered

    project = known(session, given)
    instances = [project.instance(name) for name in services]
    engine = session.engine()
    if len(instances) == 1:
        end = engine.containers.wait(instances[0].container_id, cancelled=session.cancelled)
        ended = Ended(instances[0].name, end.code)
    else:
        ended = _first_end(session, [each.container_id for each in instances])
    if given["down_project"]:
        project.down(Lowered())
    return ended


def _first_end(session: Session, containers: Sequence[str]) -> Ended:
    """Wait until the first of some containers ends.

    Raises:
        Cancelled: the user wanted no more of it.
    """
    cancelled = session.cancelled or threading.Event()
    while True:
        for each in containers:
            found = session.engine().containers.get(each)
            if found.exit is not None and not found.pid:
                return Ended(found.name, found.exit.code)
        if cancelled.wait(_LOOK_S):
            raise Cancelled("stopped by you: the services go on")


compose_noun = Noun(
    "compose",
    help=f"Services that a compose file describes.\n\n{EPILOG}",
    commands=[
        up, down, create, start, stop, restart, kill, pause, unpause, rm, scale, wait,
        *compose_running.VERBS, *compose_looking.VERBS,
    ],
    aliases={"convert": "config"},
    later={
        "watch": _WATCH,
        "attach": "up, logs -f and %container_attach show what a service writes",
        "events": "it comes with a later version",
        "cp": "%container_cp knows the containers that compose ps shows",
        "stats": "%container_stats knows the containers that compose ps shows",
        "commit": "%container_commit knows the containers that compose ps shows",
        "export": "%container_export knows the containers that compose ps shows",
        "publish": "it comes with a later version",
        "alpha": "it comes with a later version",
        "bridge": "it comes with a later version",
        "volumes": "%volume_ls -f label=com.docker.compose.project=NAME shows them",
    },
)  # fmt: skip
