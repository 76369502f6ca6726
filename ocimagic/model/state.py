"""What a container can be, and what may be done to it then.

Spec: runtime-spec runtime.md, "State"; ``exited`` is docker's word for ``stopped``.
"""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """Where a container is in its life."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class Verb(Enum):
    """What can be asked of a container."""

    START = "start"
    STOP = "stop"
    KILL = "kill"
    WAIT = "wait"
    REMOVE = "remove"


ALLOWED: dict[Verb, frozenset[Status]] = {
    Verb.START: frozenset({Status.CREATED, Status.EXITED}),
    Verb.STOP: frozenset(Status),  # stopping what does not run is done at once, as in docker
    Verb.KILL: frozenset({Status.RUNNING}),
    Verb.WAIT: frozenset(Status),
    Verb.REMOVE: frozenset({Status.CREATED, Status.EXITED}),
}
