"""``docker compose`` verbs that look, and those on images: config, ps, images, build and more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ocimagic.cli.compose_project import compose, known, loaded, verb
from ocimagic.cli.compose_rows import (
    ComposeList,
    ComposeRows,
    ComposeText,
    ComposeTop,
    image_row,
)
from ocimagic.cli.parser import Refused
from ocimagic.cli.texts import pairs
from ocimagic.cli.values import Names
from ocimagic.errors import ImageNotFound, InvalidOption
from ocimagic.model.event import Notice
from ocimagic.version import VERSION
from ocimagic.wire.filters import keep_containers

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.compose.model import Project
    from ocimagic.model.built import BuildResult
    from ocimagic.model.result import PullResult, PushResult

_SERVICES = click.argument("services", nargs=-1, metavar="[SERVICE...]")
_CONFIG_REFUSED = (
    Refused(("--no-consistency",), takes_value=False, why="a file is always checked"),
    Refused(("--no-normalize",), takes_value=False, why="a file is always shown in its long form"),
    Refused(("--no-path-resolution",), takes_value=False, why="paths are always whole"),
    Refused(("--resolve-image-digests",), takes_value=False, why="%image_digest tells them"),
    Refused(("--lock-image-digests",), takes_value=False, why="%image_digest tells them"),
    Refused(("--variables", "--models"), takes_value=False, why="it comes with a later version"),
)


@verb("config", refused=_CONFIG_REFUSED, usage="[OPTIONS] [SERVICE...]")
@click.option("--format", "form", default="yaml", metavar="WORD", help="yaml or json")
@click.option("-q", "--quiet", is_flag=True, help="Only check the file")
@click.option("--services", "names", is_flag=True, help="Print the names of services")
@click.option("--volumes", is_flag=True, help="Print the names of volumes")
@click.option("--networks", is_flag=True, help="Print the names of networks")
@click.option("--images", is_flag=True, help="Print the names of images")
@click.option("--profiles", "profile_names", is_flag=True, help="Print the names of profiles")
@click.option("--environment", is_flag=True, help="Print the variables that it is read with")
@click.option("--hash", "hashed", default="", metavar="SERVICE", help="Print hashes, * for all")
@click.option("--no-interpolate", is_flag=True, help="Leave variables as they are")
@click.option("-o", "--output", default="", metavar="FILE", help="Write it to a file")
@_SERVICES
@click.pass_obj
def config(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeText | Names:  # noqa: ANN401
    """Check a compose file and show it in its long form."""
    from ocimagic.compose.assemble import chosen
    from ocimagic.compose.schema import MISSING, is_there
    from ocimagic.compose.show import as_json, as_yaml, document_of

    project = loaded(session, given, interpolates=not given["no_interpolate"])
    if services:
        project = chosen(project, services)
    if not is_there():
        session.on_event(Notice(MISSING))
    lines = _lines(project, given)
    if given["quiet"] or lines is not None:
        return Names(tuple(lines or ()))
    document = document_of(project)
    if given["form"] not in ("yaml", "json"):
        raise InvalidOption(f"--format {given['form']!r} is not known", hint="it is yaml or json")
    text = (as_json if given["form"] == "json" else as_yaml)(document)
    if given["output"]:
        with open(session.path(given["output"]), "w", encoding="utf-8") as file:
            file.write(text)
        return Names(())
    return ComposeText(text, document)


def _lines(project: Project, given: dict[str, Any]) -> list[str] | None:
    """Return what was asked for instead of the file; None for nothing."""
    from ocimagic.compose.making import config_hash

    services = [project.services[name] for name in sorted(project.enabled)]
    if given["hashed"]:
        wanted = given["hashed"].split(",")
        return [
            f"{each.name} {config_hash(project, each)}"
            for each in services
            if "*" in wanted or each.name in wanted
        ]
    if given["names"]:
        return [each.name for each in services]
    if given["volumes"]:
        return list(project.volumes)
    if given["networks"]:
        return list(project.networks)
    if given["images"]:
        return [project.image_of(each) for each in services]
    if given["profile_names"]:
        return sorted({p for each in project.services.values() for p in each.profiles})
    if given["environment"]:
        return [f"{key}={value}" for key, value in sorted(project.env.items())]
    return None


@verb("ps", usage="[OPTIONS] [SERVICE...]")
@click.option("-a", "--all", "all_of", is_flag=True, help="Those that do not run, too")
@click.option("-q", "--quiet", is_flag=True, help="Show only IDs")
@click.option("--format", "template", default="", metavar="TEMPLATE", help="json, table or fields")
@click.option("--services", "names", is_flag=True, help="Show the names of services")
@click.option("--filter", "conditions", multiple=True, metavar="KEY=VALUE", help="status=running")
@click.option("--status", multiple=True, metavar="WORD", help="Those that are so: running, exited")
@click.option("--no-trunc", is_flag=True, help="Show whole commands")
@click.option("--orphans/--no-orphans", default=True, help="Those of services not in the file")
@_SERVICES
@click.pass_obj
def ps(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeRows | Names:  # noqa: ANN401
    """List the containers of services."""
    project = known(session, given)
    found = [
        each
        for each in project.instances(services)
        if given["orphans"] or each.service in project.project.services
    ]
    rows = keep_containers((each.summary for each in found), given["conditions"], session.engine())
    wanted = set(given["status"])
    if wanted:
        rows = [each for each in rows if each.status.value in wanted]
    elif not given["all_of"] and not given["conditions"]:
        rows = [each for each in rows if each.pid]
    if given["quiet"]:
        return Names(tuple(each.container_id for each in rows))
    if given["names"]:
        labels = (each.labels["com.docker.compose.service"] for each in rows)
        return Names(tuple(dict.fromkeys(labels)))
    template = "" if given["template"] in ("table", "pretty") else given["template"]
    return ComposeRows(rows, template=template, no_trunc=given["no_trunc"])


@verb("images", usage="[OPTIONS] [SERVICE...]")
@click.option("-q", "--quiet", is_flag=True, help="Show only IDs")
@click.option("--format", "form", default="table", metavar="WORD", help="table or json")
@_SERVICES
@click.pass_obj
def images(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeList | Names:  # noqa: ANN401
    """List the images that services' containers are made from."""
    project = known(session, given)
    containers = [each.summary for each in project.instances(services)]
    if given["quiet"]:
        return Names(tuple(dict.fromkeys(each.image_id.hex for each in containers)))
    rows = []
    for each in containers:
        try:
            image = session.engine().images.inspect(str(each.image_id))
        except ImageNotFound:
            image = None
        rows.append(image_row(each, image))
    heads = ("CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE")
    return ComposeList("Images", heads, tuple(rows), as_json=given["form"] == "json")


@verb("port", usage="[OPTIONS] SERVICE PRIVATE_PORT")
@click.option("--protocol", default="tcp", metavar="WORD", help="tcp or udp")
@click.option("--index", type=int, metavar="N", help="Of this one of several containers")
@click.argument("service", metavar="SERVICE")
@click.argument("port", type=int, metavar="PRIVATE_PORT")
@click.pass_obj
def port_(session: Session, /, service: str, port: int, **given: Any) -> Names:  # noqa: ANN401
    """Show where a service's port is published."""
    instance = known(session, given).instance(service, given["index"])
    wanted = f"{port}/{given['protocol']}"
    for each in session.engine().containers.ports(instance.container_id):
        if each.container_port == wanted:
            return Names((f"{each.host_ip}:{each.host_port}",))
    raise InvalidOption(f"no port {wanted} of container {instance.name} is published")


@verb("top", usage="[SERVICE...]")
@_SERVICES
@click.pass_obj
def top(session: Session, /, services: tuple[str, ...], **given: Any) -> ComposeTop:  # noqa: ANN401
    """Show the processes of services."""
    project = known(session, given)
    containers = session.engine().containers
    return ComposeTop(
        tuple(
            (each.name, containers.top(each.container_id))
            for each in project.instances(services)
            if each.is_running
        )
    )


@verb("ls", usage="[OPTIONS]")
@click.option("-a", "--all", "all_of", is_flag=True, help="Those that do not run, too")
@click.option("-q", "--quiet", is_flag=True, help="Show only names")
@click.option("--format", "form", default="table", metavar="WORD", help="table or json")
@click.option("--filter", "conditions", multiple=True, metavar="name=NAME", help="Keep what fits")
@click.pass_obj
def ls(session: Session, /, **given: Any) -> ComposeList | Names:  # noqa: ANN401
    """List projects that are there."""
    from ocimagic.compose import labels
    from ocimagic.compose.there import project_names

    wanted = pairs("--filter", given["conditions"])
    rows = []
    for name, instances in project_names(session.engine()).items():
        if not given["all_of"] and not any(each.is_running for each in instances):
            continue
        if wanted.get("name", "") not in name:
            continue
        states: dict[str, int] = {}
        for each in instances:
            word = each.summary.status.value
            states[word] = states.get(word, 0) + 1
        status = ", ".join(f"{word}({number})" for word, number in sorted(states.items()))
        rows.append((name, status, instances[0].summary.labels.get(labels.FILES, "")))
    if given["quiet"]:
        return Names(tuple(row[0] for row in rows))
    heads = ("NAME", "STATUS", "CONFIG FILES")
    return ComposeList("Projects", heads, tuple(rows), as_json=given["form"] == "json")


@verb("version", usage="[OPTIONS]")
@click.option("-f", "--format", "form", default="pretty", metavar="WORD", help="pretty or json")
@click.option("--short", is_flag=True, help="The number alone")
@click.pass_obj
def version(session: Session, /, **given: Any) -> Names:  # noqa: ANN401
    """Show which compose this is."""
    del session
    if given["form"] == "json":
        return Names((json.dumps({"version": VERSION}),))
    return Names((VERSION if given["short"] else f"ocimagic compose version {VERSION}",))


# -- images ------------------------------------------------------------------------------

_BUILD_REFUSED = (
    Refused(("--builder",), takes_value=True, why="there is one builder here"),
    Refused(("--memory", "-m"), takes_value=True, why="RUN steps have no limits yet"),
    Refused(("--provenance", "--sbom"), takes_value=True, why="they are not made by this version",
            harmless=frozenset({"false"})),
    Refused(("--check", "--print"), takes_value=False, why="%image_build --check checks one"),
)  # fmt: skip


@verb("build", cancellable=True, refused=_BUILD_REFUSED, usage="[OPTIONS] [SERVICE...]")
@click.option("--build-arg", multiple=True, metavar="KEY=VALUE", help="Set a variable of the build")
@click.option("--no-cache", is_flag=True, help="Run every step anew")
@click.option("--pull", is_flag=True, help="Ask the registry for every base")
@click.option("--push", is_flag=True, help="Push the images")
@click.option("-q", "--quiet", is_flag=True, help="No progress")
@click.option("--with-dependencies", is_flag=True, help="Build what they need, too")
@_SERVICES
@click.pass_obj
def build(
    session: Session,
    /,
    services: tuple[str, ...],
    **given: Any,  # noqa: ANN401  click's values
) -> tuple[BuildResult, ...] | Names:
    """Build the images of services."""
    project = compose(session, given, live=False)
    args = {}
    for text in given["build_arg"]:
        key, equals, value = text.partition("=")
        args[key] = value if equals else project.project.env.get(key, "")
    imaging = project.imaging(services, with_needs=given["with_dependencies"])
    built = imaging.build_all(no_cache=given["no_cache"], pull=given["pull"], args=args)
    if given["push"]:
        imaging.push_all()
    return tuple(built) or _nothing(session, "no service has build:, so nothing is built")


@verb("pull", cancellable=True, usage="[OPTIONS] [SERVICE...]")
@click.option("--ignore-buildable", is_flag=True, help="Not those that can be built")
@click.option("--ignore-pull-failures", is_flag=True, help="Go on when one cannot be pulled")
@click.option("--include-deps", is_flag=True, help="What they need, too")
@click.option("--policy", default="always", metavar="WORD", help="always or missing")
@click.option("-q", "--quiet", is_flag=True, help="No progress")
@_SERVICES
@click.pass_obj
def pull(
    session: Session,
    /,
    services: tuple[str, ...],
    **given: Any,  # noqa: ANN401  click's values
) -> tuple[PullResult, ...] | Names:
    """Pull the images of services."""
    if given["policy"] not in ("always", "missing"):
        raise InvalidOption(f"--policy {given['policy']!r} is not known",
                            hint="it is always or missing")  # fmt: skip
    imaging = compose(session, given, live=False).imaging(
        services, with_needs=given["include_deps"]
    )
    pulled = imaging.pull_all(
        ignore_failures=given["ignore_pull_failures"],
        ignore_buildable=given["ignore_buildable"],
        only_missing=given["policy"] == "missing",
    )
    return tuple(pulled) or _nothing(session, "nothing is left to pull")


@verb("push", cancellable=True, usage="[OPTIONS] [SERVICE...]")
@click.option("-q", "--quiet", is_flag=True, help="No progress")
@_SERVICES
@click.pass_obj
def push(
    session: Session,
    /,
    services: tuple[str, ...],
    **given: Any,  # noqa: ANN401  click's values
) -> tuple[PushResult, ...] | Names:
    """Push the images of services that can be built."""
    pushed = compose(session, given, live=False).imaging(services).push_all()
    said = "no service has both build: and image:, so nothing is pushed"
    return tuple(pushed) or _nothing(session, said)


def _nothing(session: Session, text: str) -> Names:
    session.on_event(Notice(text))
    return Names(())


VERBS = (config, ps, images, port_, top, ls, version, build, pull, push)
