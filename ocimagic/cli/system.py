"""``docker system``, and docker's ``version`` and ``inspect``, which belong to no noun."""

from __future__ import annotations

import platform
from functools import partial
from typing import TYPE_CHECKING

import click

from ocimagic.cli import refused
from ocimagic.cli.disk import df, prune_system
from ocimagic.cli.events import events
from ocimagic.cli.inspecting import KINDS, inspected
from ocimagic.cli.parser import Noun, Verb
from ocimagic.cli.serve import serve_here, unserve
from ocimagic.cli.template import fill
from ocimagic.cli.values import Names, VersionInfo
from ocimagic.errors import InvalidOption
from ocimagic.spec.platform import host_platform
from ocimagic.version import VERSION

if TYPE_CHECKING:
    from ocimagic.cli.session import Session
    from ocimagic.cli.values import InspectDocument
    from ocimagic.model.isolation import Diagnosis
    from ocimagic.model.result import SystemInfo

verb = partial(click.command, cls=Verb)


@verb("info", usage="[OPTIONS]")
@click.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.pass_obj
def info(session: Session, template: str) -> SystemInfo | Names:
    """Show what this machine and this version can do."""
    found = session.engine().system.info()
    if not template:
        return found
    from ocimagic.wire.system import system_info

    return _filled(template, system_info(found))


@verb("doctor", usage="[OPTIONS]")
@click.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.pass_obj
def doctor(session: Session, template: str) -> Diagnosis | Names:
    """Try what containers need here, and say what would give more."""
    found = session.engine().system.diagnose()
    if not template:
        return found
    from ocimagic.wire.system import diagnosis

    return _filled(template, diagnosis(found))


@verb("version", usage="[OPTIONS]")
@click.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="json or fields")
def version(template: str) -> VersionInfo | Names:
    """Show the version."""
    found = VersionInfo(VERSION, platform.python_version(), str(host_platform()))
    return _filled(template, found.document()) if template else found


@verb("inspect", takes="container", usage="[OPTIONS] NAME|ID [NAME|ID...]")
@click.option("-f", "--format", "template", default="", metavar="TEMPLATE", help="json or fields")
@click.option(
    "--type",
    "kind",
    default="",
    metavar="KIND",
    help="Look only among: container, image, network, volume",
)
@click.option("-s", "--size", is_flag=True, help="Show how much containers take on disk")
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID...")
@click.pass_obj
def inspect(
    session: Session, names: tuple[str, ...], template: str, kind: str, *, size: bool
) -> InspectDocument | Names:
    """Show everything known of containers, images, networks or volumes."""
    if kind not in {"", *KINDS}:
        raise InvalidOption(f"--type takes {', '.join(KINDS)}, not {kind!r}")
    return inspected(session, names, template, kind=kind, size=size)


def _filled(template: str, document: dict[str, object]) -> Names:
    return Names((fill("{{json .}}" if template == "json" else template, document),))


system = Noun(
    "system",
    help="Manage the engine.",
    commands={
        "info": info,
        "doctor": doctor,
        "df": df,
        "events": events,
        "prune": prune_system,
        "version": version,
        "serve": serve_here,
        "unserve": unserve,
    },
    later=refused.SYSTEM_WORDS,
)
