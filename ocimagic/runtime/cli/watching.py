"""The command that watches a container: events."""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.runtime import container
from ocimagic.runtime.cli.words import Flag

if TYPE_CHECKING:
    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words
    from ocimagic.runtime.state import ContainerState

EVENTS_FLAGS = (
    Flag("stats", "tell once what is used, and return"),
    Flag("interval", "between two looks, for example 5s or 500ms", "DURATION"),
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


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
