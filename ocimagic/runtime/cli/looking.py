"""The commands that look at containers: state, list, ps."""

from __future__ import annotations

import json
import pwd
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, InvalidOption
from ocimagic.runtime.cli.words import Flag
from ocimagic.runtime.state import ContainerState
from ocimagic.spec.codec import rfc3339

if TYPE_CHECKING:
    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words

_FORMAT = Flag("format", "table or json", "FORMAT", "f")
LIST_FLAGS = (_FORMAT, Flag("quiet", "IDs only", short="q"))
PS_FLAGS = (_FORMAT,)


def state(session: Session, words: Words) -> int:
    """Tell the state of a container as JSON."""
    print(json.dumps(_described(session.load(words.only_argument())), indent=2))  # noqa: T201
    return 0


def _described(found: ContainerState) -> dict[str, object]:
    """Return the state as runc tells it: the specification's, and some more."""
    more = {
        "rootfs": found.root_path,
        "created": rfc3339(found.created),
        "owner": _name_of(found.owner),
    }
    return found.to_oci_json() | more


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def list_containers(session: Session, words: Words) -> int:
    """List the containers below this root."""
    style = _style(words)
    if words.has("quiet"):
        for each in ContainerState.list(session.root):
            print(each.container_id)  # noqa: T201
        return 0
    found = [_described(each) for each in ContainerState.list(session.root)]
    if style == "json":
        print(json.dumps(found))  # noqa: T201
        return 0
    keys = ("id", "pid", "status", "bundle", "created", "owner")
    rows = [[key.upper() for key in keys], *([str(each[key]) for key in keys] for each in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        print("   ".join(cells).rstrip())  # noqa: T201
    return 0


def _style(words: Words) -> str:
    style = words.text("format", "table")
    if style not in ("table", "json"):
        raise InvalidOption(f"invalid format {style!r}", hint="table or json")
    return style


def ps(session: Session, words: Words) -> int:
    """List the processes of a container: pids, or what the machine's ps says of them."""
    style = _style(words)
    if not words.arguments:
        raise InvalidOption("at least one argument is needed: the container ID")
    container_id, *options = words.arguments
    from ocimagic.runtime.container import processes

    pids = processes(session.load(container_id))
    if style == "json":
        print(json.dumps(pids))  # noqa: T201
        return 0
    import subprocess  # only where ps(1) is asked

    try:
        done = subprocess.run(
            ["ps", *(options or ["-ef"])], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as err:
        raise HostLacks("there is no ps here", hint="use --format json") from err
    if done.returncode:
        raise InvalidOption("ps fails", why=done.stderr.strip())
    head, *lines = done.stdout.splitlines()
    if "PID" not in head.split():
        raise InvalidOption("the output of ps has no column PID")
    column, wanted = head.split().index("PID"), set(map(str, pids))
    print(head)  # noqa: T201
    for line in lines:
        if line.split()[column] in wanted:
            print(line)  # noqa: T201
    return 0
