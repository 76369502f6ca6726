"""The commands that look at containers: state, list, ps, events."""

from __future__ import annotations

import json
import os
import pwd
import re
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, InvalidOption, OcimagicError
from ocimagic.runtime import container
from ocimagic.runtime.cli.words import Flag
from ocimagic.runtime.state import ContainerState
from ocimagic.spec.codec import rfc3339

if TYPE_CHECKING:
    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words

_FORMAT = Flag("format", "table or json", "FORMAT", "f")
LIST_FLAGS = (_FORMAT, Flag("quiet", "IDs only", short="q"))
PS_FLAGS = (_FORMAT,)
EVENTS_FLAGS = (
    Flag("stats", "tell once what is used, and return"),
    Flag("interval", "between two looks, for example 5s or 500ms", "DURATION"),
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


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
    pids = container.processes(session.load(container_id))
    if style == "json":
        print(json.dumps(pids))  # noqa: T201
        return 0
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


def events(session: Session, words: Words) -> int:
    """Tell what a container uses, and when the kernel kills for want of memory, until it ends."""
    found = session.load(words.only_argument())
    interval_s = _seconds(words.text("interval", "5s"))
    if words.has("stats"):
        _tell("stats", found.container_id, container.stats(found).to_runc_json())
        return 0
    pidfd = _open(found)
    oom = found.cgroup.watch_oom()
    try:
        _follow(found, pidfd, oom, interval_s)
    finally:
        os.close(pidfd)
        if oom >= 0:
            os.close(oom)
    return 0


def _open(found: ContainerState) -> int:
    container.stats(found)
    return found.process.open()


def _follow(found: ContainerState, pidfd: int, oom: int, interval_s: float) -> None:
    watch = select.poll()
    for fd in (pidfd, oom):
        if fd >= 0:
            watch.register(fd, select.POLLIN)
    kills, deadline = found.cgroup.oom_kills(), time.monotonic() + interval_s
    while True:
        ready = [fd for fd, _ in watch.poll(max(0.0, deadline - time.monotonic()) * 1000)]
        if oom in ready:
            os.read(oom, 4096)
        now = found.cgroup.oom_kills()
        if now > kills:
            kills = now
            _tell("oom", found.container_id)
        if pidfd in ready:
            return
        if time.monotonic() >= deadline:
            deadline += interval_s
            try:
                _tell("stats", found.container_id, container.stats(found).to_runc_json())
            except (OcimagicError, OSError):
                continue  # it is just ending; the pidfd says so


def _tell(kind: str, container_id: str, data: object = None) -> None:
    event = {"type": kind, "id": container_id} | ({} if data is None else {"data": data})
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if not found or not float(found[1]):
        raise InvalidOption(f"invalid duration {text!r}", hint="for example 5s")
    return float(found[1]) * _SECONDS[found[2]]
